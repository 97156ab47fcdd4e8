"""Fits F's recalibration: how likely each of its level sets is, image by image."""

from typing import Callable, Tuple

import numpy as np
import tensorflow as tf

from car_tf import losses
from car_tf.data import examples, io
from car_tf.models import layers, recalibration
from car_tf.models.keras_api import keras

# Images of the training split, evenly apart, and pixels of one batch.
NUM_IMAGES, MAX_PIXELS = 2000, 2**18
# Updates over all images at once, and the penalty on the squared weights.
NUM_STEPS, LEARNING_RATE, L2 = 400, 1e-2, 1e-4
# It is the GED of so many samples that is made small, as it is mostly reported.
NUM_SAMPLES = 16


def fit(
    calibration_net: keras.Model,
    source: examples.Examples,
    num_blackbox_classes: int,
    *,
    log: Callable[[str], None],
) -> None:
    """Gives F's recalibration the weights that fit the raters of `source` best.

    Best is the lowest GED16 of F's level sets, drawn with the probability that the
    recalibration gives them, in expectation (`losses.level_energy`): unlike the cross
    entropy of pixels it sees masks, and so whether whole masks are drawn as often as
    raters draw them. F, of two classes, stays as it is; what it was recalibrated to is
    forgotten. Nothing is random.
    """
    layer = calibration_net.recalibration
    layer.reset()
    areas, distances = _tables(calibration_net, source, num_blackbox_classes)
    seen = areas[:, :: recalibration.EVERY]
    features = np.log1p(seen)
    layer.mean.assign(features.mean(0))
    # What hardly varies here must not count for much where it does.
    layer.scale.assign(np.maximum(features.std(0), 0.1))
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    weights = [layer.kernel, layer.bias]

    @tf.function(autograph=False)
    def update() -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            shares = tf.exp(layer.log_shares(seen))
            each = losses.level_energy(shares, areas, distances, NUM_SAMPLES)
            energy = tf.reduce_mean(each)
            loss = energy + L2 * tf.reduce_sum(tf.square(layer.kernel))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return energy

    found = [float(update()) for _ in range(NUM_STEPS)]
    log(
        f"F recalibrated on {len(areas)} training images: expected GED16 of its level "
        f"sets {found[0]:.4f} before, {found[-1]:.4f} after"
    )


def _tables(
    calibration_net: keras.Model, source: examples.Examples, num_blackbox_classes: int
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the level sets' areas, and mean distances from the raters, `[N, L]`."""

    @tf.function(reduce_retracing=True, autograph=False)
    def tables(image, blackbox, labels) -> Tuple[tf.Tensor, tf.Tensor]:
        if blackbox is not None:
            blackbox = layers.blackbox_to_probs(blackbox, num_blackbox_classes)
        logits = calibration_net(layers.image_to_float(image), blackbox)
        logit = logits[..., 1] - logits[..., 0]
        return recalibration.areas(logit), level_distances(logit, labels)

    chosen, found = examples.spread(len(source), NUM_IMAGES), []
    batch_size = max(MAX_PIXELS // int(np.prod(source.images.shape[1:3])), 1)
    starts = range(0, len(chosen), batch_size)
    for start in io.progress(starts, "recalibrating F", "batch"):
        rows = chosen[start : start + batch_size]
        parts = [source.images, source.blackbox, source.labels]
        found.append(tables(*[one if one is None else one[rows] for one in parts]))
    areas, distances = zip(*found)
    return np.concatenate(areas), np.concatenate(distances)


def level_distances(logit: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The mean distance `[B, L]` of each level set from an image's raters.

    It is 1 - IoU as in `metrics.iou`, where two empty masks are equal; 0 for an image
    without a rater. Of logits `[B, H, W]` and labels `[B, R, H, W]` of 0 and 1, or 255,
    which hides a pixel of its rater; a rater who has labelled nothing does not count.
    """
    known = tf.cast(labels < 2, tf.float32)
    marked = tf.cast(tf.equal(labels, 1), tf.float32)
    sets = recalibration.above(logit)
    shared = tf.einsum("bhwl,brhw->blr", sets, marked)
    union = tf.einsum("bhwl,brhw->blr", sets, known) - shared
    union += tf.reduce_sum(marked, [2, 3])[:, None]
    iou = tf.where(union > 0, tf.math.divide_no_nan(shared, union), 1.0)
    counts = tf.cast(tf.reduce_sum(known, [2, 3]) > 0, tf.float32)
    total = tf.einsum("blr,br->bl", 1.0 - iou, counts)
    return tf.math.divide_no_nan(total, tf.reduce_sum(counts, -1, keepdims=True))
