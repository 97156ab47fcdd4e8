"""The metrics as functions of arrays, of one image or of many: `car_tf.metrics.ged`."""

from typing import Any, Dict, Optional

import numpy as np

from car_tf.metrics import calibration, iou, scores


def ged(
    samples: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int = 2,
    absent: str = iou.LEAVE_OUT,
    unbiased: bool = False,
) -> Optional[float]:
    """Computes the squared generalised energy distance, d = 1 - IoU (CAR, Eq. 19).

    Of two classes the IoU is that of class 1, of more the mean over all classes.

    Args:
      samples: `[S, H, W]` class ids, or `[I, S, H, W]` of I images.
      labels: `[N, H, W]` or `[I, N, H, W]` of N raters, without this axis of one; 255
        hides a pixel for its rater.
      num_classes: K.
      absent: a class that occurs in neither of two maps is left out of their mean,
        `leave_out`, or has IoU 1, `count_as_one`.
      unbiased: leaves out the pairs of a sample with itself; can be negative.

    Returns:
      The mean over images, 0 at best; None where undefined: unbiased of one sample, or
      where nobody labelled an image.

    Raises:
      ValueError: shapes, types or values are not as above; names the image.
    """
    found = _scored(samples, labels, num_classes, absent)
    return found["ged_unbiased" if unbiased else "ged"]


def hm_iou(
    samples: np.ndarray,
    labels: np.ndarray,
    *,
    num_classes: int = 2,
    absent: str = iou.LEAVE_OUT,
) -> Optional[float]:
    """Computes the mean IoU of samples and raters, matched one to one (CAR, A.3).

    Takes what `ged` takes, and raises what it raises. 1 is best.
    """
    return _scored(samples, labels, num_classes, absent)["hm_iou"]


def _scored(
    samples: np.ndarray, labels: np.ndarray, num_classes: int, absent: str
) -> Dict[str, Any]:
    samples, labels = np.asarray(samples), np.asarray(labels)
    if labels.ndim == samples.ndim - 1:
        labels = labels[..., None, :, :]
    if samples.ndim == labels.ndim == 3:
        samples, labels = samples[None], labels[None]
    return scores.score_multi_rater(
        samples, labels, num_classes=num_classes, absent=absent
    )


def ece(
    probs: np.ndarray,
    labels: np.ndarray,
    *,
    num_bins: int = 10,
    ignore_label: int = 255,
) -> Optional[float]:
    """Computes the expected calibration error of the most probable class (CAR, Fig. 6).

    Args:
      probs: `[..., H, W, K]` class probabilities.
      labels: `[..., H, W]` class ids, or `[..., N, H, W]` of N raters: a pixel is right
        in the share of those raters who labelled it.
      num_bins: bins of confidence.
      ignore_label: id of unlabelled pixels, which count nowhere.

    Returns:
      In [0, 1], 0 at best; None where no pixel is labelled.

    Raises:
      ValueError: shapes do not fit, labels of no class, or probabilities not in [0, 1]
        or of another sum than 1.
    """
    probs, labels = np.asarray(probs), np.asarray(labels)
    given = labels.shape
    if labels.ndim == probs.ndim - 1:
        labels = labels[..., None, :, :]
    one_label = labels.shape[:-3] + labels.shape[-2:]
    if labels.ndim != probs.ndim or probs.shape[:-1] != one_label:
        raise ValueError(
            "wanted probs [..., H, W, K] and labels [..., H, W] or [..., N, H, W], got "
            f"{probs.shape} and {given}"
        )
    valid = labels != ignore_label
    right = (labels == probs.argmax(-1)[..., None, :, :]) & valid
    num_valid = valid.sum(-3)
    counted = num_valid > 0
    strange = labels[valid & ((labels < 0) | (labels >= probs.shape[-1]))]
    if strange.size:
        raise ValueError(
            f"wanted labels 0 to {probs.shape[-1] - 1}, or {ignore_label}, got {strange[0]}"
        )
    sums = probs[counted].sum(-1)
    # Of halves and bytes.
    if sums.size and not np.abs(sums - 1).max() <= 0.05:
        found = f"{sums.min():g} to {sums.max():g}"
        raise ValueError(f"wanted probabilities in [0, 1] that sum to 1, got {found}")
    reliability = calibration.Reliability(num_bins)
    reliability.update(
        probs.max(-1)[counted], (right.sum(-3)[counted] / num_valid[counted])
    )
    return reliability.ece()
