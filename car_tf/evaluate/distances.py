"""Which distance a data set's labels call for, and the baselines that it scores."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from car_tf.data import info
from car_tf.metrics import baselines, bootstrap, ged, iou
from car_tf.metrics import scores as metrics_scores


def label_distances(
    samples: np.ndarray,
    labels: np.ndarray,
    dataset_info: info.DatasetInfo,
    absent: str = iou.LEAVE_OUT,
) -> ged.PairDistances:
    """Distances for the GED: to the modes of the flips, or to the raters.

    Args:
      samples: `[S, H, W]` class ids.
      labels: `[N, H, W]` class ids of the raters, N = 1 where classes flip.
      absent: of raters of more than two classes, see `ged.multi_rater_distances`.
    """
    num_classes = dataset_info.num_classes
    if not dataset_info.flips:
        return ged.multi_rater_distances(
            samples, labels, num_classes=num_classes, absent=absent
        )
    return ged.class_flips_distances(
        samples, labels[0], num_classes=num_classes, **flip_arrays(dataset_info)
    )


def flip_arrays(dataset_info: info.DatasetInfo) -> Dict[str, List]:
    """Returns the flips as the parallel lists that the metrics take."""
    return {
        "originals": [flip.original for flip in dataset_info.flips],
        "flipped": [flip.flipped for flip in dataset_info.flips],
        "probabilities": [flip.probability for flip in dataset_info.flips],
    }


class BaselineScores:
    """Scores of the samplers that need no trained G; see `metrics.baselines`.

    Args:
      counts: numbers of samples, those of the sampler that is evaluated.
      seed: of the draws, with an image's index.
      cuts: of further level sets, fitted on other images; None for none.
    """

    def __init__(
        self,
        counts: Sequence[int],
        dataset_info: info.DatasetInfo,
        seed: int,
        stratified: bool,
        absent: str = iou.LEAVE_OUT,
        cuts: Optional[baselines.Cuts] = None,
    ):
        self._cuts = cuts
        self._counts = counts
        self._dataset_info = dataset_info
        self._absent = absent
        self._seed = seed
        self._stratified = stratified
        self.scores: Dict[str, metrics_scores.SampleScores] = {}

    def add(
        self,
        index: int,
        probs: np.ndarray,
        labels: np.ndarray,
        before: Optional[np.ndarray],
    ) -> None:
        """Adds an image.

        Args:
          probs: `[H, W, K]` of F.
          labels: `[N, H, W]`.
          before: `[S, H, W]`, samples of G before stage 2, or None.
        """
        rng = np.random.default_rng([self._seed, index])
        shared = dict(num_samples=self._counts[-1], rng=rng)
        self.add_samples("f_argmax", baselines.argmax(probs), labels)
        pixels = baselines.independent_pixels(probs, **shared)
        self.add_samples("f_pixels", pixels, labels)
        if self._dataset_info.num_classes == 2:
            # The sets of fewer levels are not the first ones of more.
            for count in self._counts:
                levels = baselines.level_sets(probs, num_samples=count)
                self.add_samples("level_sets", levels, labels, [count])
                if self._cuts is not None:
                    fitted = baselines.level_sets(
                        probs, num_samples=count, cuts=self._cuts
                    )
                    self.add_samples("fitted_level_sets", fitted, labels, [count])
        else:
            draws = baselines.gumbel_draws(probs, stratified=self._stratified, **shared)
            self.add_samples("gumbel_draws", draws, labels)
        if before is not None:
            self.add_samples("before_stage2", before, labels)

    def add_samples(
        self,
        name: str,
        samples: np.ndarray,
        labels: np.ndarray,
        counts: Sequence[int] = (),
    ) -> None:
        """Adds an image's samples `[S, H, W]` of a baseline, for some or all counts."""
        if name not in self.scores:
            is_spread = self._stratified and name in ("gumbel_draws", "before_stage2")
            self.scores[name] = metrics_scores.SampleScores(
                self._counts,
                matched=not self._dataset_info.flips,
                independent=not is_spread,
            )
        distances = label_distances(samples, labels, self._dataset_info, self._absent)
        self.scores[name].add(distances, counts)

    def to_dict(self, resampled: bootstrap.GroupBootstrap) -> Dict[str, Any]:
        """Returns baseline -> scores, ready for JSON."""
        found = {name: one.to_dict(resampled) for name, one in self.scores.items()}
        if "fitted_level_sets" in found:
            found["fitted_level_sets"]["cuts"] = self._cuts._asdict()
        return found
