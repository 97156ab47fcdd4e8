"""D, the discriminator: DC-GAN's without batch norm (CAR, Section 5.2)."""

from typing import List, Tuple

import tensorflow as tf

from car_tf.models import layers
from car_tf.models.keras_api import keras

SMALLEST_MAP = 4
PRESENCE_UNITS = 64
PATCH_LEVEL = 1  # Of the convolutions after the first: an eighth of the size.


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
        patches: bool = False,
        presence: bool = False,
        name: str = "discriminator",
    ):
        """Creates the network for maps of a (height, width) in pixels.

        See the fields of `config.Discriminator`. What `presence` judges are classes
        that occur together, which convolutions do not see in small areas.
        """
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
        self.patch_layer = None
        if patches:
            self.patch_layer = keras.layers.Conv2D(
                1, 3, padding="same", name="patch_logits"
            )
        self.presence_layers = []
        if presence:
            self.presence_layers = [
                keras.layers.Dense(PRESENCE_UNITS, name="presence"),
                self.activation,
                keras.layers.Dense(1, name="presence_logit"),
            ]

    def call(self, image: tf.Tensor, label_maps: tf.Tensor) -> tf.Tensor:
        """Computes one logit per pair, `[B, M]`; arguments as of `heads`."""
        return self.heads(image, label_maps)[0]

    def heads(self, image: tf.Tensor, label_maps: tf.Tensor) -> List[tf.Tensor]:
        """Judges pairs as wholes and, where it was made so, in patches and by areas.

        Maps images `[B, H, W, C]` float32 in [-1, 1] and one-hot labels or
        probabilities `[B, M, H, W, K]` to logits, positive where D takes a pair for
        real: `[B, M]`, `[B, M, P]` of its patches, and `[B, M]` of the classes' areas.
        """
        batch, num = tf.shape(label_maps)[0], tf.shape(label_maps)[1]
        features = self.label_conv(layers.merge_samples(label_maps))
        features = layers.split_samples(features, batch, num)
        features = features + self.image_conv(image)[:, None]
        features = self.activation(layers.merge_samples(features))
        found = []
        for level, conv in enumerate(self.convs):
            features = self.activation(conv(features))
            if self.patch_layer is not None and level == PATCH_LEVEL:
                found.append(tf.reshape(self.patch_layer(features), [batch, num, -1]))
        if self.presence_layers:
            areas = tf.reduce_sum(label_maps, axis=[2, 3])
            seen = tf.concat([tf.tanh(areas / 8.0), tf.math.log1p(areas) / 4.0], -1)
            for layer in self.presence_layers:
                seen = layer(seen)
            found.append(seen[..., 0])
        logits = self.logit_layer(self.flatten(features))
        return [
            tf.cast(head, tf.float32)
            for head in [tf.reshape(logits, [batch, num]), *found]
        ]
