"""The stage-2 step against a naive one, and the input pipeline against the step."""

from __future__ import annotations

import dataclasses
import types
from typing import Callable, Dict, List, Tuple

import numpy as np
import tensorflow as tf

from car_tf import config as config_lib
from car_tf import losses
from car_tf.data import class_flips, examples, info
from car_tf.train import build, optimization, stage2
from tests.benchmarks import report, timing


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of the step: the paper's networks for street scenes at a laptop's batch."""

    batch_size: int = 4
    side: int = 128
    channels: int = 64
    base_channels: int = 32
    judge_channels: int = 64


SMALL = Sizes(2, 32, 4, 4, 4)


def config_of(sizes: Sizes, num_samples: int) -> config_lib.Config:
    """Returns the configuration of a step with M samples."""
    side = sizes.side
    return config_lib.Config(
        name="benchmark",
        data=config_lib.Data(
            size=(2 * side, 4 * side), crop_size=(side, side), scale_range=(0.75, 1.5)
        ),
        calibration_net=config_lib.CalibrationNet(channels=sizes.channels),
        refinement_net=config_lib.RefinementNet(base_channels=sizes.base_channels),
        discriminator=config_lib.Discriminator(base_channels=sizes.judge_channels),
        stage2=config_lib.Stage2(batch_size=sizes.batch_size, num_samples=num_samples),
    )


def crops_config(samples_at_once: int, small: bool) -> config_lib.Config:
    """Returns the paper's configuration on CT crops: batch 32, 128x128, M = 20."""
    texts = [f"stage2.samples_at_once={samples_at_once}"]
    if small:
        texts += ["stage2.num_samples=4", "stage2.batch_size=2"]
        texts += ["data.size=32,32", "data.crop_size=32,32"]
        texts += ["calibration_net.channels=2", "refinement_net.base_channels=2"]
        texts += ["discriminator.base_channels=2"]
    return config_lib.load("lidc_paper", texts)


def _dataset_info(num_classes: int, **changes) -> info.DatasetInfo:
    return info.DatasetInfo(
        title="random pixels",
        class_names=tuple(map(str, range(num_classes))),
        class_colors=((0, 0, 0),) * num_classes,
        **changes,
    )


STREETS = _dataset_info(24, flips=class_flips.CITYSCAPES_FLIPS, num_blackbox_classes=19)
CROPS = _dataset_info(
    2, image_channels=1, num_raters=4, random_crop=False, resizes=False
)


def random_dataset(
    config: config_lib.Config,
    dataset_info: info.DatasetInfo = STREETS,
    num_images: int = 32,
):
    """Returns what `build` takes for a data set, of random pixels."""
    num_ids = dataset_info.num_blackbox_classes or dataset_info.num_classes
    rng = np.random.default_rng(0)
    shape = (num_images, *config.data.size)
    names = tuple(map(str, range(num_images)))
    each = (num_images, dataset_info.num_raters, *config.data.size)
    labels = rng.integers(0, num_ids, each, np.uint8)
    labels[:, :, :4] = info.IGNORE_LABEL
    blackbox = None
    if dataset_info.num_blackbox_classes:
        blackbox = rng.integers(0, num_ids, shape, np.uint8)
    split = examples.Examples(
        names=names,
        groups=names,
        images=rng.integers(0, 256, (*shape, dataset_info.image_channels), np.uint8),
        labels=labels,
        blackbox=blackbox,
    )
    return types.SimpleNamespace(info=dataset_info, splits={"train": split})


def build_steps(
    config: config_lib.Config,
    dataset_info: info.DatasetInfo = STREETS,
    compiled: bool = False,
) -> Tuple[Callable[[], None], Callable[[], None], tf.data.Iterator]:
    """Returns our step without and with D's update, and the batches they consume.

    Args:
      config: of the run.
      dataset_info: of its data.
      compiled: whether XLA compiles the steps.
    """
    dataset = random_dataset(config, dataset_info)
    trainer = build.build_refinement_trainer(config, dataset)
    batches = iter(
        build.build_batches(config, dataset, stage=2, first_step=0, num_steps=2000)
    )
    batch = next(batches)

    @tf.function(jit_compile=compiled)
    def frozen(batch: Dict[str, tf.Tensor]) -> None:
        trainer.train_step(batch)

    @tf.function(jit_compile=compiled)
    def both(batch: Dict[str, tf.Tensor]) -> None:
        trainer.train_step(batch, True)

    return lambda: frozen(batch), lambda: both(batch), batches


def build_naive_steps(
    config: config_lib.Config,
) -> Tuple[Callable[[], None], Callable[[], None]]:
    """Returns the step that copies every image M times and runs everything on each.

    F, the encoder and D's image half run once per sample; D's real pairs once.
    """
    num = config.stage2.num_samples
    dataset = random_dataset(config)
    trainer = build.build_refinement_trainer(
        config_lib.change(config, stage2={"num_samples": 1}), dataset
    )
    batch = next(
        iter(build.build_batches(config, dataset, stage=2, first_step=0, num_steps=1))
    )

    def draw(batch: Dict[str, tf.Tensor]):
        copies = {name: tf.repeat(value, num, axis=0) for name, value in batch.items()}
        return trainer.train_step(copies)

    @tf.function
    def frozen(batch: Dict[str, tf.Tensor]) -> None:
        draw(batch)

    @tf.function
    def both(batch: Dict[str, tf.Tensor]) -> None:
        update_discriminator(trainer, *draw(batch), num=num)

    return lambda: frozen(batch), lambda: both(batch)


def update_discriminator(
    trainer: stage2.RefinementTrainer,
    image: tf.Tensor,
    real: tf.Tensor,
    samples: tf.Tensor,
    *,
    num: int,
) -> None:
    """Updates D on `[B * num, 1, H, W, K]` samples and the B real pairs among them."""
    judge = trainer.discriminator
    pair = [image[::num], real[::num]]
    variables = judge.trainable_variables
    with tf.GradientTape() as tape:
        with tf.GradientTape() as inner:
            inner.watch(pair)
            real_logits = judge(*pair)[:, 0]
        r1 = losses.r1_penalty(inner.gradient(real_logits, pair))
        fake_logits = tf.reshape(judge(image, samples), [-1, num])
        loss = losses.discriminator(real_logits, fake_logits) + trainer.r1_gamma * r1
        loss = tf.nn.compute_average_loss(loss)
    gradients = tape.gradient(loss, variables)
    optimization.update(
        trainer.discriminator_optimizer, gradients, variables, l2=trainer.l2
    )


def row_step(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `step`: ours against naive, with and without D's update."""
    del peaks
    sizes = SMALL if small else Sizes()
    rows = []
    for num_samples in (2,) if small else (7, 20):
        config = config_of(sizes, num_samples)
        ours_frozen, ours_both, _ = build_steps(config)
        naive_frozen, naive_both = build_naive_steps(config)
        sides = {
            "ours, D frozen": ours_frozen,
            "naive, D frozen": naive_frozen,
            "ours, with D": ours_both,
            "naive, with D": naive_both,
        }
        seconds = timing.medians(
            {name: timing.clock(side) for name, side in sides.items()},
            repeats=3 if small or num_samples > 10 else 5,
        )
        for kind in ("D frozen", "with D"):
            ours, naive = seconds[f"ours, {kind}"], seconds[f"naive, {kind}"]
            rows.append([num_samples, kind, 1e3 * ours, 1e3 * naive, naive / ours])
    return [
        report.Table(
            f"Stage-2 step, batch {sizes.batch_size}, {sizes.side}x{sizes.side}, "
            f"24 classes, G base {sizes.base_channels}, D base {sizes.judge_channels}",
            ("M", "phase", "ours, ms", "naive, ms", "times as fast"),
            rows,
            ("Naive: every image M times, F, G and D run on each copy.",),
        )
    ]


def row_options(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `options`: the step with the options of `train` against that without."""
    del peaks
    sizes = SMALL if small else Sizes()
    config = config_of(sizes, 2 if small else 7)
    half = config_lib.change(config, train={"mixed_precision": "mixed_bfloat16"})
    variants = {
        "float32": build_steps(config),
        "mixed_bfloat16": build_steps(half),
        "jit_compile": build_steps(config, compiled=True),
    }
    rows = []
    for index, kind in enumerate(("D frozen", "with D")):
        seconds = timing.medians(
            {name: timing.clock(steps[index]) for name, steps in variants.items()},
            repeats=3 if small else 5,
        )
        for name, value in seconds.items():
            rows.append([name, kind, 1e3 * value, seconds["float32"] / value])
    return [
        report.Table(
            f"Stage-2 step with options of `train`, M = {config.stage2.num_samples}, "
            "sizes as in the row `step`",
            ("option", "phase", "ms", "times as fast as float32"),
            rows,
        )
    ]


def row_input(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `input`: batches a second of the pipeline against those of the step."""
    del peaks
    sizes = SMALL if small else Sizes()
    config = config_of(sizes, 2 if small else 7)
    frozen, _, batches = build_steps(config)
    num_batches = 5 if small else 50

    def draw() -> None:
        for _ in range(num_batches):
            next(batches)

    seconds = timing.medians(
        {"step": timing.clock(frozen), "input": timing.clock(draw)},
        repeats=3 if small else 5,
    )
    per_batch = seconds["input"] / num_batches
    return [
        report.Table(
            f"Input pipeline, batch {sizes.batch_size}: {sizes.side}x{sizes.side} crops, "
            f"magnified, mirrored and flipped, of {config.data.size[0]}x"
            f"{config.data.size[1]} images, against the step with M = "
            f"{config.stage2.num_samples} and D frozen",
            ("batches/s of the input", "batches/s of the step", "ratio"),
            [[1 / per_batch, 1 / seconds["step"], seconds["step"] / per_batch]],
            ("Both have the whole machine: they are measured in turns.",),
        )
    ]
