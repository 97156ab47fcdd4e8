"""Speed of the 1-D regression: all runs together against one after another."""

from __future__ import annotations

from typing import Any, Dict, List

from car_tf import config as config_lib
from car_tf.experiment.regression import config as regression_config
from car_tf.experiment.regression import run as regression_run
from tests.benchmarks import peaks as benchmarks_peaks
from tests.benchmarks import processes, report, timing


def row(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `regression`: in its own process, because it sets the threads up."""
    del peaks
    overrides = ["stage1.steps=20", "stage2.steps=20"] if small else []
    result = processes.call(measure, overrides, 1 if small else 10, 1 if small else 5)
    heads = ("ms per step of stage 1", "ms per step of stage 2")
    heads += ("s in all", "GFLOP/s", "share of the matrix multiply's peak")
    return [report.Table("1-D regression", ("", *heads), result["rows"])]


def measure(overrides: List[str], num_blocks: int, repeats: int) -> Dict[str, Any]:
    """Times a few blocks of both stages and scales them to the configured steps.

    Alone, a problem's runs with and without Lcal share an F, as they do together.

    Args:
      overrides: of the configuration `regression_grid`.
      num_blocks: of steps, timed at once.
      repeats: how often.

    Returns:
      `rows`: of the table, all runs together and one problem after another.
    """
    regression_run.use_one_thread_per_operation()
    config = config_lib.load("regression_grid", overrides)
    together = regression_run.build(config)
    calibration, refinement = regression_run.stack(config, config.problems[:1])
    stages = [together.stage1, together.stage2, [calibration], refinement]

    def blocks(stage):
        advance = regression_run.block_of(stage)
        return timing.clock(lambda: [advance() for _ in range(num_blocks)])

    size = benchmarks_peaks.MATRIX_SIZE
    sides = {str(index): blocks(stage) for index, stage in enumerate(stages)}
    sides["peak"] = benchmarks_peaks.matrix_multiply_side(size)
    measured = timing.medians(sides, repeats=repeats)
    steps = num_blocks * config.evaluation.every
    rows = []
    for name, first, times in (
        (f"{len(config.runs)} runs together", 0, 1),
        ("one problem after another", 2, len(config.problems)),
    ):
        one, two = (measured[str(first + stage)] / steps for stage in (0, 1))
        seconds = times * (config.stage1.steps * one + config.stage2.steps * two)
        rate = count_operations(config) / seconds
        share = rate / (2 * measured["peak"])
        rows.append([name, 1e3 * one, 1e3 * two, seconds, rate / 1e9, share])
    return {"rows": rows}


def count_operations(config: regression_config.Regression) -> float:
    """Counts the floating-point operations of the matrix multiplies of all runs."""
    stage1, stage2 = config.stage1, config.stage2
    hidden, layers = config.networks.hidden_units, config.networks.hidden_layers

    def network(num_inputs: int) -> int:
        return 2 * (num_inputs * hidden + (layers - 1) * hidden**2 + hidden)

    def trained(num_inputs: int) -> int:
        # Forward, by weights, by inputs; the last is not needed for the data.
        return 3 * network(num_inputs) - 2 * num_inputs * hidden

    total = stage1.steps * stage1.batch_size * trained(1)
    for weight in stage2.calibration_weights:
        fakes = stage2.batch_size * (stage2.num_samples if weight else 1)
        step = fakes * (trained(3) + 3 * network(2))
        step += stage2.batch_size * (trained(2) + network(1))
        step += config.evaluation.num_points * network(3) / config.evaluation.every
        total += stage2.steps * step
    return float(len(config.problems) * total)
