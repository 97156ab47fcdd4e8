"""Speed of the 1-D regression: all runs together against one after another."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any, Callable, Dict, List, Tuple

import tensorflow as tf

from car_tf import regression_config, regression_program

PEAK_SIZE = 2048
NUM_REPEATS = 5
# Long enough for a lone run to be timed, short enough for all together.
SECONDS_PER_REPEAT = 2.0
MAX_TIMED_STEPS = 200_000


def run(
    config: regression_config.Regression, say: Callable[[str], None] = print
) -> Dict[str, Any]:
    """Times a few blocks of both stages and scales them to the configured steps.

    The median of repeats is taken, in turns of together and alone, so that whatever
    else the machine does meets both alike.

    Args:
      config: the configuration.
      say: takes lines for people.

    Returns:
      Milliseconds per step, seconds in all and floating-point rates.
    """
    say(f"load of the machine: {os.getloadavg()[0]:.1f}, cores: {os.cpu_count()}")
    timers = {"together": _Timer(config)}
    for weight in config.stage2.calibration_weights:
        timers[f"alone, lambda {weight:g}"] = _Timer(_alone(config, weight))
    peaks = []
    for _ in range(NUM_REPEATS):
        peaks.append(_peak())
        for timer in timers.values():
            timer.repeat()
    for name, timer in timers.items():
        one, two = timer.seconds_per_step()
        say(
            f"{name}: {1e3 * one:.2f} and {1e3 * two:.2f} ms per step of stage 1 and 2, "
            f"{timer.start_seconds:.0f} s to build and trace"
        )
    return _report(config, timers, max(peaks), say)


def _report(config, timers, peak: float, say) -> Dict[str, Any]:
    together = timers.pop("together")
    seconds = together.training_seconds()
    operations = count_operations(config)
    # A pair of runs with and without Lcal shares an F: it is trained once.
    alone_steps = len(config.problems) * (
        config.stage1.steps * max(t.seconds_per_step()[0] for t in timers.values())
        + sum(config.stage2.steps * t.seconds_per_step()[1] for t in timers.values())
    )
    alone_starts = len(config.problems) * sum(t.start_seconds for t in timers.values())
    report = {
        "seconds": seconds,
        "seconds_with_start": seconds + together.start_seconds,
        "teraflop": operations / 1e12,
        "gigaflops": operations / seconds / 1e9,
        "peak_gigaflops": peak / 1e9,
        "share_of_peak": operations / seconds / peak,
        "alone_seconds": alone_steps,
        "ratio": alone_steps / seconds,
        "ratio_with_start": (alone_steps + alone_starts)
        / (seconds + together.start_seconds),
        "load": os.getloadavg()[0],
    }
    say(
        f"{len(config.runs)} runs together: {seconds:.0f} s of training, "
        f"{report['seconds_with_start']:.0f} s with the start; "
        f"{report['teraflop']:.1f} TFLOP at {report['gigaflops']:.0f} GFLOP/s, "
        f"{100 * report['share_of_peak']:.0f} % of the matrix multiply's "
        f"{report['peak_gigaflops']:.0f}"
    )
    say(
        f"one run after another: {alone_steps:.0f} s, {report['ratio']:.2f} times as "
        f"long ({report['ratio_with_start']:.2f} times with their starts)"
    )
    say(f"load of the machine: {report['load']:.1f}")
    return report


def _alone(
    config: regression_config.Regression, weight: float
) -> regression_config.Regression:
    """Returns the configuration of one run."""
    return dataclasses.replace(
        config,
        data=regression_config.Bimodal(
            config.data.mode_probabilities[:1], config.data.mode_noises[:1]
        ),
        train=dataclasses.replace(config.train, seeds=config.train.seeds[:1]),
        stage2=dataclasses.replace(config.stage2, calibration_weights=(weight,)),
    )


class _Timer:
    """Times the steps of a program."""

    def __init__(self, config: regression_config.Regression):
        started = time.perf_counter()
        self._config = config
        # Room for the curves of however many steps are timed.
        roomy = dataclasses.replace(
            config, stage2=dataclasses.replace(config.stage2, steps=MAX_TIMED_STEPS)
        )
        # A lone run is not joined by a copy of itself here, which would double its cost.
        self._program = regression_program.Program(roomy, even=len(config.runs) > 1)
        self._advance = [
            function.get_concrete_function()
            for function in (self._program.advance_stage1, self._program.advance_stage2)
        ]
        for advance in self._advance:
            advance(tf.constant(1))
        self.start_seconds = time.perf_counter() - started
        self._seconds: List[List[float]] = [[], []]

    def repeat(self) -> None:
        """Times each stage once more."""
        for advance, seconds in zip(self._advance, self._seconds):
            num_blocks, elapsed = 1, 0.0
            while elapsed < SECONDS_PER_REPEAT / 2:
                started = time.perf_counter()
                advance(tf.constant(num_blocks))
                elapsed = time.perf_counter() - started
                last, num_blocks = num_blocks, num_blocks * 2
            seconds.append(elapsed / last / self._config.evaluation.every)

    def seconds_per_step(self) -> Tuple[float, float]:
        """Medians for stage 1 and stage 2."""
        one, two = (sorted(seconds)[len(seconds) // 2] for seconds in self._seconds)
        return one, two

    def training_seconds(self) -> float:
        """Both stages at the configured numbers of steps."""
        one, two = self.seconds_per_step()
        return self._config.stage1.steps * one + self._config.stage2.steps * two


def _peak() -> float:
    """Floating-point operations per second of a large matrix multiply on all cores."""
    num_parallel = os.cpu_count()
    matrices = tf.random.stateless_normal([num_parallel, PEAK_SIZE, PEAK_SIZE], [0, 0])

    @tf.function(autograph=False)
    def multiply() -> List[tf.Tensor]:
        # Side by side, because an operation may be confined to one core.
        return [tf.matmul(matrix, matrix)[0, 0] for matrix in tf.unstack(matrices)]

    multiply()
    started = time.perf_counter()
    for _ in range(3):
        multiply()
    elapsed = (time.perf_counter() - started) / 3
    return num_parallel * 2 * PEAK_SIZE**3 / elapsed


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
