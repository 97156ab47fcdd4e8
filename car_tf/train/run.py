"""The main job: data, stage 1, stage 2, evaluation, figures and export in one run."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Optional

import keras
import matplotlib.figure
import tensorflow as tf

from car_tf.report import figures
from car_tf.evaluate import evaluation
from car_tf.train import build, fit
from car_tf.data import io, load as data_load
from car_tf.runtime import checkpoints, devices
from car_tf.report import context, write
from car_tf.evaluate import accumulators, sampling, saved_run
from car_tf.train import tensorboard
from car_tf import config as config_lib
from car_tf.train import selection as train_selection
from car_tf.runtime import run_dir
from car_tf.runtime import workers
from car_tf.blackbox import postprocess
from car_tf.data import examples
from export import run as run_export


def run(
    config: config_lib.Config,
    workdir: run_dir.RunDir,
    strategy: Optional[tf.distribute.Strategy] = None,
    say: Callable[[str], None] = print,
) -> Dict[str, Any]:
    """Runs the whole job, or what is left of it.

    Args:
      config: the configuration.
      workdir: the run directory; a finished stage in it is skipped, an interrupted
        one goes on from its last checkpoint.
      strategy: where to train; as `train.devices` says if None.
      say: takes lines for people.

    Returns:
      The evaluation's metrics; none on a worker that is not the chief, whose part ends
      with the training.

    Raises:
      run_dir.Stopped: after Ctrl-C or SIGTERM, with everything saved.
      run_dir.RunError: a loss that is not finite, a full disk, a lost worker, or
        batches that do not divide over the replicas.
    """
    strategy = strategy or devices.build_strategy(
        config.train.devices, workers.Worker()
    )
    devices.check_batch_size(
        strategy, stage1=config.stage1.batch_size, stage2=config.stage2.batch_size
    )
    devices.check_compilation(strategy, config.train.jit_compile)
    devices.require_agreement(strategy, "configuration", config_lib.to_json(config))
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    dataset = data_load.build_data(config)
    for note in dataset.notes:
        say(f"note: {note}")
    sizes = ", ".join(f"{name} {len(split)}" for name, split in dataset.splits.items())
    say(f"data: {dataset.facts.title} ({sizes} images)")
    workdir.begin(config)
    _record_data(workdir, dataset)
    prints = [split.fingerprint() for split in dataset.splits.values()]
    devices.require_agreement(strategy, "data", " ".join(prints))
    board = tensorboard.Board.of(workdir)
    fields = context.flat(json.loads(config_lib.to_json(config)))
    board.configuration(fields, dataset.notes)
    with run_dir.StopSignal() as stop:
        calibration_net = train_calibration(
            config, dataset, workdir, strategy, stop, say
        )
        selection = train_refinement(
            config, dataset, calibration_net, workdir, strategy, stop, say
        )
    if not workdir.writes:
        return {}
    model = selection.best_sampler()
    if config.train.mixed_precision != "float32":
        # In float32, as whatever evaluates or serves the run later.
        alone = devices.has_workers(strategy)
        model = saved_run.load_sampler(
            config, dataset.facts, workdir, None if alone else strategy
        )
    metrics = evaluate_run(config, dataset, model, workdir, say)
    finals = {name: metrics.get(name) for name in ("ged", "hm_iou", "ece")}
    finals = {name: value for name, value in finals.items() if value is not None}
    board.scalars("evaluation", config.stage2.steps, finals)
    folder = workdir.path / run_export.FOLDER
    with checkpoints.writing(folder):
        exported = run_export.export_run(
            config,
            model,
            dataset.facts,
            folder,
            notes=dataset.notes,
            metrics=metrics,
            say=say,
        )
    say(f"exported: {exported}")
    say(f"report: {write.write(workdir.path)}")
    return metrics


def _record_data(workdir: run_dir.RunDir, dataset: data_load.Dataset) -> None:
    described = dataset.describe()
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
    stop: run_dir.StopSignal,
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
    fit.fit(
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
    dataset: data_load.Dataset,
    calibration_net: keras.Model,
    workdir: run_dir.RunDir,
    strategy: tf.distribute.Strategy,
    stop: run_dir.StopSignal,
    say: Callable[[str], None],
) -> train_selection.Selection:
    """Runs stage 2, or what is left of it; returns what knows G's best weights."""
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
    if trainer.averages:
        nets["averages"] = trainer.averages
    checkpoint = tf.train.Checkpoint(
        step=trainer.step,
        generator_optimizer=trainer.generator_optimizer,
        discriminator_optimizer=trainer.discriminator_optimizer,
        **nets,
    )
    selection = train_selection.Selection(config, dataset, trainer, workdir, say)
    fit.fit(
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
    return selection


def evaluate_run(
    config: config_lib.Config,
    dataset: data_load.Dataset,
    model,
    workdir: run_dir.RunDir,
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
        split, number of samples or noise than the configured ones under other names.
      say: takes lines for people.
      split: name of the split; empty for the one that results are reported on.
      num_samples: S; 0 for the configured number.

    Returns:
      The metrics.
    """
    split = split or dataset.evaluation
    num_samples = num_samples or config.evaluation.num_samples
    noise_sampling = "stratified" if model.stratified else "independent"
    suffix = _suffix(config, dataset, split, num_samples, noise_sampling)
    say(f"evaluation: {num_samples} samples on {split}, {noise_sampling} noise")
    source = sampling.some_of(dataset.splits[split], config.evaluation.num_images)
    metrics, gallery = evaluation.evaluate(
        model,
        source,
        dataset.facts,
        num_samples=num_samples,
        seed=config.evaluation.seed,
        progress=lambda stream, total: io.progress(
            iterable=stream, total=total, desc="evaluating", unit="image"
        ),
    )
    if model.stratified:
        accumulators.forget_unbiased(metrics)
    cases = evaluation.extremes(metrics["ged_per_image"])
    metrics = {
        "split": split,
        "data": dataset.facts.title,
        "notes": dataset.notes,
        "noise_sampling": noise_sampling,
        **metrics,
        "best": workdir.read_json(train_selection.BEST_FILE),
        "cases": {
            kind: [
                {"name": source.names[i], "ged": metrics["ged_per_image"][i]}
                for i in indices
            ]
            for kind, indices in cases.items()
        },
    }
    workdir.write_json(f"metrics{suffix}.json", metrics)
    for line in evaluation.summary_lines(metrics, dataset.facts):
        say(line)
    drawing = dict(num_samples=num_samples, seed=config.evaluation.seed)
    galleries = {"samples": gallery}
    for kind, indices in cases.items():
        if indices:
            drawn = sampling.draw(model, source, indices=indices, **drawing)
            galleries[kind] = list(drawn)
    folder = workdir.path / f"figures{suffix}"
    with checkpoints.writing(folder):
        figures.save_all(_figures(metrics, galleries, dataset, source, workdir), folder)
    say(f"figures: {folder}")
    return metrics


def _suffix(
    config: config_lib.Config,
    dataset: data_load.Dataset,
    split: str,
    num_samples: int,
    noise_sampling: str,
) -> str:
    """Returns what is added to names of files where an evaluation is not the run's."""
    same_noise = noise_sampling == config.evaluation.noise_sampling
    is_own = same_noise and split == dataset.evaluation
    is_own = is_own and num_samples == config.evaluation.num_samples
    suffix = "" if is_own else f"_{split}_{num_samples}"
    return suffix if same_noise else f"{suffix}_{noise_sampling}"


def _figures(
    metrics: Dict[str, Any],
    galleries: Dict[str, List[sampling.Drawn]],
    dataset: data_load.Dataset,
    source: examples.Examples,
    workdir: run_dir.RunDir,
) -> Dict[str, matplotlib.figure.Figure]:
    """Draws the figures of an evaluation on a split, `source`."""
    return figures.run_figures(
        metrics,
        galleries,
        images=source.images,
        labels=source.labels,
        blackbox=(
            None
            if source.blackbox is None
            else postprocess.hard_labels(source.blackbox)
        ),
        class_names=dataset.facts.class_names,
        class_colors=dataset.facts.class_colors,
        curves={
            stage: workdir.read_lines(f"stage{stage}_{fit.LOG_FILE}")
            for stage in (1, 2)
        },
    )
