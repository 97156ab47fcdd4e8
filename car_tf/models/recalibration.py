"""F's last step, where it is asked for: its logits are remapped image by image.

F says of every pixel by itself how likely the foreground is. How much of the image it
finds likely says more: whether there is anything at all, and whether the raters would
take the rim of it. Here the areas of F's level sets decide a monotone map of F's logit,
the same in all pixels of the image, so that the level sets stay the same sets and have
other probabilities. `train/recalibration.py` fits it after stage 1.
"""

from typing import Optional

import numpy as np
import scipy.special
import tensorflow as tf

from car_tf.models.keras_api import keras

# On the scale of F's logit, of the foreground against the background.
LEVELS = np.linspace(-6.0, 6.0, 61)
STEP = LEVELS[1] - LEVELS[0]
# The map's knots. Between two of them lies a level, and its share of probability.
KNOTS = (LEVELS[1:] + LEVELS[:-1]) / 2
# The map depends on the areas at every third of them.
EVERY = 3
# Of levels that are drawn from the logistic distribution, as where nothing is remapped.
SHARES = np.diff(scipy.special.expit(KNOTS), prepend=0.0, append=1.0)


def areas(logit: tf.Tensor, levels: np.ndarray = LEVELS) -> tf.Tensor:
    """Counts the pixels above each of L levels, `[B, L]`, of logits `[B, H, W]`."""
    return tf.reduce_sum(above(logit, levels), [1, 2])


def above(logit: tf.Tensor, levels: np.ndarray = LEVELS) -> tf.Tensor:
    """The level sets `[B, H, W, L]`, 0 and 1, of logits `[B, H, W]`."""
    return tf.cast(logit[..., None] > tf.constant(levels, tf.float32), tf.float32)


def build(wanted: bool) -> Optional["Recalibration"]:
    """Returns what remaps an F's logits, if that is wanted."""
    return Recalibration(name="recalibration") if wanted else None


class Recalibration(keras.layers.Layer):
    """A monotone map of the logits of two classes; the identity until it is fitted.

    The weights are no part of stage 1's training: they are assigned.
    """

    def __init__(self, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        num_seen, num_levels = len(LEVELS[::EVERY]), len(LEVELS)
        shared = dict(trainable=False, dtype=tf.float32)
        self.mean = self.add_weight("mean", [num_seen], **shared)
        self.scale = self.add_weight("scale", [num_seen], initializer="ones", **shared)
        self.kernel = self.add_weight(
            "kernel", [num_seen, num_levels], initializer="zeros", **shared
        )
        self.bias = self.add_weight("bias", [num_levels], initializer="zeros", **shared)

    def reset(self) -> None:
        """Makes it the identity again."""
        for weights in (self.kernel, self.bias):
            weights.assign(tf.zeros_like(weights))

    def log_shares(self, seen: tf.Tensor) -> tf.Tensor:
        """Maps the `areas` at every third level to log-probabilities of `LEVELS`, `[B, L]`.

        A level's probability is that with which its level set is drawn.
        """
        features = (tf.math.log1p(seen) - self.mean) / self.scale
        start = tf.constant(np.log(SHARES), tf.float32)
        return tf.nn.log_softmax(features @ self.kernel + self.bias + start)

    def call(self, logits: tf.Tensor) -> tf.Tensor:
        """Remaps the logits `[B, H, W, 2]` of F."""
        logit = logits[..., 1] - logits[..., 0]
        shares = self.log_shares(areas(logit, LEVELS[::EVERY]))
        below = tf.math.cumulative_logsumexp(shares, axis=-1)[:, :-1]
        above = tf.math.cumulative_logsumexp(shares, axis=-1, reverse=True)[:, 1:]
        values = below - above  # The logit of the share of levels below each knot.
        inside = tf.clip_by_value(logit, KNOTS[0], KNOTS[-1])
        place = (inside - KNOTS[0]) / STEP
        index = tf.minimum(tf.cast(place, tf.int32), len(KNOTS) - 2)
        first = tf.gather(values, index, batch_dims=1)
        second = tf.gather(values, index + 1, batch_dims=1)
        place -= tf.cast(index, tf.float32)
        found = first + place * (second - first) + logit - inside
        return tf.stack([tf.zeros_like(found), found], axis=-1)
