"""Both training stages at the smallest size, for the tests of them."""

import contextlib

import numpy as np
import shallow
import tensorflow as tf

from car_tf.data import examples, pipeline
from car_tf.models import calibration_net as models_calibration_net
from car_tf.models import discriminator
from car_tf.models import refinement_net as models_refinement_net
from car_tf.models.keras_api import keras
from car_tf.train import balance, stage1, stage2

K, KB, Z, SIDE = 6, 4, 3, 16
SEED = 21
# D is updated in steps 0, 3, 6, ...
ACTIVE, PERIOD = 1, 3


def source(num=6):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, KB, (num, 1, 6, 6)).repeat(4, 2).repeat(4, 3)
    labels[:, :, :12, :12] = 255
    images = rng.integers(0, 256, (num, 24, 24, 3))
    names = tuple(str(i) for i in range(num))
    return examples.Examples(
        names=names,
        groups=names,
        images=images.astype(np.uint8),
        labels=labels.astype(np.uint8),
        blackbox=rng.integers(0, KB, (num, 24, 24)).astype(np.uint8),
    )


def batches(num_steps, first_step=0, batch_size=4):
    return pipeline.training_batches(
        source(),
        batch_size=batch_size,
        crop_size=(SIDE, SIDE),
        seed=SEED,
        first_step=first_step,
        num_steps=num_steps,
    )


def one_batch():
    return next(iter(batches(1)))


def image_zeros(channels, *middle):
    return tf.zeros([1, *middle, SIDE, SIDE, channels])


def build_calibrator(synchronized=False):
    net = models_calibration_net.BlackBoxCalibrator(
        num_classes=K, channels=3, dropout=0.0, synchronized=synchronized
    )
    net(image_zeros(3), image_zeros(KB))
    return net


def stage_1(
    strategy=None,
    *,
    optimizer=None,
    net=None,
    l2=1e-2,
    synchronized=False,
    average_decay=0.0,
    **compiled,
):
    strategy = strategy or tf.distribute.get_strategy()
    synchronized |= strategy.num_replicas_in_sync > 1
    with strategy.scope():
        keras.utils.set_random_seed(1)
        net = net or build_calibrator(synchronized)
        trainer = stage1.CalibrationTrainer(
            calibration_net=net,
            num_blackbox_classes=KB,
            l2=l2,
            seed=SEED,
            average_decay=average_decay,
        )
        # Adam divides by a gradient's size, so that its first steps would blow up the
        # rounding of gradients near zero; plain descent shows the gradients.
        optimizer = optimizer or keras.optimizers.SGD(0.1)
        optimizer.build(net.trainable_variables)
        trainer.compile(optimizer=optimizer, **compiled)
    return trainer


def stage_2(
    strategy=None,
    *,
    calibration_net=None,
    refinement_net=None,
    judge=None,
    rate=0.05,
    synchronized=False,
    rests=(),
    num_levels=2,
    **changes,
):
    strategy = strategy or tf.distribute.get_strategy()
    synchronized |= strategy.num_replicas_in_sync > 1
    compiled = {
        name: changes.pop(name) for name in ("steps_per_execution",) if name in changes
    }
    settings = dict(
        num_classes=K,
        num_blackbox_classes=KB,
        num_samples=2,
        adversarial_weight=10.0,
        calibration_weight=5.0,
        pixel_loss="calibration",
        r1_gamma=10.0,
        l2=1e-2,
        seed=SEED,
    )
    settings.update(changes)
    with strategy.scope():
        keras.utils.set_random_seed(2)
        who = balance.Balance(**{"active": ACTIVE, "period": PERIOD, **dict(rests)})
        calibration_net = calibration_net or build_calibrator(synchronized)
        if refinement_net is None:
            with shallow.generators(num_levels):
                refinement_net = models_refinement_net.RefinementNet(
                    num_classes=K,
                    base_channels=2,
                    noise_dim=Z,
                    dropout=0.0,
                    synchronized=synchronized,
                )
            refinement_net(image_zeros(3), image_zeros(K), tf.zeros([1, 1, Z]))
            # The residual starts at zero, where the noise has no gradient.
            kernel = refinement_net.logits_layer.kernel
            kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]))
        if judge is None:
            judge = discriminator.Discriminator(
                input_size=(SIDE, SIDE), base_channels=2
            )
            judge(image_zeros(3), image_zeros(K, 1))
        trainer = stage2.RefinementTrainer(
            calibration_net=calibration_net,
            refinement_net=refinement_net,
            discriminator=judge,
            balance=who,
            **settings,
        )
        optimizers = [keras.optimizers.SGD(rate), keras.optimizers.SGD(rate)]
        optimizers[0].build(refinement_net.trainable_variables)
        optimizers[1].build(judge.trainable_variables)
        trainer.compile(
            generator_optimizer=optimizers[0],
            discriminator_optimizer=optimizers[1],
            **compiled,
        )
    return trainer


def weights(net):
    return [variable.numpy() for variable in net.variables]


def trained(net):
    return [variable.numpy() for variable in net.trainable_variables]


def assert_close(ones, others, atol=1e-5):
    assert len(ones) == len(others)
    for one, other in zip(ones, others):
        np.testing.assert_allclose(one, other, atol=atol)


def assert_equal(ones, others):
    assert_close(ones, others, atol=0)


def changed(before, after):
    return any(np.any(one != other) for one, other in zip(before, after))


@contextlib.contextmanager
def eagerly():
    """Steps run as they are written: a few of them take less time than their graph."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def fit(trainer, num_steps, first_step=0):
    """Trains in one epoch, as the job does; returns the epoch's means."""
    history = trainer.fit(
        batches(num_steps, first_step),
        epochs=1,
        steps_per_epoch=num_steps - first_step,
        verbose=0,
    )
    return {name: values[0] for name, values in history.history.items()}
