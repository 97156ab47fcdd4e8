"""Training batches: a pure function of the seed and the step.

Step s always yields the same batch, so that a resumed run goes on with the data that an
uninterrupted one would have seen. Everything random is decided for the whole batch
before it is divided over replicas.
"""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.data import class_flips, examples


def training_batches(
    source: examples.Examples,
    *,
    batch_size: int,
    crop_size: Tuple[int, int],
    scale_range: Tuple[float, float] = (1.0, 1.0),
    random_crop: bool = True,
    flips: Sequence[class_flips.ClassFlip] = (),
    seed: int,
    first_step: int = 0,
    num_steps: int,
) -> tf.data.Dataset:
    """Returns the batches of steps `first_step` to `num_steps - 1`.

    Every image occurs once in N consecutive draws. One annotator is drawn per image;
    crop, magnification and mirroring are shared by image, label and black box; the
    class flips touch the label alone.

    Args:
      source: N examples.
      batch_size: B.
      crop_size: (height, width).
      scale_range: magnification of the crops, drawn uniformly.
      random_crop: whether crops lie anywhere or in the centre.
      flips: one independent draw each per image.
      seed: of everything.
      first_step: where to go on.
      num_steps: where the training ends.

    Returns:
      Batches of `image` `[B, h, w, C]` float32 grey levels, `label` `[B, h, w]` uint8
      and, with a black box, `blackbox` `[B, h, w]` uint8 or `[B, h, w, K]` float32.
    """

    def fetch(step: np.ndarray) -> Tuple[np.ndarray, ...]:
        rows, annotators = _draw(source, int(step), batch_size, seed)
        arrays = [source.images[rows], source.labels[rows, annotators]]
        if source.blackbox is not None:
            arrays.append(source.blackbox[rows])
        return tuple(arrays)

    stored = [source.images, source.labels[:, 0]]
    if source.blackbox is not None:
        stored.append(source.blackbox)
    types = [tf.as_dtype(array.dtype) for array in stored]

    def batch_of(step: tf.Tensor) -> Dict[str, tf.Tensor]:
        arrays = tf.numpy_function(fetch, [step], types, stateful=False)
        for tensor, array in zip(arrays, stored):
            tensor.set_shape([batch_size, *array.shape[1:]])
        key = tf.stack([tf.constant(seed, tf.int64), step])
        crops = _crop(
            arrays,
            boxes=_draw_boxes(
                key,
                batch_size=batch_size,
                image_size=source.images.shape[1:3],
                crop_size=crop_size,
                scale_range=scale_range,
                random_crop=random_crop,
            ),
            crop_size=crop_size,
        )
        batch = dict(zip(("image", "label", "blackbox"), crops))
        if flips:
            batch["label"] = flip_classes(batch["label"], flips, key)
        return batch

    steps = tf.data.Dataset.range(first_step, num_steps)
    batches = steps.map(batch_of, num_parallel_calls=2, deterministic=True)
    return batches.prefetch(2)


def _draw(
    source: examples.Examples, step: int, batch_size: int, seed: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the rows and the annotators of a step's batch."""
    num, num_annotators = source.labels.shape[:2]
    positions = step * batch_size + np.arange(batch_size)
    rows = np.empty(batch_size, np.int64)
    for epoch in np.unique(positions // num):
        order = np.random.default_rng([seed, epoch]).permutation(num)
        here = positions // num == epoch
        rows[here] = order[positions[here] % num]
    annotators = np.random.default_rng([seed, 1, step]).integers(
        num_annotators, size=batch_size
    )
    return rows, annotators


def _draw_boxes(
    key: tf.Tensor,
    *,
    batch_size: int,
    image_size: Tuple[int, int],
    crop_size: Tuple[int, int],
    scale_range: Tuple[float, float],
    random_crop: bool,
) -> tf.Tensor:
    """Draws `[B, 4]` boxes (top, left, bottom, right) as `crop_and_resize` wants them.

    In pixels a box runs from the centre of its first to the centre of its last pixel,
    so that a magnification of 1 copies pixels. Left and right change places where the
    crop is mirrored.
    """
    draws = tf.random.stateless_uniform([4, batch_size], key)
    low, high = scale_range
    scale = low + (high - low) * draws[0]
    if not random_crop:
        draws = tf.concat([draws[:1], 0.5 * tf.ones([2, batch_size]), draws[3:]], 0)
    ends = []
    for axis in range(2):
        extent = (crop_size[axis] - 1) / scale
        room = image_size[axis] - 1 - extent
        start = room * draws[1 + axis]
        # Whole pixels where nothing is magnified: labels stay exact, images crisp.
        start = tf.where(scale == 1.0, tf.floor(start), start)
        limit = max(image_size[axis] - 1, 1)
        ends.append((start / limit, (start + extent) / limit))
    (top, bottom), (left, right) = ends
    mirror = draws[3] < 0.5
    return tf.stack(
        [top, tf.where(mirror, right, left), bottom, tf.where(mirror, left, right)], 1
    )


def _crop(
    arrays: Sequence[tf.Tensor], *, boxes: tf.Tensor, crop_size: Tuple[int, int]
) -> list:
    """Cuts the same boxes from all arrays: ids by nearest neighbour, else bilinearly."""
    crops = []
    for index, array in enumerate(arrays):
        is_ids = array.shape.rank == 3
        if is_ids:
            array = array[..., None]
        elif not array.dtype.is_integer:
            array = tf.cast(array, tf.float32)
        crop = tf.image.crop_and_resize(
            array,
            boxes,
            tf.range(tf.shape(boxes)[0]),
            crop_size,
            method="nearest" if is_ids else "bilinear",
        )
        crops.append(tf.cast(crop[..., 0], tf.uint8) if is_ids else crop)
    return crops


def flip_classes(
    label: tf.Tensor, flips: Sequence[class_flips.ClassFlip], key: tf.Tensor
) -> tf.Tensor:
    """Switches whole classes, one independent draw per class and image (CAR, 5.2.2).

    Args:
      label: `[B, H, W]` uint8 class ids.
      flips: F flips.
      key: `[2]` seed.

    Returns:
      `[B, H, W]` uint8.
    """
    batch_size = label.shape[0]
    key = tf.random.experimental.stateless_fold_in(key, 1)
    chances = tf.constant([flip.probability for flip in flips])
    hits = tf.random.stateless_uniform([batch_size, len(flips)], key) < chances
    table = tf.tile(tf.range(256, dtype=tf.int32)[None], [batch_size, 1])
    for index, flip in enumerate(flips):
        is_original = tf.range(256) == flip.original
        flipped = is_original[None] & hits[:, index, None]
        table = tf.where(flipped, flip.flipped, table)
    return tf.gather(tf.cast(table, tf.uint8), tf.cast(label, tf.int32), batch_dims=1)
