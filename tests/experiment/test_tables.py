"""The tables on LIDC: their runs, what is shared and skipped, and what is printed."""

import json

import job
import pytest

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.experiment import tables
from car_tf.report import paper_tables
from car_tf.runtime import environment, run_dir, stop_signal

COMPARISONS = {"argmax": {"ged": 0.7, "hm_iou": 0.4}}


def _metrics(ged, hm_iou):
    scores = {"ged": ged, "hm_iou": hm_iou, "sample_diversity": 0.5}
    return {
        "data": "drawn",
        "by_num_samples": {"16": scores},
        "raters": {"comparisons": COMPARISONS},
    }


class FakeJob:
    """Stands for `train_run.run`: notes its runs and scores each as it is told."""

    def __init__(self, monkeypatch, score):
        self.score, self.metrics = score, _metrics
        self.runs = []
        self.had_calibration_net = []
        self.data_records = []
        monkeypatch.setattr(tables.train_run, "run", self)

    def __call__(self, config, workdir, log):
        stage = workdir.path / "checkpoints" / "stage1"
        self.had_calibration_net.append((stage / "ckpt").is_file())
        self.data_records.append(workdir.read_json("data.json"))
        self.runs.append((workdir.path.name, config))
        if self.data_records[-1] is None:
            workdir.write_json("data.json", f"data of run {len(self.runs)}")
        workdir.write_text("config.json", config_lib.to_json(config))
        workdir.write_text("checkpoints/stage1/ckpt", str(config.train.seed))
        workdir.write_text("stage1_log.jsonl", "")
        workdir.write_json("metrics.json", self.metrics(*self.score(config)))
        workdir.write_text("report.html", "")


@pytest.fixture
def base(monkeypatch):
    # What is slow, and would forget what other tests have built.
    monkeypatch.setattr(environment, "describe", dict)
    monkeypatch.setattr(tables, "_forget_graphs", lambda: None)
    return config_lib.load("lidc")


def _constant(config):
    return 0.25, 0.5


def _run(table, base, output, num_seeds=1):
    lines = []
    result = tables.run(
        table, base, num_seeds=num_seeds, output=output, log=lines.append
    )
    return result, lines


def test_mean_and_standard_deviation_stand_beside_the_paper(
    base, tmp_path, monkeypatch
):
    # Seeds 1, 2, 3: mean 0.2, deviations -0.1, 0, 0.1: sqrt(0.02 / 2) = 0.1.
    FakeJob(monkeypatch, lambda config: (0.1 * config.train.seed, 0.5))
    result, lines = _run("table1", base, tmp_path, num_seeds=3)
    ours = {row["method"]: row["summary"] for row in result["rows"]}
    assert ours["cGAN+Lce"]["GED 16"]["mean"] == pytest.approx(0.2)
    assert ours["cGAN+Lce"]["GED 16"]["std"] == pytest.approx(0.1)
    assert ours["cGAN+Lce"]["GED 50"] is None
    assert ours["Kohl et al. (2018)"] == {}
    text = (tmp_path / "table1.md").read_text()
    assert lines[-1] == text
    (line,) = (line for line in text.splitlines() if "cGAN+Lcal" in line)
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "cGAN+Lcal (20)",
        "3",
        "0.200 ± 0.100",
        "—",
        "—",
        "0.500 ± 0.000",
        "0.500 ± 0.000",
        "0.264 ± 0.002",
        "0.248 ± 0.004",
        "0.243 ± 0.004",
        "0.592 ± 0.005",
    ]
    assert "- argmax: GED 16 0.700 ± 0.000, HM-IoU 16 0.400 ± 0.000." in text
    assert json.loads((tmp_path / "table1.json").read_text()) == result


def test_rows_have_intervals_over_patients_and_differ_image_by_image(
    base, tmp_path, monkeypatch
):
    def metrics(ged, hm_iou):
        found = _metrics(ged, hm_iou)
        # Two patients, the second with two images; their GED is 0.1 apart.
        values = {"ged": [ged - 0.1, ged, ged], "hm_iou": [hm_iou] * 3}
        for name, each in values.items():
            found["by_num_samples"]["16"][f"{name}_per_image"] = each
        return {**found, "groups": ["a", "b", "b"]}

    fake = FakeJob(monkeypatch, lambda config: (0.2 + 0.1 * config.train.seed, 0.5))
    fake.metrics = metrics
    result, _ = _run("table1", base, tmp_path, num_seeds=2)
    row = next(row for row in result["rows"] if row["method"] == "cGAN+Lce")
    # Seeds 1 and 2: mean 0.35 per image of b, 0.25 of a. Resamples aa, ab and bb.
    assert row["intervals"]["GED 16"] == pytest.approx([0.25, 0.35])
    assert row["intervals"]["HM-IoU 16"] == pytest.approx([0.5, 0.5])
    # Every image as in the reference: no difference, of no width.
    assert row["difference"]["GED 16"]["interval"] == pytest.approx([0, 0])
    text = (tmp_path / "table1.md").read_text()
    assert "0.350 ± 0.071 [0.250, 0.350]" in text
    assert "cGAN+Lce less cGAN+Lcal (20), image by image: GED 16 +0.000" in text
    assert "95 % intervals over 2 groups of images (patients)" in text


def test_a_table_counts_what_other_commands_have_finished(base, tmp_path, monkeypatch):
    # Seeds 2 and 10: (0.2 + 1.0) / 2 = 0.6.
    FakeJob(monkeypatch, lambda config: (0.1 * config.train.seed, 0.5))
    _run("table4", fields.override(base, ["train.seed=10"]), tmp_path)
    second = fields.override(base, ["train.seed=2"])
    result, _ = _run("table1", second, tmp_path)
    lce = next(row for row in result["rows"] if row["method"] == "cGAN+Lce")
    assert [each["seed"] for each in lce["runs"]] == [2, 10]
    assert lce["summary"]["GED 16"]["mean"] == pytest.approx(0.6)


def test_what_does_not_count_is_named(base, tmp_path, monkeypatch):
    FakeJob(monkeypatch, _constant)
    _run("table1", fields.override(base, ["stage2.steps=7"]), tmp_path)
    _run("table1", fields.override(base, ["train.seed=3"]), tmp_path)
    (tmp_path / "lce-seed3" / "metrics.json").write_text("{")
    (tmp_path / "lce-seed03").mkdir()
    (tmp_path / "lcal-20-seed3" / "report.html").unlink()
    result, lines = _run("table1", fields.override(base, ["train.seed=2"]), tmp_path)
    seeds = [[each["seed"] for each in row["runs"]] for row in result["rows"]]
    assert seeds[-2:] == [[2], [2]]
    named = [line for line in lines[-1].splitlines() if "not counted" in line]
    assert [line.split()[3] for line in named] == [
        "lce-seed1",
        "lce-seed3",
        "lcal-20-seed1",
    ]
    assert f"stage2.steps: 7 -> {base.stage2.steps}" in named[0]


def test_every_line_of_the_table_has_as_many_cells(base, tmp_path, monkeypatch):
    FakeJob(monkeypatch, _constant)
    for table in paper_tables.TABLES:
        _run(table, base, tmp_path)
        text = (tmp_path / f"{table}.md").read_text()
        widths = {line.count("|") for line in text.splitlines() if "|" in line}
        assert widths == {1 + 2 + 5 + 4}


def test_finished_runs_are_skipped_and_shared_by_the_tables(
    base, tmp_path, monkeypatch
):
    job = FakeJob(monkeypatch, _constant)
    _run("table3", base, tmp_path)
    assert [name for name, _ in job.runs] == [
        f"lcal-{m}-seed1" for m in (1, 5, 10, 15, 20)
    ]
    _run("table3", base, tmp_path)
    assert len(job.runs) == 5
    _run("table1", base, tmp_path)
    _run("table4", base, tmp_path)
    names = [name for name, _ in job.runs[5:]]
    assert names == [
        f"{key}-seed1" for key in ("lce", "elbo-0.1", "elbo-1", "elbo-10", "cvae-lcal")
    ]


def test_an_interrupted_table_shows_what_is_finished(base, tmp_path, monkeypatch):
    def score(config):
        if config.stage2.num_samples == 10:
            raise stop_signal.Stopped("stopped")
        return 0.25, 0.5

    FakeJob(monkeypatch, score)
    with pytest.raises(stop_signal.Stopped):
        _run("table3", base, tmp_path)
    result = json.loads((tmp_path / "table3.json").read_text())
    assert [len(row["runs"]) for row in result["rows"]] == [1, 1, 0, 0, 0]
    # Its directory is free again for the run that goes on.
    job = FakeJob(monkeypatch, _constant)
    _run("table3", base, tmp_path)
    assert [name for name, _ in job.runs] == [f"lcal-{m}-seed1" for m in (10, 15, 20)]


def test_the_calibration_network_of_a_seed_is_trained_once(base, tmp_path, monkeypatch):
    job = FakeJob(monkeypatch, _constant)
    _run("table1", base, tmp_path, num_seeds=2)
    assert [name for name, _ in job.runs] == [
        "lce-seed1",
        "lcal-20-seed1",
        "lce-seed2",
        "lcal-20-seed2",
    ]
    assert job.had_calibration_net == [False, True, False, True]
    taken = tmp_path / "lcal-20-seed2" / "checkpoints" / "stage1" / "ckpt"
    assert taken.read_text() == "2"


def test_runs_are_held_to_the_data_of_those_before_them(base, tmp_path, monkeypatch):
    job = FakeJob(monkeypatch, _constant)
    _run("table1", base, tmp_path, num_seeds=2)
    assert job.data_records == [None, *["data of run 1"] * 3]


def test_a_run_that_was_killed_before_its_report_goes_on(base, tmp_path, monkeypatch):
    job = FakeJob(monkeypatch, _constant)
    _run("table1", base, tmp_path)
    (tmp_path / "lcal-20-seed1" / "report.html").unlink()
    _run("table1", base, tmp_path)
    assert [name for name, _ in job.runs[2:]] == ["lcal-20-seed1"]


def test_a_run_that_another_command_finishes_meanwhile_is_left_alone(
    base, tmp_path, monkeypatch
):
    def score(config):
        other = tmp_path / "lcal-20-seed1"
        other.mkdir()
        theirs = tables._config(base, paper_tables.LCAL, 1)
        (other / "config.json").write_text(config_lib.to_json(theirs))
        (other / "metrics.json").write_text(json.dumps(_metrics(0.125, 0.75)))
        (other / "report.html").write_text("")
        return 0.25, 0.5

    job = FakeJob(monkeypatch, score)
    result, _ = _run("table1", base, tmp_path)
    assert [name for name, _ in job.runs] == ["lce-seed1"]
    assert result["rows"][-1]["summary"]["GED 16"]["mean"] == 0.125


def test_a_stranger_beside_the_runs_stops_nothing(base, tmp_path, monkeypatch):
    job = FakeJob(monkeypatch, _constant)
    for folder in ("scratch-seed9", "lce-seed9", "lce-seedX"):
        (tmp_path / folder).mkdir()
        for name in ("config.json", "metrics.json", "report.html"):
            (tmp_path / folder / name).write_text("{}")
    _run("table1", base, tmp_path)
    assert len(job.runs) == 2


def test_another_configuration_of_the_same_seeds_is_refused(
    base, tmp_path, monkeypatch
):
    FakeJob(monkeypatch, _constant)
    _run("table1", base, tmp_path)
    other = fields.override(base, ["refinement_net.logits=residual"])
    with pytest.raises(run_dir.RunError, match="another configuration.*residual"):
        _run("table1", other, tmp_path)


def test_another_calibration_network_is_not_taken(base, tmp_path, monkeypatch):
    FakeJob(monkeypatch, _constant)
    _run("table1", base, tmp_path)
    (tmp_path / "lcal-20-seed1" / "metrics.json").unlink()
    other = config_lib.change(base, stage1={"steps": base.stage1.steps + 1})
    # The same name for another configuration is refused.
    with pytest.raises(run_dir.RunError, match="another configuration"):
        _run("table1", other, tmp_path)
    job = FakeJob(monkeypatch, _constant)
    folder = tmp_path / "cvae-lcal-seed1"
    config = tables._config(other, paper_tables.CVAE, 1)
    tables._train(config, folder, print)
    assert job.had_calibration_net == [False]


def test_rows_are_the_configurations_of_the_same_names():
    named = {
        "lidc": paper_tables.LCAL,
        "lidc_lce": paper_tables.LCE,
        "lidc_cvae": paper_tables.CVAE,
        "lidc_cvae_elbo": paper_tables.TABLES["table4"][3],
    }
    # Whichever of them the table is made from.
    for base in named:
        for name, row in named.items():
            changed = fields.override(config_lib.load(base), row.overrides)
            assert config_lib.change(changed, name=name) == config_lib.load(name)


def test_the_scale_multiplies_steps_and_channels(base):
    scaled = tables.scaled(base, 0.1, 0.5)
    assert scaled.stage1.steps == round(0.1 * base.stage1.steps)
    assert scaled.stage2.steps == round(0.1 * base.stage2.steps)
    assert scaled.calibration_net.channels == base.calibration_net.channels // 2
    assert scaled.refinement_net.base_channels == base.refinement_net.base_channels // 2
    assert scaled.discriminator.base_channels == base.discriminator.base_channels // 2
    assert tables.scaled(base, 1e-9, 1e-9).stage1.steps == 1


def _experiment(*arguments, **kwargs):
    return job.fork(*arguments, module="car_tf.experiment", **kwargs)


def test_the_command_makes_a_table(tmp_path):
    # A ten-thousandth of the steps is one per stage.
    command = (
        *("table1", "--output", tmp_path, "--num_seeds", 1, "--scale", "0.0001,0.15"),
        *job.settings(
            *("data.size=32,32", "data.crop_size=32,32", "data.num_drawn=4,2,2"),
            *("stage1.batch_size=2", "stage2.batch_size=2", "stage2.num_samples=2"),
            *("evaluation.num_samples=16", "train.num_selection_images=1"),
            *("evaluation.realism_steps=0", "calibration_net.symmetric=false"),
            "stage1.select_every=0",
        ),
    )
    # What is left out has tests of its own.
    left_out = (job.leave_out_figures, job.leave_out_export, job.train_eagerly)
    done = _experiment(*command, num_levels=1, prepare=[(each,) for each in left_out])
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "table1.md").read_text()
    assert text in done.stdout
    result = json.loads((tmp_path / "table1.json").read_text())
    runs = {row["method"]: len(row["runs"]) for row in result["rows"]}
    assert runs["cGAN+Lce"] == runs["cGAN+Lcal (20)"] == 1
    config = run_dir.saved_config(str(tmp_path / "lce-seed1"))
    assert (config.stage1.steps, config.stage2.steps) == (1, 1)
    assert config.refinement_net.base_channels == 2
    for line in (tmp_path / "lce-seed1" / "stage1_log.jsonl").read_text().splitlines():
        assert json.loads(line)["step"] == 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--scale", "1"], ["--scale", "two numbers", "'1'"]),
        (["--scale", "0.5,0"], ["--scale", "above 0"]),
        (["--scale", "nan,1"], ["--scale", "above 0"]),
        (["--config", "cityscapes"], ["data.dataset=lidc", "cityscapes"]),
        (["--config", "regression"], ["data.dataset=lidc"]),
        (["--config", "ldic"], ["did you mean 'lidc'"]),
        (["--set", "stage2.step=1"], ["did you mean 'steps'"]),
    ],
)
def test_a_wrong_word_stops_a_table_with_one_line(tmp_path, arguments, words):
    done = _experiment("table3", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_missing_data_set_is_named_in_one_line(tmp_path):
    done = _experiment("table1", "--data_dir", "absent", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and str(tmp_path / "absent") in last
