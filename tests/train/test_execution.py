"""How the steps are executed: their precision, and XLA."""

import contextlib
import types
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import tiny_trainers as trainers

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.data import info
from car_tf.models.keras_api import keras
from car_tf.train import build, optimization

pytestmark = pytest.mark.usefixtures("shallow_generators")

TINY = (
    *("data.size=24,24", "data.crop_size=16,16", "data.scale_range=1,1"),
    *("calibration_net.channels=4", "refinement_net.base_channels=4"),
    *("discriminator.base_channels=4", "stage1.batch_size=4", "stage2.batch_size=4"),
    *("stage2.num_samples=2", "stage2.discriminator_period=1"),
    *("stage2.discriminator_active=1", "calibration_net.dropout=0.1"),
    *("stage1.steps=2", "stage2.steps=2", "train.seed=2"),
)
DATASET = types.SimpleNamespace(
    info=info.DatasetInfo(
        title="random pixels",
        class_names=tuple("abcdef"),
        class_colors=((0, 0, 0),) * 6,
        num_blackbox_classes=trainers.KB,
    ),
    splits={"train": trainers.source()},
)


def two_steps(*texts):
    """Trains both stages; returns the trainers and the means of their losses."""
    config = fields.override(config_lib.Config(name="tiny"), [*TINY, *texts])
    keras.utils.set_random_seed(5)
    stage_1 = build.build_calibration_trainer(config, DATASET)
    means = dict(trainers.fit(stage_1, 2))
    stage_2 = build.build_refinement_trainer(config, DATASET, stage_1.calibration_net)
    means.update(trainers.fit(stage_2, 2))
    return (stage_1, stage_2), means


def noise(batch_size, num_samples, noise_dim, **unused):
    """The same in every step: XLA draws other normal numbers from the same seed."""
    count = batch_size * num_samples * noise_dim
    values = np.sin(np.arange(1.0, count + 1)).astype(np.float32)
    return tf.reshape(values, [batch_size, num_samples, noise_dim])


@pytest.fixture(scope="module", autouse=True)
def known_noise():
    with mock.patch.object(optimization, "batch_noise", noise):
        yield


@pytest.fixture(scope="module")
def plain():
    with trainers.eagerly():
        return two_steps()[1]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_float32_weights(plain, policy):
    scaling = policy == "mixed_float16"
    with contextlib.nullcontext() if scaling else trainers.eagerly():
        (stage_1, stage_2), means = two_steps(f"train.mixed_precision={policy}")
    half = policy[len("mixed_") :]
    for net in (stage_2.calibration_net, stage_2.refinement_net, stage_2.discriminator):
        assert net.compute_dtype == half
        for variable in net.variables:
            assert variable.dtype == tf.float32
            assert np.isfinite(variable.numpy()).all()
    # bfloat16 has 8 bits of mantissa.
    assert means["cross_entropy"] == pytest.approx(plain["cross_entropy"], rel=0.02)
    assert means["discriminator"] == pytest.approx(plain["discriminator"], rel=0.05)
    # Networks that are built later compute in float32 again.
    assert keras.mixed_precision.global_policy().name == "float32"
    for optimizer in (stage_1.optimizer, stage_2.generator_optimizer):
        wrapped = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
        assert wrapped == scaling


def test_a_scaled_loss_makes_the_same_update_and_an_overflow_none():
    # Plain: g = 3, l2 = 0.5, w = 2: Adam's first step is -0.1 of the sign of 4.
    values = []
    for loss_scaling in (False, True):
        variable = tf.Variable(2.0)
        optimizer = optimization.adam(
            0.1, variables=[variable], loss_scaling=loss_scaling
        )
        for factor in (3.0, -7.0):
            with tf.GradientTape() as tape:
                loss = optimization.scaled(optimizer, factor * variable)
            gradient = tape.gradient(loss, variable)
            optimization.update(optimizer, [gradient], [variable], l2=0.5)
        values.append(float(variable))
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    scale = float(optimizer.loss_scale)
    optimization.update(optimizer, [tf.constant(float("inf"))], [variable], l2=0.5)
    assert float(variable) == values[1]
    assert float(optimizer.loss_scale) == scale / 2


def test_xla_makes_the_same_steps_and_checks_their_losses(plain):
    stages, means = two_steps("train.jit_compile=true")
    assert means == pytest.approx(plain, rel=2e-3, abs=2e-3)
    # XLA leaves the checks inside a step out.
    nets = stages[0].calibration_net, stages[1].refinement_net
    for stage, net, term in zip(stages, nets, ("cross_entropy", "pixel_loss")):
        net.variables[0].assign(np.nan * net.variables[0])
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{term} is not fin"):
            trainers.fit(stage, 1)


def test_the_fields_are_checked():
    with pytest.raises(config_lib.ConfigError, match="steps_per_execution"):
        config_lib.Train(steps_per_execution=0)
    with pytest.raises(config_lib.ConfigError, match="mixed_bfloat16"):
        fields.override(config_lib.Config(name="a"), ["train.mixed_precision=bfloat16"])
    with pytest.raises(config_lib.ConfigError, match="calibration_net.decoder=skips"):
        fields.override(config_lib.load("lidc_paper"), ["train.jit_compile=true"])
