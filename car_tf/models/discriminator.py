"""D, the discriminator: DC-GAN's without batch norm (CAR, Section 5.2)."""

from __future__ import annotations

from typing import Tuple

import tensorflow as tf

from car_tf.models import layers
from car_tf.models.keras_api import keras

SMALLEST_MAP = 4


class Discriminator(keras.Model):
    """Judges pairs of an image and a label map as wholes.

    Strided convolutions run until the shorter side is 4 pixels and one dense layer
    sees what is left, because whether a class flips is decided once per image. The
    image's half of the first convolution is computed once per image.
    """

    def __init__(
        self,
        *,
        input_size: Tuple[int, int],
        base_channels: int = 64,
        name: str = "discriminator",
    ):
        """Creates the network for maps of `input_size` (height, width) pixels."""
        super().__init__(name=name)
        shared = dict(kernel_size=4, strides=2, padding="same")
        self.image_conv = keras.layers.Conv2D(base_channels, name="image", **shared)
        self.label_conv = keras.layers.Conv2D(
            base_channels, use_bias=False, name="label", **shared
        )
        side, level, self.convs = min(input_size) // 2, 1, []
        while side > SMALLEST_MAP:
            width = base_channels * min(2**level, 8)
            self.convs.append(keras.layers.Conv2D(width, name=f"conv{level}", **shared))
            side, level = side // 2, level + 1
        self.activation = keras.layers.LeakyReLU(layers.LEAKY_SLOPE)
        self.flatten = keras.layers.Flatten()
        self.logit_layer = keras.layers.Dense(1, name="logit")

    def call(self, image: tf.Tensor, label_maps: tf.Tensor) -> tf.Tensor:
        """Computes one logit per pair.

        Args:
          image: `[B, H, W, C]` float32 in [-1, 1].
          label_maps: `[B, M, H, W, K]` float32, one-hot labels or probabilities.

        Returns:
          `[B, M]` logits, positive where D takes the pair for real.
        """
        batch, num = tf.shape(label_maps)[0], tf.shape(label_maps)[1]
        features = self.label_conv(layers.merge_samples(label_maps))
        features = layers.split_samples(features, batch, num)
        features = features + self.image_conv(image)[:, None]
        features = self.activation(layers.merge_samples(features))
        for conv in self.convs:
            features = self.activation(conv(features))
        logits = tf.cast(self.logit_layer(self.flatten(features)), tf.float32)
        return tf.reshape(logits, [batch, num])
