"""What the training stages share: optimisers, seeds, and labels under the mask."""

from __future__ import annotations

from typing import Dict, Optional, Sequence, Tuple

import tensorflow as tf

from car_tf.data import info
from car_tf.models import layers
from car_tf.models.keras_api import keras

# Keeps the noise apart from all else that is drawn from the same seed and step.
NOISE_SALT = 1_000_003
# Nothing in a step needs AutoGraph, which would rewrite it for some seconds.
as_it_is = tf.autograph.experimental.do_not_convert


def learning_rate(
    initial: float, *, decay: str, num_updates: int, halve_at: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns a schedule: `constant`, `linear` to zero, or `halve` once at `halve_at`."""
    schedules = keras.optimizers.schedules
    if decay == "linear":
        return schedules.PolynomialDecay(initial, max(num_updates, 1), 0.0)
    # A schedule in every case, so that checkpoints have the same parts.
    final = initial / 2 if decay == "halve" else initial
    return schedules.PiecewiseConstantDecay([halve_at], [initial, final])


def adam(
    schedule, *, variables: Sequence[tf.Variable], loss_scaling: bool = False
) -> keras.optimizers.Optimizer:
    """Returns Adam with the paper's constants (CAR, A.1), its slots already made.

    With `loss_scaling` it leaves a step out where the gradients of the scaled loss
    overflow, and lowers the scale.
    """
    optimizer = keras.optimizers.Adam(schedule, beta_1=0.5, beta_2=0.99, epsilon=1e-8)
    optimizer.build(variables)
    if loss_scaling:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    return optimizer


def scales(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether losses are scaled, so that float16 gradients do not vanish."""
    return isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)


def scaled(optimizer: keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """Returns the loss whose gradients `update` takes."""
    return optimizer.get_scaled_loss(loss) if scales(optimizer) else loss


def update(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[tf.Tensor],
    variables: Sequence[tf.Variable],
    *,
    l2: float,
) -> None:
    """Applies gradients with coupled L2: added to the gradient, as in PyTorch's Adam.

    The gradients are those of what `scaled` returns.
    Keras' own `weight_decay` is the decoupled kind.
    """
    if scales(optimizer):
        gradients = optimizer.get_unscaled_gradients(gradients)
    # The optimiser sums over replicas what each of them hands in.
    share = l2 / tf.distribute.get_strategy().num_replicas_in_sync
    gradients = [
        gradient + share * variable for gradient, variable in zip(gradients, variables)
    ]
    optimizer.apply_gradients(zip(gradients, variables))


def step_counter() -> tf.Variable:
    """Returns a stage's counter of steps, the same on all replicas."""
    return tf.Variable(
        0,
        dtype=tf.int64,
        trainable=False,
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        name="step",
    )


def step_seed(seed: int, step: tf.Tensor) -> tf.Tensor:
    """Returns the `[2]` int32 seed of a step, different on each replica."""
    context = tf.distribute.get_replica_context()
    base = tf.stack([tf.constant(seed, tf.int32), tf.cast(step, tf.int32)])
    replica = context.replica_id_in_sync_group
    return tf.random.experimental.stateless_fold_in(base, replica)


def batch_noise(
    batch_size: int,
    num_samples: int,
    noise_dim: int,
    *,
    stratified: bool = False,
    seed: int,
    step: tf.Tensor,
) -> tf.Tensor:
    """Draws z for this replica's part of the batch, `[B, M, Z]`, of a scalar step.

    The draw is made for the global batch, so that an image meets the same noise
    whatever the number of replicas. `stratified`: an image's M vectors are a Latin
    hypercube instead of independent. In each dimension, every one of M equally probable
    intervals of the normal distribution holds one of them. Each vector is N(0, I) as
    before, but the mean over the M samples, which Lcal holds against F, varies less.
    """
    context = tf.distribute.get_replica_context()
    num_replicas = context.num_replicas_in_sync
    key = tf.stack([tf.constant(seed, tf.int32), tf.cast(step, tf.int32)])
    # The pipeline draws its crops from seed and step as they are.
    key = tf.random.experimental.stateless_fold_in(key, NOISE_SALT)
    shape = [num_replicas * batch_size, num_samples, noise_dim]
    draw = layers.latin_hypercube if stratified else tf.random.stateless_normal
    noise = draw(shape, key)
    start = context.replica_id_in_sync_group * batch_size
    return noise[start : start + batch_size]


def prepare(
    batch: Dict[str, tf.Tensor], *, num_blackbox_classes: int
) -> Tuple[tf.Tensor, tf.Tensor, Optional[tf.Tensor], tf.Tensor]:
    """Turns a batch of the pipeline into what networks and losses take.

    Returns images `[B, H, W, C]` in [-1, 1]; labels `[B, H, W]` or `[B, N, H, W]`
    int32, 0 where ignored; black box probabilities `[B, H, W, Kb]` or None; and the
    valid mask of 0 and 1 in the shape of the labels.
    """
    image = layers.image_to_float(batch["image"])
    valid = tf.not_equal(batch["label"], info.IGNORE_LABEL)
    label = tf.where(valid, tf.cast(batch["label"], tf.int32), 0)
    blackbox = batch.get("blackbox")
    if blackbox is not None:
        blackbox = layers.blackbox_to_probs(blackbox, num_blackbox_classes)
    return image, label, blackbox, tf.cast(valid, tf.float32)


def finite(value: tf.Tensor, name: str) -> tf.Tensor:
    """Returns `value`, or stops the run and names the term if it is not finite."""
    return tf.debugging.check_numerics(value, f"the loss term {name} is not finite")


def finite_means(means: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
    """Returns the means of a step that XLA has compiled, which drops `finite`."""
    return {name: finite(mean, name) for name, mean in means.items()}
