"""Nothing is evaluated or judged twice, as long as nothing has changed."""

import os
import sys

import numpy as np
import pytest

from car_tf import config as config_lib
from car_tf.data import examples
from car_tf.data import load as data_load
from car_tf.evaluate import api, evaluated, saved_run
from car_tf.runtime import run_dir


@pytest.fixture
def workdir(tmp_path):
    """A run's directory with the files of weights that nobody reads here."""
    config = config_lib.load("cityscapes", ["evaluation.realism_steps=600"])
    opened = run_dir.RunDir(str(tmp_path), config)
    opened.begin(config)
    for name in ("f", "g"):
        (tmp_path / f"{name}.index").write_text("")
        (tmp_path / f"{name}.data-00000-of-00001").write_text(name)
    opened.write_json(run_dir.BEST_FILE, {"weights": "g"})
    opened.write_json(run_dir.BEST_CALIBRATION_FILE, {"weights": "f"})
    opened.write_json("metrics.json", {"split": "val"})
    key = evaluated.realism_key(config, opened, "val", "independent")
    metrics = {"split": "val", "ged": 0.25, "realism": {"auc": 0.7, "key": key}}
    known = {"key": evaluated.key_of(config, opened), "figures": ["samples.png"]}
    opened.write_json("metrics.json", {**metrics, "evaluated": known})
    (tmp_path / "figures").mkdir()
    for name in ("figures/samples.png", "report.html"):
        (tmp_path / name).write_text("before")
    opened.close()
    return opened, config, metrics["realism"]


def test_what_was_judged_is_found_while_all_is_the_same(workdir):
    opened, config, judged = workdir

    def find(changed=config, split="", noise="independent"):
        return evaluated.find_realism(changed, opened, split, noise)

    assert find() == find(split="val") == judged
    assert find(split="selection") is None and find(noise="stratified") is None
    for section, name, value in (
        ("evaluation", "realism_steps", 601),
        ("data", "data_dir", "photographs"),
        ("blackbox", "path", "deeplab.pb"),
    ):
        assert find(config_lib.change(config, **{section: {name: value}})) is None
    for name in ("f", "g"):
        (opened.path / f"{name}.data-00000-of-00001").write_text("other")
        assert find() is None
        (opened.path / f"{name}.data-00000-of-00001").write_text(name)
        assert find() == judged


def test_data_in_folders_and_metrics_without_a_key_are_judged_anew(workdir):
    opened, config, _ = workdir
    config = config_lib.change(config, data={"data_dir": "photographs"})
    assert evaluated.realism_key(config, opened, "val", "independent") == ""
    realism = {"auc": 0.7, "key": ""}
    opened.write_json("metrics.json", {"split": "val", "realism": realism})
    assert evaluated.find_realism(config, opened, "", "independent") is None


class Asked(Exception):
    """Data were asked for: it is evaluated."""


@pytest.fixture
def answer(workdir, monkeypatch):
    """Returns what is said where nothing is evaluated, else the splits asked for."""

    def load_data(config, workdir, only):
        raise Asked(list(only))

    monkeypatch.setattr(saved_run, "load_data", load_data)
    monkeypatch.setattr(saved_run, "load_other", lambda *a, **unused: load_data(*a))

    def ask(**options):
        said = []
        try:
            metrics = api.evaluate(workdir[0].path, log=said.append, **options)
        except Asked as asked:
            return asked.args[0]
        assert metrics["ged"] == 0.25
        return said

    return ask


def test_what_was_evaluated_is_told_while_all_is_the_same(workdir, answer):
    path = workdir[0].path
    told = "evaluated before, with the same weights, data and code: ged 0.250 on val "
    told = [told + "(--anew: again)", f"report: {path / 'report.html'}"]
    assert answer() == answer(split="val", num_samples=16) == told
    for changed in (
        dict(anew=True),
        dict(num_samples=17),
        dict(noise_sampling="stratified"),
        dict(absent="count_as_one"),
        dict(devices="cpu"),
        dict(data_dir=path),
    ):
        assert answer(**changed)[0] == "", changed
    assert answer(split="selection") == ["selection", "train"]
    assert answer(realism_steps=600) == ["", "train"]
    (path / "peer.npz").write_text("")
    assert answer(samples=[str(path / "peer.npz")]) == [""]
    files = ("figures/samples.png", "f.data-00000-of-00001", "g.data-00000-of-00001")
    for name in files:
        moved = (path / name).rename(path / "elsewhere")
        assert answer()[0] == "", name
        moved.rename(path / name)
    assert answer() == told


def test_code_and_kernels_are_part_of_what_is_the_same(answer, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
        assert answer()[0] == ""
    (tmp_path / "code").mkdir()
    monkeypatch.setattr(evaluated.car_tf, "__file__", str(tmp_path / "code/x.py"))
    assert answer()[0] == ""


def test_a_report_that_is_older_than_its_metrics_is_written_anew(workdir, answer):
    from car_tf.report import write

    path, written = workdir[0].path, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "write", lambda path: written.append(path) or path)
        answer()
        os.utime(path / "report.html", (1, 1))
        answer()
        (path / "report.html").unlink()
        answer()
    assert written == [path, path]


def test_data_in_folders_are_known_by_their_content(workdir, monkeypatch):
    opened, config, _ = workdir
    config = config_lib.change(config, data={"data_dir": "photographs"})

    def key(split="", **values):
        arrays = [np.full((1, 4, 4, 3), values.get(n, 0), np.uint8) for n in "tv"]
        labels = np.zeros((1, 1, 4, 4), np.uint8)
        splits = {
            name: examples.Examples(("a",), ("a",), images, labels)
            for name, images in zip(("train", "val"), arrays)
        }
        dataset = data_load.Dataset(None, splits, "selection", "val", [])
        return evaluated.key_of(config, opened, dataset, split=split)

    assert key() == key() == key("val")
    # The judges learn from the training images.
    assert len({key(), key(v=1), key(t=1), key("train")}) == 4


def test_training_scenes_are_drawn_for_judges_alone(workdir, answer):
    assert answer(anew=True) == [""]
    assert answer(realism_steps=600) == ["", "train"]


def test_what_is_known_needs_no_tensorflow(workdir):
    import subprocess

    program = "import sys, car_tf; car_tf.evaluate(sys.argv[1]); "
    program += "print('tensorflow' in sys.modules)"
    command = [sys.executable, "-c", program, str(workdir[0].path)]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith("evaluated before") and "False" in done.stdout
