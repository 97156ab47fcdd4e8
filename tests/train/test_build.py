"""From configuration fields to trainers: what the fields decide."""

import types

import pytest

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.data import cityscapes
from car_tf.train import build

TINY = (
    *("data.size=32,32", "data.crop_size=16,16", "data.scale_range=1,1"),
    *("calibration_net.channels=2", "refinement_net.base_channels=2"),
    "discriminator.base_channels=2",
)


def trainer_of(*texts):
    config = fields.override(config_lib.Config(name="tiny"), [*TINY, *texts])
    dataset = types.SimpleNamespace(
        info=cityscapes.dataset_info("nothing"), splits={"train": range(64)}
    )
    return build.build_refinement_trainer(config, dataset)


def rates(optimizer, steps):
    return [float(optimizer._learning_rate(step)) for step in steps]


@pytest.mark.parametrize("active, period", [(1, 1), (1, 3), (2, 5), (50, 250)])
def test_updates_of_d_are_counted_as_they_happen(active, period):
    for steps in (0, 1, 2, 49, 50, 51, 249, 250, 251, 299, 300, 600):
        happened = sum(step % period < active for step in range(steps))
        assert build._active_steps(steps, active, period) == happened


def test_ds_learning_rate_ends_with_its_last_update():
    # 100 steps of the cycle 50 of 250 hold 50 updates, not 100 / 5 = 20.
    trainer = trainer_of(
        *("stage2.steps=100", "stage2.decay=linear", "stage2.learning_rate=1"),
        *("stage2.discriminator_learning_rate=1", "stage2.discriminator_active=50"),
    )
    got = rates(trainer.discriminator_optimizer, (0, 20, 25, 50))
    assert got == pytest.approx([1, 0.6, 0.5, 0])
    assert rates(trainer.generator_optimizer, (50, 100)) == pytest.approx([0.5, 0])


def test_learning_rates_halve_after_thirty_epochs():
    # 64 images in batches of 8: 8 steps an epoch, 240 in 30; D is updated in every
    # second one.
    trainer = trainer_of(
        *("stage2.decay=halve", "stage2.batch_size=8", "stage2.learning_rate=1"),
        *("stage2.discriminator_learning_rate=1", "stage2.discriminator_active=1"),
        "stage2.discriminator_period=2",
    )
    assert rates(trainer.generator_optimizer, (240, 241)) == [1, 0.5]
    assert rates(trainer.discriminator_optimizer, (120, 121)) == [1, 0.5]
