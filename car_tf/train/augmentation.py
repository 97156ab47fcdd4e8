"""How D sees images and maps: moved, mirrored and with a hole, as G's gradients allow.

A few hundred labels are learned by heart by a discriminator in minutes. Real and
generated maps of a step are changed alike, and their image with them, so that D cannot
tell them by it (Zhao et al., 2020; Karras et al., 2020).
"""

import tensorflow as tf

SHIFT = 1 / 8  # Of the side, at most.
HOLE = 1 / 3  # Of the side.
HOLE_CHANCE = 0.7


def augment(maps: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Changes images or maps; the same seed `[2]` int32 changes all alike.

    Takes `[B, H, W, C]`, or `[B, M, H, W, K]`, whose M are changed as their image is;
    returns the same shape, zeros where nothing is left.
    """
    shape, known, (height, width) = tf.shape(maps), maps.shape, maps.shape[-3:-1]
    draws = tf.random.stateless_uniform([shape[0], 6], seed)
    maps = tf.reshape(maps, [-1, *known[-3:]])
    draws = tf.repeat(draws, tf.shape(maps)[0] // shape[0], axis=0)
    maps = tf.where(draws[:, :1, None, None] < 0.5, maps[:, :, ::-1], maps)
    maps *= _outside_hole(draws, height, width)[..., None]
    return tf.ensure_shape(tf.reshape(_shifted(maps, draws), shape), known)


def _outside_hole(draws: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """0 in a rectangle of each image, 1 outside, `[B, H, W]`."""
    rows = tf.range(height, dtype=tf.float32)[None, :] / height
    columns = tf.range(width, dtype=tf.float32)[None, :] / width
    in_rows = tf.abs(rows - draws[:, 1:2]) < HOLE / 2
    in_columns = tf.abs(columns - draws[:, 2:3]) < HOLE / 2
    inside = in_rows[:, :, None] & in_columns[:, None, :]
    inside &= draws[:, 3, None, None] < HOLE_CHANCE
    return 1.0 - tf.cast(inside, tf.float32)


def _shifted(maps: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Shifts each image by up to `SHIFT` of its sides, zeros coming in."""
    height, width = maps.shape[1], maps.shape[2]
    most = [max(int(side * SHIFT), 1) for side in (height, width)]
    padding = [[0, 0], [most[0], most[0]], [most[1], most[1]], [0, 0]]
    padded = tf.pad(maps, padding)
    first = [
        tf.cast(draws[:, 4 + axis, None] * (2 * most[axis] + 1), tf.int32)
        for axis in range(2)
    ]
    padded = tf.gather(padded, first[0] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(padded, first[1] + tf.range(width), axis=2, batch_dims=1)
