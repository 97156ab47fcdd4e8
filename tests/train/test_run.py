"""What belongs to a run."""

import json
import types

import pytest
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.evaluate import saved_run
from car_tf.runtime import run_dir
from car_tf.train import build, fit, selection
from car_tf.train import run as train_run


def test_data_that_are_not_those_a_run_was_begun_with_are_refused(tmp_path):
    run = run_dir.RunDir(str(tmp_path / "run"), config_lib.Config(name="toy"))

    def described(fingerprint):
        splits = {"train": {"fingerprint": "a"}, "val": {"fingerprint": fingerprint}}
        return {"splits": splits}

    train_run._record_data(run, described("b"))
    train_run._record_data(run, described("b"))
    with pytest.raises(run_dir.RunError, match="the val split is not.* b then, c"):
        train_run._record_data(run, described("c"))
    recorded = json.loads((run.path / "data.json").read_text())
    assert recorded["splits"]["val"]["fingerprint"] == "b"


def test_splits_of_other_images_are_not_evaluated(tmp_path):
    run = run_dir.RunDir(str(tmp_path / "run"), config_lib.Config(name="toy"))

    def dataset(*names):
        return types.SimpleNamespace(splits={"val": types.SimpleNamespace(names=names)})

    saved_run.require_same_images(run, dataset("a", "b"))  # Of a run without a record.
    run.write_json("data.json", {"splits": {"val": {"names": ["a", "b"]}}})
    saved_run.require_same_images(run, dataset("a", "b"))
    with pytest.raises(run_dir.RunError, match="2 images then, 3 now; c differs"):
        saved_run.require_same_images(run, dataset("a", "b", "c"))
    with pytest.raises(run_dir.RunError, match="their order differs"):
        saved_run.require_same_images(run, dataset("b", "a"))


def test_checkpoints_hold_all_that_a_stage_goes_on_with(monkeypatch):
    strategy, saved = tf.distribute.get_strategy(), {}

    def trainer(*unused, **unused_too):
        names = ("step", "judged", "optimizer", "calibration_net", "refinement_net")
        names += ("discriminator", "posterior_net", "averages")
        names += ("generator_optimizer", "discriminator_optimizer")
        made = {name: tf.Module(name) for name in names}
        made["balance"] = types.SimpleNamespace(judged=made.pop("judged"))
        return types.SimpleNamespace(**made)

    def keep(trainer, checkpoint, *unused, stage, **unused_too):
        saved[stage] = {
            key: checkpoint_part.name
            for key, checkpoint_part in vars(checkpoint).items()
            if isinstance(checkpoint_part, tf.Module)
        }

    monkeypatch.setattr(build, "build_calibration_trainer", trainer)
    monkeypatch.setattr(build, "build_refinement_trainer", trainer)
    monkeypatch.setattr(fit, "fit", keep)
    Selection = lambda *unused: types.SimpleNamespace(consider=None)
    monkeypatch.setattr(selection, "Selection", Selection)
    config = config_lib.Config(name="toy")
    arguments = dict(workdir=None, strategy=strategy, stop=None, log=print)
    facts = types.SimpleNamespace(num_classes=3, flips=())
    dataset = types.SimpleNamespace(info=facts)
    train_run.train_calibration(config, dataset, **arguments)
    train_run.train_refinement(config, dataset, None, **arguments)
    assert set(saved[1].values()) == {
        *("step", "optimizer", "calibration_net", "averages")
    }
    same = ("step", "judged", "refinement_net", "discriminator", "posterior_net")
    same += ("averages", "generator_optimizer", "discriminator_optimizer")
    assert saved[2] == {name: name for name in same}
