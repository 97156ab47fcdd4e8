"""Evaluation of a sampler on a split: metrics as a dict, pictures as a gallery."""

from __future__ import annotations

import concurrent.futures
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from car_tf.blackbox import postprocess
from car_tf.data import examples, info
from car_tf.evaluate import accumulators, sampling
from car_tf.metrics import raters
from car_tf.metrics import scores as metrics_scores
from car_tf.models import sampler

MAX_WAITING = 4
# What every result stands beside, by the names in `metrics.json`.
BASELINES = {
    "f_argmax": "F's arg-max as a constant sampler",
    "f_pixels": "independent pixels of F",
    "level_sets": "level sets of F",
    "gumbel_draws": "F with one Gumbel variable per class",
    "before_stage2": "G before stage 2",
}


def mean_ged(
    model: sampler.Sampler,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    num_samples: int,
    seed: int,
    num_images: int = 0,
    watch: Callable[[sampling.SampledImage], None] = lambda sampled: None,
) -> Optional[float]:
    """Computes the mean GED alone, for model selection.

    Args:
      model: draws.
      source: the split.
      dataset_info: of the data set.
      num_samples: per image.
      seed: of the samples.
      num_images: how many, spread over the split; 0 for all.
      watch: sees what is sampled of every image.

    Returns:
      The mean, or None where it is defined for no image.
    """
    indices = sampling.spread(len(source), num_images)
    results = []
    for sampled in sampling.sample(
        model, source, num_samples=num_samples, seed=seed, indices=indices
    ):
        watch(sampled)
        labels = source.labels[sampled.index]
        results.append(
            accumulators.label_distances(sampled.samples, labels, dataset_info).ged()
        )
    return metrics_scores.summarize(num_samples, results, None)["ged"]


def evaluate(
    model: sampler.Sampler,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    num_samples: int,
    seed: int,
    before: Optional[sampler.Sampler] = None,
    gallery_size: int = 6,
    progress: Optional[Callable] = None,
) -> Tuple[Dict[str, Any], List[sampling.SampledImage]]:
    """Evaluates a sampler on a split.

    Scoring runs in a second thread while the next images are being sampled.

    Args:
      model: the sampler.
      source: the split.
      dataset_info: of its data set.
      num_samples: S.
      seed: of the samples and of what the baselines draw.
      before: the sampler before stage 2, to be scored with the same noise.
      gallery_size: how many images, evenly spread, to return for figures; fewer where
        they are very large.
      progress: wraps the iteration over images, such as `tqdm.tqdm`.

    Returns:
      The metrics, and the gallery.
    """
    metrics = accumulators.SplitAccumulator(
        dataset_info, num_samples, seed, stratified=getattr(model, "stratified", False)
    )
    total = len(source)
    height, width = source.images.shape[1:3]
    num_held = sampling.MAX_VALUES // (3 * height * width * sampling.num_classes(model))
    gallery_size = min(gallery_size, max(1, num_held))
    chosen = set(np.linspace(0, total - 1, min(gallery_size, total)).astype(int))
    gallery: List[sampling.SampledImage] = []
    sampling_args = dict(num_samples=num_samples, seed=seed)
    stream = sampling.sample(model, source, **sampling_args)
    earlier = before and sampling.sample(before, source, **sampling_args)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending: List[concurrent.futures.Future] = []
        for sampled in progress(stream, total=total) if progress else stream:
            blackbox = None
            if source.blackbox is not None:
                blackbox = postprocess.hard_labels(source.blackbox[sampled.index])
            labels = source.labels[sampled.index]
            first = next(earlier).samples if earlier else None
            pending.append(pool.submit(metrics.add, sampled, labels, blackbox, first))
            if sampled.index in chosen:
                gallery.append(sampled)
            # A short queue, so that samples do not pile up in memory.
            if len(pending) > min(MAX_WAITING, num_held):
                pending.pop(0).result()
        for future in pending:
            future.result()
    return metrics.report(), gallery


def extremes(
    ged_per_image: Sequence[Optional[float]], num_cases: int = 3
) -> Dict[str, List[int]]:
    """Returns which images have the highest and the lowest GED, no image in both.

    Args:
      ged_per_image: of the first images of a split; None where undefined.
      num_cases: how many of each at most.

    Returns:
      `worst`, highest first, and `best`, lowest first.
    """
    defined = [i for i, value in enumerate(ged_per_image) if value is not None]
    ranked = sorted(defined, key=lambda i: (ged_per_image[i], i))
    num_cases = min(num_cases, len(ranked) // 2)
    return {"worst": ranked[::-1][:num_cases], "best": ranked[:num_cases]}


def summary_lines(
    metrics: Dict[str, Any], dataset_info: info.DatasetInfo
) -> Sequence[str]:
    """Returns the result in a few lines for people."""

    def shown(value: Optional[float]) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    lines = []
    for count, scores in metrics["by_num_samples"].items():
        line = f"GED{count} {shown(scores['ged'])}"
        line += f" (unbiased {shown(scores['ged_unbiased'])})"
        if "hm_iou" in scores:
            line += f", HM-IoU {shown(scores['hm_iou'])}"
        lines.append(line)
    lines[-1] += f" on {metrics['num_images']} images"
    if metrics["num_undefined_images"]:
        lines[-1] += f", {metrics['num_undefined_images']} of them undefined"
    for name, words in BASELINES.items():
        scores = metrics.get("baselines", {}).get(name)
        if scores is not None:
            count, values = list(scores["by_num_samples"].items())[0]
            line = f"for comparison, {words}: GED{count} {shown(values['ged'])}"
            if "hm_iou" in values:
                line += f", HM-IoU {shown(values['hm_iou'])}"
            lines.append(line)
    if "raters" in metrics:
        lines += _rater_lines(metrics["raters"])
    oracles = {
        name[len("ged_flip_oracle_") :]: value
        for name, value in metrics.items()
        if name.startswith("ged_flip_oracle_")
    }
    if oracles:
        over = ", ".join(
            f"{shown(value)} over {name}" for name, value in oracles.items()
        )
        lines.append(f"GED of the flip oracle: {over}")
    line = f"ECE of F {shown(metrics['ece'])}"
    if "g_mean" in metrics:
        line += f", of the mean of G {shown(metrics['g_mean']['ece'])}"
    lines.append(line)
    for net, table in metrics.get("calibration", {}).items():
        entries = ", ".join(
            f"{dataset_info.class_names[entry['flipped']]} {shown(entry['flip_probability'])}"
            f" (true {entry['true_probability']:.3f})"
            for entry in table["classes"]
        )
        worst, mean = table["worst_flip_offset"], table["mean_flip_offset"]
        lines.append(
            f"flip probabilities of {net}: {entries}; "
            f"offset mean {shown(mean)}, worst {shown(worst)}"
        )
    return lines


def _rater_lines(result: Dict[str, Any]) -> List[str]:
    names = {
        "leave_one_out": "the other raters against each",
        "readers_drawn": "the raters' own masks, drawn",
    }
    lines = [
        f"for comparison, {words}: GED{raters.NUM_SAMPLES} "
        f"{result['comparisons'][name]['ged']:.3f}, "
        f"HM-IoU {result['comparisons'][name]['hm_iou']:.3f}"
        for name, words in names.items()
    ]
    differences = result["mean_difference"]
    if "calibration_net_marked_pixels" in differences:
        lines.append(
            "mean absolute difference from the raters' mean where one marked a lesion:"
            f" F {differences['calibration_net_marked_pixels']:.3f}, "
            f"mean of G {differences['refinement_net_marked_pixels']:.3f}"
        )
        lines.append(
            f"mean of at most {raters.NUM_SAMPLES} samples against F: mean absolute "
            f"difference {differences['samples_marked_pixels']:.3f} where a rater "
            f"marked a lesion, {differences['samples_all_pixels']:.4f} over all pixels"
        )
    return lines
