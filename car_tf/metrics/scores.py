"""Scores of a whole set of samples under the two evaluation protocols.

Both take samples and labels as arrays, or as anything with `shape` and `dtype` that
iterates over images, so that a set larger than the memory can be scored.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set

import numpy as np

from car_tf.metrics import bootstrap, ged, iou

SCORES = ("ged", "ged_unbiased", "sample_diversity", "hm_iou")
TERMS = ("ged", "ged_unbiased", "sample_diversity", "label_diversity")
MATCHED = ("ged", "hm_iou")  # Scores that have intervals; the second needs raters.
Progress = Callable[[Iterable[int]], Iterable[int]]


def score_class_flips(
    samples: np.ndarray,
    labels: np.ndarray,
    *,
    sample_counts: Optional[Sequence[int]] = None,
    progress: Optional[Progress] = None,
    **flips: Any,
) -> Dict[str, Any]:
    """Scores samples against labels whose classes flip with known probabilities.

    Args:
      samples: `[I, S, H, W]` integer class ids below `num_classes`.
      labels: `[I, H, W]` integer class ids before any flip, or `ignore_label`.
      sample_counts: numbers of samples to score, the first ones of each image; by
        default all of them.
      **flips: `originals`, `flipped`, `probabilities`, `num_classes` and
        `ignore_label` of `ged.class_flips_distances`.

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
    distances_of = functools.partial(ged.class_flips_distances, **flips)
    return _score(samples, labels, distances_of, False, sample_counts, progress)


def score_multi_rater(
    samples: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int = 0,
    absent: str = iou.LEAVE_OUT,
    sample_counts: Optional[Sequence[int]] = None,
    progress: Optional[Progress] = None,
) -> Dict[str, Any]:
    """Scores sampled maps against those of several raters.

    Args:
      samples: `[I, S, H, W]` integer class ids below K, or bool; of two classes also
        masks of 0 and 255.
      labels: `[I, N, H, W]` likewise, or 255, which hides a pixel for its rater alone;
        all of a map where that rater did not label the image. Where all labels are 0 or
        255, they are masks, and 255 is class 1.
      num_classes: K; 0 for one more than the highest id of the labels, at least 2.

    Returns:
      As `score_class_flips`, and `hm_iou`, `hm_iou_per_image` and `distance`, which
      says what the numbers are of, and how values were read. An image is undefined
      where no rater labelled it.

    Raises:
      ValueError: shapes, types or values are not as above; names the image.
    """
    _check_arrays(samples, labels, label_axes="[images, raters, H, W]", label_rank=4)

    ids = _ids(labels)
    are_masks = ids <= {0, iou.HIDDEN} and iou.HIDDEN in ids and num_classes in (0, 2)
    if ids == {iou.HIDDEN} and are_masks:
        raise ValueError(
            "labels hold 255 alone, which hides pixels and is class 1 of masks: wanted "
            "another value, too"
        )
    told = "" if num_classes else ", as the labels tell"
    num_classes = num_classes or _num_classes(ids)

    def distances_of(image_samples, image_labels):
        if num_classes == 2 and _ids([image_samples]) == {0, iou.HIDDEN}:
            image_samples = image_samples == iou.HIDDEN
        return ged.multi_rater_distances(
            image_samples,
            image_labels == iou.HIDDEN if are_masks else image_labels,
            num_classes=num_classes,
            absent=absent,
        )

    try:
        summary = _score(samples, labels, distances_of, True, sample_counts, progress)
    except ValueError as error:
        raise ValueError(f"{error} (num_classes={num_classes}{told})") from error
    read_as = "masks of 0 and 255" if are_masks else "class ids, 255 is unknown"
    distance = describe_distance(num_classes, absent)
    return {**summary, "distance": {**distance, "labels": read_as}}


def _num_classes(ids: Set[int]) -> int:
    """Returns one more than the highest id, at least 2; few of so many are refused."""
    classes = sorted(ids - {iou.HIDDEN})
    num = max(2, 1 + max(classes, default=0))
    if classes and 2 * len(classes) < num > 2:
        raise ValueError(
            f"labels hold {len(classes)} values up to {classes[-1]}: class ids, or masks "
            "of another number than 1 or 255? Write class ids, and say num_classes"
        )
    return num


def _ids(arrays: Iterable[np.ndarray]) -> Set[int]:
    """Returns the values that occur in arrays of integers or bool."""
    found: Set[int] = set()
    for one in arrays:
        one = np.asarray(one)
        if one.dtype == np.uint8:  # Faster than to sort.
            found.update(np.flatnonzero(np.bincount(one.ravel(), minlength=1)).tolist())
        else:
            found.update(np.unique(one).astype(int).tolist())
    return found


def describe_distance(num_classes: int, absent: str) -> Dict[str, Any]:
    """Says what the distance between two maps of several raters is, ready for JSON."""
    classes, absent = ged.counted_classes(num_classes, absent)
    return {"is": "1 - mean IoU", "classes": list(classes), "absent": absent}


class SampleScores:
    """GED, and HM-IoU where there are raters, at several numbers of samples.

    Args:
      counts: the numbers of samples, ascending; an image's first ones are scored.
      matched: whether labels are of raters, who can be matched.
      independent: whether samples are of each other; else there is no unbiased GED.
    """

    COUNTED = ("_values",)  # See `merging`.

    def __init__(
        self, counts: Sequence[int], *, matched: bool, independent: bool = True
    ):
        self._counts = tuple(counts)
        self._matched, self._independent = matched, independent
        names = (*TERMS, "hm_iou") if matched else TERMS
        # Number of samples -> score -> its values, one per image.
        self._values: Dict[str, Dict[str, List[Optional[float]]]] = {
            str(count): {name: [] for name in names} for count in counts
        }

    def add(self, distances: ged.PairDistances, counts: Sequence[int] = ()) -> None:
        """Adds an image's distances, for some numbers of samples or all."""
        for count in counts or self._counts:
            values, result = self._values[str(count)], distances.ged(count)
            for name in TERMS:
                is_defined = self._independent or name != "ged_unbiased"
                values[name].append(getattr(result, name) if is_defined else None)
            if self._matched:
                values["hm_iou"].append(distances.matched_iou(count))

    def summaries(self) -> Dict[int, Dict[str, Any]]:
        """Returns number of samples -> means and values per image, ready for JSON."""
        return {count: self._summary(count) for count in self._counts}

    def _summary(self, count: int) -> Dict[str, Any]:
        values = self._values[str(count)]
        summary: Dict[str, Any] = {name: _mean(one) for name, one in values.items()}
        for name in ("hm_iou", "ged", "ged_unbiased"):
            if name in values:
                summary[f"{name}_per_image"] = list(values[name])
        summary["num_images"] = len(values["ged"])
        summary["num_undefined_images"] = summary["ged_per_image"].count(None)
        summary["num_samples"] = count
        return summary

    def to_dict(self, resampled: bootstrap.GroupBootstrap) -> Dict[str, Any]:
        """Returns the means with all samples, their number, and all `by_num_samples`.

        `ged_interval` and `hm_iou_interval` are None with fewer than two groups.
        """
        by_count = {}
        for count, summary in self.summaries().items():
            scores = {name: summary[name] for name in SCORES if name in summary}
            for name in MATCHED if self._matched else MATCHED[:1]:
                values = summary[f"{name}_per_image"]
                scores[f"{name}_interval"] = resampled.interval(values)
            by_count[str(count)] = scores
        num_samples, scores = list(by_count.items())[-1]
        return {**scores, "num_samples": int(num_samples), "by_num_samples": by_count}

    def differences(
        self, others: SampleScores, resampled: bootstrap.GroupBootstrap
    ) -> Dict[str, Any]:
        """Returns number of samples -> score -> paired difference from another's."""
        mine, theirs = self.summaries(), others.summaries()
        return {
            str(count): {
                name: resampled.difference(
                    mine[count][f"{name}_per_image"], theirs[count][f"{name}_per_image"]
                )
                for name in (MATCHED if self._matched else MATCHED[:1])
            }
            for count in mine
            if count in theirs
        }


def _score(
    samples, labels, distances_of, matched, sample_counts, progress
) -> Dict[str, Any]:
    """Scores image by image; `matched` adds the Hungarian-matched IoU."""
    num_images, available = samples.shape[:2]
    counts = [available]
    if sample_counts is not None:
        counts = sorted(set(int(count) for count in sample_counts))
        if not counts or counts[0] < 1 or counts[-1] > available:
            raise ValueError(
                f"sample counts must be in 1..{available}, the samples per image, "
                f"got {list(sample_counts)}"
            )
    scores = SampleScores(counts, matched=matched)
    images = range(num_images)
    pairs = zip(progress(images) if progress else images, samples, labels)
    for index, image_samples, image_labels in pairs:
        try:
            scores.add(distances_of(image_samples, image_labels))
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
    by_count = scores.summaries()
    summary = dict(by_count[counts[-1]])
    if sample_counts is not None:
        summary["by_num_samples"] = {str(count): by_count[count] for count in counts}
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
            shape = tuple(array.shape)
            raise ValueError(f"{name} must not be empty, got shape {shape}")
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
