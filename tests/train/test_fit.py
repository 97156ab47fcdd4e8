"""Checkpoints, resuming, stopping and errors of a stage, on a trainer made of toys."""

import re
import signal
import types

import numpy as np
import pytest
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.models.keras_api import keras
from car_tf.runtime import run_dir, stop_signal
from car_tf.train import build, fit, optimization, progress

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
    assert fit.stretches(first, last, every) == expected


def test_epochs_of_stretches_end_at_multiples_and_at_the_end():
    for first in range(8):
        for last in range(first + 1, 12):
            for every in range(1, 6):
                place, ends = first, []
                for start, end, steps in fit.stretches(first, last, every):
                    assert start == place and (end - start) % steps == 0
                    ends += range(start + steps, end + 1, steps)
                    place = end
                multiples = [s for s in range(first + 1, last) if s % every == 0]
                assert ends == multiples + [last]


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
        value = optimization.finite(data["value"], "toy")
        self.weight.assign(0.5 * self.weight + value)
        self.step.assign_add(1)
        self.value.update_state(value)
        return {metric.name: metric.result() for metric in self.metrics}


class Job:
    """What `fit` needs, with ten steps of which every third is a checkpoint."""

    def __init__(self, tmp_path, monkeypatch):
        self.config = fields.override(
            config_lib.Config(name="toy"),
            ["stage1.steps=10", "train.checkpoint_every=3", "train.select_every=3"],
        )
        self.workdir = run_dir.RunDir(str(tmp_path / "run"), self.config)
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
            return {"value": values[step]}

        return dataset.map(value_of)

    def signal(self, step):
        if int(step) == self.stop_at:
            self.stop.number = signal.SIGTERM

    def run(self, callbacks=()):
        trainer = ToyTrainer()
        trainer.compile(**self.compiled)
        fit.fit(
            trainer,
            tf.train.Checkpoint(step=trainer.step, weight=trainer.weight),
            self.config,
            None,
            stage=1,
            workdir=self.workdir,
            stop=self.stop,
            log=self.said.append,
            every_epoch=self.every_epoch,
            callbacks=callbacks,
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
    assert job.said[-1] == "stage 1: finished before, at step 10"


def test_more_steps_end_as_if_they_had_been_asked_for_at_once(job):
    whole, job.config = job.config, fields.override(job.config, ["stage1.steps=5"])
    assert job.run() == expected_weight(5)
    job.config = whole
    assert job.run() == expected_weight()
    assert [line["step"] for line in job.log()] == [3, 5, 6, 9, 10]


@pytest.mark.parametrize("step", [1, 3, 5, 10])
def test_a_stopped_stage_goes_on_as_if_nothing_had_happened(job, step, monkeypatch):
    whole = fit.CheckpointCallback.on_train_batch_end

    def stop_at(keeper, batch, logs=None):
        if keeper._step() == step:
            job.stop.number = signal.SIGTERM
        whole(keeper, batch, logs)

    monkeypatch.setattr(fit.CheckpointCallback, "on_train_batch_end", stop_at)
    with pytest.raises(stop_signal.Stopped, match=f"stage 1 after step {step};"):
        job.run()
    assert f"ckpt-{step}" in job.checkpoints()
    # At an epoch's end everything that belongs to it is done before stopping.
    assert job.epochs == [s for s in (3, 6, 9, 10) if s <= step]
    job.stop.number = None
    monkeypatch.setattr(fit.CheckpointCallback, "on_train_batch_end", whole)
    assert job.run() == expected_weight()
    assert job.epochs == [3, 6, 9, 10]
    assert [line["step"] for line in job.log()] == [3, 6, 9, 10]


def test_a_killed_stage_goes_on_from_its_last_checkpoint(job, monkeypatch):
    class Killed(BaseException):
        pass

    whole = fit.CheckpointCallback.on_train_batch_end

    def kill_at(keeper, batch, logs=None):
        if keeper._step() == 8:
            raise Killed

    monkeypatch.setattr(fit.CheckpointCallback, "on_train_batch_end", kill_at)
    with pytest.raises(Killed):
        job.run()
    monkeypatch.setattr(fit.CheckpointCallback, "on_train_batch_end", whole)
    assert job.run() == expected_weight()
    assert any("from step 6" in line for line in job.said)
    assert [line["step"] for line in job.log()] == [3, 6, 9, 10]


def test_a_nan_names_stage_step_term_and_checkpoint(job):
    job.values[7] = np.nan
    with pytest.raises(run_dir.RunError) as caught:
        job.run()
    words = str(caught.value)
    assert words.startswith("stage 1, step 7: the loss term toy is not finite")
    assert words.endswith("ckpt-6") and "\n" not in words
    # The batch of step 7, for inspection; the rerun with a better value goes on.
    assert "failed_batch.npz" in words
    (failed,) = np.load(job.workdir.path / "failed_batch.npz").values()
    assert np.isnan(failed)
    job.values[7] = 7
    assert job.run() == expected_weight()


def test_a_nan_in_an_execution_of_several_steps_leaves_all_their_batches(job):
    # Steps 6 and 7 are one execution.
    job.compiled = {"steps_per_execution": 2}
    job.config = fields.override(job.config, ["train.steps_per_execution=2"])
    job.values[7] = np.nan
    with pytest.raises(run_dir.RunError, match="^stage 1, step 6 or 7: the loss"):
        job.run()
    (failed,) = np.load(job.workdir.path / "failed_batch.npz").values()
    np.testing.assert_array_equal(failed, [6, np.nan])


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
    whole = fit.CheckpointCallback.on_train_batch_end

    def stop_at(keeper, batch, logs=None):
        if keeper._step() >= 4:
            job.stop.number = signal.SIGTERM
        whole(keeper, batch, logs)

    monkeypatch.setattr(fit.CheckpointCallback, "on_train_batch_end", stop_at)
    with pytest.raises(stop_signal.Stopped, match="stage 1 after step 5;"):
        job.run()
    assert job.epochs == [3] and "ckpt-5" in job.checkpoints()
    job.stop.number = None
    monkeypatch.setattr(fit.CheckpointCallback, "on_train_batch_end", whole)
    assert job.run() == expected_weight()
    assert job.epochs == [3, 6, 9, 10]


def test_what_the_checkpoints_cost_is_said(job):
    job.run()
    # Steps 3, 6, 9 and 10.
    assert re.fullmatch(
        r"stage 1: \d+\.\d s of training; 4 checkpoints took \d+\.\d s \(.*%\)",
        job.said[-1],
    )


def test_other_errors_of_the_graph_stay_what_they_are(job, monkeypatch):
    def broken(self, data):
        return {"value": tf.debugging.check_numerics(data["value"] / 0, "else")}

    monkeypatch.setattr(ToyTrainer, "train_step", broken)
    with pytest.raises(tf.errors.InvalidArgumentError, match="else"):
        job.run()


def test_a_signal_before_the_first_step_waits_for_nothing(job):
    job.stop.number = signal.SIGTERM
    with pytest.raises(stop_signal.Stopped, match="stage 1 after step 0;"):
        job.run()
    assert job.checkpoints() == []
    job.stop.number = None
    assert job.run() == expected_weight()
    # From the first step on there is something to save.
    assert job.stop.unsaved and "after step 0;" in job.stop.message


class Ends(keras.callbacks.Callback):
    """Ends the stage after its second epoch; keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(logs["selection_ged"])
        self.model.stop_training = len(self.told) == 2


def test_a_callback_ends_a_stage_for_good(job):
    watch = Ends()
    assert job.run([watch]) == expected_weight(6)
    assert watch.told == [1 / 3, 1 / 6]
    assert "stage 1: ended by a callback after step 6" in job.said
    job.epochs.clear()
    assert job.run() == expected_weight(6)  # The same command without it.
    assert job.epochs == [] and job.said[-1].endswith("finished before, at step 6")


def test_step_and_time_left_are_told_inside_an_epoch(job, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    job.run()
    told = [line for line in job.said if line.startswith("stage 1: step ")]
    assert [line.split(",")[0][14:] for line in told] == [
        f"{step} of 10" for step in range(1, 11)
    ]
    # Step 1 ends when graphs are built, step 10 the stage.
    assert all(re.search(r"; \d+:\d\d min left$", line) for line in told[1:9])
    assert "left" not in told[0] + told[9] and ", value 3; " in told[3]
    assert "idle" not in "".join(told)


def test_losses_in_the_millions_are_said_once(job):
    job.values = np.array([1, 1, 1] + [1e6] * 7, np.float32)
    job.run()
    (line,) = [line for line in job.said if line.startswith("note:")]
    assert "stage 1 diverges at step 6 (value 1e+06)" in line
    assert "learning rate" in line
