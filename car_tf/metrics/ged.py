"""Generalised energy distance between sampled and true label maps (CAR, Eq. 19).

`GED^2 = 2 E d(s, y) - E d(s, s') - E d(y, y')` over all pairs, with d = 1 - IoU. The
distances of the pairs and their reduction are apart, so that the GED of the first 16,
50 and 100 samples comes from one set of distances.
"""

import dataclasses
from typing import Optional, Sequence, Tuple

import numpy as np

import car_tf
from car_tf.metrics import class_flip_modes, hungarian, iou

car_tf.make_callable(__name__)


@dataclasses.dataclass(frozen=True)
class GedResult:
    """The squared GED of one image and its terms; None where undefined."""

    # GED^2 with every expectation over all pairs, a sample with itself included.
    ged: Optional[float]
    # The same without the pairs of a sample with itself; can be negative. Undefined
    # with one sample.
    ged_unbiased: Optional[float]
    sample_diversity: Optional[float]  # E d(s, s')
    label_diversity: Optional[float]  # E d(y, y')
    cross_distance: Optional[float]  # E d(s, y)


@dataclasses.dataclass(frozen=True)
class PairDistances:
    """Distances d = 1 - IoU of all pairs of one image; NaN where undefined."""

    # `[S, N]`, sample to label, or `[S, 1]`, the expectation over the labels.
    cross: np.ndarray
    within_samples: np.ndarray  # `[S, S]`
    # `[N, N]`, or `[1, 1]`, the expectation over pairs of labels.
    within_labels: np.ndarray
    label_weights: np.ndarray  # `[N]` or `[1]`, probability of each label

    def ged(self, num_samples: Optional[int] = None) -> GedResult:
        """GED of the first `num_samples` samples, or of all of them."""
        return energy_distance(
            cross=self.cross[:num_samples],
            within_samples=self.within_samples[:num_samples, :num_samples],
            within_labels=self.within_labels,
            label_weights=self.label_weights,
        )

    def matched_iou(self, num_samples: Optional[int] = None) -> Optional[float]:
        """Hungarian-matched IoU of the first samples; None without a rater."""
        if not self.cross.size:
            return None
        return hungarian.hungarian_matched_iou(1 - self.cross[:num_samples])


def energy_distance(
    *,
    cross: np.ndarray,
    within_samples: np.ndarray,
    within_labels: np.ndarray,
    label_weights: np.ndarray,
) -> GedResult:
    """Reduces the distances of all pairs to the squared GED (CAR, Eq. 19).

    A NaN marks a pair that is undefined; it leaves its expectation, and the weights of
    the other pairs are renormalised. Samples weigh the same.

    Args:
      cross: `[S, N]` float, d(s, y).
      within_samples: `[S, S]` float, d(s, s').
      within_labels: `[N, N]` float, d(y, y').
      label_weights: `[N]` float, probabilities of the labels.

    Returns:
      The GED and its terms. All are None if no pair of labels or no pair of sample and
      label is defined. If no pair of samples is, they do not differ in anything that
      counts, and E d(s, s') is 0.
    """
    cross, within_samples, within_labels, label_weights = (
        np.asarray(values, np.float64)
        for values in (cross, within_samples, within_labels, label_weights)
    )
    num_samples, num_labels = cross.shape
    wanted = (num_samples, num_samples), (num_labels, num_labels), (num_labels,)
    got = within_samples.shape, within_labels.shape, label_weights.shape
    if got != wanted:
        raise ValueError(
            "within_samples, within_labels and label_weights must have shapes "
            f"{wanted}, got {got}"
        )
    pair_weights = label_weights[:, None] * label_weights
    label_diversity = _expectation(within_labels, pair_weights)
    cross_distance = _expectation(cross, np.broadcast_to(label_weights, cross.shape))
    if label_diversity is None or cross_distance is None:
        return GedResult(None, None, None, None, None)
    everything = np.ones_like(within_samples)
    sample_diversity = _expectation(within_samples, everything) or 0.0
    unbiased = None
    if num_samples > 1:
        distinct = _expectation(within_samples, everything - np.eye(num_samples)) or 0.0
        unbiased = 2 * cross_distance - distinct - label_diversity
    return GedResult(
        ged=2 * cross_distance - sample_diversity - label_diversity,
        ged_unbiased=unbiased,
        sample_diversity=sample_diversity,
        label_diversity=label_diversity,
        cross_distance=cross_distance,
    )


def _expectation(values: np.ndarray, weights: np.ndarray) -> Optional[float]:
    """Weighted mean of the values that are not NaN; None if their weights are 0."""
    weights = np.where(np.isnan(values), 0.0, weights)
    total = weights.sum()
    if total == 0:
        return None
    return float((np.nan_to_num(values) * weights).sum() / total)


def multi_rater_distances(
    samples: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int = 2,
    absent: str = iou.LEAVE_OUT,
) -> PairDistances:
    """Distances of all pairs of maps, between samples and several raters.

    Of two classes, d is 1 - IoU of class 1: two empty masks are at distance 0, an empty
    and another one at 1. Of more, d is 1 - mean IoU over all classes; what a class is
    worth that occurs in neither map, `absent` says.

    255 in a rater's map hides the pixel for that rater alone: a sample is compared with
    a rater over what that rater knows, two samples over what any rater knows, and two
    raters over what both know. A rater whose map is all 255 did not label the image and
    is left out; the others weigh the same.

    Args:
      samples: `[S, H, W]` integer class ids below K, or bool.
      labels: `[N, H, W]` likewise, or 255, one map per rater.
      absent: `leave_out` or `count_as_one`, see `iou.mean_over_classes`; says nothing
        of two classes.

    Returns:
      The distances, with the raters that labelled the image, in their order: all NaN
      or empty where none did, NaN for two raters without a pixel in common.

    Raises:
      ValueError: shapes or ids are not as above.
    """
    if np.ndim(labels) != 3:
        raise ValueError(f"labels must be [raters, H, W], got {np.shape(labels)}")
    samples, labels = _check_maps(samples, labels, num_classes, iou.HIDDEN)
    labels = labels[(labels != iou.HIDDEN).any(axis=1)]
    # What no rater knows counts for no pair.
    unknown = (labels == iou.HIDDEN).all(axis=0)
    if unknown.any():
        samples = np.where(unknown, np.uint8(iou.HIDDEN), samples)
    classes, absent = counted_classes(num_classes, absent)
    maps = np.concatenate([samples, labels])
    distances = 1.0 - iou.pairwise_iou(maps, classes=classes, absent=absent)
    first = len(samples)
    return PairDistances(
        cross=distances[:first, first:],
        within_samples=distances[:first, :first],
        within_labels=distances[first:, first:],
        label_weights=np.ones(len(labels)) / max(len(labels), 1),
    )


def counted_classes(num_classes: int, absent: str) -> Tuple[Sequence[int], str]:
    """Returns the classes over which raters' distances are a mean, and `absent`.

    Of two classes, the marked one counts alone, and two empty masks are equal (CAR,
    A.3), whatever `absent` says.
    """
    if num_classes == 2:
        return (1,), iou.COUNT_AS_ONE
    return range(num_classes), absent


def class_flips_distances(
    samples: np.ndarray,
    label: np.ndarray,
    *,
    originals: Sequence[int],
    flipped: Sequence[int],
    probabilities: Sequence[float],
    num_classes: int,
    ignore_label: int = 255,
) -> PairDistances:
    """Distances between samples and the `2 ** F` modes of a label whose classes flip.

    Each class `originals[f]` of the label is named `flipped[f]` instead, whole and
    independently, with `probabilities[f]`. d is 1 - mean IoU over those of the 2F
    switchable classes that occur in either map; a pair in which none occurs is
    undefined. No mode is built: see `class_flip_modes`.

    Args:
      samples: `[S, H, W]` integer class ids below `num_classes`.
      label: `[H, W]` integer class ids as annotated, before any flip.
      originals: F ids in the label that can flip.
      flipped: F ids that they flip to, which the label must not hold.
      probabilities: F, of the flips.
      num_classes: K, ids of both kinds included.
      ignore_label: id of unlabelled pixels, which count nowhere.

    Returns:
      `cross` `[S, 1]` and `within_labels` `[1, 1]` as expectations over the modes,
      `within_samples` `[S, S]`. All NaN if the label holds none of the originals: such
      an image has no E d(y, y') and is undefined.

    Raises:
      ValueError: shapes, types or ids are not as above.
    """
    originals, flipped = np.asarray(originals, int), np.asarray(flipped, int)
    probabilities = np.asarray(probabilities, np.float64)
    _check_flips(originals, flipped, probabilities, num_classes)
    samples, label = _check_maps(samples, label, num_classes, ignore_label)
    pixels = np.bincount(label, minlength=256)
    if pixels[flipped].any():
        words = "the label must hold classes before any flip, found the flipped id"
        raise ValueError(f"{words} {flipped[pixels[flipped] > 0][0]}")
    present, num_samples = pixels[originals] > 0, len(samples)
    cross, between = np.full(num_samples, np.nan), np.nan
    within = np.full((num_samples, num_samples), np.nan)
    if present.any():
        flips = originals, flipped
        overlap, joint = class_flip_modes.class_overlaps(samples, label, *flips)
        cross = class_flip_modes.expected_cross_distance(
            overlap.diagonal(axis1=1, axis2=2), joint, pixels[originals], probabilities
        )
        within = class_flip_modes.mean_class_distance(overlap)
        between = class_flip_modes.mode_distance(probabilities[present])
    return PairDistances(
        cross=cross[:, None],
        within_samples=within,
        within_labels=np.full((1, 1), between),
        label_weights=np.ones(1),
    )


def _check_flips(
    originals: np.ndarray, flipped: np.ndarray, probabilities: np.ndarray, num_classes
) -> None:
    """Refuses flips whose ids or probabilities are not what they must be."""
    if not 0 < num_classes <= class_flip_modes.IGNORED:
        raise ValueError(
            f"num_classes must be in 1..{class_flip_modes.IGNORED}, got {num_classes}"
        )
    if not originals.shape == flipped.shape == probabilities.shape == (len(flipped),):
        raise ValueError(
            "originals, flipped and probabilities must be equally long lists, got "
            f"shapes {originals.shape}, {flipped.shape} and {probabilities.shape}"
        )
    ids = np.concatenate([originals, flipped])
    if len(np.unique(ids)) != len(ids):
        raise ValueError(f"ids of flips must all differ, got {ids.tolist()}")
    if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
        raise ValueError(
            f"ids of flips must be in 0..{num_classes - 1}, got {ids.tolist()}"
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            f"probabilities must be in [0, 1], got {probabilities.tolist()}"
        )


def _check_maps(
    samples: np.ndarray, labels: np.ndarray, num_classes: int, ignore_label: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Flattens to `[S, P]` and `[..., P]` uint8, ignored pixels of labels 255."""
    samples, labels = np.asarray(samples), np.asarray(labels)
    if samples.ndim != 3 or samples.shape[1:] != labels.shape[-2:] or not samples.size:
        raise ValueError(
            "samples [S, H, W] and labels must be of one size, "
            f"got {samples.shape} and {labels.shape}"
        )
    if samples.min() < 0 or samples.max() >= num_classes:
        wrong = samples[(samples < 0) | (samples >= num_classes)][0]
        raise ValueError(
            f"samples must hold class ids 0..{num_classes - 1}, found {wrong}"
        )
    ignored = labels == ignore_label
    outside = ~ignored & ((labels < 0) | (labels >= num_classes))
    if outside.any():
        raise ValueError(
            f"labels must hold class ids 0..{num_classes - 1} or the ignored "
            f"{ignore_label}, found {labels[outside][0]}"
        )
    if ignore_label != iou.HIDDEN:
        labels = np.where(ignored, iou.HIDDEN, labels)
    return (
        samples.reshape(len(samples), -1).astype(np.uint8, copy=False),
        labels.reshape(*labels.shape[:-2], -1).astype(np.uint8, copy=False),
    )
