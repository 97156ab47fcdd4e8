"""How the noise z enters G: a scale and residual per channel, and Gumbel variables."""

from typing import Tuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from car_tf.models.keras_api import keras

NUM_WAVES = 8  # Of a Gumbel field.


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
        if self.num_classes > 2:
            return standard_gumbel(values)
        logistic = _log_quantile(values) - _log_quantile(-values)
        return tf.concat([tf.zeros_like(logistic), logistic], axis=-1)


class GumbelFields(keras.layers.Layer):
    """Turns noise z into a smooth random map of each class with Gumbel values.

    Each map has values of z of its own and is a sum of plane waves, whose cosines and
    sines they weigh: N(0, 1) in every pixel, and looked up in the Gumbel distribution.
    Two pixels of a map are alike up to a distance of about `scale`.
    """

    def __init__(self, num_maps: int, *, scale: float, **kwargs):
        """Creates the layer for K maps.

        By a bell curve whose deviation is `scale`, as a share of the shorter side, the
        correlation falls with distance.
        """
        super().__init__(**kwargs)
        self.num_maps = num_maps
        self.noise_dim = 2 * NUM_WAVES * num_maps
        rng = np.random.default_rng(0)
        self.frequencies = rng.normal(size=(2, num_maps, NUM_WAVES)) / scale

    def call(self, noise: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Maps noise `[B, M, Z]`, Z at least `noise_dim`, to `[B, M, H, W, K]`."""
        side = tf.cast(tf.minimum(height, width), tf.float32)
        down, across = tf.unstack(tf.cast(self.frequencies, tf.float32))
        rows = tf.range(height, dtype=tf.float32)[:, None, None] / side * down
        columns = tf.range(width, dtype=tf.float32)[:, None, None] / side * across
        shape = [tf.shape(noise)[0], tf.shape(noise)[1], 1, self.num_maps, 2, NUM_WAVES]
        used = tf.cast(noise[..., : self.noise_dim], tf.float32)
        cosines, sines = tf.unstack(tf.reshape(used, shape), axis=-2)
        # By the addition theorems, so that no wave is computed in each pixel.
        parts = tf.concat(
            [
                cosines * tf.cos(rows) + sines * tf.sin(rows),
                sines * tf.cos(rows) - cosines * tf.sin(rows),
            ],
            axis=-1,
        )
        columns = tf.concat([tf.cos(columns), tf.sin(columns)], axis=-1)
        values = tf.einsum("bmhkj,wkj->bmhwk", parts, columns)
        return standard_gumbel(values / np.sqrt(NUM_WAVES).astype(np.float32))


def standard_gumbel(values: tf.Tensor) -> tf.Tensor:
    """Maps standard normal values to Gumbel ones by their quantile."""
    return -tf.math.log(-_log_quantile(values))


def _log_quantile(values: tf.Tensor) -> tf.Tensor:
    # Beyond, the quantile is 1 even to its logarithm.
    values = tf.clip_by_value(values, -10.0, 10.0)
    return tfp.distributions.Normal(0.0, 1.0).log_cdf(values)


def _unit_columns(shape, dtype=None) -> tf.Tensor:
    values = keras.initializers.RandomNormal()(shape, dtype)
    return tf.math.l2_normalize(values, axis=0)
