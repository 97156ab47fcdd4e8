"""One stage's training: from its last checkpoint to its last step, whatever happens."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import load as data_load
from car_tf.models.keras_api import keras
from car_tf.runtime import checkpoints, devices, run_dir, stop_signal
from car_tf.train import build, progress, tensorboard

FAILED_BATCH_FILE = "failed_batch.npz"
# A cross-entropy is some units, and an adversarial loss some tens.
DIVERGED = 1e4


def fit(
    trainer: keras.Model,
    checkpoint: tf.train.Checkpoint,
    config: config_lib.Config,
    dataset: data_load.Dataset,
    *,
    stage: int,
    workdir: run_dir.RunDir,
    stop: stop_signal.StopSignal,
    log: Callable[[str], None],
    every_epoch: Callable[[int], Dict[str, float]] = lambda step: {},
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains from the last checkpoint to the stage's last step.

    An epoch of Keras' `fit` is the stretch between two checkpoints. A stage that one of
    `callbacks` ends early (`model.stop_training`) counts as finished from then on.

    Raises:
      stop_signal.Stopped: asked to stop, with everything saved.
      run_dir.RunError: a loss that is not finite, a checkpoint that cannot be
        written, or a worker that is gone.
    """
    settings = config.stage1 if stage == 1 else config.stage2
    steps, every = settings.steps, config.train.checkpoint_every
    manager, first = _restored(trainer, checkpoint, stage, workdir, log)
    strategy = trainer.distribute_strategy
    ended = workdir.read_json(run_dir.ENDED_EARLY_FILE) or {}  # By a callback.
    if first >= steps or first == ended.get(f"stage{stage}"):
        if not manager.checkpoints and workdir.writes:  # No steps: F of another run.
            checkpoints.save(manager, first)
        log(f"stage {stage}: finished before, at step {first}")
        return
    batches = functools.partial(build.build_batches, config, dataset, stage=stage)
    told = (config, workdir, manager, batches, strategy)
    manager = manager if workdir.writes else checkpoints.elsewhere(checkpoint)
    shared = dict(stage=stage, log=log, workdir=workdir)
    told_at_ends = dict(stop=stop, every_epoch=every_epoch)
    keeper = CheckpointCallback(**shared, **told_at_ends, manager=manager)
    keeper.begin(first, steps, has_workers=devices.has_workers(strategy))
    shown = [progress.Progress(stage=stage, first=first, steps=steps, log=log)]
    shown = shown if workdir.writes else []
    for start, end, epoch_steps in stretches(first, steps, every):
        num_epochs = (end - start) // epoch_steps
        source = batches(first_step=start, num_steps=end)
        with _explained(*told, keeper, end):
            trainer.fit(
                devices.distribute(strategy, source, settings.batch_size),
                initial_epoch=start // every,
                epochs=start // every + num_epochs,
                steps_per_epoch=epoch_steps,
                callbacks=[*shown, keeper, *callbacks],
                verbose=0,
            )
        if trainer.stop_training:
            ended[f"stage{stage}"] = keeper.completed
            workdir.write_json(run_dir.ENDED_EARLY_FILE, ended)
            log(f"stage {stage}: ended by a callback after step {keeper.completed}")
            break
    log(keeper.costs())


def _restored(
    trainer, checkpoint, stage, workdir, log
) -> Tuple[tf.train.CheckpointManager, int]:
    """Restores a stage's last checkpoint; returns its manager and the step."""
    folder = workdir.path / "checkpoints" / f"stage{stage}"
    manager = checkpoints.manager_of(checkpoint, folder, repairs=workdir.writes)
    checkpoints.restore_latest(checkpoint, manager, log)
    first = int(trainer.step.numpy())
    words = f"the checkpoints of stage {stage}"
    devices.require_agreement(trainer.distribute_strategy, words, str(first))
    return manager, first


@contextlib.contextmanager
def _explained(
    config, workdir, manager, batches, strategy, keeper: "CheckpointCallback", end: int
) -> Iterator[None]:
    """Raises RunError for losses that are not finite, and for lost workers."""
    try:
        yield
    except tf.errors.OpError as error:
        # Of several steps in one execution it is not known which one failed.
        failed = range(keeper.completed, end)[: config.train.steps_per_execution]
        every = config.train.checkpoint_every
        failed = failed[: every - keeper.completed % every]
        where = f"stage {keeper.stage}, step {' or '.join(map(str, failed))}"
        kept = manager.latest_checkpoint
        if "is not finite" in str(error):
            found = batches(first_step=failed.start, num_steps=failed.stop)
            path = workdir.save_arrays(FAILED_BATCH_FILE, _stacked(found))
            term = str(error).split("the loss term ")[-1].split(" is not finite")[0]
            raise run_dir.RunError(
                f"{where}: the loss term {term} is not finite; its batch is in {path}; "
                f"the last good checkpoint is {kept}"
            ) from error
        if devices.has_workers(strategy):
            raise run_dir.RunError(
                f"{where}: another worker has stopped or cannot be reached "
                f"({type(error).__name__}); the same command on all workers goes on "
                f"from {kept or 'the start'}"
            ) from error
        raise


def stretches(first: int, last: int, every: int) -> List[Tuple[int, int, int]]:
    """Divides steps into calls of `fit` whose epochs end at multiples of `every`.

    Returns (start, end, steps per epoch) of up to three: before the first multiple,
    between the multiples, and after the last one.
    """
    boundary = min(-(-first // every) * every, last)
    whole = max(last // every * every, boundary)
    cuts = [(first, boundary), (boundary, whole), (whole, last)]
    return [
        (start, end, every if index == 1 else end - start)
        for index, (start, end) in enumerate(cuts)
        if end > start
    ]


def _stacked(batches: tf.data.Dataset) -> Dict[str, np.ndarray]:
    """Returns a batch as arrays; several are stacked on a new first axis."""
    found = list(batches.as_numpy_iterator())
    if len(found) == 1:
        return found[0]
    return {name: np.stack([batch[name] for batch in found]) for name in found[0]}


class CheckpointCallback(keras.callbacks.Callback):
    """Checkpoints, logs and stops at the ends of epochs; stops at any step if asked."""

    def __init__(self, *, stage, log, manager, workdir, stop, every_epoch):
        super().__init__()
        self.stage = stage
        self._log = log
        self._diverged = False
        self._manager, self._workdir = manager, workdir
        self._stop, self._every_epoch = stop, every_epoch
        self._board = tensorboard.Board.of(workdir)
        self._started = time.monotonic()
        self._seconds = {"training": 0.0, "saving": 0.0}
        self._num_saved = 0
        # In a step that fails, the trainer's own counter may already have moved.
        self.completed = 0

    def begin(self, first: int, steps: int, *, has_workers: bool) -> None:
        """Says what is trained from which step, unless it was asked to stop before it."""
        name = {1: "calibration network", 2: "refinement network"}[self.stage]
        where = f", from step {first}" if first else ""
        self._log(f"stage {self.stage}: training the {name} for {steps} steps{where}")
        log_file = f"stage{self.stage}_{run_dir.LOG_FILE}"
        self._workdir.read_lines(log_file, last_step=first)
        self.completed = first
        # Until the first step is done, which may take a minute to build, nothing is
        # unsaved; but several workers must stop at the same step.
        self._stop.message = str(self.stopped(first))
        self._stop.unsaved = has_workers
        if self._stop.number is not None and not has_workers:
            raise self.stopped(first)

    def costs(self) -> str:
        """Returns in words what the checkpoints have cost."""
        training, saving = self._seconds["training"], self._seconds["saving"]
        return (
            f"stage {self.stage}: {training:.1f} s of training; "
            f"{self._num_saved} checkpoints took {saving:.1f} s "
            f"({saving / max(training, 1e-9):.1%})"
        )

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self._stop.unsaved = True
        self.completed = self._step()
        # Several workers must stop at the same step: they do so at epochs' ends.
        if devices.has_workers(self.model.distribute_strategy):
            return
        # After an epoch's last step there is more to do than to save.
        if self._stop.number is not None and batch + 1 < self.params["steps"]:
            self._save()
            raise self.stopped(self._step())

    def on_epoch_end(self, epoch, logs=None):
        step = self._step()
        seconds = time.monotonic() - self._started
        self._seconds["training"] += seconds
        idle = progress.idle_metrics(self.model)
        values = {n: float(v) for n, v in (logs or {}).items() if n not in idle}
        self._warn(step, values)
        values.update(self._every_epoch(step))
        if logs is not None:  # For the callbacks that come later.
            logs.update(values)
        self._workdir.append_line(
            f"stage{self.stage}_{run_dir.LOG_FILE}",
            {"step": step, **values, "seconds": round(seconds, 2)},
        )
        self._board.scalars(f"stage{self.stage}", step, values)
        self._save()
        stop = int(self._stop.number is not None)
        strategy = self.model.distribute_strategy
        if devices.has_workers(strategy):
            stop = max(devices.gather(strategy, stop))
        if stop:
            raise self.stopped(self._step())

    def _warn(self, step: int, values: Dict[str, float]) -> None:
        """Says once that losses have grown beyond all that training can repair."""
        large = {k: v for k, v in values.items() if abs(v) > DIVERGED}
        if large and not self._diverged:
            self._diverged = True
            words = ", ".join(f"{name} {value:.3g}" for name, value in large.items())
            self._log(
                f"note: stage {self.stage} diverges at step {step} ({words}): stop it "
                "and begin again with a lower learning rate"
            )

    def _save(self) -> None:
        started = time.monotonic()
        checkpoints.save(self._manager, self._step())
        self._seconds["saving"] += time.monotonic() - started
        self._num_saved += 1

    def _step(self) -> int:
        return int(self.model.step.numpy())

    def stopped(self, step: int) -> Exception:
        """Returns what says after which step the stage was stopped."""
        return stop_signal.Stopped(
            f"stopped in stage {self.stage} after step {step}; the same "
            f"command with --workdir {self._workdir.path} goes on from there"
        )
