"""Which distance a data set's labels call for, and the baselines that it scores."""

import dataclasses
from typing import Any, Callable, Dict, List, Optional, Sequence

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

    Takes `[S, H, W]` and, of N raters or one label whose classes flip, `[N, H, W]`
    class ids; `absent` as `ged.multi_rater_distances`.
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


class _Begun(Dict[str, metrics_scores.SampleScores]):
    """Scores by name, begun when a name is first asked for."""

    def __init__(self, begin: Callable[[str], metrics_scores.SampleScores]):
        super().__init__()
        self._begin = begin

    def __missing__(self, name: str) -> metrics_scores.SampleScores:
        return self.setdefault(name, self._begin(name))


@dataclasses.dataclass
class BaselineScores:
    """Scores of the samplers that need no trained G; see `metrics.baselines`."""

    counts: Sequence[int]  # numbers of samples, those of the sampler that is evaluated
    dataset_info: info.DatasetInfo
    seed: int  # of the draws, with an image's index
    stratified: bool
    absent: str = iou.LEAVE_OUT
    cuts: Optional[baselines.Cuts] = None  # of further level sets, fitted elsewhere

    COUNTED = ("scores",)  # See `metrics.merging`.

    def __post_init__(self):
        self.scores = _Begun(self._begin)

    def _begin(self, name: str) -> metrics_scores.SampleScores:
        is_spread = self.stratified and name in ("gumbel_draws", "before_stage2")
        return metrics_scores.SampleScores(
            self.counts,
            matched=not self.dataset_info.flips,
            independent=not is_spread,
        )

    def add(
        self,
        index: int,
        probs: np.ndarray,
        labels: np.ndarray,
        before: Optional[np.ndarray],
    ) -> None:
        """Adds F's `[H, W, K]`, labels `[N, H, W]`, samples before stage 2 or None."""
        rng = np.random.default_rng([self.seed, index])
        shared = dict(num_samples=self.counts[-1], rng=rng)
        self.add_samples("f_argmax", baselines.argmax(probs), labels)
        pixels = baselines.independent_pixels(probs, **shared)
        self.add_samples("f_pixels", pixels, labels)
        if self.dataset_info.num_classes == 2:
            # The sets of fewer levels are not the first ones of more.
            for count in self.counts:
                levels = baselines.level_sets(probs, num_samples=count)
                self.add_samples("level_sets", levels, labels, [count])
                if self.cuts is not None:
                    kind = dict(num_samples=count, cuts=self.cuts)
                    fitted = baselines.level_sets(probs, **kind)
                    self.add_samples("fitted_level_sets", fitted, labels, [count])
        # Of two classes level sets too, at levels drawn as G's noise is.
        draws = baselines.gumbel_draws(probs, stratified=self.stratified, **shared)
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
        distances = label_distances(samples, labels, self.dataset_info, self.absent)
        self.scores[name].add(distances, counts)

    def to_dict(self, resampled: bootstrap.GroupBootstrap) -> Dict[str, Any]:
        """Returns baseline -> scores, ready for JSON."""
        found = {name: one.to_dict(resampled) for name, one in self.scores.items()}
        if "fitted_level_sets" in found:
            found["fitted_level_sets"]["cuts"] = self.cuts._asdict()
        return found
