"""What several readers' masks are worth as a yardstick, and samplers to compare with.

Accumulates over images; everything here is of binary masks.
"""

from __future__ import annotations

import collections
from typing import Any, DefaultDict, Dict, List, Sequence

import numpy as np

from car_tf.metrics import ged, hungarian

# Samples of the comparisons: the number that the field reports.
NUM_SAMPLES = 16


class ReaderComparison:
    """Samplers that cost nothing, the readers themselves, and means against means.

    Each is scored by GED and Hungarian-matched IoU against all readers:

    - `argmax`: F's most probable mask, the same in every sample.
    - `independent`: every pixel drawn by itself from F's distribution.
    - `level_sets`: the pixels in which F exceeds 1/32, 3/32, ..., 31/32, one mask
      each: as likely as F says in every pixel, and coherent, but always nested. For two
      classes alone; a sampler that needs no G must at least be known.
    - `readers_drawn`: the readers' own masks, drawn with replacement: what a sampler
      reaches that knows them and draws as independently as G.
    - `leave_one_out`: three readers as samples against the fourth, in turn: how well
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
          masks: `[N, H, W]` of 0 and 1, one per reader.
          probs: `[H, W]`, F's probability of 1.
          sample_mean: `[H, W]`, mean over G's samples of their probability of 1.
          samples: `[S, H, W]` of 0 and 1, G's; the first 16 count.
        """
        rng = np.random.default_rng([self._seed, index])
        uniform = rng.random((NUM_SAMPLES, *probs.shape))
        drawn = masks[rng.integers(len(masks), size=NUM_SAMPLES)]
        self._score("argmax", [(probs > 0.5)[None]], [masks])
        self._score("independent", [uniform < probs], [masks])
        levels = (np.arange(NUM_SAMPLES) + 0.5) / NUM_SAMPLES
        self._score("level_sets", [probs > levels[:, None, None]], [masks])
        self._score("readers_drawn", [drawn], [masks])
        others = [np.delete(masks, reader, axis=0) for reader in range(len(masks))]
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
          differences of F and of G's mean probability from the readers' mean, and of
          the mean of 16 samples from F (`samples`; CAR, Fig. 8), over all pixels and
          over those that a reader marked (left out where no image has one).
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
