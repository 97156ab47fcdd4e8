"""G's decoder in training, a few samples at a time: less memory, the same gradients.

Everything that is as large as the samples at full size exists for a few of them only,
and is computed again in the backward pass. Batch statistics are nevertheless those of
all samples: a level first goes through the samples for its mean and variance, whose
gradients flow as those of any other tensor, and then once more for its output.
"""

from __future__ import annotations

from typing import Callable, List, Optional, Sequence

import tensorflow as tf

from car_tf.models import layers
from car_tf.models.keras_api import keras


def in_parts(
    function: Callable[..., tf.Tensor],
    parts: Sequence[Sequence[tf.Tensor]],
    shared: Sequence[tf.Tensor],
) -> List[tf.Tensor]:
    """Calls a function on one part after the other, forward and backward.

    Nothing that is computed inside is kept for the backward pass; it is computed again,
    for one part at a time. The function takes (index, *part, *shared), gives a tensor
    and may use no variables; all parts see the tensors in `shared`.
    """
    width = len(parts[0])

    def inputs_of(flat: Sequence[tf.Tensor], index: int) -> List[tf.Tensor]:
        start = index * width
        return [*flat[start : start + width], *flat[len(parts) * width :]]

    @tf.custom_gradient
    def run(*flat):
        outputs = []
        for index in range(len(parts)):
            inputs = after(outputs[-1:], inputs_of(flat, index))
            outputs.append(function(index, *inputs))

        def gradients(*upstream):
            to_parts, to_shared = [], []
            for index, one_upstream in enumerate(upstream):
                needed = [one_upstream, *inputs_of(flat, index)]
                one_upstream, *inputs = after(to_parts[-width:], needed)
                with tf.GradientTape(watch_accessed_variables=False) as tape:
                    tape.watch(inputs)
                    output = function(index, *inputs)
                found = tape.gradient(
                    output, inputs, one_upstream, unconnected_gradients="zero"
                )
                to_parts += found[:width]
                to_shared.append(found[width:])
            return [*to_parts, *(tf.add_n(each) for each in zip(*to_shared))]

        return outputs, gradients

    return list(run(*(tensor for part in parts for tensor in part), *shared))


def after(earlier: Sequence[tf.Tensor], tensors: Sequence[tf.Tensor]) -> List:
    """Returns tensors whose use waits until earlier ones are computed."""
    with tf.control_dependencies(earlier):
        return [tf.identity(tensor) for tensor in tensors]


def up_block(
    block: keras.layers.Layer,
    features: Sequence[tf.Tensor],
    skip_term: tf.Tensor,
    noise: Sequence[tf.Tensor],
    *,
    seed: Optional[tf.Tensor],
    logits_layer: Optional[keras.layers.Layer] = None,
) -> List[tf.Tensor]:
    """Computes `block(features, skip_term, noise, training=True)` in parts.

    Of an `UpBlock` and, of each part of m samples, features `[B, m, H, W, C]` and noise
    `[B, m, Z]`, with a skip term `[B, 2H, 2W, channels]`; a `seed` of dropout masks,
    which each part draws for itself, or None for no dropout. Returns `[B, m, 2H, 2W,
    channels]` of each part, or the logits of a 1x1 convolution on top of it, so that it
    need not be kept.
    """
    kind = features[0].dtype
    kernel = tf.cast(block.up.kernel, kind)
    each = tf.stack(
        in_parts(_moments, [[part] for part in features], [skip_term, kernel])
    )
    num_samples = sum(one.shape[1] for one in noise)
    count = num_samples * tf.reduce_prod(tf.shape(skip_term)[:3])
    scale, offset = _normalization(block.norm, each[:, 0], each[:, 1], count)

    def rest(index, part, factor, residual, skip_term, kernel, scale, offset, *top):
        # Normalised in float32, whatever the precision, as batch norm itself is.
        merged = tf.cast(_merge(part, skip_term, kernel), tf.float32) * scale + offset
        raised = block.activation(tf.cast(merged, kind) * factor + residual)
        if seed is not None:
            own = tf.random.experimental.stateless_fold_in(seed, index)
            raised = block.dropout(raised, seed=own)
        if top:
            raised = tf.nn.conv2d(layers.merge_samples(raised), top[0], 1, "SAME")
        return raised

    top = [] if logits_layer is None else [tf.cast(logits_layer.kernel, kind)]
    outputs = in_parts(
        rest,
        [[part, *block.inject(one)] for part, one in zip(features, noise)],
        [skip_term, kernel, scale, offset, *top],
    )
    if logits_layer is None:
        return outputs
    batch, num = tf.shape(noise[0])[0], tf.shape(noise[0])[1]
    bias = tf.cast(logits_layer.bias, kind)
    return [layers.split_samples(one + bias, batch, num) for one in outputs]


def _merge(part: tf.Tensor, skip_term: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Does what `UpBlock.merge` does before its normalisation."""
    batch, num = tf.shape(part)[0], tf.shape(part)[1]
    raised = tf.nn.conv2d(layers.merge_samples(part), kernel, 1, "SAME")
    raised = layers.split_samples(layers.upsample_nearest(raised), batch, num)
    return raised + skip_term[:, None]


def _moments(index: int, part, skip_term, kernel) -> tf.Tensor:
    """Returns the mean and the variance `[2, C]` of a part."""
    merged = tf.cast(_merge(part, skip_term, kernel), tf.float32)
    return tf.stack(tf.nn.moments(merged, [0, 1, 2, 3]))


def _normalization(norm, means: tf.Tensor, variances: tf.Tensor, count: tf.Tensor):
    """Returns scale and offset `[C]` of batch norm in training; updates its averages.

    Of means and variances `[P, C]` of parts of one size; `count` is that of all values
    of a channel on this replica.
    """
    mean = tf.reduce_mean(means, axis=0)
    square = tf.reduce_mean(variances + tf.square(means), axis=0)
    spread = tf.reduce_mean(variances + tf.square(means - mean), axis=0)
    count = tf.cast(count, tf.float32)
    unbiased = spread * count / (count - 1.0)
    if norm.synchronized:
        context = tf.distribute.get_replica_context()
        mean, square = context.all_reduce(tf.distribute.ReduceOp.MEAN, [mean, square])
        unbiased = spread = square - tf.square(mean)
    for average, value in ((norm.moving_mean, mean), (norm.moving_variance, unbiased)):
        average.assign_sub((average - tf.stop_gradient(value)) * (1.0 - norm.momentum))
    scale = norm.gamma * tf.math.rsqrt(spread + norm.epsilon)
    return scale, norm.beta - mean * scale
