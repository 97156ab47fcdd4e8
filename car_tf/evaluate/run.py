"""Evaluates a sampler on a split: metrics, figures and files in the run directory."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import matplotlib.figure

from car_tf import config as config_lib
from car_tf.blackbox import postprocess
from car_tf.data import examples, io
from car_tf.data import load as data_load
from car_tf.evaluate import accumulators, before_stage2, evaluation, realism, sampling
from car_tf.models import sampler
from car_tf.report import before_after, figures
from car_tf.runtime import checkpoints, run_dir

NUM_BEFORE_AFTER = 3


def evaluate_run(
    config: config_lib.Config,
    dataset: data_load.Dataset,
    model: sampler.Sampler,
    workdir: run_dir.RunDir,
    log: Callable[[str], None],
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
      log: takes lines for people.
      split: name of the split; empty for the one that results are reported on.
      num_samples: S; 0 for the configured number.

    Returns:
      The metrics.
    """
    split = split or dataset.evaluation
    num_samples = num_samples or config.evaluation.num_samples
    noise_sampling = "stratified" if model.stratified else "independent"
    suffix = _suffix(config, dataset, split, num_samples, noise_sampling)
    log(f"evaluation: {num_samples} samples on {split}, {noise_sampling} noise")
    source = sampling.some_of(dataset.splits[split], config.evaluation.num_images)
    before = before_stage2.initial_sampler(config, dataset.info, model)
    metrics, gallery = evaluation.evaluate(
        model,
        source,
        dataset.info,
        before=before,
        num_samples=num_samples,
        seed=config.evaluation.seed,
        progress=lambda stream, total: io.progress(
            iterable=stream, total=total, desc="evaluating", unit="image"
        ),
    )
    if model.stratified:
        accumulators.forget_unbiased(metrics)
    cases = evaluation.extremes(metrics["ged_per_image"])
    if config.evaluation.realism_steps and split != "train":
        # Judges are asked on images that nobody was trained on.
        metrics["realism"] = realism.measure(
            model,
            before,
            dataset.splits["train"],
            source,
            dataset.info,
            steps=config.evaluation.realism_steps,
            seed=config.evaluation.seed,
            log=log,
        )
    metrics["verdict"] = before_after.verdict(metrics)
    metrics = {
        "split": split,
        "data": dataset.info.title,
        "notes": dataset.notes,
        "noise_sampling": noise_sampling,
        **metrics,
        "best": workdir.read_json(run_dir.BEST_FILE),
        "cases": {
            kind: [
                {"name": source.names[i], "ged": metrics["ged_per_image"][i]}
                for i in indices
            ]
            for kind, indices in cases.items()
        },
    }
    workdir.write_json(f"metrics{suffix}.json", metrics)
    for line in evaluation.summary_lines(metrics, dataset.info):
        log(line)
    log(metrics["verdict"])
    drawing = dict(num_samples=num_samples, seed=config.evaluation.seed)
    galleries = {"samples": gallery}
    for kind, indices in cases.items():
        if indices:
            galleries[kind] = list(
                sampling.sample(model, source, indices=indices, **drawing)
            )
    drawn = _figures(metrics, galleries, dataset, source, workdir)
    shown = gallery[:NUM_BEFORE_AFTER]
    drawn["before_after"] = _before_after(before, shown, dataset, source, drawing)
    folder = workdir.path / f"figures{suffix}"
    with checkpoints.writing(folder):
        figures.save_all(drawn, folder)
    log(f"figures: {folder}")
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
    galleries: Dict[str, List[sampling.SampledImage]],
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
        class_names=dataset.info.class_names,
        class_colors=dataset.info.class_colors,
        curves={
            stage: workdir.read_lines(f"stage{stage}_{run_dir.LOG_FILE}")
            for stage in (1, 2)
        },
    )


def _before_after(
    before: sampler.Sampler,
    shown: Sequence[sampling.SampledImage],
    dataset: data_load.Dataset,
    source: examples.Examples,
    drawing: Dict[str, int],
) -> matplotlib.figure.Figure:
    """Draws samples before stage 2 beside those of the same noise in `shown`."""
    indices = [sampled.index for sampled in shown]
    return before_after.before_after_figure(
        list(sampling.sample(before, source, indices=indices, **drawing)),
        shown,
        images=source.images,
        labels=source.labels,
        class_colors=dataset.info.class_colors,
    )
