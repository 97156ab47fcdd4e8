"""Scores of a whole set of samples under the two evaluation protocols.

Both take samples and labels as arrays, or as anything with `shape` and `dtype` that
iterates over images, so that a set larger than the memory can be scored.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

import numpy as np

from car_tf.metrics import ged, hungarian

Progress = Callable[[Iterable[int]], Iterable[int]]


def score_class_flips(
    samples: np.ndarray,
    labels: np.ndarray,
    *,
    originals: Sequence[int],
    flipped: Sequence[int],
    probabilities: Sequence[float],
    num_classes: int,
    ignore_label: int = 255,
    sample_counts: Optional[Sequence[int]] = None,
    progress: Optional[Progress] = None,
) -> Dict[str, Any]:
    """Scores samples against labels whose classes flip with known probabilities.

    Args:
      samples: `[I, S, H, W]` integer class ids below `num_classes`.
      labels: `[I, H, W]` integer class ids before any flip, or `ignore_label`.
      originals: F ids in the labels that can flip.
      flipped: F ids that they flip to.
      probabilities: F probabilities of the flips.
      num_classes: K, ids of both kinds included.
      ignore_label: id of unlabelled pixels, which count nowhere.
      sample_counts: numbers of samples to score, the first ones of each image; by
        default all of them.
      progress: wraps the iteration over images, such as `tqdm.tqdm`.

    Returns:
      `ged`, `ged_unbiased`, `sample_diversity`, `label_diversity` as means over the
      images where they are defined, `ged_per_image`, `ged_unbiased_per_image`,
      `num_images`, `num_undefined_images` (no switchable class in the label) and
      `num_samples`; None for what is undefined, never NaN. They are those of the
      largest of `sample_counts`; where that is given, `by_num_samples` maps each
      count, as a string, to its own.

    Raises:
      ValueError: shapes, types or ids are not as above; names the image.
    """
    _check_arrays(samples, labels, label_axes="[images, H, W]", label_rank=3)

    def distances_of(image_samples, image_label):
        return ged.class_flips_distances(
            image_samples,
            image_label,
            originals=originals,
            flipped=flipped,
            probabilities=probabilities,
            num_classes=num_classes,
            ignore_label=ignore_label,
        )

    return _score(samples, labels, distances_of, False, sample_counts, progress)


def score_multi_rater(
    samples: np.ndarray,
    labels: np.ndarray,
    *,
    sample_counts: Optional[Sequence[int]] = None,
    progress: Optional[Progress] = None,
) -> Dict[str, Any]:
    """Scores sampled masks against those of several raters.

    Args:
      samples: `[I, S, H, W]` bool, or integers 0 and 1.
      labels: `[I, N, H, W]` likewise.
      sample_counts: numbers of samples to score, the first ones of each image; by
        default all of them.
      progress: wraps the iteration over images, such as `tqdm.tqdm`.

    Returns:
      As `score_class_flips`, and `hm_iou` and `hm_iou_per_image`. No image is
      undefined: two empty masks have IoU 1.

    Raises:
      ValueError: shapes, types or values are not as above; names the image.
    """
    _check_arrays(samples, labels, label_axes="[images, raters, H, W]", label_rank=4)
    return _score(
        samples, labels, ged.multi_rater_distances, True, sample_counts, progress
    )


def _score(
    samples: np.ndarray,
    labels: np.ndarray,
    distances_of: Callable[[np.ndarray, np.ndarray], ged.PairDistances],
    matched: bool,
    sample_counts: Optional[Sequence[int]],
    progress: Optional[Progress],
) -> Dict[str, Any]:
    """Scores image by image; `matched` adds the Hungarian-matched IoU."""
    num_images, available = samples.shape[:2]
    counts = _check_counts(sample_counts, available)
    results: Dict[int, List[ged.GedResult]] = {count: [] for count in counts}
    hm_ious: Dict[int, List[float]] = {count: [] for count in counts}
    images = range(num_images)
    pairs = zip(progress(images) if progress else images, samples, labels)
    for index, image_samples, image_labels in pairs:
        try:
            distances = distances_of(image_samples, image_labels)
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
        for count in counts:
            results[count].append(distances.ged(count))
            if matched:
                iou = 1.0 - distances.cross[:count]
                hm_ious[count].append(hungarian.hungarian_matched_iou(iou))
    by_count = {
        count: summarize(count, results[count], hm_ious[count] if matched else None)
        for count in counts
    }
    summary = dict(by_count[counts[-1]])
    if sample_counts is not None:
        summary["by_num_samples"] = {str(count): by_count[count] for count in counts}
    return summary


def summarize(
    num_samples: int,
    results: Sequence[ged.GedResult],
    hm_ious: Optional[Sequence[float]],
) -> Dict[str, Any]:
    """Means and per-image values with one number of samples, ready for JSON."""
    summary: Dict[str, Any] = {
        name: _mean([getattr(result, name) for result in results])
        for name in ("ged", "ged_unbiased", "sample_diversity", "label_diversity")
    }
    if hm_ious is not None:
        summary["hm_iou"] = _mean(hm_ious)
        summary["hm_iou_per_image"] = list(hm_ious)
    summary["ged_per_image"] = [result.ged for result in results]
    summary["ged_unbiased_per_image"] = [result.ged_unbiased for result in results]
    summary["num_images"] = len(results)
    summary["num_undefined_images"] = summary["ged_per_image"].count(None)
    summary["num_samples"] = num_samples
    return summary


def _mean(values: Sequence[Optional[float]]) -> Optional[float]:
    """Mean of what is not None; None if nothing is."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _check_arrays(
    samples: np.ndarray, labels: np.ndarray, *, label_axes: str, label_rank: int
) -> None:
    """Refuses sets of samples and labels that do not belong together."""
    for name, array, axes, rank in (
        ("samples", samples, "[images, samples, H, W]", 4),
        ("labels", labels, label_axes, label_rank),
    ):
        if len(array.shape) != rank:
            raise ValueError(f"{name} must have shape {axes}, got {tuple(array.shape)}")
        if 0 in array.shape:
            raise ValueError(
                f"{name} must not be empty, got shape {tuple(array.shape)}"
            )
        if array.dtype.kind not in "biu":
            raise ValueError(f"{name} must be integer or bool, got {array.dtype}")
    if samples.shape[0] != labels.shape[0]:
        raise ValueError(
            "samples and labels must hold the same images, got "
            f"{samples.shape[0]} and {labels.shape[0]}"
        )
    if samples.shape[-2:] != labels.shape[-2:]:
        raise ValueError(
            "samples and labels must have one size, got "
            f"{tuple(samples.shape[-2:])} and {tuple(labels.shape[-2:])}"
        )


def _check_counts(sample_counts: Optional[Sequence[int]], available: int) -> List[int]:
    """Sorted distinct numbers of samples, all within what is there."""
    if sample_counts is None:
        return [available]
    counts = sorted(set(int(count) for count in sample_counts))
    if not counts or counts[0] < 1 or counts[-1] > available:
        raise ValueError(
            f"sample counts must be in 1..{available}, the samples per image, "
            f"got {list(sample_counts)}"
        )
    return counts
