"""Checks of a request inside the graph, so that no server can leave them out.

A failed check ends the request with INVALID_ARGUMENT and a sentence; the server goes
on. Two things would undo such checks, and `gate` holds against both. The optimiser
trusts the shapes that a signature declares, whatever is fed, and would fold a check of
the rank to "true"; and it may let an operation on a shape run ahead of the check that
guards it.
"""

import math
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import tensorflow as tf

# More would let one request take all memory and hours of time.
MAX_SAMPLES = 256
# Sides are counted up to multiples of it: small images are padded, and each image and
# each sample takes some time however small it is.
SIDE_STEP = 64
# Of one request: 64 images of 256 x 512, or one of 2048 x 4096.
MAX_PIXELS = 2**23
# Pixels x samples of one request: hours at most, and a message that can be sent.
MAX_VALUES = 2**30

# (condition, sentence): a scalar bool and a scalar string.
Check = Tuple[tf.Tensor, tf.Tensor]


def _opaque(
    tensors: Sequence[tf.Tensor], shapes: Sequence[Optional[Sequence[Optional[int]]]]
) -> List[tf.Tensor]:
    """Returns the same tensors, of which the optimiser knows `shapes` and no more."""
    packed = tf.raw_ops.OptionalFromValue(components=list(tensors))
    return tf.raw_ops.OptionalGetValue(
        optional=packed,
        output_types=[tensor.dtype for tensor in tensors],
        output_shapes=[tf.TensorShape(shape) for shape in shapes],
    )


def gate(
    tensors: Sequence[tf.Tensor],
    shapes: Sequence[Optional[Sequence[Optional[int]]]],
    checks: Callable[[Sequence[tf.Tensor]], List[Check]],
) -> List[tf.Tensor]:
    """Lets tensors through if all checks hold.

    `shapes` are static shapes of the result, which the checks must have ensured;
    `checks`, given the tensors, returns them in order, each computable for tensors of
    any rank (see `dimensions`). Nothing can use what is returned before the last check
    has passed.
    """
    fed = _opaque(tensors, [None] * len(tensors))
    passed: List[tf.Operation] = []
    for condition, sentence in checks(fed):
        with tf.control_dependencies(passed):
            passed = [tf.debugging.Assert(condition, [sentence])]
    with tf.control_dependencies(passed):
        return _opaque(fed, shapes)


def dimensions(tensor: tf.Tensor, num: int) -> List[tf.Tensor]:
    """Returns the first `num` dimensions, -1 where the rank is smaller."""
    padded = tf.concat([tf.shape(tensor), tf.fill([num], -1)], axis=0)
    return tf.unstack(padded[:num], num=num)


def shape_is(tensor: tf.Tensor, wanted: Sequence[object], words: str) -> Check:
    """Checks rank and dimensions: numbers, scalar tensors, or None for any positive one.

    `words` begin the sentence: what is wanted.
    """
    dims = dimensions(tensor, len(wanted))
    good = tf.equal(tf.rank(tensor), len(wanted))
    for axis, value in enumerate(wanted):
        good &= dims[axis] > 0 if value is None else tf.equal(dims[axis], value)
    return good, tf.strings.format(f"{words}, got shape {{}}", tf.shape(tensor))


def image_checks(image: tf.Tensor, channels: int) -> List[Check]:
    """Checks `[B, H, W, C]` uint8 images."""
    words = f"image: wanted [B, H, W, {channels}] with at least one pixel"
    wanted = [None, None, None, channels]
    return [shape_is(image, wanted, words), few_pixels(dimensions(image, 3))]


def _counted(image_size: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the pixels of B images of H x W as they are counted, float64."""
    # In float64, where the product of three int32 cannot overflow.
    batch, *sides = [tf.cast(value, tf.float64) for value in image_size]
    height, width = [tf.math.ceil(side / SIDE_STEP) * SIDE_STEP for side in sides]
    return batch * height * width


def few_pixels(image_size: Sequence[tf.Tensor]) -> Check:
    """Checks scalars B, H and W of the images that are to be computed."""
    return _counted(image_size) <= MAX_PIXELS, tf.strings.format(
        f"image: wanted at most {MAX_PIXELS} pixels in a request, sides counted up to "
        f"multiples of {SIDE_STEP}, got {{}} images of {{}} x {{}}",
        list(image_size),
    )


def size_checks(sizes: tf.Tensor, name: str) -> List[Check]:
    """Checks `[B, 2]` int32 sizes of images before they are decoded."""
    first = tf.concat([sizes, [[0, 0]]], axis=0)[0]
    positive = tf.reduce_all(sizes > 0) & (tf.size(sizes) > 0)
    some = f"{name}: wanted at least one image of positive size"
    same = f"{name}: wanted images of one size in a request, got {{}}"
    return [
        (positive, tf.constant(some)),
        (tf.reduce_all(sizes == first), tf.strings.format(same, sizes)),
        few_pixels([tf.shape(sizes)[0], first[0], first[1]]),
    ]


def blackbox_checks(
    blackbox: tf.Tensor, image_size: Sequence[tf.Tensor], num_classes: int
) -> List[Check]:
    """Checks a black box's output, for images of the scalars B, H and W.

    Either `[B, H, W]` uint8 class ids, 255 for none, or `[B, H, W, Kb]` float
    probabilities.
    """
    if blackbox.dtype.is_integer:
        good = tf.reduce_all((blackbox < num_classes) | (blackbox == 255))
        known = tf.where(blackbox == 255, tf.zeros_like(blackbox), blackbox)
        sentence = tf.strings.format(
            f"blackbox: wanted class ids 0 to {num_classes - 1}, or 255 for none, "
            "got {}",
            tf.cast(tf.reduce_max(known), tf.int32),
        )
        wanted, words = list(image_size), "[B, H, W], as large as the images"
    else:
        good = tf.reduce_all((blackbox >= 0.0) & (blackbox <= 1.001))
        sentence = tf.constant("blackbox: wanted probabilities in [0, 1], got others")
        wanted = [*image_size, num_classes]
        words = f"[B, H, W, {num_classes}], as large as the images"
    return [shape_is(blackbox, wanted, f"blackbox: wanted {words}"), (good, sentence)]


def sampling_checks(
    num_samples: tf.Tensor, seed: tf.Tensor, image_size: Sequence[tf.Tensor]
) -> List[Check]:
    """Checks the number of samples, a scalar or `[B]`, and the seed, `[B, 2]` or empty.

    `image_size` is of scalars B, H and W.
    """
    batch = image_size[0]
    count = tf.reduce_max(tf.concat([tf.reshape(num_samples, [-1]), [0]], axis=0))
    single = tf.equal(tf.rank(num_samples), 0)
    each = tf.equal(tf.rank(num_samples), 1) & (dimensions(num_samples, 1)[0] == batch)
    seeded, _ = shape_is(seed, [batch, 2], "")
    values = tf.cast(count, tf.float64) * _counted(image_size)
    in_range = tf.reduce_all((num_samples >= 1) & (num_samples <= MAX_SAMPLES))
    words = (
        "num_samples: wanted one number, or one for each of {} images, got shape {}",
        f"num_samples: wanted 1 to {MAX_SAMPLES}, got {{}}",
        "seed: wanted [{}, 2], two numbers per image, or nothing for a fresh seed, got "
        "shape {}",
        f"num_samples: wanted at most {MAX_VALUES} pixels of samples in a request, sides "
        f"counted up to multiples of {SIDE_STEP}, got {{}} samples of {{}} images of {{}} "
        "x {}",
    )
    checked = (
        (single | each, [batch, tf.shape(num_samples)]),
        (in_range, num_samples),
        (seeded | tf.equal(tf.size(seed), 0), [batch, tf.shape(seed)]),
        (values <= MAX_VALUES, [count, *image_size]),
    )
    return [
        (good, tf.strings.format(sentence, found))
        for sentence, (good, found) in zip(words, checked)
    ]


def encoded_checks(
    features: Dict[str, tf.Tensor],
    sizes: Sequence[Sequence[object]],
    log_probs: tf.Tensor,
    num_classes: int,
) -> List[Check]:
    """Checks what `encode` gave and `decode` is given, `log_probs` of `[B, H, W, K]`.

    `sizes` are the features' dimensions, numbers or scalar tensors.
    """
    words = f"log_probs: wanted [B, H, W, {num_classes}] of `encode`"
    # Not a number compares as false. The likeliest class has at least 1 / K; without
    # axes nothing is reduced, and the shape's check speaks.
    likeliest = tf.reduce_max(log_probs, tf.range(tf.rank(log_probs))[-1:])
    are_logs = tf.reduce_all(log_probs <= 1e-3)
    are_logs &= tf.reduce_all(likeliest >= -math.log(num_classes) - 1e-2)
    wanted_logs = "log_probs: wanted logarithms of probabilities, of `encode`"
    found = [
        shape_is(log_probs, [None, None, None, num_classes], words),
        few_pixels(dimensions(log_probs, 3)),
        (are_logs, tf.constant(wanted_logs)),
    ]
    for (name, feature), size in zip(features.items(), sizes):
        axes = ", ".join(["{}"] * len(size))
        wanted = tf.strings.format(f"{name}: wanted [{axes}] of `encode`", list(size))
        good, got = shape_is(feature, size, "")
        found.append((good, tf.strings.join([wanted, got])))
        # The sum is finite where all numbers are, and is one pass without a copy.
        finite = tf.math.is_finite(tf.reduce_sum(feature))
        found.append((finite, tf.constant(f"{name}: wanted finite numbers")))
    return found
