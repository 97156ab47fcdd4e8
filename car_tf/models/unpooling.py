"""Max-pooling that remembers where its maxima were, and its inverse.

The one user of TensorFlow Addons. Its layer is made of TensorFlow's core operations, so
that an exported model needs Addons no more, and `scatter` gives the same without it.
"""

from typing import Tuple

import tensorflow as tf

from car_tf.models import keras_api


def max_pool(features: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Takes the maxima of 2x2 windows of `[B, H, W, C]` and says where they were.

    Returns `[B, H / 2, W / 2, C]`, and flat indices within `[H, W, C]`, int64.
    """
    return tf.nn.max_pool_with_argmax(features, 2, 2, "SAME")


def max_unpool(features: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Puts values `[B, h, w, C]` back where `max_pool` found them, zeros elsewhere.

    There is no second derivative.
    """
    if keras_api.addons is None:
        return scatter(features, indices)
    return keras_api.addons.layers.MaxUnpooling2D()(features, indices)


def scatter(features: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Does what `max_unpool` does where there is no Addons."""
    batch, height, width, channels = (
        static or dynamic
        for static, dynamic in zip(features.shape, tf.unstack(tf.shape(features)))
    )
    # Positions in the whole batch: [B * h * w * C].
    size = 4 * height * width * channels
    offsets = tf.range(batch, dtype=tf.int64) * tf.cast(size, tf.int64)
    positions = tf.reshape(offsets, [-1, 1, 1, 1]) + tf.cast(indices, tf.int64)
    flat = tf.scatter_nd(
        tf.reshape(positions, [-1, 1]),
        tf.reshape(features, [-1]),
        tf.cast([batch * size], tf.int64),
    )
    return tf.reshape(flat, [batch, 2 * height, 2 * width, channels])
