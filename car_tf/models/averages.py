"""Running averages of a network's weights, for F, for G and for the judge."""

from typing import Sequence

import tensorflow as tf


def update(
    averages: Sequence[tf.Variable],
    variables: Sequence[tf.Variable],
    *,
    decay: float,
    step: tf.Tensor,
) -> None:
    """Moves running averages of weights after a step; at first they follow closely."""
    step = tf.cast(step, tf.float32)
    decay = tf.minimum(decay, (1.0 + step) / (10.0 + step))
    for average, variable in zip(averages, variables):
        average.assign(decay * average + (1.0 - decay) * variable)
