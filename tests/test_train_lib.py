"""Checkpoints, resuming, stopping, selection and errors, on a trainer made of toys."""

import json
import os
import re
import signal
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from car_tf import build, eval_lib, train_lib
from car_tf import config as config_lib
from car_tf import workdir as workdir_lib
from car_tf.trainers import common

# Stretches


@pytest.mark.parametrize(
    "first, last, every, expected",
    [
        (0, 6, 2, [(0, 6, 2)]),
        (0, 7, 3, [(0, 6, 3), (6, 7, 1)]),
        (0, 2, 5, [(0, 2, 2)]),
        (1, 7, 3, [(1, 3, 2), (3, 6, 3), (6, 7, 1)]),
        (4, 5, 10, [(4, 5, 1)]),
        (6, 12, 3, [(6, 12, 3)]),
        (5, 5, 2, []),
    ],
)
def test_stretches_by_hand(first, last, every, expected):
    assert train_lib.stretches(first, last, every) == expected


def test_epochs_of_stretches_end_at_multiples_and_at_the_end():
    for first in range(8):
        for last in range(first + 1, 12):
            for every in range(1, 6):
                place, ends = first, []
                for start, end, steps in train_lib.stretches(first, last, every):
                    assert start == place and (end - start) % steps == 0
                    ends += range(start + steps, end + 1, steps)
                    place = end
                multiples = [s for s in range(first + 1, last) if s % every == 0]
                assert ends == multiples + [last]


# Restoring


@pytest.fixture
def manager(tmp_path):
    variable = tf.Variable(0.0)
    checkpoint = tf.train.Checkpoint(v=variable)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path / "c"), max_to_keep=2)
    for step in (1, 2, 3):
        variable.assign(step * np.ones([]))
        manager.save(step)
    variable.assign(-1.0)
    return manager


def data_file(manager, step):
    return manager.directory + f"/ckpt-{step}.data-00000-of-00001"


def restore(manager):
    said = []
    train_lib.restore_latest(manager.checkpoint, manager, said.append)
    return float(manager.checkpoint.v), said


def test_the_newest_checkpoint_is_restored(manager):
    assert restore(manager) == (3.0, [])


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "no index"])
def test_a_damaged_checkpoint_is_passed_over_aloud(manager, damage):
    path = data_file(manager, 3)
    if damage == "no index":
        os.remove(manager.directory + "/ckpt-3.index")
    elif damage == "missing":
        os.remove(path)
    else:
        size = {"truncated": os.path.getsize(path) // 2, "empty": 0}[damage]
        os.truncate(path, size)
    value, said = restore(manager)
    assert value == 2.0
    (line,) = said
    assert "ckpt-3" in line and "the one before" in line and "\n" not in line
    # The run goes on and writes the same step again.
    manager.checkpoint.v.assign(33.0)
    manager.save(3)
    assert restore(manager) == (33.0, [])


def test_without_a_readable_checkpoint_the_run_stops(manager):
    for step in (2, 3):
        os.truncate(data_file(manager, step), 0)
    with pytest.raises(workdir_lib.RunError, match=re.escape(manager.directory)):
        restore(manager)


def test_without_any_checkpoint_nothing_happens(tmp_path):
    checkpoint = tf.train.Checkpoint(v=tf.Variable(5.0))
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
    assert restore(manager) == (5.0, [])


# Fitting


class ToyTrainer(keras.Model):
    """Adds each batch's value to a weight; a value may be NaN."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(0.0)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.value = keras.metrics.Mean("value")
        self.idle = keras.metrics.Mean("idle")

    @property
    def metrics(self):
        return [self.value, self.idle]

    def train_step(self, data):
        value = common.finite(data, "toy")
        self.weight.assign(0.5 * self.weight + value)
        self.step.assign_add(1)
        self.value.update_state(value)
        return {metric.name: metric.result() for metric in self.metrics}


class Job:
    """What `_fit` needs, with ten steps of which every third is a checkpoint."""

    def __init__(self, tmp_path, monkeypatch):
        self.config = config_lib.override(
            config_lib.Config(name="toy"),
            ["stage1.steps=10", "train.checkpoint_every=3", "train.select_every=3"],
        )
        self.workdir = workdir_lib.RunDir(str(tmp_path / "run"), self.config)
        self.stop = types.SimpleNamespace(number=None)
        self.values = np.arange(10, dtype=np.float32)
        self.said, self.epochs, self.stop_at = [], [], None
        self.compiled = {}
        monkeypatch.setattr(build, "build_batches", self.batches)

    def batches(self, config, dataset, *, stage, first_step, num_steps):
        values = tf.constant(self.values)
        dataset = tf.data.Dataset.range(first_step, num_steps)

        def value_of(step):
            tf.py_function(self.signal, [step], [])
            return values[step]

        return dataset.map(value_of)

    def signal(self, step):
        if int(step) == self.stop_at:
            self.stop.number = signal.SIGTERM

    def run(self):
        trainer = ToyTrainer()
        trainer.compile(**self.compiled)
        train_lib._fit(
            trainer,
            tf.train.Checkpoint(step=trainer.step, weight=trainer.weight),
            self.config,
            None,
            stage=1,
            workdir=self.workdir,
            stop=self.stop,
            say=self.said.append,
            every_epoch=self.every_epoch,
        )
        return float(trainer.weight)

    def every_epoch(self, step):
        self.epochs.append(step)
        return {"selection_ged": 1.0 / step}

    def log(self):
        return self.workdir.read_lines("stage1_log.jsonl")

    def checkpoints(self):
        folder = self.workdir.path / "checkpoints" / "stage1"
        return sorted(path.stem for path in folder.glob("*.index"))


@pytest.fixture
def job(tmp_path, monkeypatch):
    return Job(tmp_path, monkeypatch)


def expected_weight(last=10):
    weight = 0.0
    for step in range(last):
        weight = 0.5 * weight + step
    return weight


def test_an_epoch_lies_between_two_checkpoints(job):
    assert job.run() == expected_weight()
    assert job.epochs == [3, 6, 9, 10]
    assert job.checkpoints() == ["ckpt-10", "ckpt-9"]
    log = job.log()
    assert [line["step"] for line in log] == [3, 6, 9, 10]
    # Steps 3 to 5 have the values 3, 4, 5.
    assert log[1]["value"] == 4.0 and log[1]["selection_ged"] == 1 / 6
    # A mean of nothing is not logged as 0.
    assert all("idle" not in line for line in log)
    assert "for 10 steps" in job.said[0]


def test_a_finished_stage_is_skipped(job):
    job.run()
    job.epochs.clear()
    assert job.run() == expected_weight()
    assert job.epochs == []
    assert job.said[-1] == "stage 1: finished before"


@pytest.mark.parametrize("step", [1, 3, 5, 10])
def test_a_stopped_stage_goes_on_as_if_nothing_had_happened(job, step, monkeypatch):
    whole = train_lib._Keeper.on_train_batch_end

    def stop_at(keeper, batch, logs=None):
        if keeper._step() == step:
            job.stop.number = signal.SIGTERM
        whole(keeper, batch, logs)

    monkeypatch.setattr(train_lib._Keeper, "on_train_batch_end", stop_at)
    with pytest.raises(workdir_lib.Stopped, match=f"stage 1 after step {step};"):
        job.run()
    assert f"ckpt-{step}" in job.checkpoints()
    # At an epoch's end everything that belongs to it is done before stopping.
    assert job.epochs == [s for s in (3, 6, 9, 10) if s <= step]
    job.stop.number = None
    monkeypatch.setattr(train_lib._Keeper, "on_train_batch_end", whole)
    assert job.run() == expected_weight()
    assert job.epochs == [3, 6, 9, 10]
    assert [line["step"] for line in job.log()] == [3, 6, 9, 10]


def test_a_killed_stage_goes_on_from_its_last_checkpoint(job, monkeypatch):
    class Killed(BaseException):
        pass

    whole = train_lib._Keeper.on_train_batch_end

    def kill_at(keeper, batch, logs=None):
        if keeper._step() == 8:
            raise Killed

    monkeypatch.setattr(train_lib._Keeper, "on_train_batch_end", kill_at)
    with pytest.raises(Killed):
        job.run()
    monkeypatch.setattr(train_lib._Keeper, "on_train_batch_end", whole)
    assert job.run() == expected_weight()
    assert "from step 6" in job.said[-1]
    assert [line["step"] for line in job.log()] == [3, 6, 9, 10]


def test_a_nan_names_stage_step_term_and_checkpoint(job):
    job.values[7] = np.nan
    with pytest.raises(workdir_lib.RunError) as caught:
        job.run()
    words = str(caught.value)
    assert words.startswith("stage 1, step 7: the loss term toy is not finite")
    assert words.endswith("ckpt-6") and "\n" not in words


@pytest.mark.parametrize("steps_per_execution", [2, 3, 7])
def test_executions_of_several_steps_end_where_epochs_do(job, steps_per_execution):
    job.compiled = {"steps_per_execution": steps_per_execution}
    assert job.run() == expected_weight()
    assert job.epochs == [3, 6, 9, 10]
    assert [line["step"] for line in job.log()] == [3, 6, 9, 10]
    assert job.log()[1]["value"] == 4.0


def test_an_execution_is_finished_before_stopping(job, monkeypatch):
    # Steps 3 and 4 are one execution: asked to stop in them, the run stops after 5.
    job.compiled = {"steps_per_execution": 2}
    whole = train_lib._Keeper.on_train_batch_end

    def stop_at(keeper, batch, logs=None):
        if keeper._step() >= 4:
            job.stop.number = signal.SIGTERM
        whole(keeper, batch, logs)

    monkeypatch.setattr(train_lib._Keeper, "on_train_batch_end", stop_at)
    with pytest.raises(workdir_lib.Stopped, match="stage 1 after step 5;"):
        job.run()
    assert job.epochs == [3] and "ckpt-5" in job.checkpoints()
    job.stop.number = None
    monkeypatch.setattr(train_lib._Keeper, "on_train_batch_end", whole)
    assert job.run() == expected_weight()
    assert job.epochs == [3, 6, 9, 10]


def test_other_errors_of_the_graph_stay_what_they_are(job, monkeypatch):
    def broken(self, data):
        return {"value": tf.debugging.check_numerics(data / 0, "something else")}

    monkeypatch.setattr(ToyTrainer, "train_step", broken)
    with pytest.raises(tf.errors.InvalidArgumentError, match="something else"):
        job.run()


# Selection


class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(0.0)


class Selecting:
    """`_Selection` with scripted GEDs, at every second of eight steps."""

    def __init__(self, tmp_path, monkeypatch):
        config = config_lib.override(
            config_lib.Config(name="toy"),
            ["stage2.steps=9", "train.checkpoint_every=2", "train.select_every=2"],
        )
        self.workdir = workdir_lib.RunDir(str(tmp_path / "run"), config)
        self.net, self.said, self.geds = Net(), [], {}
        monkeypatch.setattr(build, "build_sampler", lambda *args: None)
        monkeypatch.setattr(
            eval_lib, "mean_ged", lambda *args, **kwargs: self.geds[self.step]
        )
        dataset = types.SimpleNamespace(
            facts=types.SimpleNamespace(flips=()),
            selection="selection",
            splits={"selection": None},
        )
        trainer = types.SimpleNamespace(refinement_net=self.net, calibration_net=None)
        self.selection = train_lib._Selection(
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
        self.selection.restore()
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
    with pytest.raises(workdir_lib.RunError, match="best-2.*cannot be read"):
        selecting.best()


# What belongs to a run


def test_data_that_are_not_those_a_run_was_begun_with_are_refused(tmp_path):
    run = workdir_lib.RunDir(str(tmp_path / "run"), config_lib.Config(name="toy"))

    def dataset(fingerprint):
        splits = {"train": {"fingerprint": "a"}, "val": {"fingerprint": fingerprint}}
        return types.SimpleNamespace(describe=lambda: {"splits": splits})

    train_lib._record_data(run, dataset("b"))
    train_lib._record_data(run, dataset("b"))
    with pytest.raises(workdir_lib.RunError, match="the val split is not.* b then, c"):
        train_lib._record_data(run, dataset("c"))
    recorded = json.loads((run.path / "data.json").read_text())
    assert recorded["splits"]["val"]["fingerprint"] == "b"
