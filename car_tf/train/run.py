"""The main job: data, stage 1, stage 2, evaluation, figures and export in one run."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, Optional, Sequence

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.config import quiet
from car_tf.data import cache
from car_tf.data import load as data_load
from car_tf.evaluate import before_stage2, evaluated, saved_run
from car_tf.evaluate import run as evaluate_run
from car_tf.models import build as networks
from car_tf.models.keras_api import keras
from car_tf.report import context, write
from car_tf.runtime import checkpoints, devices, run_dir, stop_signal, workers
from car_tf.train import build, fit, tensorboard, warm_start
from car_tf.train import selection as train_selection
from export import run as run_export


def run(
    config: config_lib.Config,
    workdir: run_dir.RunDir,
    strategy: Optional[tf.distribute.Strategy] = None,
    log: Callable[[str], None] = print,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Dict[str, Any]:
    """Runs the whole job, or what is left of it; returns the evaluation's metrics.

    A finished stage is skipped, an interrupted one goes on from its last checkpoint.
    The part of a worker that is not the chief ends with the training: no metrics.
    `strategy` says where to train; as `train.devices` says if None. `callbacks` are for
    Keras' `fit` in both stages.

    Raises:
      stop_signal.Stopped: after Ctrl-C or SIGTERM, with everything saved.
      run_dir.RunError: a loss that is not finite, a full disk, a lost worker, or
        batches that do not divide over the replicas.
    """
    worker = workers.this_worker()
    strategy = strategy or devices.build_strategy(config.train.devices, worker)
    log(devices.describe(strategy, worker))
    dataset = _begun(config, workdir, strategy, log)
    board = tensorboard.Board.of(workdir)
    fields = context.flat(json.loads(config_lib.to_json(config)))
    board.configuration(fields, dataset.notes)
    with stop_signal.StopSignal() as stop, quiet.filtered():
        shared = (workdir, strategy, stop, log, callbacks)
        calibration_net = train_calibration(config, dataset, *shared)
        selection = train_refinement(config, dataset, calibration_net, *shared)
    if not workdir.writes:
        return {}
    model = selection.best_sampler()
    if config.train.mixed_precision != "float32":
        # In float32, as whatever evaluates or serves the run later.
        strategy = None if devices.has_workers(strategy) else strategy
        model = saved_run.load_sampler(config, dataset.info, workdir, strategy)
    identity = evaluated.key_of(config, workdir, dataset)
    metrics = evaluate_run.evaluate_run(
        config, dataset, model, workdir, log, identity=identity
    )
    finals = {name: metrics.get(name) for name in ("ged", "hm_iou", "ece")}
    finals = {name: value for name, value in finals.items() if value is not None}
    finals.update(before_stage2.scalars(metrics))
    board.scalars("evaluation", config.stage2.steps, finals)
    folder = workdir.path / run_export.FOLDER
    with checkpoints.writing(folder):
        more = dict(notes=dataset.notes, metrics=metrics, log=log)
        exported = run_export.export_run(config, model, dataset.info, folder, **more)
    log(f"exported: {exported}")
    log(f"report: {write.write(workdir.path)}")
    workdir.finish(config)
    return metrics


def _begun(config, workdir, strategy, log) -> data_load.Dataset:
    """Begins a run, or goes on with it, if all fits together; returns its data."""
    sizes = dict(stage1=config.stage1.batch_size, stage2=config.stage2.batch_size)
    devices.check_batch_size(strategy, **sizes)
    devices.check_compilation(strategy, config.train.jit_compile)
    devices.require_agreement(strategy, "configuration", config_lib.to_json(config))
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    dataset = attach.load(config)
    for note in dataset.notes:
        log(f"note: {note}")
    recalibrates = networks.recalibrates(config, dataset.info)
    if config.calibration_net.recalibrated and not recalibrates:
        words = "is for two classes that do not flip"
        log(f"note: F is used as trained: calibration_net.recalibrated {words}")
    if 0 < config.stage2.steps <= config.stage2.warmup_steps:
        words = f"its first {config.stage2.warmup_steps} steps train D alone"
        log(f"note: stage 2 ends before G is trained: {words} (stage2.warmup_steps)")
    sizes = ", ".join(f"{name} {len(split)}" for name, split in dataset.splits.items())
    log(f"data: {dataset.info.title} ({sizes} images)")
    if config.train.init_from and not workdir.begun:
        warm_start.check(config, dataset.info)
    workdir.begin(config)
    if other := workdir.other_tensorflow():
        log(f"note: {other}")
    described = dataset.describe(cache.folder(config.data.cache_dir))
    _record_data(workdir, described)
    prints = [split["fingerprint"] for split in described["splits"].values()]
    devices.require_agreement(strategy, "data", " ".join(prints))
    return dataset


def _record_data(workdir: run_dir.RunDir, described: Dict[str, Any]) -> None:
    """Writes what the run records of its data, if that is as it was."""
    recorded = workdir.read_json("data.json") or described
    for name, split in described["splits"].items():
        before = recorded["splits"].get(name, {}).get("fingerprint")
        if before != split["fingerprint"]:
            raise run_dir.RunError(
                f"the {name} split is not the one that {workdir.path} was begun with "
                f"(fingerprint {before} then, {split['fingerprint']} now)"
            )
    workdir.write_json("data.json", described)


def train_calibration(
    config: config_lib.Config,
    dataset: data_load.Dataset,
    workdir: run_dir.RunDir,
    strategy: tf.distribute.Strategy,
    stop: stop_signal.StopSignal,
    log: Callable[[str], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Runs stage 1, or what is left of it; returns F with its trained weights."""
    # Whatever was built before, such as a black box, must not change the weights.
    keras.utils.set_random_seed(config.train.seed)
    with strategy.scope():
        if config.calibration_net.kind == "true_distribution":
            return networks.build_calibration_net(config, dataset.info)
        trainer = build.build_calibration_trainer(config, dataset)
    net = trainer.calibration_net
    warm_start.start(net, "calibration_net", trainer.averages, config, workdir, log)
    state = dict(net=net, optimizer=trainer.optimizer)
    if trainer.averages:
        state["averages"] = trainer.averages
    selection = None
    selects = config.stage1.selects and config.stage1.steps
    if selects or networks.recalibrates(config, dataset.info):
        shared = (config, dataset, trainer, workdir, log)
        selection = train_selection.CalibrationSelection(*shared)
    fit.fit(
        trainer,
        tf.train.Checkpoint(step=trainer.step, **state),
        config,
        dataset,
        stage=1,
        workdir=workdir,
        stop=stop,
        log=log,
        every_epoch=selection.consider if selection else lambda step: {},
        callbacks=callbacks,
    )
    if selection:
        selection.restore_best()
    return net


def train_refinement(
    config: config_lib.Config,
    dataset: data_load.Dataset,
    calibration_net: keras.Model,
    workdir: run_dir.RunDir,
    strategy: tf.distribute.Strategy,
    stop: stop_signal.StopSignal,
    log: Callable[[str], None],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> train_selection.Selection:
    """Runs stage 2, or what is left of it; returns what knows G's best weights."""
    keras.utils.set_random_seed(config.train.seed + 1)
    with strategy.scope():
        trainer = build.build_refinement_trainer(config, dataset, calibration_net)
    net = trainer.refinement_net
    warm_start.start(net, "refinement_net", trainer.averages, config, workdir, log)
    nets = dict(refinement_net=net, discriminator=trainer.discriminator)
    if trainer.posterior_net is not None:
        nets["posterior_net"] = trainer.posterior_net
    if trainer.averages:
        nets["averages"] = trainer.averages
    checkpoint = tf.train.Checkpoint(
        step=trainer.step,
        judged=trainer.balance.judged,
        generator_optimizer=trainer.generator_optimizer,
        discriminator_optimizer=trainer.discriminator_optimizer,
        **nets,
    )
    selection = train_selection.Selection(config, dataset, trainer, workdir, log)
    fit.fit(
        trainer,
        checkpoint,
        config,
        dataset,
        stage=2,
        workdir=workdir,
        stop=stop,
        log=log,
        every_epoch=selection.consider,
        callbacks=callbacks,
    )
    return selection
