"""What several raters' masks are worth as a yardstick, accumulated over images.

Everything here is of binary masks.
"""

from __future__ import annotations

import collections
from typing import Any, DefaultDict, Dict, List, Sequence

import numpy as np

from car_tf.metrics import ged, hungarian

# Samples of the comparisons: the number that the field reports.
NUM_SAMPLES = 16


class RaterComparison:
    """The raters themselves as samplers, and means against means.

    Scored by GED and Hungarian-matched IoU against all raters:

    - `readers_drawn`: the raters' own masks, drawn with replacement: what a sampler
      reaches that knows them and draws as independently as G.
    - `leave_one_out`: three raters as samples against the fourth, in turn: how well
      people predict each other.

    Args:
      seed: of the draws, together with the image's index.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._scores: DefaultDict[str, List[List[float]]] = collections.defaultdict(
            list
        )
        self._differences: DefaultDict[str, List[float]] = collections.defaultdict(list)

    def add(
        self,
        index: int,
        *,
        masks: np.ndarray,
        probs: np.ndarray,
        sample_mean: np.ndarray,
        samples: np.ndarray,
    ) -> None:
        """Adds one image.

        Args:
          index: of the image; it and the seed decide the draws.
          masks: `[N, H, W]` of 0 and 1, one per rater.
          probs: `[H, W]`, F's probability of 1.
          sample_mean: `[H, W]`, mean over G's samples of their probability of 1.
          samples: `[S, H, W]` of 0 and 1, G's; the first 16 count.
        """
        rng = np.random.default_rng([self._seed, index])
        drawn = masks[rng.integers(len(masks), size=NUM_SAMPLES)]
        self._score("readers_drawn", [drawn], [masks])
        others = [np.delete(masks, rater, axis=0) for rater in range(len(masks))]
        self._score("leave_one_out", others, masks[:, None])
        mean = masks.mean(axis=0)
        pairs = {
            "calibration_net": (probs, mean),
            "refinement_net": (sample_mean, mean),
            "samples": (samples[:NUM_SAMPLES].mean(axis=0), probs),
        }
        marked = mean > 0
        for name, (values, wanted) in pairs.items():
            difference = np.abs(values - wanted)
            self._differences[f"{name}_all_pixels"].append(float(difference.mean()))
            if marked.any():
                inside = float(difference[marked].mean())
                self._differences[f"{name}_marked_pixels"].append(inside)

    def _score(
        self, name: str, samples: Sequence[np.ndarray], labels: Sequence[np.ndarray]
    ) -> None:
        """Scores sets of samples against sets of labels; the image's is their mean."""
        scores = []
        for some, against in zip(samples, labels):
            distances = ged.multi_rater_distances(some, against)
            matched = hungarian.hungarian_matched_iou(1 - distances.cross)
            scores.append([distances.ged().ged, matched])
        self._scores[name].append(list(np.mean(scores, axis=0)))

    def to_dict(self) -> Dict[str, Any]:
        """Returns means over the images, ready for JSON.

        Returns:
          `comparisons`: sampler -> `ged`, `hm_iou`. `mean_difference`: mean absolute
          differences of F and of G's mean probability from the raters' mean, and of
          the mean of 16 samples from F (`samples`; CAR, Fig. 8), over all pixels and
          over those that a rater marked (left out where no image has one).
        """
        comparisons = {}
        for name, scores in self._scores.items():
            squared, matched = np.mean(scores, axis=0)
            comparisons[name] = {"ged": float(squared), "hm_iou": float(matched)}
        return {
            "comparisons": comparisons,
            "mean_difference": {
                name: float(np.mean(values))
                for name, values in self._differences.items()
            },
        }
