"""How well a judge tells samples from labels, from the scores that it gives them.

A judge that was trained on other images gives each map one score, the higher the surer
it is of a label. Where samples are drawn from the labels' own distribution no judge is
better than chance: both measures are then 0.5, and 1 where the judge is always right.
"""

from typing import Optional

import numpy as np
from scipy import stats

import car_tf

car_tf.make_callable(__name__)


def auc(label_scores: np.ndarray, sample_scores: np.ndarray) -> Optional[float]:
    """Computes how often a judge scores a label above a sample: the AUC, 0.5 at best.

    Over all pairs of a label and a sample, of whichever images; ties count half.

    Args:
      label_scores: float of any shape, finite: a judge's scores of labels that it was
        not trained on, higher where it takes them for labels.
      sample_scores: likewise, of samples.

    Returns:
      In [0, 1]; None where either is empty.

    Raises:
      ValueError: a score is not finite.
    """
    labels, samples = np.ravel(label_scores), np.ravel(sample_scores)
    _require_finite(labels, samples)
    if not labels.size or not samples.size:
        return None
    ranks = stats.rankdata(np.concatenate([labels, samples]))[: labels.size]
    wins = ranks.sum() - labels.size * (labels.size + 1) / 2
    return float(wins / (labels.size * samples.size))


def paired_accuracy(
    label_scores: np.ndarray, sample_scores: np.ndarray
) -> Optional[float]:
    """Share of an image's pairs in which the label's score exceeds the sample's.

    Of finite scores `[I, A]` and `[I, S]` of A labels and S samples of each image. In
    [0, 1], mean over the images of the share among their A * S pairs, where ties count
    half; None without images.

    Raises:
      ValueError: other shapes, different numbers of images, or scores not finite.
    """
    labels, samples = np.asarray(label_scores), np.asarray(sample_scores)
    if labels.ndim != 2 or samples.ndim != 2 or len(labels) != len(samples):
        raise ValueError(
            "scores must have shapes [images, labels] and [images, samples], got "
            f"{labels.shape} and {samples.shape}"
        )
    _require_finite(labels, samples)
    if not labels.size or not samples.size:
        return None
    difference = labels[:, :, None] - samples[:, None, :]
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def _require_finite(*arrays: np.ndarray) -> None:
    for array in arrays:
        if not np.isfinite(array).all():
            raise ValueError("scores must be finite, found NaN or infinity")
