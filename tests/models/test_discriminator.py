"""D's further heads: patches, and how much there is of each class."""

import numpy as np
import pytest
import tensorflow as tf

from car_tf.models import discriminator

B, M, K, C, SIZE = 2, 3, 4, 3, (64, 96)


def normal(shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 0])


def build(**heads):
    net = discriminator.Discriminator(input_size=SIZE, base_channels=2, **heads)
    net(tf.zeros([1, *SIZE, C]), tf.zeros([1, 1, *SIZE, K]))
    for index, variable in enumerate(net.variables):
        variable.assign(0.3 * normal(variable.shape, 10 + index))
    return net


def inputs():
    maps = tf.one_hot(tf.argmax(normal([B, M, *SIZE, K], 1), -1), K)
    return normal([B, *SIZE, C]), maps


@pytest.mark.parametrize("patches, presence", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_heads_are_those_that_were_asked_for(patches, presence):
    net = build(patches=bool(patches), presence=bool(presence))
    image, maps = inputs()
    heads = net.heads(image, maps)
    # Patches at an eighth of the size: 8 x 12.
    wanted = [[B, M]] + patches * [[B, M, 96]] + presence * [[B, M]]
    assert [head.shape.as_list() for head in heads] == wanted
    np.testing.assert_array_equal(net(image, maps), heads[0])
    with tf.GradientTape() as tape:
        total = sum(tf.reduce_sum(head) for head in net.heads(image, maps))
    for gradient in tape.gradient(total, net.trainable_variables):
        assert np.any(gradient != 0)


def test_a_patch_sees_its_neighbourhood_in_image_and_map():
    net, (image, maps) = build(patches=True), inputs()
    base = tf.reshape(net.heads(image, maps)[1], [B, M, 8, 12])
    corner = tf.pad(tf.ones([8, 8, 1]), [[0, 56], [0, 88], [0, 0]])
    for change in ((image + corner, maps), (image, maps + corner)):
        other = tf.reshape(net.heads(*change)[1], [B, M, 8, 12])
        differs = np.any(other != base, axis=(0, 1))
        assert differs[0, 0] and not differs[4:].any() and not differs[:, 4:].any()


def test_the_presence_head_sees_areas_and_nothing_else():
    net, (image, maps) = build(presence=True), inputs()
    base = net.heads(image, maps)[1]
    flat = tf.reshape(maps, [B, M, -1, K])
    order = np.random.default_rng(0).permutation(flat.shape[2])
    moved = tf.reshape(tf.gather(flat, order, axis=2), maps.shape)
    np.testing.assert_allclose(net.heads(image + 1, moved)[1], base, atol=1e-5)
    # A few pixels of a class that else is absent are seen clearly.
    none = tf.tile(tf.one_hot(tf.zeros([1, 1, *SIZE], tf.int32), K), [B, M, 1, 1, 1])
    few = tf.tensor_scatter_nd_update(none, [[0, 0, 5, 6]], [[0.0, 0, 1, 0]])
    difference = np.abs(net.heads(image, few)[1] - net.heads(image, none)[1])
    assert difference[0, 0] > 1e-2 and difference.sum() == difference[0, 0]
