"""From images to a black box's input, and from its output to maps of one size.

All functions work in a graph as well as eagerly, so that a prediction in the cache and
one inside an exported SavedModel come from the same operations.
"""

from typing import Any, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.blackbox import base, kinds
from car_tf.data import info, io

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# RGB, of 0 to 255: VGG's, keras-segmentation's.
_CAFFE_MEAN = (123.68, 116.779, 103.939)
# By which an image may be larger than its map.
STRIDES = (1, 2, 4, 8, 16, 32)
# Up to which difference a map is not resized, but padded or cropped.
_NEARLY = 0.1
# Working sizes of at most so many pixels, such as 256 x 512, share what is kept.
MAX_SHARED_PIXELS = 3 << 16


def prepare(
    images: tf.Tensor,
    *,
    options: base.Options,
    input_size: Optional[Tuple[int, int]],
    dtype: tf.DType,
) -> tf.Tensor:
    """Resizes, reorders and scales images as a black box wants them, `[B, h, w, 3]`.

    Takes `[B, H, W, 3]` uint8 RGB; `input_size` (height, width) to resize to,
    antialiased, or None; `channels` and `pixel_scale` of the options.
    """
    pixels = images
    if input_size is not None and tuple(images.shape[1:3]) != tuple(input_size):
        resized = tf.image.resize(images, input_size, antialias=True)
        # Grey levels are whole numbers for every black box, as in a file.
        pixels = tf.clip_by_value(tf.round(resized), 0.0, 255.0)
    scale = options.pixel_scale
    if scale != "0..255":
        pixels = tf.cast(pixels, tf.float32)
        if scale == "caffe":
            pixels = pixels - tf.constant(_CAFFE_MEAN)
        else:
            pixels = pixels / 127.5 - 1.0 if scale == "-1..1" else pixels / 255.0
        if scale == "imagenet":
            pixels = (pixels - tf.constant(_IMAGENET_MEAN)) / tf.constant(_IMAGENET_STD)
    if options.channels == "bgr":
        pixels = tf.reverse(pixels, axis=[-1])
    return tf.cast(pixels, dtype)


def covers(image_size: Sequence[int], map_size: Sequence[int]) -> bool:
    """Tells whether a map shows all of an image: at its size, by a stride or a factor.

    Padded and cropped maps do not: those that are nearly as large as the image, or as
    it is by a stride, and not to the pixel. Takes (height, width) of both.
    """
    pairs = list(zip(image_size, map_size))
    for stride in STRIDES:
        off = [abs(stride * mine - whole) for whole, mine in pairs]
        near = _NEARLY * min(image_size) if stride == 1 else 2 * stride
        if max(off) <= near:
            return max(off) < stride
    ratios = [mine / whole for whole, mine in pairs]
    if image_size[0] != image_size[1] and abs(ratios[0] / ratios[1] - 1) < 0.01:
        return True
    return all(
        mine % whole == 0 or any(abs(s * mine - whole) < s for s in STRIDES)
        for whole, mine in pairs
    )


def check(
    raw: Any, *, kind: str, path: str, options: base.Options, known: str = ""
) -> None:
    """Refuses an output that is none, `[B, h, w]` integer ids or `[B, h, w, K]` scores.

    `known` is the kind of the scores of other images, if that was told.

    Raises:
      DataError: ids out of range (255 is none of the classes), another number of
        classes, NaN, probabilities that are not from 0 to 1, or logits or sigmoid
        scores that look like none.
    """
    if kind == base.LABELS:
        if options.num_own_classes == 2 and not options.class_map:
            check_mask(path, np.asarray(raw))
        if options.num_own_classes <= info.IGNORE_LABEL:
            is_none = tf.equal(raw, tf.cast(info.IGNORE_LABEL, raw.dtype))
            raw = tf.where(is_none, tf.zeros_like(raw), raw)
        low, high = int(tf.reduce_min(raw)), int(tf.reduce_max(raw))
        if low < 0 or high >= options.num_own_classes:
            found = f"class ids {low} to {high}"
            raise base.wrong_number_of_classes(path, options, found)
        return
    if raw.shape[-1] != options.num_own_classes:
        raise base.wrong_number_of_classes(path, options, f"{raw.shape[-1]} scores")
    if not bool(tf.reduce_all(tf.math.is_finite(raw))):
        num = int(tf.reduce_sum(tf.cast(~tf.math.is_finite(raw), tf.int32)))
        raise io.DataError(f"{path}: gave {num} {kind} that are NaN or infinite")
    if kind != base.LOGITS and not kinds.is_in_range(raw):
        raise io.DataError(
            f"{path}: taken for {kind}, but gave scores outside 0 to 1 "
            "(blackbox.output=logits takes them for logits)"
        )
    if not options.tells_kind:
        error = kinds.doubt(path, raw, kind, is_first=not known)
        if error:
            raise error


def check_mask(path: str, ids: np.ndarray) -> None:
    """Refuses maps of two classes that hold 255, which is no class, but no 1."""
    if (ids == info.IGNORE_LABEL).any() and np.isin(ids, (0, info.IGNORE_LABEL)).all():
        raise io.DataError(
            f"{path}: wanted class ids 0 and 1, got 0 and 255 alone, which is none of the "
            "classes: write class 1 as 1, or say blackbox.class_map=0,1 where 255 is none"
        )


def finish(
    raw: tf.Tensor,
    *,
    kind: str,
    options: base.Options,
    size: tf.Tensor,
    image_size: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Turns an output into what is kept of it: maps of the data set's classes.

    They have the image's own size, so that they serve every working size, but see
    `kept_size`. Scores coarser than that are interpolated first, as networks with
    coarse outputs are meant. A class that the data set lacks becomes 255 in labels and
    leaves its share out of probabilities. Scores from 0 to 1 are divided by their sum;
    where all are zero there is no class.

    Of integer ids `[B, h, w]` or scores `[B, h, w, K']`; `size`, `[2]` int32, is that
    to which `resize` will bring the maps, `image_size` that of the images, None for
    `size`. Returns `[B, H, W]` uint8 class ids or `[B, H, W, K]` float32 probabilities;
    a DataError where they are wanted of a black box that gives labels.
    """
    is_labels, probable = kind == base.LABELS, options.gives_probabilities(kind)
    kept = kept_size(size if image_size is None else image_size, size, probable)
    scores = None if is_labels else _enlarge(tf.cast(raw, tf.float32), kept)
    if probable:
        if is_labels:
            words = "but this black box gives labels only"
            raise io.DataError(f"blackbox.output=probabilities, {words}")
        sums = tf.reduce_sum(scores, axis=-1, keepdims=True)
        probs = tf.math.divide_no_nan(scores, sums)
        if kind == base.LOGITS:
            probs = tf.nn.softmax(scores)
        if options.class_map:
            # `[K', K]`: one where class k' of the black box stands for class k.
            matrix = np.eye(256, dtype=np.float32)[list(options.class_map)]
            matrix = matrix[:, : options.num_classes]
            flat = tf.matmul(tf.reshape(probs, [-1, matrix.shape[0]]), matrix)
            shape = tf.concat([tf.shape(probs)[:3], [options.num_classes]], 0)
            probs = tf.reshape(flat, shape)
        return tf.image.resize(probs, kept, method="area")
    ids = raw
    if not is_labels:
        ids = tf.argmax(scores, -1, output_type=tf.int32)
        if kind != base.LOGITS:
            some = tf.reduce_max(scores, -1) > 0
            ids = tf.where(some, ids, info.IGNORE_LABEL)
    # Resized first, so that only what is kept is mapped.
    ids = resize(tf.cast(ids, tf.int32), kept)
    if options.class_map:
        # 255 is none of the black box's classes either.
        none = [info.IGNORE_LABEL] * (256 - len(options.class_map))
        ids = tf.gather(tf.constant([*options.class_map, *none], tf.int32), ids)
    return tf.cast(ids, tf.uint8)


def kept_size(
    image_size: tf.Tensor, size: tf.Tensor, is_probabilities: bool
) -> tf.Tensor:
    """Returns the (height, width) at which a prediction is kept, `[2]` int32.

    It is the image's own, for probabilities halved as long as more pixels are left than
    any shared working size has; a working size beyond those has its own predictions.
    """
    image_size, size = tf.cast(image_size, tf.int32), tf.cast(size, tf.int32)
    if is_probabilities:
        pixels = tf.reduce_prod(tf.cast(image_size, tf.int64))
        limits = MAX_SHARED_PIXELS * 4 ** tf.range(1, 12, dtype=tf.int64)
        halvings = tf.reduce_sum(tf.cast(pixels > limits, tf.int32))
        image_size = tf.maximum(1, tf.bitwise.right_shift(image_size, halvings))
    is_large = tf.reduce_prod(tf.cast(size, tf.int64)) > MAX_SHARED_PIXELS
    return tf.where(is_large, size, image_size)


def resize(maps: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes maps to (height, width), `[2]` int32.

    `[B, h, w]` class ids by nearest neighbour, `[B, h, w, K]` float32 by area.
    """
    if maps.shape.rank == 4:
        return tf.image.resize(_enlarge(maps, size), size, method="area")
    return tf.image.resize(maps[..., None], size, method="nearest")[..., 0]


def _enlarge(scores: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Interpolates `[B, h, w, K]` scores that have fewer rows or columns than `size`."""
    own = tf.shape(scores)[1:3]
    return tf.cond(
        tf.reduce_any(own < size),
        lambda: tf.image.resize(scores, tf.maximum(own, size)),
        lambda: scores,
    )


def hard_labels(predictions: np.ndarray) -> np.ndarray:
    """Returns the likeliest class of every pixel, `[..., H, W]` uint8, or 255 for none.

    Of uint8 class ids `[..., H, W]`, or float probabilities `[..., H, W, K]`.
    """
    if predictions.dtype.kind != "f":
        return np.asarray(predictions)
    if predictions.ndim > 3:  # Image by image: a whole split may be mapped from disk.
        return np.stack([hard_labels(each) for each in predictions])
    ids = predictions.argmax(-1).astype(np.uint8)
    return np.where(predictions.max(-1) > 0, ids, np.uint8(info.IGNORE_LABEL))
