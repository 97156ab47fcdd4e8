"""Confidence intervals of means over images whose groups (patients, cities) count."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np

LEVEL, NUM_RESAMPLES, SEED = 0.95, 2000, 0


class GroupBootstrap:
    """Draws whole groups with replacement: images of one patient are not independent.

    All means share the same draws, so that the interval of a difference of two samplers
    is that of the paired differences.

    Args:
      groups: `[I]`, name of each image's group.
    """

    def __init__(self, groups: Sequence[str], *, seed: int = SEED):
        names, self._group = np.unique(np.asarray(groups), return_inverse=True)
        self._num = len(names)
        rng = np.random.default_rng(seed)
        # [R, G]: how often each group is in a resample.
        self._times = np.empty((NUM_RESAMPLES, self._num), np.float32)
        for times in self._times:
            drawn = rng.integers(self._num, size=self._num)
            times[:] = np.bincount(drawn, minlength=self._num)

    def interval(self, values: Sequence[Optional[float]]) -> Optional[List[float]]:
        """Returns both ends of the percentile interval of the mean over images.

        Of values `[I]`, one per image; None where undefined, which counts nowhere.
        There is no interval (None) with values from fewer than two groups.
        """
        values = np.array(values, np.float64)  # None becomes NaN.
        known = ~np.isnan(values)
        group = self._group[known]
        sizes = np.bincount(group, minlength=self._num)
        if np.count_nonzero(sizes) < 2:
            return None
        sums = np.bincount(group, values[known], minlength=self._num)
        drawn = self._times @ sizes
        means = (self._times @ sums)[drawn > 0] / drawn[drawn > 0]
        tail = (1 - LEVEL) / 2
        return np.quantile(means, [tail, 1 - tail]).tolist()

    def difference(
        self, values: Sequence[Optional[float]], others: Sequence[Optional[float]]
    ) -> Optional[Dict[str, Any]]:
        """Returns `mean` and `interval` of paired differences; None without a pair.

        Of values `[I]`, one per image, None where undefined, and another sampler's on
        the same images.
        """
        change = np.array(values, np.float64) - np.array(others, np.float64)
        if np.isnan(change).all():
            return None
        return {"mean": float(np.nanmean(change)), "interval": self.interval(change)}

    def to_dict(self) -> Dict[str, Any]:
        """Returns what an interval is, ready for JSON."""
        numbers = {"num_groups": self._num, "num_resamples": len(self._times)}
        return {"level": LEVEL, **numbers}
