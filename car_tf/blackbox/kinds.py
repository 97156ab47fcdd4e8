"""What scores are, told from their values: probabilities, sigmoids, logits, or none."""

from typing import Any, Optional

import numpy as np
import tensorflow as tf

from car_tf.blackbox import base
from car_tf.data import io

# How far the probabilities of a pixel may be from summing to one: half precision adds
# up 19 terms to about 0.005, eight bits to 0.03.
_SUM_TOLERANCE = 0.05
# How far scores may leave [0, 1] by rounding.
_RANGE_TOLERANCE = 1e-3
# Share of zeros from which on they are rounded rather than the least of an image.
_FEW = 0.01
# What the largest of a pixel's sigmoid scores mostly is, at least.
_SURE = 0.7


def is_in_range(raw: Any) -> bool:
    """Tells whether all scores lie from 0 to 1."""
    scores = np.asarray(raw, np.float32)
    return bool(
        scores.min() >= -_RANGE_TOLERANCE and scores.max() <= 1 + _RANGE_TOLERANCE
    )


def kind_of(raw: Any) -> str:
    """Returns what an output holds: `labels`, `probabilities`, `sigmoid` or `logits`.

    Scores from 0 to 1 are hardly ever logits: where they do not sum to one they are
    taken for sigmoids, one for each class, if `doubt` finds nothing.
    """
    if tf.as_dtype(raw.dtype).is_integer:
        return base.LABELS
    if not is_in_range(raw):
        return base.LOGITS
    # Masked pixels are zero.
    sums = np.asarray(raw, np.float32).sum(-1)
    far = np.abs(sums[sums > 0] - 1)
    is_one = far.size > 0 and far.max() <= _SUM_TOLERANCE
    return base.PROBABILITIES if is_one else base.SIGMOID


def one_kind(path: str, found: str, known: str) -> str:
    """Returns the kind that scores are taken for where others are `known` to have one.

    One of logits may lie in [0, 1], but hardly sums to one there: a DataError.
    """
    if (known, found) == (base.LOGITS, base.PROBABILITIES):
        raise io.DataError(
            f"{path}: wanted {known}, as in other images, got what looks like {found}"
        )
    return known or found


def in_words(kind: str) -> str:
    """Returns what becomes of an output of a kind, for people."""
    words = {base.LOGITS: "logits (not all from 0 to 1), of which the softmax is taken"}
    sigmoid = "sigmoid scores (0 to 1, not one in sum), divided by their sum"
    return {**words, base.SIGMOID: sigmoid}.get(kind, kind)


def doubt(path: str, raw: Any, kind: str, *, is_first: bool) -> Optional[io.DataError]:
    """Returns why scores `[..., K]` are hardly of the kind they look like; else None.

    What may happen in one image counts in the first (`is_first`) alone.
    """
    scores, found = np.asarray(raw, np.float32), ""
    if kind == base.LOGITS and not is_in_range(scores):
        found = _unlike_logits(scores, is_first)
    elif kind == base.LOGITS and not is_first and not _unlike_sigmoids(scores):
        found = "that look like sigmoids, as in no other image"
    elif kind == base.SIGMOID and is_first:
        found = _unlike_sigmoids(scores)
    if not found:
        return None
    takes = "=logits takes them for logits"
    if kind == base.SIGMOID:
        takes = "=sigmoid takes them for sigmoid scores, =logits for logits"
    return io.DataError(
        f"{path}: wanted probabilities from 0 to 1, or logits, got scores {found} "
        f"(blackbox.output{takes})"
    )


def _unlike_logits(scores: np.ndarray, is_first: bool) -> str:
    """Says what of scores beyond [0, 1] logits do not do; they have signs.

    Percent, eight bits and the sum of several softmaxes have one sum at each pixel but
    masked ones, which 2 p - 1 has as well, and masks are of whole numbers.
    """
    sums, top = scores.sum(-1), float(scores.max())
    used = scores[np.ptp(scores, -1) > 0]
    if used.size and kind_of(used) == base.PROBABILITIES:
        return f"that are probabilities, but {scores.min():.3g} at some pixels: write 0"
    if top <= 0:
        for root in (2, 10):
            if np.abs((float(root) ** scores).sum(-1) - 1).max() <= _SUM_TOLERANCE:
                return f"that are logarithms of probabilities to the base of {root}"
    if scores.min() >= 0:
        low, high = sums.min(where=sums > 0, initial=sums.max()), sums.max()
        if high - low <= 2 * _SUM_TOLERANCE * high:
            total = f"{(low + high) / 2:.3g}"
            return f"of which {total} is the sum at each pixel: divide them by that"
        if (scores == np.round(scores)).all():
            return f"that are whole numbers up to {top:g}"
        return "of which none is below 0, but some are above 1" if is_first else ""
    if not np.abs(scores).max() <= 1 + _RANGE_TOLERANCE:
        return ""
    halves = (scores + 1) / 2
    if scores.shape[-1] == 2 and not scores[..., 0].any():  # One score, of class 1.
        halves[..., 0] = 1 - halves[..., 1]
        sums = np.zeros_like(sums)
    num_classes, is_sure = scores.shape[-1], np.median(halves.max(-1)) >= _SURE
    is_sum = np.abs(sums + num_classes - 2).max() <= 2 * _SUM_TOLERANCE
    if is_sum and (num_classes > 2 or (is_first and is_sure)):
        return "whose sums are those of 2 p - 1: give the probabilities p"
    if is_first and not _unlike_sigmoids(halves):
        return "that look like 2 p - 1 of sigmoid scores p: give p"
    return ""


def _unlike_sigmoids(scores: np.ndarray) -> str:
    """Says what of scores from 0 to 1 sigmoids do not do; most are near 0 or near 1."""
    some = scores[scores.max(-1) > 0]
    if not some.size:
        return "that are all 0"
    sums, most = some.sum(-1), some.max(-1)
    if most.min() >= 1 - 1e-6:
        return "of which the largest is 1 at each pixel"
    if some.max() == 1 and 0 < np.mean(some == 0) < _FEW:
        return "that are stretched from 0 to 1"
    share = np.mean((some > 0.5).sum(-1) == 1)
    if share < 0.5 or np.median(most) < _SURE or not 0.5 <= np.median(sums) <= 2:
        return (
            f"of which one is above 0.5 at {share:.0%} of the pixels, the largest is "
            f"{np.median(most):.2g} and the sum {np.median(sums):.3g} (medians)"
        )
    return ""
