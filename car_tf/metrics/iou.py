"""Intersection over union: of many pairs of masks at once, and of classes."""

from typing import Iterator, Sequence, Tuple

import numpy as np

# Marks a pixel that a map does not know.
HIDDEN = 255
# What a class is worth that occurs in neither of two maps.
LEAVE_OUT, COUNT_AS_ONE = "leave_out", "count_as_one"
ABSENT = (LEAVE_OUT, COUNT_AS_ONE)
# Ids compared at a time. Bounds the memory that a block's comparisons and masks take,
# and keeps its pixels below 2 ** 24, up to which float32 counts exactly. Smaller blocks
# measured slower: fewer, longer NumPy calls beat a warm cache here.
_BLOCK_IDS = 1 << 22


def pixel_runs(maps: np.ndarray) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Compresses maps `[M, P]` uint8 to the runs of pixels that no map tells apart.

    Segmentations are piecewise constant, so most neighbouring pixels carry the same ids
    in every map; counting each run once, times its length, gives the same numbers
    several times faster. Yields the ids of each run, `[M, R]` uint8, and its pixels,
    `[R]` float32; one pair per block, all together covering every pixel exactly once.
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


def class_overlaps(
    maps: np.ndarray, classes: Sequence[int]
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts what every pair of maps shares, over the pixels that both of them know.

    Of class ids `[M, P]` uint8, of which 255 hides a pixel of one map. Returns `[C, M,
    M]` float64, pixels of the class in both maps; `[C, M, M]`, those of the first map
    that the second knows; `[M, M]`, pixels that both know.
    """
    shape = (len(classes), len(maps), len(maps))
    overlap, area, known = np.zeros(shape), np.zeros(shape), np.zeros(shape[1:])
    hides = bool((maps == HIDDEN).any())
    for columns, lengths in pixel_runs(maps):
        if hides:
            knows = (columns != HIDDEN).astype(np.float32)
            known += (knows * lengths) @ knows.T
        else:
            known += lengths.sum()
        for index, class_id in enumerate(classes):
            bits = columns == class_id
            occurs = np.flatnonzero(np.logical_or.reduce(bits, axis=0))
            if not occurs.size:
                continue
            bits = np.take(bits, occurs, axis=1).astype(np.float32)
            weighted = bits * lengths[occurs]
            overlap[index] += weighted @ bits.T
            if hides:
                area[index] += weighted @ np.take(knows, occurs, axis=1).T
    if not hides:
        area += overlap.diagonal(axis1=1, axis2=2)[..., None]
    return overlap, area, known


def mean_over_classes(
    overlap: np.ndarray, area: np.ndarray, *, absent: str
) -> np.ndarray:
    """Mean IoU over classes of pairs of maps, from `class_overlaps`.

    Of the pixels `[C, M, M]` of each class in both maps, and of those in the first. A
    class that occurs in neither is left out of the mean, or counts as IoU 1: `absent`,
    of `ABSENT` or a ValueError. Returns `[M, M]` float64 in [0, 1]; NaN where every
    class was left out.
    """
    if absent not in ABSENT:
        raise ValueError(f"absent must be one of {', '.join(ABSENT)}, got {absent!r}")
    union = area + area.swapaxes(1, 2) - overlap
    occurs = union > 0
    ious = np.full_like(overlap, float(absent == COUNT_AS_ONE))
    np.divide(overlap, union, out=ious, where=occurs)
    count = np.count_nonzero(occurs, axis=0).astype(np.float64)
    if absent == COUNT_AS_ONE:
        count[:] = len(overlap)
    return np.divide(
        ious.sum(0), count, out=np.full(count.shape, np.nan), where=count > 0
    )


def pairwise_iou(
    maps: np.ndarray, *, classes: Sequence[int], absent: str
) -> np.ndarray:
    """Mean IoU over classes of every pair of maps, over the pixels that both know.

    Of class ids `[M, P]` uint8, of which 255 hides a pixel of one map. Returns `[M, M]`
    float64 in [0, 1]; NaN where two maps know no pixel in common, or where every class
    was left out.
    """
    overlap, area, known = class_overlaps(maps, classes)
    return np.where(known > 0, mean_over_classes(overlap, area, absent=absent), np.nan)


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
    """Returns the IoU `[K]` of each class; NaN for classes that occur in neither map.

    Of counts `[K, K]`, rows true, columns predicted.
    """
    confusion = np.asarray(confusion, np.float64)
    intersection = np.diagonal(confusion)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    return np.divide(
        intersection, union, out=np.full(len(union), np.nan), where=union > 0
    )
