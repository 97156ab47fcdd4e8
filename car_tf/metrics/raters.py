"""What several raters' maps are worth as a yardstick, accumulated over images."""

import collections
from typing import Any, Dict, List, Tuple

import numpy as np

from car_tf.metrics import ged, iou

# Samples of the comparisons: the number that the field reports.
NUM_SAMPLES = 16


def known_and_shares(
    labels: np.ndarray, num_classes: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns what raters say of each pixel.

    Of class ids `[N, H, W]`, or 255 where a rater does not know: `[H, W]` bool, whether
    any rater knows the pixel, and `[H, W, K]` float64, the share of each class among
    those who do; 0 where nobody does.
    """
    num_knowing = (labels != iou.HIDDEN).sum(axis=0)
    votes = np.stack([(labels == k).sum(axis=0) for k in range(num_classes)], axis=-1)
    return num_knowing > 0, votes / np.maximum(num_knowing, 1)[..., None]


def total_variation(probs: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns half the sum of absolute differences of distributions `[..., K]`.

    Of two classes, that is the difference in the probability of one.
    """
    if probs.shape[-1] == 2:
        return np.abs(probs[..., 1] - others[..., 1])
    return np.abs(probs - others).sum(axis=-1) / 2


class RaterComparison:
    """The raters themselves as samplers, and means against means.

    Scored by GED and Hungarian-matched IoU against all raters of an image:

    - `readers_drawn`: the raters' own maps, drawn with replacement: what a sampler
      reaches that knows them and draws as independently as G.
    - `leave_one_out`: all raters but one as samples against that one, in turn: how
      well people predict each other.

    Args:
      seed: of the draws, together with the image's index.
    """

    COUNTED = ("_scores", "_differences")  # See `merging`.

    def __init__(self, seed: int):
        self._seed = seed
        self._scores: Dict[str, List[List[float]]] = collections.defaultdict(list)
        self._differences: Dict[str, List[float]] = collections.defaultdict(list)

    def add(
        self,
        index: int,
        *,
        distances: np.ndarray,
        labels: np.ndarray,
        probs: np.ndarray,
        sample_mean: np.ndarray,
        samples: np.ndarray,
    ) -> None:
        """Adds one image; one without a rater counts nowhere.

        Args:
          index: of the image; it and the seed decide the draws.
          distances: `[N, N]` of the raters who labelled the image, see
            `ged.PairDistances.within_labels`.
          labels: `[A, H, W]` class ids of all raters, or 255.
          probs: `[H, W, K]` of F.
          sample_mean: `[H, W, K]`, mean over G's samples of their probabilities.
          samples: `[S, H, W]` class ids, G's; the first 16 count.
        """
        num_raters = len(distances)
        if num_raters > 1:
            rng = np.random.default_rng([self._seed, index])
            drawn = rng.integers(num_raters, size=NUM_SAMPLES)
            self._score("readers_drawn", [_against(distances, drawn, slice(None))])
            others = [np.delete(np.arange(num_raters), i) for i in range(num_raters)]
            self._score(
                "leave_one_out",
                [_against(distances, o, [i]) for i, o in enumerate(others)],
            )
        known, shares = known_and_shares(labels, probs.shape[-1])
        sampled = known_and_shares(samples[:NUM_SAMPLES], probs.shape[-1])[1]
        pairs = {
            "calibration_net": (probs, shares),
            "refinement_net": (sample_mean, shares),
            "samples": (sampled, probs),
        }
        marked = known & (shares[..., 0] < 1)
        for name, (values, wanted) in pairs.items():
            difference = total_variation(values, wanted)
            for where, pixels in (("all_pixels", known), ("marked_pixels", marked)):
                if pixels.any():
                    mean = float(difference[pixels].mean())
                    self._differences[f"{name}_{where}"].append(mean)

    def _score(self, name: str, sets: List[ged.PairDistances]) -> None:
        """Scores sets of samples against sets of labels; the image's is their mean."""
        # Two raters without a pixel in common cannot be compared.
        sets = [one for one in sets if not np.isnan(one.cross).any()]
        scores = [[one.ged().ged, one.matched_iou()] for one in sets]
        if scores:
            self._scores[name].append(list(np.mean(scores, axis=0)))

    def to_dict(self) -> Dict[str, Any]:
        """Returns means over the images, ready for JSON.

        Returns:
          `comparisons`: sampler -> `ged`, `hm_iou`; none where no image has two
          raters. `mean_difference`: total variation between F, or G's mean
          probabilities, and the raters' shares, and between the mean of 16 samples and
          F (`samples`; CAR, Fig. 8), over all pixels that a rater knows and over those
          to which one gave another class than 0 (left out where no image has one).
        """
        return {
            "comparisons": {
                name: dict(zip(("ged", "hm_iou"), np.mean(scores, axis=0).tolist()))
                for name, scores in self._scores.items()
            },
            "mean_difference": {
                name: float(np.mean(values))
                for name, values in self._differences.items()
            },
        }


def _against(distances: np.ndarray, samples, labels) -> ged.PairDistances:
    """Distances with some raters as samples and some as labels."""
    cross = distances[samples][:, labels]
    return ged.PairDistances(
        cross=cross,
        within_samples=distances[samples][:, samples],
        within_labels=distances[labels][:, labels],
        label_weights=np.ones(cross.shape[1]) / cross.shape[1],
    )
