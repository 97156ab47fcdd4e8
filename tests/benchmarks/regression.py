"""Speed of the 1-D regression: all runs together against one after another."""

from __future__ import annotations

import statistics
import time
from typing import Any, Dict, List

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.experiment.regression import program
from car_tf.experiment.regression import config as regression_config
from car_tf.experiment.regression import run as regression_run
from tests.benchmarks import peaks as benchmarks_peaks
from tests.benchmarks import processes, report, timing

NUM_REPEATS = 5
# Long enough for a lone run to be timed, short enough for all together.
SECONDS_PER_REPEAT = 2.0
MAX_TIMED_STEPS = 200_000


def row(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `regression`: in its own process, because it sets the threads up."""
    del peaks
    overrides = [] if not small else ["stage1.steps=20", "stage2.steps=20"]
    result = processes.call(measure, overrides, 0.2 if small else SECONDS_PER_REPEAT)
    times = [[name, *values] for name, values in result["sides"].items()]
    return [
        report.Table(
            f"1-D regression, {result['num_runs']} runs",
            ("", "ms per step of stage 1", "ms per step of stage 2", "s to build"),
            times,
        ),
        report.Table(
            "1-D regression, all together, scaled to the configured steps",
            (
                *("s", "s one after another", "times as fast", "the same with starts"),
                *("GFLOP/s", "share of the matrix multiply's peak"),
            ),
            [[result[name] for name in SUMMARY]],
        ),
    ]


SUMMARY = ("seconds", "alone_seconds", "ratio", "ratio_with_start")
SUMMARY += ("gigaflops", "share_of_peak")


def measure(overrides: List[str], seconds_per_repeat: float) -> Dict[str, Any]:
    """Times a few blocks of both stages and scales them to the configured steps.

    Args:
      overrides: of the configuration `regression_grid`.
      seconds_per_repeat: how long each of them is to last.

    Returns:
      `sides`: milliseconds per step of both stages and seconds of building; seconds in
      all and floating-point rates.
    """
    regression_run.use_one_thread_per_operation()
    config = config_lib.load("regression_grid", overrides)
    timers = {"together": _Timer(config, seconds_per_repeat)}
    for weight in config.stage2.calibration_weights:
        name = f"alone, lambda {weight:g}"
        timers[name] = _Timer(_alone(config, weight), seconds_per_repeat)
    sides = {
        "peak": benchmarks_peaks.matrix_multiply_side(benchmarks_peaks.MATRIX_SIZE)
    }
    for name, timer in timers.items():
        for stage in (0, 1):
            sides[f"{name}, {stage}"] = lambda timer=timer, stage=stage: timer(stage)
    measured = timing.in_turns(sides, repeats=NUM_REPEATS)
    for name, timer in timers.items():
        timer.medians = [
            statistics.median(measured[f"{name}, {stage}"]) for stage in (0, 1)
        ]
    return _summary(config, timers, 2 * max(measured["peak"]))


def _summary(config, timers, peak: float) -> Dict[str, Any]:
    sides = {
        name: [1e3 * timer.medians[0], 1e3 * timer.medians[1], timer.start_seconds]
        for name, timer in timers.items()
    }
    together = timers.pop("together")
    one, two = together.medians
    seconds = config.stage1.steps * one + config.stage2.steps * two
    operations = count_operations(config)
    # A pair of runs with and without Lcal shares an F: it is trained once.
    alone_seconds = len(config.problems) * (
        config.stage1.steps * max(timer.medians[0] for timer in timers.values())
        + sum(config.stage2.steps * timer.medians[1] for timer in timers.values())
    )
    alone_starts = len(config.problems) * sum(t.start_seconds for t in timers.values())
    return {
        "sides": sides,
        "num_runs": len(config.runs),
        "seconds": seconds,
        "gigaflops": operations / seconds / 1e9,
        "share_of_peak": operations / seconds / peak,
        "alone_seconds": alone_seconds,
        "ratio": alone_seconds / seconds,
        "ratio_with_start": (alone_seconds + alone_starts)
        / (seconds + together.start_seconds),
    }


def _alone(
    config: regression_config.Regression, weight: float
) -> regression_config.Regression:
    """Returns the configuration of one run."""
    return config_lib.change(
        config,
        data=regression_config.Bimodal(
            config.data.mode_probabilities[:1], config.data.mode_noises[:1]
        ),
        train={"seeds": config.train.seeds[:1]},
        stage2={"calibration_weights": (weight,)},
    )


class _Timer:
    """Times the steps of a program."""

    def __init__(self, config: regression_config.Regression, seconds_per_repeat: float):
        started = time.perf_counter()
        self._every = config.evaluation.every
        self._seconds_per_repeat = seconds_per_repeat
        # Room for the curves of however many steps are timed.
        roomy = config_lib.change(config, stage2={"steps": MAX_TIMED_STEPS})
        # A lone run is not joined by a copy of itself here, which would double its cost.
        self._program = program.Program(roomy, even=len(config.runs) > 1)
        self._advance = [
            function.get_concrete_function()
            for function in (self._program.advance_stage1, self._program.advance_stage2)
        ]
        for advance in self._advance:
            advance(tf.constant(1))
        self.start_seconds = time.perf_counter() - started
        self.medians: List[float] = []

    def __call__(self, stage: int) -> float:
        """Measures the seconds of a step of stage 0 or 1 of the two."""
        num_blocks, elapsed = 1, 0.0
        while elapsed < self._seconds_per_repeat / 2:
            count = tf.constant(num_blocks)
            elapsed = timing.clock(lambda: self._advance[stage](count))()
            last, num_blocks = num_blocks, num_blocks * 2
        return elapsed / last / self._every


def count_operations(config: regression_config.Regression) -> float:
    """Counts the floating-point operations of the matrix multiplies of all runs."""
    stage1, stage2 = config.stage1, config.stage2
    hidden, layers = config.networks.hidden_units, config.networks.hidden_layers

    def network(num_inputs: int) -> int:
        return 2 * (num_inputs * hidden + (layers - 1) * hidden**2 + hidden)

    def trained(num_inputs: int) -> int:
        # Forward, by weights, by inputs; the last is not needed for the data.
        return 3 * network(num_inputs) - 2 * num_inputs * hidden

    total = len(config.problems) * stage1.steps * stage1.batch_size * trained(1)
    for run_ in config.runs:
        fakes = stage2.batch_size * config.num_samples(run_)
        step = fakes * (trained(3) + 3 * network(2))
        step += stage2.batch_size * (trained(2) + network(1))
        step += config.evaluation.num_points * network(3) / config.evaluation.every
        total += stage2.steps * step
    return float(total)
