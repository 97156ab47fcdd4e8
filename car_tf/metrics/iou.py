"""Intersection over union: of many pairs of masks at once, and of classes."""

from __future__ import annotations

from typing import Iterator, Tuple

import numpy as np

# Ids compared at a time. Bounds the memory that a block's comparisons and masks take,
# and keeps its pixels below 2 ** 24, up to which float32 counts exactly. Smaller blocks
# measured slower: fewer, longer NumPy calls beat a warm cache here.
_BLOCK_IDS = 1 << 22


def pixel_runs(maps: np.ndarray) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Compresses maps to the runs of pixels that no map tells apart.

    Segmentations are piecewise constant, so most neighbouring pixels carry the same
    ids in every map; counting each run once, times its length, gives the same numbers
    several times faster.

    Args:
      maps: `[M, P]` uint8, M flattened maps of P pixels.

    Yields:
      columns `[M, R]` uint8, the ids of each run, and lengths `[R]` float32, its
      pixels; one pair per block, all together covering every pixel exactly once.
    """
    num_maps, num_pixels = maps.shape
    block_pixels = max(1, _BLOCK_IDS // num_maps)
    for start in range(0, num_pixels, block_pixels):
        block = maps[:, start : start + block_pixels]
        changes = np.logical_or.reduce(block[:, 1:] != block[:, :-1], axis=0)
        starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
        lengths = np.diff(starts, append=block.shape[1])
        # Indexing by an array would return a transposed layout, slow in what follows.
        yield np.take(block, starts, axis=1), lengths.astype(np.float32)


def joint_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every pair of masks within and across two sets, by one mask product.

    Args:
      a: `[S, H, W]` bool, or integers 0 and 1.
      b: `[N, H, W]` likewise.

    Returns:
      `[S + N, S + N]` float64 in [0, 1], the masks of `a` first; 1 where both masks
      are empty, 0 where exactly one is.

    Raises:
      ValueError: the masks differ in size, or hold other values than 0 and 1.
    """
    if np.shape(a)[1:] != np.shape(b)[1:]:
        raise ValueError(
            f"masks must have one size, got {np.shape(a)[1:]} and {np.shape(b)[1:]}"
        )
    masks = np.concatenate([_as_bits(a), _as_bits(b)]).reshape(len(a) + len(b), -1)
    intersection = np.zeros((len(masks), len(masks)))
    for columns, lengths in pixel_runs(masks):
        bits = columns.astype(np.float32)
        intersection += (bits * lengths) @ bits.T
    area = intersection.diagonal()
    union = area[:, None] + area[None, :] - intersection
    return np.divide(
        intersection, union, out=np.ones_like(intersection), where=union > 0
    )


def binary_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of every mask of one set with every mask of another.

    Args:
      a: `[S, H, W]` bool, or integers 0 and 1.
      b: `[N, H, W]` likewise.

    Returns:
      `[S, N]` float64 in [0, 1]; 1 where both masks are empty, 0 where exactly one is.

    Raises:
      ValueError: the masks differ in size, or hold other values than 0 and 1.
    """
    return joint_iou(a, b)[: len(a), len(a) :]


def _as_bits(masks: np.ndarray) -> np.ndarray:
    """Masks as uint8 of 0 and 1; refuses any other value."""
    masks = np.asarray(masks)
    if masks.dtype != bool and masks.size and (masks.min() < 0 or masks.max() > 1):
        wrong = masks[(masks < 0) | (masks > 1)].flat[0]
        raise ValueError(f"masks must hold 0 and 1 alone, found {wrong}")
    return masks.astype(np.uint8, copy=False)


def confusion_matrix(
    label: np.ndarray,
    prediction: np.ndarray,
    *,
    num_classes: int,
    ignore_label: int = 255,
) -> np.ndarray:
    """Counts pixels by true and predicted class; matrices of several images add up.

    Args:
      label: integer class ids of any shape; `ignore_label` counts nowhere.
      prediction: integer class ids in the shape of `label`; not read where the label
        is ignored.
      num_classes: K.
      ignore_label: id of unlabelled pixels.

    Returns:
      `[K, K]` int64, rows true, columns predicted.

    Raises:
      ValueError: the shapes differ, or an id that counts is not in 0..K-1.
    """
    label, prediction = np.asarray(label), np.asarray(prediction)
    if label.shape != prediction.shape:
        raise ValueError(
            f"prediction must have the label's shape {label.shape}, "
            f"got {prediction.shape}"
        )
    valid = label != ignore_label
    rows, columns = label[valid].astype(np.int64), prediction[valid].astype(np.int64)
    for name, ids in (("label", rows), ("prediction", columns)):
        if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
            wrong = ids[(ids < 0) | (ids >= num_classes)][0]
            raise ValueError(
                f"{name} must hold class ids 0..{num_classes - 1}, found {wrong}"
            )
    counts = np.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def per_class_iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class over all the pixels that a confusion matrix counts.

    Args:
      confusion: `[K, K]` counts, rows true, columns predicted.

    Returns:
      `[K]` float64 in [0, 1]; NaN for classes that occur in neither map.
    """
    confusion = np.asarray(confusion, np.float64)
    intersection = np.diagonal(confusion)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    return np.divide(
        intersection, union, out=np.full(len(union), np.nan), where=union > 0
    )


def mean_iou(confusion: np.ndarray) -> float:
    """Mean of the IoUs of the classes that occur in either map.

    Args:
      confusion: `[K, K]` counts, rows true, columns predicted.

    Returns:
      In [0, 1]; NaN if nothing was counted.
    """
    ious = per_class_iou(confusion)
    occurs = ~np.isnan(ious)
    return float(ious[occurs].mean()) if occurs.any() else float("nan")
