"""Intervals over patients for the rows of a table, and for what they differ by."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from car_tf.metrics import bootstrap

# Column of a table -> score; with 16 samples.
SCORES = {"GED 16": "ged", "HM-IoU 16": "hm_iou"}
COUNT = "16"


class Rows:
    """Scores per image of a table's rows, as means over their runs.

    Args:
      runs: method -> `metrics.json` of its runs. Rows without scores per image, such as
        of runs of before, and those on other images than the first row's are left out.
    """

    def __init__(self, runs: Mapping[str, Sequence[Mapping[str, Any]]]):
        self._values: Dict[str, Dict[str, np.ndarray]] = {}
        self._groups: List[str] = []
        for method, each in runs.items():
            groups = [metrics.get("groups") for metrics in each]
            self._groups = self._groups or (groups[0] if groups and groups[0] else [])
            if not groups or any(one != self._groups for one in groups):
                continue
            scores = [metrics["by_num_samples"].get(COUNT, {}) for metrics in each]
            self._values[method] = {
                column: np.mean(
                    [np.array(one[f"{name}_per_image"], float) for one in scores],
                    axis=0,
                )
                for column, name in SCORES.items()
                if all(f"{name}_per_image" in one for one in scores)
            }
        self._resampled = bootstrap.GroupBootstrap(self._groups or ["none"])
        self.num_groups = len(set(self._groups))

    def of(self, method: str) -> Dict[str, Optional[List[float]]]:
        """Returns column -> 95 % interval of a row."""
        return {
            column: self._resampled.interval(values)
            for column, values in self._values.get(method, {}).items()
        }

    def differences(self, method: str, other: str) -> Dict[str, Any]:
        """Returns column -> paired difference of a row from another."""
        mine, theirs = (self._values.get(name, {}) for name in (method, other))
        return {
            column: self._resampled.difference(mine[column], theirs[column])
            for column in mine
            if column in theirs
        }
