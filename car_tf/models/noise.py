"""How the noise z enters G: a scale and residual per channel, and Gumbel variables."""

from __future__ import annotations

from typing import Tuple

import tensorflow as tf
import tensorflow_probability as tfp

from car_tf.models.keras_api import keras


class NoiseInjection(keras.layers.Layer):
    """Per-channel scale and residual from the noise, as in AdaIN (CAR, Section 5.2)."""

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.scale = keras.layers.Dense(channels, name="scale")
        self.residual = keras.layers.Dense(channels, name="residual")

    def call(self, noise: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Maps noise `[B, M, Z]` to factor and residual, `[B, M, 1, 1, C]` each."""
        scale, residual = self.scale(noise), self.residual(noise)
        return 1.0 + scale[:, :, None, None, :], residual[:, :, None, None, :]


class ClassGumbels(keras.layers.Layer):
    """Turns noise z into a Gumbel variable of each class.

    A linear map makes K standard normal values of z, at first the first K of them, and
    the quantile of each is looked up in the Gumbel distribution. Of two classes the
    difference alone matters, which is logistic: one value is enough, and the second
    class gets all of it.
    """

    def __init__(self, num_classes: int, noise_dim: int, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        num_values = 1 if num_classes == 2 else num_classes
        # Unit columns: each value is N(0, 1), and independent of the others where
        # there is a dimension for each.
        start = keras.initializers.Identity()
        if noise_dim < num_values:
            start = _unit_columns
        self.dense = keras.layers.Dense(
            num_values, kernel_initializer=start, name="dense"
        )

    def call(self, noise: tf.Tensor) -> tf.Tensor:
        """Maps noise `[B, M, Z]` to `[B, M, K]` float32."""
        values = tf.cast(self.dense(noise), tf.float32)
        # Beyond, the quantile is 1 even to its logarithm.
        values = tf.clip_by_value(values, -10.0, 10.0)
        normal = tfp.distributions.Normal(0.0, 1.0)
        log_quantile = normal.log_cdf(values)
        if self.num_classes == 2:
            logistic = log_quantile - normal.log_cdf(-values)
            return tf.concat([tf.zeros_like(logistic), logistic], axis=-1)
        return -tf.math.log(-log_quantile)


def _unit_columns(shape, dtype=None) -> tf.Tensor:
    values = keras.initializers.RandomNormal()(shape, dtype)
    return tf.math.l2_normalize(values, axis=0)
