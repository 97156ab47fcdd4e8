"""Pieces that the networks share."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

import tensorflow as tf

from car_tf.models.keras_api import keras

LEAKY_SLOPE = 0.2
NUM_DOWN_BLOCKS = 4


def image_to_float(image: tf.Tensor) -> tf.Tensor:
    """Maps uint8 grey levels to [-1, 1] float32."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0


def blackbox_to_probs(blackbox: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Maps a black box's output to class probabilities `[B, H, W, K]` float32.

    Of integer class ids `[B, H, W]`, of which those from `num_classes` on, such as 255,
    give zeros, or of probabilities `[B, H, W, K]`.
    """
    if blackbox.dtype.is_integer:
        return tf.one_hot(tf.cast(blackbox, tf.int32), num_classes)
    return tf.cast(blackbox, tf.float32)


def batch_norm(*, synchronized: bool, name: str) -> keras.layers.Layer:
    """Batch normalisation with the constants of the authors' PyTorch code.

    Synchronised statistics are exact over several replicas but three times slower on
    one, so they are the builder's choice.
    """
    return keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, synchronized=synchronized, name=name
    )


def as_linear(norm: keras.layers.Layer) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns scale and offset `[C]` of a built batch norm in inference."""
    scale = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    return scale, norm.beta - norm.moving_mean * scale


def pixel_norm(features: tf.Tensor) -> tf.Tensor:
    """Scales each pixel's channels to a mean square of one (Karras et al., 2018).

    Unlike batch norm it is the same in training and use, on one device and several.
    """
    square = tf.reduce_mean(tf.square(features), axis=-1, keepdims=True)
    return features * tf.math.rsqrt(square + 1e-4)


def merge_samples(features: tf.Tensor) -> tf.Tensor:
    """Reshapes `[B, M, H, W, C]` to `[B * M, H, W, C]`."""
    shape = tf.shape(features)
    merged = tf.reshape(features, tf.concat([[-1], shape[2:]], axis=0))
    merged.set_shape([None, *features.shape[2:]])
    return merged


def split_samples(features: tf.Tensor, batch: tf.Tensor, num: tf.Tensor) -> tf.Tensor:
    """Reshapes `[B * M, H, W, C]` to `[B, M, H, W, C]`."""
    shape = tf.shape(features)
    split = tf.reshape(features, tf.concat([[batch, num], shape[1:]], axis=0))
    split.set_shape([None, None, *features.shape[1:]])
    return split


class SeededDropout(keras.layers.Layer):
    """Dropout whose mask is a function of a seed, so that a resumed run repeats it."""

    def __init__(self, rate: float, *, salt: int, **kwargs):
        super().__init__(**kwargs)
        self.rate = rate
        self.salt = salt

    def call(self, inputs: tf.Tensor, seed: Optional[tf.Tensor] = None) -> tf.Tensor:
        """Drops entries by a seed `[2]` int32; none where it is None."""
        if seed is None or self.rate == 0:
            return inputs
        seed = tf.random.experimental.stateless_fold_in(seed, self.salt)
        return tf.nn.experimental.stateless_dropout(
            inputs, self.rate, seed, rng_alg="philox"
        )


class ConvBlock(keras.layers.Layer):
    """3x3 convolution, batch norm, leaky ReLU, dropout (CAR, Section 5.2)."""

    def __init__(
        self,
        channels: int,
        *,
        strides: int = 1,
        dropout: float,
        salt: int,
        synchronized: bool,
        slope: float = LEAKY_SLOPE,
        **kwargs,
    ):
        super().__init__(**kwargs)
        # A bias before batch norm has no effect and a zero gradient, whose rounding
        # noise Adam would blow up.
        self.conv = keras.layers.Conv2D(
            channels, 3, strides=strides, padding="same", use_bias=False, name="conv"
        )
        self.norm = batch_norm(synchronized=synchronized, name="norm")
        self.activation = keras.layers.LeakyReLU(slope)
        self.dropout = SeededDropout(dropout, salt=salt)

    def call(
        self,
        inputs: tf.Tensor,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
    ) -> tf.Tensor:
        """Maps `[B, H, W, C]` to `[B, H / strides, W / strides, channels]`."""
        features = self.norm(self.conv(inputs), training=training)
        return self.dropout(self.activation(features), seed=seed)


class GaussianHead(keras.layers.Layer):
    """Mean and standard deviation of a latent code, from features (CAR, B.2.3).

    Training begins at N(0, I) for every image, where samples follow F already.
    """

    def __init__(self, size: int, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(
            2 * size, kernel_initializer="zeros", name="dense"
        )

    def call(self, features: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Maps `[B, h, w, C]` to mean and standard deviation, `[B, Z]` each."""
        both = tf.cast(self.dense(tf.reduce_mean(features, [1, 2])), tf.float32)
        mean, raw = tf.split(both, 2, axis=-1)
        # softplus(0.5413) = 1.
        return mean, tf.nn.softplus(raw + 0.5413)


def latin_hypercube(shape: Sequence[int], key: tf.Tensor) -> tf.Tensor:
    """Draws `[B, M, Z]` normal values, stratified over M in every dimension."""
    order, within = tf.unstack(tf.random.stateless_uniform([2, *shape], key))
    stratum = tf.argsort(tf.argsort(order, axis=1), axis=1)
    quantile = (tf.cast(stratum, tf.float32) + within) / shape[1]
    # Uniform draws may be 0, whose quantile is infinite.
    return tf.math.ndtri(tf.clip_by_value(quantile, 1e-6, 1.0 - 1e-6))


def reparameterize(mean: tf.Tensor, std: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
    """Makes codes of `[B, Z]` Gaussians from standard noise `[B, M, Z]`."""
    return mean[:, None] + std[:, None] * noise


@tf.custom_gradient
def upsample_nearest(features: tf.Tensor):
    """Makes four equal pixels of each, `[B, H, W, C]` to `[B, 2H, 2W, C]`.

    TensorFlow's own gradient of it is slower, and XLA has none.
    """

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        return 4.0 * tf.nn.avg_pool2d(upstream, 2, strides=2, padding="VALID")

    size = 2 * tf.shape(features)[1:3]
    return tf.image.resize(features, size, "nearest"), gradient


def pad_to_multiple(features: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pads `[B, H, W, C]` with zeros at the bottom and right to multiples of a side."""
    shape = tf.shape(features)
    bottom, right = -shape[1] % multiple, -shape[2] % multiple
    return tf.pad(features, [[0, 0], [0, bottom], [0, right], [0, 0]])


def down_blocks(
    base_channels: int, dropout: float, synchronized: bool
) -> List[ConvBlock]:
    """The encoder: each block halves the size and doubles the channels."""
    shared = dict(strides=2, dropout=dropout, synchronized=synchronized)
    return [
        ConvBlock(base_channels * 2**level, salt=level, name=f"down{level}", **shared)
        for level in range(NUM_DOWN_BLOCKS)
    ]
