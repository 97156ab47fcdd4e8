"""What the paper's configurations cost on GPUs, from counted multiply-adds."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import info
from car_tf.train import build
from tests.benchmarks import report, training

# Assumed, since no GPU was at hand: floating-point operations a second that
# convolutions in float32 reach on one GPU, and the share of it that eight keep each.
SUSTAINED = 1e13
SHARE_OF_EIGHT = 0.9
COUNTED_BATCH = 2


def count_operations(step: Callable[[Any], Any], batch: Any) -> int:
    """Returns the floating-point operations of a step, by tracing it."""
    graph = tf.function(step).get_concrete_function(batch).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def count_steps(name: str, dataset_info: info.DatasetInfo, small: bool) -> List[float]:
    """Counts what an image costs in stage 1, in stage 2 with D at rest, and with D."""
    texts = [f"stage{stage}.batch_size={COUNTED_BATCH}" for stage in (1, 2)]
    if small:
        texts += ["calibration_net.channels=2", "stage2.num_samples=2"]
        texts += ["refinement_net.base_channels=2", "discriminator.base_channels=2"]
    config = config_lib.load(name, texts)
    dataset = training.random_dataset(config, dataset_info, num_images=COUNTED_BATCH)
    first = build.build_calibration_trainer(config, dataset)
    second = build.build_refinement_trainer(config, dataset)
    batch_1, batch_2 = (
        next(
            iter(
                build.build_batches(
                    config, dataset, stage=stage, first_step=0, num_steps=1
                )
            )
        )
        for stage in (1, 2)
    )
    counts = (
        count_operations(first.train_step, batch_1),
        count_operations(lambda batch: second.train_step(batch, False), batch_2),
        count_operations(lambda batch: second.train_step(batch, True), batch_2),
    )
    return [count / COUNTED_BATCH for count in counts]


def row(roofs: Dict[str, float], small: bool) -> List[report.Table]:
    """Tables of the paper's two configurations on one and on eight GPUs."""
    del roofs
    return [
        table(name, count_steps(name, dataset_info, small))
        for name, dataset_info in (
            ("cityscapes_paper", training.STREETS),
            ("lidc_paper", training.CROPS),
        )
    ]


def table(name: str, counts: Sequence[float]) -> report.Table:
    """Returns the arithmetic of a configuration, from operations per image."""
    config = config_lib.load(name, [])
    stages = config.stage1, config.stage2
    active = min(
        config.stage2.discriminator_active / config.stage2.discriminator_period, 1.0
    )
    first, resting, with_d = counts
    per_image = (first, (1 - active) * resting + active * with_d)
    rows = []
    for number, (stage, each) in enumerate(zip(stages, per_image), 1):
        for num_gpus, share in ((1, 1.0), (8, SHARE_OF_EIGHT)):
            seconds = stage.batch_size * each / (SUSTAINED * share * num_gpus)
            rows.append(
                [
                    number,
                    num_gpus,
                    each / 1e9,
                    1e3 * seconds,
                    stage.batch_size / seconds,
                    stage.steps * seconds / 3600,
                ]
            )
    return report.Table(
        f"{name}, at {SUSTAINED / 1e12:.0f} TFLOP/s a GPU "
        f"({SHARE_OF_EIGHT:.0%} of it on each of eight)",
        ("stage", "GPUs", "GFLOP an image", "ms a step", "images a second", "hours"),
        rows,
        (f"D is updated in {active:.0%} of the steps of stage 2.",),
    )
