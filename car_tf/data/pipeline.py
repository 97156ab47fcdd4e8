"""Training batches: a pure function of the seed and the step.

Step s always yields the same batch, so that a resumed run goes on with the data that an
uninterrupted one would have seen. Everything random is decided for the whole batch
before it is divided over replicas.
"""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.data import class_flips, examples

_ALIGNMENT = 64  # Bytes; TensorFlow ends the process at less.


def training_batches(
    source: examples.Examples,
    *,
    batch_size: int,
    crop_size: Tuple[int, int],
    scale_range: Tuple[float, float] = (1.0, 1.0),
    random_crop: bool = True,
    symmetries: str = "mirror",
    grey_jitter: float = 0.0,
    flips: Sequence[class_flips.ClassFlip] = (),
    labels_per_image: int = 1,
    seed: int,
    first_step: int = 0,
    num_steps: int,
) -> tf.data.Dataset:
    """Returns the batches of steps `first_step` to `num_steps - 1`.

    Every image occurs once in as many consecutive draws as there are images. One
    rater, or several, are drawn per image; crop, magnification and mirroring are
    shared by image, labels and black box; the class flips touch the labels alone.

    Args:
      crop_size: (height, width); see `config.Data` for how crops are made.
      random_crop: whether crops lie anywhere or in the centre.
      flips: one independent draw each per label.
      labels_per_image: N, labels of each image: of different raters where there
        are as many, each with class flips of its own.

    Returns:
      Batches of `image` `[B, h, w, C]` float32 grey levels, `label` `[B, h, w]` uint8,
      or `[B, N, h, w]` where N > 1, and, with a black box, `blackbox` `[B, h, w]` uint8
      or `[B, h, w, K]` float32.
    """
    drawing = dict(batch_size=batch_size, seed=seed, num_steps=num_steps)
    read = _reader(source, labels_per_image, first_step=first_step, **drawing)
    names = ("image",) if source.blackbox is None else ("image", "blackbox")

    # As it is: AutoGraph would rewrite it for a second, and find nothing to change.
    @tf.autograph.experimental.do_not_convert
    def batch_of(step: tf.Tensor) -> Dict[str, tf.Tensor]:
        key = tf.stack([tf.constant(seed, tf.int64), step])
        whole = read(step - first_step)
        boxes = _draw_boxes(key, whole[0].shape, crop_size, scale_range, random_crop)
        crops = _crop(whole, boxes=boxes, crop_size=crop_size)
        if symmetries == "square":
            crops = _turn(crops, key)
        if grey_jitter:
            crops[0] = _jitter(crops[0], grey_jitter, key)
        label = _labels(crops[len(names) :], labels_per_image, flips, key)
        return {**dict(zip(names, crops)), "label": label}

    steps = tf.data.Dataset.range(first_step, num_steps)
    batches = steps.map(batch_of, num_parallel_calls=2, deterministic=True)
    options = tf.data.Options()
    # To rewrite the pipeline, TensorFlow would copy all arrays that it refers to.
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


def _reader(
    source: examples.Examples, labels_per_image: int, **drawing: int
) -> Callable[[tf.Tensor], List[tf.Tensor]]:
    """Returns what reads the arrays of a batch: images, black box, raters' labels."""
    order, num_rated = raters_of(source.labels)
    num_cut = min(labels_per_image, order.shape[1])
    rows, raters = draw(num_rated, order.shape[1], **drawing)
    # Captured by reference: a Python function in the pipeline would need the
    # interpreter's lock, on which an iterator that is dropped early can wait forever.
    with tf.device("/CPU:0"):
        order, raters = tf.constant(order), tf.constant(raters)
        num_rated, rated_rows = tf.constant(num_rated), tf.constant(rows)
        labels, label_rows = _tensors(source.labels, rows)
        seen = [source.images]
        seen += [] if source.blackbox is None else [source.blackbox]
        seen = [_tensors(array, rows) for array in seen]

    def read(place: tf.Tensor) -> List[tf.Tensor]:
        arrays = [tf.gather(array, array_rows[place]) for array, array_rows in seen]
        for index in range(num_cut):
            images = rated_rows[place]
            rank = (raters[place] + index) % tf.gather(num_rated, images)
            rater = tf.gather_nd(order, tf.stack([images, rank], axis=1))
            where = tf.stack([label_rows[place], rater], axis=1)
            arrays.append(tf.gather_nd(labels, where))
        return arrays

    return read


class _Writable:
    """An array under a claim to be writable, which TensorFlow asks for to share it."""

    def __init__(self, array: np.ndarray):
        self.array = array  # Keeps the map open.
        self.__array_interface__ = {
            **array.__array_interface__,
            "data": (array.ctypes.data, False),
        }


def _tensors(array: Any, rows: np.ndarray) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns an array and the places in it of rows `[...]` of the examples.

    A map of a file stays one, however large: the tensor is its memory. What lies in
    memory is copied, as are maps that TensorFlow's alignment does not allow.
    """
    if isinstance(array, examples.Rows):
        array, rows = array.array, array.indices.astype(np.int32)[rows]
    is_mapped = isinstance(array, np.memmap) and array.flags.c_contiguous
    if is_mapped and array.ctypes.data % _ALIGNMENT == 0:
        shared = np.asarray(_Writable(array)).__dlpack__()
        return tf.experimental.dlpack.from_dlpack(shared), tf.constant(rows)
    return tf.constant(array), tf.constant(rows)


def _labels(cut, labels_per_image, flips, key) -> tf.Tensor:
    """Returns `[B, H, W]`, or `[B, N, H, W]` where N > 1, of labels `[B, H, W]` each.

    A rater's label is cut once, however often it is repeated.
    """
    repeated = [cut[index % len(cut)] for index in range(labels_per_image)]
    label = tf.concat(repeated, axis=0)
    if flips:
        label = flip_classes(label, flips, key)
    if labels_per_image > 1:
        label = tf.stack(tf.split(label, labels_per_image), axis=1)
    return label


def raters_of(labels: Any) -> Tuple[np.ndarray, np.ndarray]:
    """Tells who labelled an image: a plane of 255 is of someone who did not.

    Of labels `[N, A, H, W]` uint8 the raters of each image before those who did not
    label it, `[N, A]` int32, and their numbers, `[N]` int32. An image that nobody
    labelled keeps all.
    """
    num_images, num_raters = labels.shape[:2]
    everyone = np.tile(np.arange(num_raters, dtype=np.int32), (num_images, 1))
    if num_raters == 1:
        return everyone, np.ones(num_images, np.int32)
    # Of those alone who may not have is all read: labels may be mapped from a large file.
    rated = np.asarray(labels[:, :, 0, 0]) != 255
    for index in np.flatnonzero(~rated.all(1)):
        rated[index] = (labels[index] != 255).any((1, 2))
    rated[~rated.any(1)] = True
    order = np.argsort(~rated, axis=1, kind="stable").astype(np.int32)
    return order, rated.sum(1).astype(np.int32)


def draw(
    num_rated: np.ndarray,
    num_raters: int,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    num_steps: int,
) -> Tuple[np.ndarray, np.ndarray]:
    """Draws which image and whose label each place of each batch takes.

    Of `[N]` numbers of raters, of whom one is drawn, and the largest possible. Returns
    rows and raters, `[num_steps - first_step, B]` int32 each; a rater is counted among
    those of his image.
    """
    num_images = len(num_rated)
    # NumPy draws other numbers for equal bounds in an array.
    is_even = (num_rated == num_raters).all()
    first, last = first_step * batch_size, num_steps * batch_size
    rows = np.empty(last - first, np.int32)
    raters = np.empty(last - first, np.int32)
    for epoch in range(first // num_images, -(-last // num_images)):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(num_images)
        bound = num_raters if is_even else num_rated[order]
        whose = rng.integers(bound, size=num_images)
        ends = np.clip([epoch * num_images, (epoch + 1) * num_images], first, last)
        places, images = slice(*(ends - first)), np.arange(*ends) % num_images
        rows[places] = order[images]
        raters[places] = whose[images]
    return rows.reshape(-1, batch_size), raters.reshape(-1, batch_size)


def _draw_boxes(key, shape, crop_size, scale_range, random_crop) -> tf.Tensor:
    """Draws `[B, 4]` boxes (top, left, bottom, right) in pixels of images of a shape.

    A box runs from the centre of its first to the centre of its last pixel, so that a
    magnification of 1 copies pixels. Left and right change places where the crop is
    mirrored.
    """
    batch_size, *image_size = shape[:3]
    draws = tf.random.stateless_uniform([4, batch_size], key)
    low, high = scale_range
    scale = low + (high - low) * draws[0]
    if not random_crop:
        draws = tf.concat([draws[:1], 0.5 * tf.ones([2, batch_size]), draws[3:]], 0)
    ends = []
    for axis in range(2):
        extent = (crop_size[axis] - 1) / scale
        room = tf.maximum(image_size[axis] - 1 - extent, 0.0)
        # Whole pixels where nothing is magnified: labels stay exact, images crisp.
        whole = tf.minimum(tf.floor((room + 1) * draws[1 + axis]), room)
        start = tf.where(scale == 1.0, whole, room * draws[1 + axis])
        ends.append((start, start + extent))
    (top, bottom), (left, right) = ends
    mirror = draws[3] < 0.5
    return tf.stack(
        [top, tf.where(mirror, right, left), bottom, tf.where(mirror, left, right)], 1
    )


def _crop(
    arrays: Sequence[tf.Tensor], *, boxes: tf.Tensor, crop_size: Tuple[int, int]
) -> list:
    """Cuts the same boxes from all arrays: ids by nearest neighbour, else bilinearly."""
    height, width = arrays[0].shape[1:3]
    # A border repeats the outermost pixels, because what rounding moves out of the
    # image would be read as zeros, the label of a class.
    border = [[0, 0], [1, 1], [1, 1], [0, 0]]
    boxes = (boxes + 1.0) / [height + 1.0, width + 1.0, height + 1.0, width + 1.0]
    crops = []
    for index, array in enumerate(arrays):
        is_ids = array.shape.rank == 3
        if is_ids:
            array = array[..., None]
        elif not array.dtype.is_integer:
            array = tf.cast(array, tf.float32)
        crop = tf.image.crop_and_resize(
            tf.pad(array, border, "SYMMETRIC"),
            boxes,
            tf.range(tf.shape(boxes)[0]),
            crop_size,
            method="nearest" if is_ids else "bilinear",
        )
        crops.append(tf.cast(crop[..., 0], tf.uint8) if is_ids else crop)
    return crops


def _turn(crops: Sequence[tf.Tensor], key: tf.Tensor) -> list:
    """Turns mirrored crops, `[B, S, S, ...]` each: with their mirror images, all eight
    symmetries of a square.
    """
    batch_size = crops[0].shape[0]
    key = tf.random.experimental.stateless_fold_in(key, 2)
    upside_down, transposed = tf.unstack(
        tf.random.stateless_uniform([2, batch_size], key) < 0.5
    )

    def turn(crop: tf.Tensor) -> tf.Tensor:
        shape = [batch_size] + [1] * (crop.shape.rank - 1)
        crop = tf.where(tf.reshape(upside_down, shape), crop[:, ::-1], crop)
        axes = [0, 2, 1, *range(3, crop.shape.rank)]
        return tf.where(tf.reshape(transposed, shape), tf.transpose(crop, axes), crop)

    return [turn(crop) for crop in crops]


def _jitter(images: tf.Tensor, amount: float, key: tf.Tensor) -> tf.Tensor:
    """Changes the grey levels of crops `[B, h, w, C]`: gamma, contrast and brightness.

    Gamma and contrast lie between exp(-amount) and exp(amount), and the brightness is
    moved by up to half of `amount` of the range, 0 to 255.
    """
    shape = [3, images.shape[0], 1, 1, 1]
    key = tf.random.experimental.stateless_fold_in(key, 3)
    draws = tf.random.stateless_uniform(shape, key, -amount, amount)
    grey = tf.pow(tf.clip_by_value(images / 255.0, 1e-4, 1.0), tf.exp(draws[0]))
    middle = tf.reduce_mean(grey, axis=[1, 2, 3], keepdims=True)
    grey = (grey - middle) * tf.exp(draws[1]) + middle + draws[2] / 2
    return 255.0 * tf.clip_by_value(grey, 0.0, 1.0)


def flip_classes(
    label: tf.Tensor, flips: Sequence[class_flips.ClassFlip], key: tf.Tensor
) -> tf.Tensor:
    """Switches whole classes, one independent draw per class and image (CAR, 5.2.2).

    Of `[B, H, W]` uint8 class ids, F flips and a `[2]` seed.
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
