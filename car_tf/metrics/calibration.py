"""Calibration: entropy, reliability and flip probabilities, accumulated over images."""

import math
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from scipy import special


def entropy_bits(probs: np.ndarray) -> np.ndarray:
    """Returns the entropy `[...]` of `[..., K]` probabilities in bits; 0 adds none."""
    return special.entr(probs).sum(axis=-1) / math.log(2)


class Reliability:
    """Accuracy per bin of top-1 confidence, and their gap (CAR, Fig. 6).

    Bin b of B holds the confidences in `(b / B, (b + 1) / B]`, as in Guo et al.
    """

    COUNTED = ("_count", "_confidence", "_correct")  # See `merging`.

    def __init__(self, num_bins: int = 10):
        self._count = np.zeros(num_bins)
        self._confidence = np.zeros(num_bins)
        self._correct = np.zeros(num_bins)

    def update(self, confidence: np.ndarray, correct: np.ndarray) -> None:
        """Adds pixels.

        Args:
          confidence: float of any shape, probability of the predicted class, [0, 1];
            labelled pixels alone, so index by the valid mask first.
          correct: bool in the same shape, or the probability of being right, [0, 1],
            where the label is a distribution.

        Raises:
          ValueError: the shapes differ, or a value is not in [0, 1].
        """
        confidence, correct = np.asarray(confidence), np.asarray(correct)
        if confidence.shape != correct.shape:
            raise ValueError(
                "confidence and correct must have one shape, got "
                f"{confidence.shape} and {correct.shape}"
            )
        if not confidence.size:
            return
        for name, values in (("confidence", confidence), ("correct", correct)):
            # Written so that NaN fails too.
            if not (values.min() >= 0 and values.max() <= 1):
                raise ValueError(
                    f"{name} must be in [0, 1], found {values.min()} to {values.max()}"
                )
        num_bins = len(self._count)
        # In double precision, where a bin's edge is as near to its decimal as can be.
        confidence = confidence.ravel().astype(np.float64)
        index = np.maximum(np.ceil(confidence * num_bins) - 1, 0).astype(np.intp)
        self._count += np.bincount(index, minlength=num_bins)
        self._confidence += np.bincount(index, confidence, num_bins)
        self._correct += np.bincount(index, correct.ravel(), num_bins)

    def ece(self) -> Optional[float]:
        """Returns the expected calibration error: mean gap of confidence and accuracy.

        In [0, 1], bins weighted by their pixels; None before any pixel.
        """
        total = self._count.sum()
        return _ratio(np.abs(self._correct - self._confidence).sum(), total)

    def means(self) -> Dict[str, Optional[float]]:
        """Mean confidence and share of what is right; None before any pixel."""
        total = self._count.sum()
        return {
            "mean_probability": _ratio(self._confidence.sum(), total),
            "share_of_labels": _ratio(self._correct.sum(), total),
        }

    def bins(self) -> List[Dict[str, Any]]:
        """Edges, pixels, mean confidence and accuracy of each bin; None if empty."""
        num_bins = len(self._count)
        return [
            {
                "lower": index / num_bins,
                "upper": (index + 1) / num_bins,
                "num_pixels": int(count),
                "confidence": _ratio(self._confidence[index], count),
                "accuracy": _ratio(self._correct[index], count),
            }
            for index, count in enumerate(self._count)
        ]

    def to_dict(self) -> Dict[str, Any]:
        """The ECE and the bins, ready for JSON."""
        return {"ece": self.ece(), "bins": self.bins()}


class ClassReliability:
    """Reliability of the probability of each class, against the share of its labels."""

    COUNTED = ("_classes",)

    def __init__(self, num_classes: int):
        self._classes = {str(index): Reliability() for index in range(num_classes)}

    def update(self, probs: np.ndarray, shares: np.ndarray) -> None:
        """Adds `[P, K]` probabilities of labelled pixels, and their labels' shares."""
        for index, reliability in enumerate(self._classes.values()):
            reliability.update(probs[:, index].clip(0, 1), shares[:, index])

    def to_dict(self, names: Sequence[str]) -> Dict[str, Any]:
        """Returns class -> `ece`, `mean_probability` and `share_of_labels`."""
        return {
            name: {"ece": one.ece(), **one.means()}
            for name, one in zip(names, self._classes.values())
        }


class FlipCalibration:
    """Predicted against true flip probability of each stochastic class (CAR, Fig. 5).

    Over the pixels whose label is the original class, `flip_probability` is
    sum P(flipped) / sum (P(original) + P(flipped)), which leaves other confusions of
    the class aside; `class_probability` is the mean P(flipped), the paper's figure,
    which they lower.

    Args:
      originals: F class ids.
      probabilities: F true probabilities of the flips.
    """

    COUNTED = ("_pixels", "_original_sum", "_flipped_sum")

    def __init__(
        self,
        *,
        originals: Sequence[int],
        flipped: Sequence[int],
        probabilities: Sequence[float],
    ):
        if not len(originals) == len(flipped) == len(probabilities):
            raise ValueError(
                "originals, flipped and probabilities must be equally long, got "
                f"{len(originals)}, {len(flipped)} and {len(probabilities)}"
            )
        self._originals = [int(class_id) for class_id in originals]
        self._flipped = [int(class_id) for class_id in flipped]
        self._true = [float(probability) for probability in probabilities]
        self._pixels = np.zeros(len(self._true), np.int64)
        self._original_sum = np.zeros(len(self._true))
        self._flipped_sum = np.zeros(len(self._true))

    def update(
        self, probs: np.ndarray, label: np.ndarray, mask: Optional[np.ndarray] = None
    ) -> None:
        """Adds one image's predicted distribution.

        Args:
          probs: `[H, W, K]` float, predicted class probabilities.
          label: `[H, W]` integer class ids before any flip.
          mask: `[H, W]` bool, pixels to count, such as those where the black box
            agrees with the label (CAR, A.4), or None for all.

        Raises:
          ValueError: sizes differ, or the label holds a flipped id.
        """
        _check_size("probs", np.shape(probs)[:2], label)
        for index, pixels in self._pixels_of(label, mask):
            values = probs[pixels]
            self._add(
                index,
                len(values),
                values[:, self._originals[index]].sum(dtype=np.float64),
                values[:, self._flipped[index]].sum(dtype=np.float64),
            )

    def update_samples(
        self, samples: np.ndarray, label: np.ndarray, mask: Optional[np.ndarray] = None
    ) -> None:
        """Adds samples `[S, H, W]` as their empirical distribution; see `update`."""
        _check_size("samples", np.shape(samples)[1:], label)
        for index, pixels in self._pixels_of(label, mask):
            values = samples[:, pixels]
            self._add(
                index,
                values.shape[1],
                np.count_nonzero(values == self._originals[index]) / len(samples),
                np.count_nonzero(values == self._flipped[index]) / len(samples),
            )

    def to_dict(self) -> Dict[str, Any]:
        """Returns the calibration of every class, ready for JSON.

        Returns:
          `classes`, one dict per flip, and the mean and the worst absolute offset of
          both probabilities from the true ones. Classes without a pixel have None,
          stay out of means and maxima and are counted in `num_undefined_classes`.
        """
        classes = []
        for index, true in enumerate(self._true):
            named = self._original_sum[index] + self._flipped_sum[index]
            flip = _ratio(self._flipped_sum[index], named)
            mean = _ratio(self._flipped_sum[index], self._pixels[index])
            classes.append(
                {
                    "original": self._originals[index],
                    "flipped": self._flipped[index],
                    "num_pixels": int(self._pixels[index]),
                    "true_probability": true,
                    "flip_probability": flip,
                    "flip_offset": None if flip is None else abs(flip - true),
                    "class_probability": mean,
                    "class_offset": None if mean is None else abs(mean - true),
                }
            )
        result: Dict[str, Any] = {"classes": classes}
        for name in ("flip_offset", "class_offset"):
            offsets = [entry[name] for entry in classes if entry[name] is not None]
            result[f"mean_{name}"] = float(np.mean(offsets)) if offsets else None
            result[f"worst_{name}"] = max(offsets) if offsets else None
        result["num_undefined_classes"] = sum(
            entry["flip_probability"] is None for entry in classes
        )
        return result

    def _pixels_of(
        self, label: np.ndarray, mask: Optional[np.ndarray]
    ) -> Iterator[Tuple[int, np.ndarray]]:
        """Yields the index and the `[H, W]` mask of each flip that has pixels."""
        label = np.asarray(label)
        if mask is not None:
            _check_size("mask", np.shape(mask), label)
        for flipped in self._flipped:
            if (label == flipped).any():
                raise ValueError(
                    "the label must hold classes before any flip, found the flipped "
                    f"id {flipped}"
                )
        for index, original in enumerate(self._originals):
            pixels = label == original
            if mask is not None:
                pixels &= mask.astype(bool)
            if pixels.any():
                yield index, pixels

    def _add(self, index: int, pixels: int, original: float, flipped: float) -> None:
        self._pixels[index] += pixels
        self._original_sum[index] += original
        self._flipped_sum[index] += flipped


def _ratio(numerator: float, denominator: float) -> Optional[float]:
    return float(numerator / denominator) if denominator > 0 else None


def _check_size(name: str, size: Sequence[int], label: np.ndarray) -> None:
    if tuple(size) != np.shape(label):
        raise ValueError(
            f"{name} must have the label's size {np.shape(label)}, got {tuple(size)}"
        )
