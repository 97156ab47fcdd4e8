"""Tests of car_tf.models.segnet and unpooling."""

import numpy as np
import pytest
import tensorflow as tf

from car_tf.models import keras_api, segnet, unpooling

BOTH = pytest.mark.parametrize("skips", [False, True])


def _net(skips=False, dropout=0.1, channels=2, half_size=False, **more):
    tf.random.set_seed(3)
    return segnet.SegNet(
        num_classes=2,
        channels=channels,
        dropout=dropout,
        skips=skips,
        half_size=half_size,
        **more,
    )


def _image(height=32, width=32, batch=1):
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (batch, height, width, 1))
    return tf.constant(values, tf.float32)


UNPOOLINGS = pytest.mark.parametrize(
    "unpool", [unpooling.max_unpool, unpooling.scatter]
)


@UNPOOLINGS
def test_values_return_to_where_the_maxima_were(unpool):
    image = tf.reshape(tf.constant([1.0, 5, 2, 0, 3, 4, 1, 9]), [1, 2, 4, 1])
    pooled, indices = unpooling.max_pool(image)
    np.testing.assert_array_equal(pooled[0, :, :, 0], [[5, 9]])
    back = unpool(10 * pooled, indices)
    np.testing.assert_array_equal(back[0, :, :, 0], [[0, 50, 0, 0], [0, 0, 0, 90]])


@UNPOOLINGS
def test_unpooling_keeps_images_and_channels_apart(unpool):
    rng = np.random.default_rng(1)
    image = rng.permutation(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype(np.float32)
    pooled, indices = unpooling.max_pool(tf.constant(image))
    back = unpool(pooled, indices).numpy()
    windows = image.reshape(2, 2, 2, 3, 2, 3)
    is_largest = windows == windows.max(axis=(2, 4), keepdims=True)
    np.testing.assert_array_equal(
        back, np.where(is_largest, windows, 0).reshape(image.shape)
    )


@UNPOOLINGS
def test_the_gradient_of_unpooling_picks_the_maxima(unpool):
    image = tf.reshape(tf.constant([1.0, 5, 2, 0, 3, 4, 1, 9]), [1, 2, 4, 1])
    pooled, indices = unpooling.max_pool(image)
    weights = tf.reshape(tf.range(8.0), [1, 2, 4, 1])
    with tf.GradientTape() as tape:
        tape.watch(pooled)
        loss = tf.reduce_sum(weights * unpool(pooled, indices))
    # The maxima stood at flat positions 1 and 7.
    np.testing.assert_array_equal(tape.gradient(loss, pooled)[0, :, :, 0], [[1, 7]])


@pytest.mark.skipif(keras_api.addons is None, reason="this stack has no Addons")
@pytest.mark.parametrize("dtype", [tf.float32, tf.float16])
def test_without_addons_unpooling_is_the_same_bit_for_bit(dtype):
    rng = np.random.default_rng(2)
    # Few levels, so that most windows hold ties.
    image = tf.constant(rng.integers(0, 3, (3, 6, 10, 5)), dtype)
    weights = tf.constant(rng.normal(size=image.shape), tf.float32)

    def value_and_gradient(unpool):
        # Sizes unknown to the graph, as in training and in an export.
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 5], dtype)])
        def run(image):
            pooled, indices = unpooling.max_pool(image)
            with tf.GradientTape() as tape:
                tape.watch(pooled)
                back = unpool(pooled, indices)
                loss = tf.reduce_sum(weights * tf.cast(back, tf.float32))
            return back, tape.gradient(loss, pooled)

        return run(image)

    wanted = value_and_gradient(unpooling.max_unpool)
    for want, got in zip(wanted, value_and_gradient(unpooling.scatter)):
        np.testing.assert_array_equal(got, want)


def test_the_encoder_is_that_of_vgg_16():
    net = _net(channels=64)
    net(_image())
    widths = [[conv.conv.filters for conv in level] for level in net.encoder]
    assert widths == [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
    widths = [[conv.conv.filters for conv in level] for level in net.decoder]
    assert widths == [[512] * 3, [512, 512, 256], [256, 256, 128], [128, 64], [64]]
    encoder = [conv for level in net.encoder for conv in level]
    # VGG-16 without its dense layers has 14,714,688 weights, of which 4,224 are biases;
    # its first layer sees 3 channels, this one 1: 2 * 9 * 64 fewer.
    kernels = sum(int(tf.size(conv.conv.kernel)) for conv in encoder)
    assert kernels == 14_714_688 - 4_224 - 2 * 9 * 64


@BOTH
def test_any_size_goes_in_and_comes_out(skips):
    net = _net(skips, half_size=skips)
    for height, width in ((33, 47), (5, 1)):
        assert net(_image(height, width)).shape == (1, height, width, 2)


def test_at_half_size_the_first_level_is_left_out():
    net = _net(skips=True, channels=16, half_size=True)
    net(_image())
    widths = [[conv.conv.filters for conv in level] for level in net.encoder]
    assert widths == [[32] * 2, [64] * 3, [128] * 3, [128] * 3]
    # Every pixel of a square has logits of its own.
    image, kernel = _image(), net.logits_layer.kernel
    kernel.assign(tf.zeros_like(kernel))
    net.logits_layer.bias.assign(tf.range(8.0))
    logits = net(image)[0].numpy()
    np.testing.assert_array_equal(logits[:2, :2], [[[0, 1], [2, 3]], [[4, 5], [6, 7]]])
    np.testing.assert_array_equal(logits[30:, 30:], logits[:2, :2])


def test_a_symmetric_net_is_the_mean_over_the_symmetries_of_the_square():
    plain, net = _net(skips=True), _net(skips=True, symmetric=True)
    image = _image(32, 64, batch=2)
    turns = [
        (lambda x: x),
        (lambda x: x[:, ::-1]),
        (lambda x: x[:, :, ::-1]),
        (lambda x: x[:, ::-1, ::-1]),
    ]
    transpose = lambda x: np.transpose(x, [0, 2, 1, 3])
    turns += [lambda x, turn=turn: transpose(turn(x)) for turn in turns]
    back = turns[:5] + [lambda x, k=k: turns[k](transpose(x)) for k in (1, 2, 3)]
    plain(image), net(image)
    net.set_weights(plain.get_weights())
    image = image.numpy()
    each = [undo(plain(turn(image)).numpy()) for turn, undo in zip(turns, back)]
    assert np.abs(each[0] - each[6]).max() > 1e-3
    np.testing.assert_allclose(net(image), np.mean(each, axis=0), atol=1e-5)
    seed = tf.constant([1, 2])
    np.testing.assert_allclose(
        net(image, training=True, seed=seed), plain(image, training=True, seed=seed)
    )


def test_dropout_is_a_function_of_the_seed():
    net, image = _net(skips=True), _image(batch=2)
    runs = [
        net(image, training=True, seed=tf.constant(seed)).numpy()
        for seed in ([1, 2], [1, 2], [1, 3])
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3
    # Without a seed nothing is dropped.
    np.testing.assert_array_equal(net(image), net(image))


@BOTH
def test_every_weight_is_trained_and_none_is_a_bias_before_batch_norm(skips):
    net = _net(skips)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(net(_image(64, 64, 2), training=True)))
    gradients = tape.gradient(loss, net.trainable_variables)
    for variable, gradient in zip(net.trainable_variables, gradients):
        assert gradient is not None, variable.name
        assert "bias" not in variable.name or "logits" in variable.name
    moved = [float(tf.reduce_max(tf.abs(gradient))) > 0 for gradient in gradients]
    assert np.mean(moved) > 0.95


def test_a_black_box_is_refused():
    with pytest.raises(ValueError, match="takes no black box"):
        _net()(_image(), tf.zeros([1, 32, 32, 19]))


def test_its_graph_needs_no_addons():
    graph = tf.function(_net()).get_concrete_function(_image()).graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    used = {node.op for node in nodes}
    assert "Conv2D" in used and not {op for op in used if op.startswith("Addons")}
