"""How everything is timed: warm-up, then rounds in which all sides take turns.

Turns make whatever else the machine does meet all sides alike, so that ratios hold on a
busy machine where times do not.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable, Dict, List, TypeVar

Result = TypeVar("Result")


def clock(
    function: Callable[[], Any], timer: Callable[[], float] = time.perf_counter
) -> Callable[[], float]:
    """Returns a function that calls `function` and returns the seconds it took."""

    def timed() -> float:
        started = timer()
        function()
        return timer() - started

    return timed


def in_turns(
    sides: Dict[str, Callable[[], Result]], *, repeats: int, warm_up: int = 1
) -> Dict[str, List[Result]]:
    """Measures every side once per round.

    Args:
      sides: name -> function that returns what it measured, such as those of `clock`.
      repeats: rounds that count.
      warm_up: rounds before them that do not.

    Returns:
      Name -> one measurement per round.
    """
    measured: Dict[str, List[Result]] = {name: [] for name in sides}
    for round_ in range(-warm_up, repeats):
        for name, measure in sides.items():
            value = measure()
            if round_ >= 0:
                measured[name].append(value)
    return measured


def medians(
    sides: Dict[str, Callable[[], float]], *, repeats: int, warm_up: int = 1
) -> Dict[str, float]:
    """Returns name -> median of `in_turns`."""
    measured = in_turns(sides, repeats=repeats, warm_up=warm_up)
    return {name: statistics.median(values) for name, values in measured.items()}
