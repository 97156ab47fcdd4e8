"""Stacked perceptrons: equal to one network per run, in values and in weights."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from car_tf.experiment.regression import stacked_mlp

SMALL = dict(hidden_layers=2, hidden_units=5)


def plain_mlp(weights, inputs, slope):
    """One run's network in NumPy: `weights` alternate kernels and biases."""
    features = inputs
    for index in range(0, len(weights), 2):
        features = features @ weights[index] + weights[index + 1]
        if index < len(weights) - 2:
            features = np.where(features > 0, features, slope * features)
    return features[:, 0]


def normal(*shape):
    return tf.random.stateless_normal(shape, [1, sum(shape)])


def test_a_layer_by_hand():
    layer = stacked_mlp.StackedDense(1, keys=[0, 1], salt=0)
    layer(tf.zeros([2, 1, 2]))
    layer.kernel.assign([[[1.0], [2.0]], [[3.0], [4.0]]])
    layer.bias.assign([[[10.0]], [[20.0]]])
    # Run 0: 5 + 2 * 6 + 10 = 27; run 1: 3 * 7 + 4 * 8 + 20 = 73.
    outputs = layer(tf.constant([[[5.0, 6.0]], [[7.0, 8.0]]]))
    np.testing.assert_allclose(outputs, [[[27.0]], [[73.0]]])


@pytest.mark.parametrize("kind", ["calibration", "refinement", "discriminator"])
def test_networks_equal_one_network_per_run(kind):
    x, mean, noise, y = normal(3, 4), normal(3, 4), normal(3, 4, 2), normal(3, 4, 6)
    keys = [11, 12, 13]
    if kind == "calibration":
        net, slope = stacked_mlp.CalibrationNet(keys=keys, **SMALL), 0.0
        outputs, columns = net(x), [x[..., None]]
    elif kind == "refinement":
        net, slope = stacked_mlp.RefinementNet(keys=keys, **SMALL), 0.01
        outputs, columns = net(x, mean, noise), [x[..., None], mean[..., None], noise]
    else:
        net, slope = stacked_mlp.Discriminator(keys=keys, **SMALL), 0.01
        outputs, columns = net(x, y), [x[..., None], y]
    for run in range(3):
        weights = [weight[run] for weight in net.get_weights()]
        for row in range(4):
            for sample in range(columns[-1].shape[-1]):
                inputs = [
                    column[run, row, sample if column.shape[-1] > 1 else 0]
                    for column in columns
                ]
                expected = plain_mlp(weights, np.array([inputs]), slope)
                actual = np.reshape(outputs[run, row], [-1])[sample]
                assert actual == pytest.approx(expected[0], abs=1e-6)


def test_initial_weights_depend_on_the_own_key_alone():
    many = stacked_mlp.CalibrationNet(keys=[3, 4, 5], **SMALL)
    alone = stacked_mlp.CalibrationNet(keys=[4], **SMALL)
    many(tf.zeros([3, 1]))
    alone(tf.zeros([1, 1]))
    assert len(many.get_weights()) == 6
    for ours, its in zip(many.get_weights(), alone.get_weights()):
        np.testing.assert_array_equal(ours[1], its[0])
        assert (ours[0] != ours[1]).all() and (ours[1] != ours[2]).all()


def test_initial_weights_fill_their_range():
    net = stacked_mlp.Discriminator(keys=[8], hidden_layers=2, hidden_units=64)
    net(tf.zeros([1, 1]), tf.zeros([1, 1, 1]))
    for layer, num_inputs in zip([*net.hidden, net.head], [2, 64, 64]):
        for variable in (layer.kernel, layer.bias):
            largest = np.abs(variable.numpy()).max()
            assert largest <= num_inputs**-0.5
            if variable.shape.num_elements() >= 64:
                assert largest > 0.9 * num_inputs**-0.5


def test_gradients_do_not_cross_runs():
    net = stacked_mlp.RefinementNet(keys=[1, 2], **SMALL)
    x, noise = normal(2, 3), normal(2, 3, 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(x, x, noise)[0] ** 2)
    for gradient in tape.gradient(loss, net.trainable_variables):
        assert np.abs(gradient[0]).max() > 0
        np.testing.assert_array_equal(gradient[1], 0)
