"""From a configuration to batches, networks and trainers.

With `build_data`, the one place where configuration fields become arguments.
"""

from __future__ import annotations

import contextlib
import math
from typing import Callable, Iterator, Optional, Sequence

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import load as data_load
from car_tf.data import pipeline
from car_tf.models import build as networks
from car_tf.models.keras_api import keras
from car_tf.train import balance, optimization, stage1, stage2

# Epochs after which the paper halves its learning rates (CAR, A.1).
HALVE_AFTER_EPOCHS = 30
# Fields of `stage2` that become arguments of the same name.
TRAINED = {"num_samples", "adversarial_weight", "calibration_weight", "energy_weight"}
TRAINED |= {"pixel_loss", "r1_gamma", "l2", "kl_weight", "samples_at_once"}
TRAINED |= {"average_decay", "r1_every"}


def build_batches(
    config: config_lib.Config, dataset: data_load.Dataset, *, stage: int, **steps: int
):
    """Returns a stage's batches; `first_step` and `num_steps` as of the pipeline."""
    settings = config.stage1 if stage == 1 else config.stage2
    return pipeline.training_batches(
        dataset.splits["train"],
        batch_size=settings.batch_size,
        crop_size=config.data.crop_size,
        scale_range=config.data.scale_range,
        random_crop=dataset.info.random_crop,
        symmetries=config.data.symmetries,
        grey_jitter=config.data.grey_jitter,
        flips=dataset.info.flips,
        labels_per_image=settings.labels_per_image,
        seed=config.train.seed * 10 + stage,
        **steps,
    )


@contextlib.contextmanager
def _precision(policy: str) -> Iterator[None]:
    """Networks that are built inside compute in Keras' `policy`, here and later."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def _scales_losses(config: config_lib.Config) -> bool:
    return config.train.mixed_precision == "mixed_float16"


def _halve_at(batch_size: int, num_images: int) -> int:
    return HALVE_AFTER_EPOCHS * math.ceil(num_images / batch_size)


def _is_synchronized() -> bool:
    """Whether batch statistics span all replicas: where the scope's strategy has several."""
    return tf.distribute.get_strategy().num_replicas_in_sync > 1


def build_calibration_trainer(
    config: config_lib.Config, dataset: data_load.Dataset
) -> stage1.CalibrationTrainer:
    """Builds stage 1; call it inside the strategy's scope."""
    settings = config.stage1
    with _precision(config.train.mixed_precision):
        net = networks.build_calibration_net(config, dataset.info, _is_synchronized())
    trainer = stage1.CalibrationTrainer(
        calibration_net=net,
        num_blackbox_classes=dataset.info.num_blackbox_classes,
        seed=config.train.seed * 10 + 1,
        **settings.model_dump(include={"l2", "average_decay"}),
    )
    schedule = optimization.learning_rate(
        settings.learning_rate,
        decay=settings.decay,
        num_updates=settings.steps,
        halve_at=_halve_at(settings.batch_size, len(dataset.splits["train"])),
    )
    variables, scaling = net.trainable_variables, _scales_losses(config)
    trainer.compile(
        optimizer=optimization.adam(
            schedule, variables=variables, loss_scaling=scaling
        ),
        steps_per_execution=config.train.steps_per_execution,
        jit_compile=config.train.jit_compile,
    )
    return trainer


def _active_steps(steps: int, active: int, period: int) -> int:
    """Counts D's updates in the first `steps` steps."""
    cycles, rest = divmod(steps, period)
    return cycles * active + min(rest, active)


def build_refinement_trainer(
    config: config_lib.Config,
    dataset: data_load.Dataset,
    calibration_net: Optional[keras.Model] = None,
) -> stage2.RefinementTrainer:
    """Builds stage 2; call it inside the strategy's scope.

    `calibration_net` is the trained F; built anew where it has no weights to train.
    """
    settings, facts, several = config.stage2, dataset.info, _is_synchronized()
    with _precision(config.train.mixed_precision):
        generator = networks.build_refinement_net(config, facts, several)
        judge = networks.build_discriminator(config, facts)
        posterior = networks.build_posterior_net(config, facts, several)
        if calibration_net is None:
            calibration_net = networks.build_calibration_net(config, facts)
    trainer = stage2.RefinementTrainer(
        calibration_net=calibration_net,
        refinement_net=generator,
        discriminator=judge,
        num_classes=facts.num_classes,
        num_blackbox_classes=facts.num_blackbox_classes,
        balance=balance.Balance(
            active=settings.discriminator_active,
            period=settings.discriminator_period,
            warmup_steps=settings.warmup_steps,
            limits=settings.balance,
        ),
        seed=config.train.seed * 10 + 2,
        posterior_net=posterior,
        stratified_noise=settings.noise_sampling == "stratified",
        hard_samples=settings.sample_maps == "argmax",
        paired=settings.calibration_estimator == "paired",
        augment=settings.augment_discriminator,
        **settings.model_dump(include=TRAINED),
    )
    _compile_refinement(trainer, config, len(dataset.splits["train"]))
    return trainer


def _compile_refinement(
    trainer: stage2.RefinementTrainer, config: config_lib.Config, num_images: int
) -> None:
    """Gives the trainer its optimisers; `num_images` are an epoch."""
    settings = config.stage2
    halve_at = _halve_at(settings.batch_size, num_images)

    def updates_of_d(steps: int) -> int:
        active, period = settings.discriminator_active, settings.discriminator_period
        return _active_steps(steps, active, period)

    def optimizer(
        rate: float, variables: Sequence[tf.Variable], updates: Callable[[int], int]
    ):
        schedule = optimization.learning_rate(
            rate,
            decay=settings.decay,
            num_updates=updates(settings.steps),
            halve_at=updates(halve_at),
        )
        scaling = _scales_losses(config)
        return optimization.adam(schedule, variables=variables, loss_scaling=scaling)

    trainer.compile(
        generator_optimizer=optimizer(
            settings.learning_rate, trainer.generator_variables, lambda steps: steps
        ),
        discriminator_optimizer=optimizer(
            settings.discriminator_learning_rate,
            trainer.discriminator.trainable_variables,
            updates_of_d,
        ),
        steps_per_execution=config.train.steps_per_execution,
        jit_compile=config.train.jit_compile,
    )
