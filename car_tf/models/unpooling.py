"""Max-pooling that remembers where its maxima were, and its inverse.

The one place that uses TensorFlow Addons. Its layer is made of TensorFlow's core
operations, so that an exported model needs Addons no more.
"""

from __future__ import annotations

import warnings
from typing import Tuple

import tensorflow as tf

with warnings.catch_warnings():
    # Addons announces at import that it is no longer developed.
    warnings.simplefilter("ignore")
    import tensorflow_addons as tfa


def max_pool(features: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
    """Takes the maxima of 2x2 windows and says where they were.

    Args:
      features: `[B, H, W, C]` float, H and W even.

    Returns:
      Maxima `[B, H / 2, W / 2, C]`, and their flat indices within `[H, W, C]` in the
      same shape, int64.
    """
    return tf.nn.max_pool_with_argmax(features, 2, 2, "SAME")


def max_unpool(features: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Puts values back where their maxima were, zeros elsewhere.

    There is no second derivative.

    Args:
      features: `[B, h, w, C]` float.
      indices: of `max_pool`, in the same shape.

    Returns:
      `[B, 2h, 2w, C]`.
    """
    return tfa.layers.MaxUnpooling2D()(features, indices)
