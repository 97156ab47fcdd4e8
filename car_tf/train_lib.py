"""The main job: data, stage 1, stage 2, evaluation, figures and export in one run."""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

import keras
import tensorflow as tf

from car_tf import build, build_data, eval_lib, figures, report_lib, report_run
from car_tf import tensorboard_lib
from car_tf import config as config_lib
from car_tf import workdir as workdir_lib
from car_tf.data import cache, info
from export import run as run_export

BEST_FILE = "best.json"
LOG_FILE = "log.jsonl"

# What TensorFlow raises on checkpoints that are truncated, missing or of other code.
_UNREADABLE = (
    *(tf.errors.OpError, AssertionError, LookupError, RuntimeError, ValueError),
)


def run(
    config: config_lib.Config,
    workdir: workdir_lib.RunDir,
    strategy: Optional[tf.distribute.Strategy] = None,
    say: Callable[[str], None] = print,
) -> Dict[str, Any]:
    """Runs the whole job, or what is left of it.

    Args:
      config: the configuration.
      workdir: the run directory; a finished stage in it is skipped, an interrupted
        one goes on from its last checkpoint.
      strategy: where to train; the default strategy if None.
      say: takes lines for people.

    Returns:
      The evaluation's metrics.

    Raises:
      workdir_lib.Stopped: after Ctrl-C or SIGTERM, with everything saved.
      workdir_lib.RunError: a loss that is not finite.
    """
    strategy = strategy or tf.distribute.get_strategy()
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    dataset = build_data.build_data(config)
    for note in dataset.notes:
        say(f"note: {note}")
    sizes = ", ".join(f"{name} {len(split)}" for name, split in dataset.splits.items())
    say(f"data: {dataset.facts.title} ({sizes} images)")
    workdir.begin(config)
    _record_data(workdir, dataset)
    board = tensorboard_lib.Board(workdir.path / tensorboard_lib.FOLDER)
    fields = report_run.flat(json.loads(config_lib.to_json(config)))
    board.configuration(fields, dataset.notes)
    with workdir_lib.StopSignal() as stop:
        calibration_net = train_calibration(
            config, dataset, workdir, strategy, stop, say
        )
        refinement_net = train_refinement(
            config, dataset, calibration_net, workdir, strategy, stop, say
        )
    if config.train.mixed_precision == "float32":
        model = build.build_sampler(calibration_net, refinement_net, dataset.facts)
    else:
        # In float32, as whatever evaluates or serves the run later.
        model = load_sampler(config, dataset.facts, workdir)
    metrics = evaluate_run(config, dataset, model, workdir, say)
    finals = {name: metrics.get(name) for name in ("ged", "hm_iou", "ece")}
    finals = {name: value for name, value in finals.items() if value is not None}
    board.scalars("evaluation", config.stage2.steps, finals)
    exported = run_export.export_run(
        config,
        model,
        dataset.facts,
        workdir.path / run_export.FOLDER,
        notes=dataset.notes,
        metrics=metrics,
        say=say,
    )
    say(f"exported: {exported}")
    say(f"report: {report_lib.write(workdir.path)}")
    return metrics


def _record_data(workdir: workdir_lib.RunDir, dataset: build_data.Dataset) -> None:
    described = dataset.describe()
    recorded = workdir.read_json("data.json")
    if recorded is None:
        workdir.write_json("data.json", described)
        return
    for name, split in described["splits"].items():
        before = recorded["splits"].get(name, {}).get("fingerprint")
        if before != split["fingerprint"]:
            raise workdir_lib.RunError(
                f"the {name} split is not the one that {workdir.path} was begun with "
                f"(fingerprint {before} then, {split['fingerprint']} now)"
            )


def train_calibration(
    config: config_lib.Config,
    dataset: build_data.Dataset,
    workdir: workdir_lib.RunDir,
    strategy: tf.distribute.Strategy,
    stop: workdir_lib.StopSignal,
    say: Callable[[str], None],
) -> keras.Model:
    """Runs stage 1, or what is left of it; returns F with its trained weights."""
    synchronized = strategy.num_replicas_in_sync > 1
    # Whatever was built before, such as a black box, must not change the weights.
    keras.utils.set_random_seed(config.train.seed)
    with strategy.scope():
        if config.calibration_net.kind == "true_distribution":
            return build.build_calibration_net(config, dataset.facts)
        trainer = build.build_calibration_trainer(
            config, dataset, synchronized=synchronized
        )
    state = dict(net=trainer.calibration_net, optimizer=trainer.optimizer)
    _fit(
        trainer,
        tf.train.Checkpoint(step=trainer.step, **state),
        config,
        dataset,
        stage=1,
        workdir=workdir,
        stop=stop,
        say=say,
    )
    return trainer.calibration_net


def train_refinement(
    config: config_lib.Config,
    dataset: build_data.Dataset,
    calibration_net: keras.Model,
    workdir: workdir_lib.RunDir,
    strategy: tf.distribute.Strategy,
    stop: workdir_lib.StopSignal,
    say: Callable[[str], None],
) -> keras.Model:
    """Runs stage 2, or what is left of it; returns G with its best weights."""
    synchronized = strategy.num_replicas_in_sync > 1
    keras.utils.set_random_seed(config.train.seed + 1)
    with strategy.scope():
        trainer = build.build_refinement_trainer(
            config, dataset, calibration_net, synchronized=synchronized
        )
    nets = dict(
        refinement_net=trainer.refinement_net, discriminator=trainer.discriminator
    )
    if trainer.posterior_net is not None:
        nets["posterior_net"] = trainer.posterior_net
    checkpoint = tf.train.Checkpoint(
        step=trainer.step,
        generator_optimizer=trainer.generator_optimizer,
        discriminator_optimizer=trainer.discriminator_optimizer,
        **nets,
    )
    selection = _Selection(config, dataset, trainer, workdir, say)
    _fit(
        trainer,
        checkpoint,
        config,
        dataset,
        stage=2,
        workdir=workdir,
        stop=stop,
        say=say,
        every_epoch=selection.consider,
    )
    selection.restore()
    return trainer.refinement_net


class _Selection:
    """Keeps the weights of G with the lowest GED on the selection split."""

    def __init__(self, config, dataset, trainer, workdir, say):
        self._config = config
        self._dataset = dataset
        self._workdir = workdir
        self._say = say
        self._board = tensorboard_lib.Board(workdir.path / tensorboard_lib.FOLDER)
        self._weights = tf.train.Checkpoint(net=trainer.refinement_net)
        self._model = build.build_sampler(
            trainer.calibration_net, trainer.refinement_net, dataset.facts
        )

    def consider(self, step: int) -> Dict[str, float]:
        """Evaluates if it is time; returns what is to be logged."""
        settings = self._config.train
        if step % settings.select_every and step != self._config.stage2.steps:
            return {}
        source = self._dataset.splits[self._dataset.selection]
        glimpse = tensorboard_lib.Glimpse(source, self._dataset.facts)
        ged = eval_lib.mean_ged(
            self._model,
            source,
            self._dataset.facts,
            num_samples=min(
                self._config.evaluation.num_samples, eval_lib.SAMPLE_COUNTS[0]
            ),
            seed=self._config.evaluation.seed,
            num_images=settings.num_selection_images,
            watch=glimpse.add,
        )
        self._board.pictures("selection", step, glimpse.figures())
        best = self._workdir.read_json(BEST_FILE)
        better = best is None or best["ged"] is None
        better = better or (ged is not None and ged < best["ged"])
        # A run that was killed between this file and its checkpoint comes here twice.
        if better or best["step"] >= step:
            name = f"checkpoints/best-{step}"
            self._weights.write(str(self._workdir.path / name))
            self._workdir.write_json(
                BEST_FILE, {"step": step, "ged": ged, "weights": name}
            )
            self._forget(keep=name)
        if ged is None:
            self._say(f"step {step}: no GED is defined on the selection split")
            return {}
        self._say(f"step {step}: GED {ged:.4f} on the selection split")
        return {"selection_ged": ged}

    def _forget(self, keep: str) -> None:
        keep = pathlib.Path(keep).name
        for path in (self._workdir.path / "checkpoints").glob("best-*"):
            if path.name.split(".")[0] != keep:
                path.unlink()

    def restore(self) -> None:
        """Loads the best weights into G."""
        best = self._workdir.read_json(BEST_FILE)
        _read_weights(self._weights, self._workdir.path / best["weights"])
        score = "undefined" if best["ged"] is None else f"{best['ged']:.4f}"
        self._say(f"best weights: step {best['step']}, GED {score}")


def _fit(
    trainer: keras.Model,
    checkpoint: tf.train.Checkpoint,
    config: config_lib.Config,
    dataset: build_data.Dataset,
    *,
    stage: int,
    workdir: workdir_lib.RunDir,
    stop: workdir_lib.StopSignal,
    say: Callable[[str], None],
    every_epoch: Callable[[int], Dict[str, float]] = lambda step: {},
) -> None:
    """Trains from the last checkpoint to the stage's last step.

    An epoch of `fit` is the stretch between two checkpoints.
    """
    steps = (config.stage1 if stage == 1 else config.stage2).steps
    every = config.train.checkpoint_every
    folder = workdir.path / "checkpoints" / f"stage{stage}"
    manager = tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=2)
    restore_latest(checkpoint, manager, say)
    first = int(trainer.step.numpy())
    if first >= steps:
        say(f"stage {stage}: finished before")
        return
    name = {1: "calibration network", 2: "refinement network"}[stage]
    where = f", from step {first}" if first else ""
    say(f"stage {stage}: training the {name} for {steps} steps{where}")
    workdir.read_lines(f"stage{stage}_{LOG_FILE}", last_step=first)
    keeper = _Keeper(
        stage=stage,
        manager=manager,
        workdir=workdir,
        stop=stop,
        every_epoch=every_epoch,
    )
    keeper.completed = first
    for start, end, epoch_steps in stretches(first, steps, every):
        batches = build.build_batches(
            config, dataset, stage=stage, first_step=start, num_steps=end
        )
        first_epoch = start // every
        try:
            trainer.fit(
                batches,
                initial_epoch=first_epoch,
                epochs=first_epoch + (end - start) // epoch_steps,
                steps_per_epoch=epoch_steps,
                callbacks=[keeper],
                verbose=1 if os.isatty(1) else 2,
            )
        except tf.errors.InvalidArgumentError as error:
            raise _explained(error, keeper.completed, stage, manager) from error


def stretches(first: int, last: int, every: int) -> List[Tuple[int, int, int]]:
    """Divides steps into calls of `fit` whose epochs end at multiples of `every`.

    Returns:
      (start, end, steps per epoch): up to three stretches, before the first multiple,
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


def restore_latest(
    checkpoint: tf.train.Checkpoint,
    manager: tf.train.CheckpointManager,
    say: Callable[[str], None],
) -> None:
    """Restores the newest checkpoint that can be read; an older one is said aloud."""
    for path in reversed(manager.checkpoints):
        try:
            checkpoint.restore(path).assert_existing_objects_matched()
            return
        except _UNREADABLE as error:
            reason = str(error).splitlines()[0]
            say(f"checkpoint {path} cannot be read ({reason}): using the one before")
    if manager.checkpoints:
        raise workdir_lib.RunError(
            f"no checkpoint in {manager.directory} can be read; remove it to begin again"
        )


def _read_weights(checkpoint: tf.train.Checkpoint, path: pathlib.Path) -> None:
    """Reads all of a checkpoint's objects from one file, which may hold more."""
    try:
        checkpoint.read(str(path)).assert_existing_objects_matched().expect_partial()
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0]
        raise workdir_lib.RunError(f"{path}: cannot be read ({reason})") from error


def _explained(error, step: int, stage: int, manager) -> Exception:
    """Turns a failed in-graph check of a loss into a sentence."""
    message = str(error)
    if "is not finite" not in message:
        return error
    term = message.split("the loss term ")[-1].split(" is not finite")[0]
    return workdir_lib.RunError(
        f"stage {stage}, step {step}: the loss term {term} is not "
        f"finite; the last good checkpoint is {manager.latest_checkpoint}"
    )


class _Keeper(keras.callbacks.Callback):
    """Checkpoints, logs and stops at the ends of epochs; stops at any step if asked."""

    def __init__(self, *, stage, manager, workdir, stop, every_epoch):
        super().__init__()
        self._stage = stage
        self._manager = manager
        self._workdir = workdir
        self._stop = stop
        self._every_epoch = every_epoch
        self._board = tensorboard_lib.Board(workdir.path / tensorboard_lib.FOLDER)
        self._started = time.monotonic()
        # In a step that fails, the trainer's own counter may already have moved.
        self.completed = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.completed = self._step()
        # After an epoch's last step there is more to do than to save.
        if self._stop.number is not None and batch + 1 < self.params["steps"]:
            self._manager.save(self._step())
            raise self._stopped()

    def on_epoch_end(self, epoch, logs=None):
        step = self._step()
        seconds = time.monotonic() - self._started
        # The mean of nothing would be logged as 0: D may have rested all the time.
        idle = {
            metric.name for metric in self.model.metrics if not metric.count.numpy()
        }
        values = {
            name: float(value)
            for name, value in (logs or {}).items()
            if name not in idle
        }
        values.update(self._every_epoch(step))
        self._workdir.append_line(
            f"stage{self._stage}_{LOG_FILE}",
            {"step": step, **values, "seconds": round(seconds, 2)},
        )
        self._board.scalars(f"stage{self._stage}", step, values)
        self._manager.save(step)
        if self._stop.number is not None:
            raise self._stopped()

    def _step(self) -> int:
        return int(self.model.step.numpy())

    def _stopped(self) -> Exception:
        return workdir_lib.Stopped(
            f"stopped in stage {self._stage} after step {self._step()}; the same "
            f"command with --workdir {self._workdir.path} goes on from there"
        )


def evaluate_run(
    config: config_lib.Config,
    dataset: build_data.Dataset,
    model,
    workdir: workdir_lib.RunDir,
    say: Callable[[str], None],
    *,
    split: str = "",
    num_samples: int = 0,
) -> Dict[str, Any]:
    """Evaluates a sampler on a split and writes metrics and figures.

    Args:
      config: of the run.
      dataset: its data.
      model: the sampler.
      workdir: its directory: `metrics.json` and `figures/` are written, for another
        split or number of samples than the configured ones under other names.
      say: takes lines for people.
      split: name of the split; empty for the one that results are reported on.
      num_samples: S; 0 for the configured number.

    Returns:
      The metrics.
    """
    split = split or dataset.evaluation
    num_samples = num_samples or config.evaluation.num_samples
    standard = split == dataset.evaluation
    standard &= num_samples == config.evaluation.num_samples
    suffix = "" if standard else f"_{split}_{num_samples}"
    say(f"evaluation: {num_samples} samples on {split}")
    source = dataset.splits[split]
    metrics, gallery = eval_lib.evaluate(
        model,
        source,
        dataset.facts,
        num_samples=num_samples,
        seed=config.evaluation.seed,
        num_images=config.evaluation.num_images,
        progress=lambda stream, total: cache.progress(
            iterable=stream, total=total, desc="evaluating", unit="image"
        ),
    )
    cases = eval_lib.extremes(metrics["ged_per_image"])
    metrics = {
        "split": split,
        "data": dataset.facts.title,
        "notes": dataset.notes,
        **metrics,
        "best": workdir.read_json(BEST_FILE),
        "cases": {
            kind: [
                {"name": source.names[i], "ged": metrics["ged_per_image"][i]}
                for i in indices
            ]
            for kind, indices in cases.items()
        },
    }
    workdir.write_json(f"metrics{suffix}.json", metrics)
    for line in eval_lib.summary_lines(metrics, dataset.facts):
        say(line)
    drawing = dict(num_samples=num_samples, seed=config.evaluation.seed)
    drawn = figures.run_figures(
        metrics,
        {
            "samples": gallery,
            **{
                kind: list(eval_lib.draw(model, source, indices=indices, **drawing))
                for kind, indices in cases.items()
                if indices
            },
        },
        images=source.images,
        labels=source.labels,
        blackbox=source.blackbox,
        class_names=dataset.facts.class_names,
        class_colors=dataset.facts.class_colors,
        curves={
            stage: workdir.read_lines(f"stage{stage}_{LOG_FILE}") for stage in (1, 2)
        },
    )
    folder = workdir.path / f"figures{suffix}"
    figures.save_all(drawn, folder)
    say(f"figures: {folder}")
    return metrics


def load_sampler(config: config_lib.Config, facts: info.DatasetInfo, workdir):
    """Builds the sampler of a finished run with its best weights.

    Raises:
      workdir_lib.RunError: the run has no trained networks yet.
    """
    calibration_net = build.build_calibration_net(config, facts)
    if config.calibration_net.kind != "true_distribution":
        folder = workdir.path / "checkpoints" / "stage1"
        latest = tf.train.latest_checkpoint(str(folder))
        if latest is None:
            raise workdir_lib.RunError(f"{workdir.path}: stage 1 has no checkpoint yet")
        weights = tf.train.Checkpoint(net=calibration_net)
        _read_weights(weights, pathlib.Path(latest))
    best = workdir.read_json(BEST_FILE)
    if best is None:
        raise workdir_lib.RunError(f"{workdir.path}: stage 2 has no best weights yet")
    refinement_net = build.build_refinement_net(config, facts)
    weights = tf.train.Checkpoint(net=refinement_net)
    _read_weights(weights, workdir.path / best["weights"])
    return build.build_sampler(calibration_net, refinement_net, facts)
