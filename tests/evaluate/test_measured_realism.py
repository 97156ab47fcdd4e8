"""Judges are asked once: their verdict is kept as long as nothing has changed."""

import pytest

from car_tf import config as config_lib
from car_tf.evaluate import api, measured_realism, saved_run
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
    key = measured_realism.identify(config, opened, "val", "independent")
    metrics = {"split": "val", "realism": {"auc": 0.7, "key": key}}
    opened.write_json("metrics.json", metrics)
    opened.close()
    return opened, config, metrics["realism"]


def test_what_was_judged_is_found_while_all_is_the_same(workdir):
    opened, config, judged = workdir

    def find(changed=config, split="", noise="independent"):
        return measured_realism.find(changed, opened, split, noise)

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
    assert measured_realism.identify(config, opened, "val", "independent") == ""
    realism = {"auc": 0.7, "key": ""}
    opened.write_json("metrics.json", {"split": "val", "realism": realism})
    assert measured_realism.find(config, opened, "", "independent") is None


def test_training_scenes_are_drawn_for_judges_alone(workdir, monkeypatch):
    asked = []

    def load_data(config, workdir, only):
        asked.append(list(only))
        raise run_dir.RunError("enough")

    monkeypatch.setattr(saved_run, "load_data", load_data)
    said = []
    for steps in (None, 600):
        with pytest.raises(run_dir.RunError, match="enough"):
            api.evaluate(workdir[0].path, realism_steps=steps, log=said.append)
    assert asked == [[""], ["", "train"]]
    assert said == ["realism: AUC 0.700, measured before (--realism_steps: anew)"]
