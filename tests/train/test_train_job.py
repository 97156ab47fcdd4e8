"""The main job, end to end: its results, and that interruptions change nothing."""

import contextlib
import json
import os
import signal

import cityscapes_tree as tree
import job
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.config import fields
from car_tf.data import info
from car_tf.evaluate import before_stage2
from car_tf.evaluate import run as evaluate_run
from car_tf.evaluate import saved_run
from car_tf.runtime import run_dir, stop_signal
from car_tf.train import build, fit
from car_tf.train import run as train_run
from export import description
from export import run as export_run
from export import savedmodel

# Of G; tests/test_own_data.py runs a job with all of them, in a process of its own.
NUM_LEVELS = 1
pytestmark = pytest.mark.usefixtures("shallow_generators")


class Runs:
    """A folder of runs on one miniature data set."""

    def __init__(self, folder):
        self.folder = folder
        self.data = tree.write(folder / "data")

    def arguments(self, name, *texts):
        return [
            *("--config", "cityscapes_sampler", "--data_dir", self.data),
            *("--workdir", self.folder / name),
            *job.settings(*job.TINY, f"data.cache_dir={self.folder / 'cache'}"),
            *job.settings("blackbox.kind=imitation", *texts),
        ]

    def run(self, name, *texts, **kwargs):
        return job.run(*self.arguments(name, *texts), cwd=self.folder, **kwargs)

    def fork(self, name, *texts, **kwargs):
        kwargs = {"num_levels": NUM_LEVELS, "cwd": self.folder, **kwargs}
        return job.fork(*self.arguments(name, *texts), **kwargs)

    def tensors(self, name, which):
        """All tensors of a run's newest checkpoint of a stage, or of its best."""
        folder = self.folder / name / "checkpoints"
        path = tf.train.latest_checkpoint(str(folder / which))
        if which == "best":
            best = json.loads((self.folder / name / "best.json").read_text())
            path = str(self.folder / name / best["weights"])
        rater = tf.train.load_checkpoint(path)
        names = rater.get_variable_to_shape_map()
        return {
            key: rater.get_tensor(key)
            for key in names
            if not key.startswith(("_CHECKPOINTABLE", "save_counter"))
        }

    def log(self, name, stage):
        path = self.folder / name / f"stage{stage}_log.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [
            {key: value for key, value in line.items() if key != "seconds"}
            for line in lines
        ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def whole(runs):
    """The run that nothing interrupts."""
    done = runs.fork("whole")
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def read_json(path):
    def refuse(word):
        raise ValueError(f"{path} holds {word}")

    return json.loads(path.read_text(), parse_constant=refuse)


# What a run leaves


def test_the_run_directory_tells_the_runs_story(runs, whole):
    run = runs.folder / "whole"
    found = {path.name for path in run.iterdir() if path.name != ".lock"}
    assert found == {
        *("best.json", "checkpoints", "config.json", "data.json", "environment.json"),
        *("export", "figures", "metrics.json", "stage1_log.jsonl", "stage2_log.jsonl"),
        *("finished.json", "log.txt", "report.html", "tensorboard"),
    }
    figures = {path.name for path in (run / "figures").iterdir()}
    names = ("samples", "entropies", "reliability", "calibration", "curves")
    assert {f"{name}.png" for name in names} <= figures
    for path in run.rglob("*"):
        assert not path.name.endswith(".new"), path
        assert not path.name.startswith(".exporting"), path
    config = read_json(run / "config.json")
    assert config["stage2"]["num_samples"] == 2
    assert config["data"]["data_dir"] == str(runs.data)
    data = read_json(run / "data.json")
    assert data["splits"]["val"]["num_images"] == 2
    assert any("held out" in note for note in data["notes"])
    assert "held out" in whole.stdout and "imitated" in whole.stdout
    events = event_accumulator.EventAccumulator(str(run / "tensorboard")).Reload()
    assert {
        *("stage1/cross_entropy", "stage2/adversarial", "stage2/selection_ged"),
        *("selection/samples", "selection/entropies", "selection/calibration"),
        *("configuration", "notes", "evaluation/ged"),
    } <= set(events.Tags()["tensors"])


def test_metrics_hold_numbers_and_nulls_alone(runs, whole):
    metrics = read_json(runs.folder / "whole" / "metrics.json")
    assert metrics["num_samples"] == 3 and metrics["num_images"] == 2
    assert 0 < metrics["ged"] < 2
    assert metrics["best"]["ged"] > 0
    for name in ("calibration_net", "blackbox", "truth"):
        assert 0 <= metrics[f"ged_flip_oracle_{name}"] < 2


def test_logs_are_complete_and_know_when_d_rested(runs, whole):
    first, second = runs.log("whole", 1), runs.log("whole", 2)
    assert [line["step"] for line in first] == [2, 4, 5]
    assert [line["step"] for line in second] == [2, 4, 6, 7]
    # D is updated in steps 0, 3 and 6, so not between 4 and 6.
    assert ["discriminator" in line for line in second] == [True, True, False, True]
    assert all("selection_ged" in line for line in second)


def test_nothing_but_what_happens_is_said(whole):
    for noise in ("Traceback", "WARNING", "ran out of data", "retracing"):
        assert noise not in whole.stderr + whole.stdout


# Interruptions

LEFT_OUT = (job.leave_out_evaluation,)


@pytest.fixture(scope="module")
def interrupted(runs):
    """Killed in stage 1, stopped in stage 2, a checkpoint damaged, gone on to the end."""
    kill, stop = int(signal.SIGKILL), int(signal.SIGTERM)
    done = [
        runs.fork("interrupted", prepare=[(job.interrupt, *when), LEFT_OUT])
        for when in ((1, 3, kill), (2, 5, stop))
    ]
    folder = runs.folder / "interrupted" / "checkpoints" / "stage2"
    (newest,) = folder.glob("ckpt-5.data*")
    os.truncate(newest, newest.stat().st_size // 2)
    done.append(runs.fork("interrupted", prepare=[LEFT_OUT]))
    return done


def test_a_killed_run_goes_on_from_its_last_checkpoint(interrupted):
    first, second, third = interrupted
    assert first.returncode == -signal.SIGKILL
    assert "stage 1: training" in second.stdout and "from step 2" in second.stdout
    assert "stage 1: finished before" in third.stdout


def test_a_damaged_checkpoint_is_passed_over(interrupted):
    third = interrupted[2]
    assert third.returncode == 0, third.stderr[-3000:]
    assert "ckpt-5 cannot be read" in third.stdout
    assert "from step 4" in third.stdout


def test_a_stopped_run_saves_and_says_how_to_go_on(interrupted, runs):
    second = interrupted[1]
    assert second.returncode == 130
    last = second.stderr.splitlines()[-1]
    assert last.startswith("stopped in stage 2 after step 5")
    assert str(runs.folder / "interrupted") in last
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("which", ["stage1", "stage2", "best"])
def test_interruptions_do_not_change_a_bit(runs, whole, interrupted, which):
    expected = runs.tensors("whole", which)
    got = runs.tensors("interrupted", which)
    assert len(expected) > 10
    assert got.keys() == expected.keys()
    for key in expected:
        np.testing.assert_array_equal(got[key], expected[key], err_msg=key)


def test_interruptions_do_not_change_the_selection(runs, whole, interrupted):
    for file in ("best.json", "checkpoints/stage1/best.json"):
        best = [read_json(runs.folder / n / file) for n in ("whole", "interrupted")]
        assert best[0] == best[1]
    steps = [line["step"] for line in runs.log("interrupted", 2)]
    assert steps == [2, 4, 6, 7]
    geds = [
        [line["selection_ged"] for line in runs.log(name, 2)]
        for name in ("whole", "interrupted")
    ]
    assert geds[0] == geds[1]


# Work that goes on


def test_a_finished_run_answers_without_tensorflow(runs, whole, tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('TensorFlow started')")
    path = f"{tmp_path}:{job.CHECKOUT}"
    done = runs.run("whole", env=job.environment(PYTHONPATH=path))
    assert done.returncode == 0, done.stderr
    # With the configuration's decay=linear there is no going on.
    assert "finished before: ged " in done.stdout and "--init_from" in done.stdout
    more = runs.run("whole", "stage2.steps=9", env=job.environment(PYTHONPATH=path))
    assert more.returncode == 1 and "from stage2.steps=7 to 9" in more.stderr
    log = (runs.folder / "whole" / "log.txt").read_text(encoding="utf-8")
    assert log.count("run directory:") == 2
    assert "stage 2: step 7 of 7, " in log and "held out" in log


def test_another_configuration_in_the_same_directory_is_refused(runs, whole):
    done = runs.fork("whole", "train.seed=2")
    assert done.returncode == 1
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert "train.seed: 1 -> 2" in line and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def loaded(runs, whole):
    """The finished run's configuration, data and sampler, in this process."""
    path = str(runs.folder / "whole")
    config = run_dir.saved_config(path)
    run = run_dir.RunDir(path, config)
    dataset = attach.load(config)
    yield config, dataset, saved_run.load_sampler(config, dataset.info, run), run
    run.close()


def test_a_run_begins_with_the_networks_of_another(runs, loaded, monkeypatch):
    source = f"train.init_from={runs.folder / 'whole'}"
    both = (source, "train.init_networks=both", "stage1.steps=0", "stage2.steps=2")
    other = runs.fork("other", *both, "refinement_net.base_channels=3")
    assert other.returncode == 1 and not (runs.folder / "other").exists()
    assert "wanted weights of the same G" in other.stderr
    assert "incompatible tensor with shape" in other.stderr
    config, dataset, model, whole_run = loaded
    config = fields.override(config, both)
    whole_fit, trainers = fit.fit, []

    def begin(trainer, *arguments, stage, **more):
        trainers.append(trainer)
        if stage == 2:
            raise stop_signal.Stopped("begun")
        whole_fit(trainer, *arguments, stage=stage, **more)

    monkeypatch.setattr(fit, "fit", begin)
    folder = runs.folder / "warm"
    with contextlib.closing(run_dir.RunDir(str(folder), config)) as workdir:
        with pytest.raises(stop_signal.Stopped, match="begun"):
            strategy = tf.distribute.get_strategy()
            train_run.run(config, workdir, strategy, lambda line: None)
    best = read_json(whole_run.path / run_dir.BEST_CALIBRATION_FILE)["weights"]
    began = tf.train.load_checkpoint(str(whole_run.path / best))
    warm = runs.tensors("warm", "stage1")
    nets = [key for key in warm if key.startswith("net/")]
    assert len(nets) > 3
    for key in nets:
        np.testing.assert_array_equal(warm[key], began.get_tensor(key), err_msg=key)
    assert read_json(folder / "initialized_from.json")["run"].endswith("whole")
    # G begins with what was best, and that is what is compared with it later.
    before = before_stage2.initial_sampler(config, dataset.info, model, folder)
    wanted = model.refinement_net.variables
    assert len(wanted) > 10
    begun = trainers[1].refinement_net.variables, trainers[1].averages
    for found in (*begun, before.refinement_net.variables):
        assert len(found) == len(wanted)
        for value, want in zip(found, wanted):
            np.testing.assert_array_equal(value, want, err_msg=want.name)


# The finished run


def test_the_exported_model_equals_the_run(runs, whole, loaded):
    _, dataset, sampler, _ = loaded
    val = dataset.splits["val"]
    inputs = dict(
        image=val.images[:2],
        blackbox=val.blackbox[:2],
        num_samples=np.int32(3),
        seed=np.array([[5, 0], [6, 1]], np.int32),
    )
    exported = runs.folder / "whole" / "export" / "cityscapes_sampler" / "1"
    sample = tf.saved_model.load(str(exported)).signatures["sample"]
    got = sample(**{name: tf.constant(value) for name, value in inputs.items()})
    got = {name: value.numpy() for name, value in got.items()}
    expected = sampler.sample(
        *(tf.constant(inputs[n]) for n in ("image", "blackbox", "seed", "num_samples"))
    )
    assert np.mean(got["samples"] == expected["samples"]) > 0.999
    np.testing.assert_allclose(got["probabilities"], expected["probs"], atol=1e-4)
    probs = got["probabilities"]
    bits = -(probs * np.log2(np.maximum(probs, 1e-30))).sum(-1)
    np.testing.assert_allclose(got["entropy_bits"], bits, atol=1e-3)


def test_the_export_knows_what_the_run_knows(runs, whole):
    run = runs.folder / "whole"
    exported = run / "export" / "cityscapes_sampler" / "1"
    assert f"exported: {exported}" in whole.stdout
    labels = read_json(exported / "assets" / "labels.json")
    assert labels["config"] == read_json(run / "config.json")
    assert labels["trained_size"] == labels["config"]["data"]["size"]
    card = (exported / "model_card.md").read_text()
    metrics = read_json(run / "metrics.json")
    assert all(f"- {note}" in card for note in metrics["notes"])
    assert f"{metrics['ged']:.3f}" in card


def test_a_finished_run_is_exported_again_without_its_data(
    loaded, tmp_path, monkeypatch
):
    config, dataset, _, run = loaded
    recorded = read_json(run.path / "data.json")
    assert info.from_record(recorded["facts"]) == dataset.info
    monkeypatch.setattr(attach, "load", None)
    monkeypatch.setattr(savedmodel, "write", lambda *unused: None)
    again = export_run.export_workdir(config, run, output=str(tmp_path))
    assert again == tmp_path / "cityscapes_sampler" / "1"
    # Facts, weights, results and code in one number.
    first = description.read_content_hash(
        run.path / "export" / "cityscapes_sampler" / "1"
    )
    assert description.read_content_hash(again) == first


def test_the_exported_model_is_that_of_the_best_weights(runs, loaded):
    _, _, sampler, _ = loaded
    best = runs.tensors("whole", "best")
    suffix = "/.ATTRIBUTES/VARIABLE_VALUE"
    kernel = best[f"net/logits_layer/kernel{suffix}"]
    np.testing.assert_array_equal(sampler.refinement_net.logits_layer.kernel, kernel)


def test_evaluating_again_gives_the_same_numbers(loaded, monkeypatch):
    job.leave_out_figures(monkeypatch.setattr)
    config, dataset, sampler, run = loaded
    before = read_json(run.path / "metrics.json")
    evaluate_run.evaluate_run(config, dataset, sampler, run, lambda line: None)
    after = read_json(run.path / "metrics.json")
    assert after["ged_per_image"] == before["ged_per_image"]
    assert after["miou_calibration_net"] == before["miou_calibration_net"]


def test_stratified_samples_are_evaluated_and_exported_under_their_name(
    loaded, tmp_path, monkeypatch
):
    job.leave_out_figures(monkeypatch.setattr)
    config, dataset, _, run = loaded
    before = read_json(run.path / "metrics.json")
    assert before["noise_sampling"] == "independent"
    stratified = fields.override(config, ["evaluation.noise_sampling=stratified"])
    sampler = saved_run.load_sampler(stratified, dataset.info, run)
    assert sampler.stratified
    asked = dict(split="selection", num_samples=2)
    result = evaluate_run.evaluate_run(
        config, dataset, sampler, run, lambda line: None, **asked
    )
    assert result["num_samples"] == 2 and result["split"] == "selection"
    name = "metrics_selection_2_stratified.json"
    assert read_json(run.path / name) == result
    assert result["ged"] is not None and result["ged_unbiased"] is None
    assert set(result["ged_unbiased_per_image"]) == {None}
    assert all(s["ged_unbiased"] is None for s in result["by_num_samples"].values())
    assert read_json(run.path / "metrics.json") == before
    monkeypatch.setattr(savedmodel, "write", lambda *unused: None)
    # The results on the card are those of independent samples, which it does not draw.
    own = run.path / "export" / "cityscapes_sampler" / "1"
    other = export_run.export_workdir(stratified, run, output=str(tmp_path))
    cards = [(path / "model_card.md").read_text() for path in (own, other)]
    assert "GED" in cards[0] and "GED" not in cards[1]
    assert '"noise_sampling": "stratified"' in cards[1]


def test_a_run_without_trained_networks_cannot_be_evaluated(loaded, tmp_path):
    config, dataset, _, _ = loaded
    run = run_dir.RunDir(str(tmp_path / "empty"), config)
    with pytest.raises(run_dir.RunError, match="stage 1 has no checkpoint"):
        saved_run.load_sampler(config, dataset.info, run)


# All configurations


def batch_of(config, dataset, stage):
    steps = dict(first_step=0, num_steps=1)
    (batch,) = build.build_batches(config, dataset, stage=stage, **steps)
    return batch


@pytest.fixture(scope="module")
def first_stages():
    """Data and F of the configurations that share them, after a step of stage 1."""
    found = {}

    def of(config):
        key = repr(
            (config.data, config.blackbox, config.calibration_net, config.stage1)
        )
        if key not in found:
            dataset, net = attach.load(config), None
            if config.calibration_net.kind != "true_distribution":
                first = build.build_calibration_trainer(config, dataset)
                first.train_step(batch_of(config, dataset, 1))
                assert int(first.step.numpy()) == 1
                net = first.calibration_net
            found[key] = dataset, net
        return found[key]

    return of


@pytest.mark.parametrize("name", config_lib.available())
def test_every_configuration_builds_and_makes_a_step(name, first_stages):
    config = config_lib.load(name)
    if not isinstance(config, config_lib.Config):
        pytest.skip(f"{name} is another kind of job, with a test of its own")
    whole_images = ("data.size=32,32", "data.crop_size=32,32", "data.scale_range=1,1")
    if config.data.dataset == "folders":
        pytest.skip("draws nothing: tests/test_own_data.py runs it")
    config = fields.override(config, [*job.TINY, *whole_images, "data.num_drawn=4,1,1"])
    dataset, calibration_net = first_stages(config)
    second = build.build_refinement_trainer(config, dataset, calibration_net)
    before = [v.numpy() for v in second.refinement_net.trainable_variables]
    second.train_step(batch_of(config, dataset, 2), True)
    after = [v.numpy() for v in second.refinement_net.trainable_variables]
    assert any(np.any(a != b) for a, b in zip(after, before))
    for net in (second.refinement_net, second.discriminator):
        for variable in net.variables:
            assert np.isfinite(variable).all(), variable.name
