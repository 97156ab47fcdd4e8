"""Overlaps and expectations behind the GED over the modes of a label with class flips.

The `2 ** F` modes of a label differ only in how F regions are named. One pass over the
samples counts what they share with each other and with those regions; everything about
the modes follows from these counts, and no mode is ever built.
"""

from typing import Tuple

import numpy as np

from car_tf.metrics import iou

IGNORED = iou.HIDDEN  # Marks the ignored pixels of a flattened uint8 label.


def class_overlaps(
    samples: np.ndarray, label: np.ndarray, originals: np.ndarray, flipped: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """Counts labelled pixels that sample pairs, and sample and label, share.

    Of samples `[S, P]` and a label `[P]`, uint8, 255 ignored in it, and `[F]` originals
    and flipped ids. Returns `[2F, S, S]`, pixels of a switchable class in both samples,
    the classes in the order of `originals`, then `flipped`; and `[2F, S]`, pixels of
    the class in the sample and of its original in the label.
    """
    num_samples, num_flips = len(samples), len(originals)
    overlap = np.zeros((2 * num_flips, num_samples, num_samples))
    joint = np.zeros((2 * num_flips, num_samples))
    for columns, lengths in iou.pixel_runs(np.concatenate([label[None], samples])):
        truth, drawn = columns[0], columns[1:]
        valid = truth != IGNORED
        for index, class_id in enumerate(np.concatenate([originals, flipped])):
            mask = drawn == class_id
            occurs = np.flatnonzero(np.logical_or.reduce(mask, axis=0) & valid)
            if not occurs.size:
                continue
            bits = np.take(mask, occurs, axis=1).astype(np.float32)
            own = truth[occurs] == originals[index % num_flips]
            weighted = np.empty((num_samples + 1, len(occurs)), np.float32)
            np.multiply(bits, lengths[occurs], out=weighted[:-1])
            np.multiply(own, lengths[occurs], out=weighted[-1])
            shared = bits @ weighted.T
            overlap[index] += shared[:, :-1]
            joint[index] += shared[:, -1]
    return overlap, joint


def mean_class_distance(overlap: np.ndarray) -> np.ndarray:
    """Returns 1 - mean IoU `[S, S]` over the classes in either sample; NaN for none.

    Of the pixels `[C, S, S]` of each class that both samples share.
    """
    area = overlap.diagonal(axis1=1, axis2=2)[..., None]
    area = np.broadcast_to(area, overlap.shape)
    return 1.0 - iou.mean_over_classes(overlap, area, absent=iou.LEAVE_OUT)


def expected_cross_distance(
    areas: np.ndarray,
    joint: np.ndarray,
    label_areas: np.ndarray,
    probabilities: np.ndarray,
) -> np.ndarray:
    """E over the modes of 1 - mean IoU between each sample and the mode.

    Convolves, flip by flip, the distribution over the number of classes that occur,
    with the expected sum of their IoUs on each outcome.

    Args:
      areas: `[2F, S]` pixels of each switchable class in each sample.
      joint: `[2F, S]` those of them where the label holds the class's original.
      label_areas: `[F]` pixels of the originals in the label, not all 0.
      probabilities: `[F]` of the flips.

    Returns:
      `[S]`. Always defined, because one class of the label occurs in every mode.
    """
    num_flips, num_samples = len(probabilities), areas.shape[1]
    mass = np.zeros((num_samples, 2 * num_flips + 1))
    mass[:, 0] = 1.0
    iou_sum = np.zeros_like(mass)
    for flip, hit_probability in enumerate(probabilities):
        next_mass, next_sum = np.zeros_like(mass), np.zeros_like(mass)
        for named, other, probability in (
            (flip, flip + num_flips, 1.0 - hit_probability),
            (flip + num_flips, flip, hit_probability),
        ):
            # The label's region carries the name `named`, so `other` has IoU 0.
            union = areas[named] + label_areas[flip] - joint[named]
            value = np.divide(joint[named], union, where=union > 0, out=0.0 * union)
            steps = (union > 0).astype(int) + (areas[other] > 0)
            moved = _shift(mass, steps)
            next_mass += probability * moved
            next_sum += probability * (_shift(iou_sum, steps) + value[:, None] * moved)
        mass, iou_sum = next_mass, next_sum
    return 1.0 - (iou_sum[:, 1:] / np.arange(1, 2 * num_flips + 1)).sum(axis=1)


def _shift(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Moves each row of `values` `[S, C]` right by its `steps` `[S]`, zeros enter."""
    source = np.arange(values.shape[1]) - steps[:, None]
    moved = np.take_along_axis(values, np.maximum(source, 0), axis=1)
    return np.where(source >= 0, moved, 0.0)


def mode_distance(probabilities: np.ndarray) -> float:
    """Returns E d(y, y') between two independent modes, all n given classes present.

    Of the probabilities `[n]` of their flips. Modes that differ in k flips share n - k
    of their n + k classes, each with IoU 1, so d = 2k / (n + k); a flip differs with
    probability 2p(1 - p).
    """
    num_present = len(probabilities)
    mass = np.ones(1)  # [k], probability of k differing flips
    for differs in 2 * probabilities * (1 - probabilities):
        mass = np.convolve(mass, [1 - differs, differs])
    k = np.arange(num_present + 1)
    return float(mass @ (2 * k / (num_present + k)))
