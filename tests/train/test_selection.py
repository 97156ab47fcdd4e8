"""Model selection: the best weights, whatever a run went through."""

import os
import types

import numpy as np
import pytest
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.evaluate import evaluation, saved_run
from car_tf.models import build, calibration_net
from car_tf.runtime import run_dir
from car_tf.train import selection


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(0.0)


class Selecting:
    """`_Selection` with scripted GEDs, at every second of eight steps."""

    def __init__(self, tmp_path, monkeypatch):
        config = fields.override(
            config_lib.Config(name="toy"),
            ["stage2.steps=9", "train.checkpoint_every=2", "train.select_every=2"],
        )
        self.workdir = run_dir.RunDir(str(tmp_path / "run"), config)
        self.net, self.said, self.geds = Net(), [], {}
        monkeypatch.setattr(build, "build_sampler", lambda *args: None)
        monkeypatch.setattr(
            evaluation, "mean_ged", lambda *args, **kwargs: self.geds[self.step]
        )
        dataset = types.SimpleNamespace(
            info=types.SimpleNamespace(flips=()),
            selection="selection",
            splits={"selection": None},
        )
        trainer = types.SimpleNamespace(
            refinement_net=self.net,
            calibration_net=None,
            averages=[],
            step=None,
            selectable=self.net.variables,
            distribute_strategy=tf.distribute.get_strategy(),
        )
        self.selection = selection.Selection(
            config, dataset, trainer, self.workdir, self.said.append
        )

    def consider(self, **geds):
        logged = []
        for name, ged in geds.items():
            self.step = int(name[1:])
            self.geds[self.step] = ged
            self.net.weight.assign(float(self.step))
            logged.append(self.selection.consider(self.step))
        return logged

    def best(self):
        self.net.weight.assign(-1.0)
        self.selection.best_sampler()
        return float(self.net.weight), self.workdir.read_json("best.json")["ged"]

    def files(self):
        folder = self.workdir.path / "checkpoints"
        return sorted({path.name.split(".")[0] for path in folder.glob("best-*")})


@pytest.fixture
def selecting(tmp_path, monkeypatch):
    return Selecting(tmp_path, monkeypatch)


def test_the_weights_with_the_lowest_ged_are_kept(selecting):
    logged = selecting.consider(s2=0.5, s4=0.2, s6=0.3, s8=0.2, s9=0.4)
    assert logged[0] == {"selection_ged": 0.5} and len(logged) == 5
    assert selecting.best() == (4.0, 0.2)
    assert selecting.files() == ["best-4"]
    assert selecting.said[-1] == "best weights: step 4, GED 0.2000"


def test_selection_happens_at_its_steps_and_at_the_last(selecting):
    assert selecting.consider(s3=0.1, s5=0.1, s7=0.1) == [{}, {}, {}]
    assert selecting.files() == []
    selecting.consider(s9=0.9)
    assert selecting.best() == (9.0, 0.9)


def test_a_run_killed_after_its_selection_selects_the_same_again(selecting):
    # Killed after step 6 was found the best, gone on from an older checkpoint.
    selecting.consider(s2=0.5, s4=0.4, s6=0.1)
    selecting.consider(s4=0.4)
    assert selecting.best() == (4.0, 0.4)
    selecting.consider(s6=0.1, s8=0.3)
    assert selecting.best() == (6.0, 0.1)
    assert selecting.files() == ["best-6"]


def test_what_a_kill_has_left_half_written_is_removed(selecting):
    folder = selecting.workdir.path / "checkpoints"
    for step in (2, 4):
        (folder / f"best-{step}_temp").mkdir(parents=True)
        (folder / f"best-{step}_temp" / "part-00000-of-00001.data").write_text("half")
    selecting.consider(s2=0.5, s4=0.4)
    assert selecting.best() == (4.0, 0.4) and selecting.files() == ["best-4"]


def test_the_best_weights_stay_while_they_are_written_again(selecting, monkeypatch):
    selecting.consider(s2=0.5, s4=0.4)

    def full(path):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    # Killed before the checkpoint of step 4; gone on, with no room.
    with monkeypatch.context() as patch:
        patch.setattr(selecting.selection._best._checkpoint, "write", full)
        with pytest.raises(run_dir.RunError, match="best-4.*cannot be written"):
            selecting.consider(s4=0.4)
    assert selecting.best() == (4.0, 0.4)
    for _ in range(2):
        selecting.consider(s4=0.3)
        assert selecting.best() == (4.0, 0.3) and len(selecting.files()) == 1


def test_where_no_ged_is_defined_the_last_weights_are_the_best(selecting):
    assert selecting.consider(s2=None, s4=None) == [{}, {}]
    assert selecting.best() == (4.0, None)
    assert "undefined" in selecting.said[-1]
    # Any number is better than none, and none than no number.
    selecting.consider(s6=0.9, s8=None)
    assert selecting.best() == (6.0, 0.9)


def test_best_weights_that_cannot_be_read_are_named(selecting):
    selecting.consider(s2=0.5)
    (path,) = (selecting.workdir.path / "checkpoints").glob("best-2.data*")
    os.truncate(path, 0)
    with pytest.raises(run_dir.RunError, match="best-2.*cannot be read"):
        selecting.best()


def test_the_best_f_is_kept_with_its_temperature(tmp_path, monkeypatch):
    config = fields.override(
        config_lib.Config(name="toy"),
        ["stage1.steps=4", "stage1.select_every=1", "stage1.temperature_scaling=true"]
        + ["train.checkpoint_every=1"],
    )
    shapes = tf.zeros([1, 4, 4, 3]), tf.zeros([1, 4, 4, 2])

    def build_net(*unused):
        net = calibration_net.BlackBoxCalibrator(num_classes=3, channels=2, dropout=0.0)
        net(*shapes)
        return net

    monkeypatch.setattr(build, "build_calibration_net", build_net)
    trained = build_net()
    kernel, bias = trained.logits_layer.variables
    facts = types.SimpleNamespace(num_classes=3, flips=())
    dataset = types.SimpleNamespace(info=facts, selection="s", splits={"s": None})
    trainer = types.SimpleNamespace(
        calibration_net=trained, selectable=trained.variables
    )
    run = run_dir.RunDir(str(tmp_path / "run"), config)
    chosen = selection.CalibrationSelection(
        config, dataset, trainer, run, lambda line: None
    )
    best_at = {1: 0, 2: 40, 3: 20, 4: 20}  # Of 41 temperatures from 1/2 to 2.
    for step, value in enumerate((0.5, 0.2, 0.3, 0.4), 1):

        def found(*unused, temperatures, **unused_too):
            values = np.full(len(temperatures), 1.0)
            values[best_at[step]] = value
            return values

        monkeypatch.setattr(evaluation, "cross_entropies", found)
        kernel.assign(tf.fill(kernel.shape, float(step)))
        bias.assign(tf.fill(bias.shape, 10.0 * step))
        logged = chosen.consider(step)
        assert logged == {"selection_cross_entropy": value}
        assert float(bias[0]) == 10.0 * step  # Training goes on with its own.
    chosen.restore_best()
    # Of step 2, divided by 2.
    np.testing.assert_allclose(kernel, np.full(kernel.shape, 1.0))
    np.testing.assert_allclose(bias, np.full(bias.shape, 10.0))
    best = run.read_json("checkpoints/stage1/best.json")
    assert (best["step"], best["cross_entropy"], best["temperature"]) == (2, 0.2, 2.0)
    assert saved_run.calibration_weights(run) == run.path / best["weights"]


def test_weights_are_copied_from_replicas_whatever_their_order(two_replicas):
    def build_net():
        return calibration_net.BlackBoxCalibrator(
            num_classes=3, channels=2, dropout=0.0, synchronized=True
        )

    with two_replicas.scope():
        trained = build_net()
        trained(tf.zeros([1, 4, 4, 3]), tf.zeros([1, 4, 4, 2]))
    copy = build_net()
    copy(tf.zeros([1, 4, 4, 3]), tf.zeros([1, 4, 4, 2]))
    for index, variable in enumerate(trained.variables):
        variable.assign(tf.fill(variable.shape, float(index + 1)))
    # As the refinement trainer freezes F.
    trained.trainable = False
    selection._copy(trained, copy)
    values = {v.name.partition("/")[2]: v.numpy() for v in copy.variables}
    for variable in trained.variables:
        name = variable.name.partition("/")[2]
        np.testing.assert_array_equal(values[name], variable.numpy(), err_msg=name)
