"""Stacked perceptrons: equal to one network per run, in values and in weights."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from car_tf.experiment.regression import stacked_mlp


def make(keys, num_inputs, activation=stacked_mlp.LEAKY_RELU, **widths):
    widths = widths or dict(hidden_layers=2, hidden_units=5)
    return stacked_mlp.StackedMLP(
        keys=keys, num_inputs=num_inputs, activation=activation, name="net", **widths
    )


def plain_mlp(weights, inputs, slope):
    """One run's network in NumPy: `weights` alternate kernels and biases."""
    features = inputs
    for index in range(0, len(weights), 2):
        features = features @ weights[index] + weights[index + 1]
        if index < len(weights) - 2:
            features = np.where(features > 0, features, slope * features)
    return features[..., 0]


def normal(*shape):
    return tf.random.stateless_normal(shape, [1, sum(shape)])


@pytest.mark.parametrize(
    "shapes, activation, slope",
    [
        ([(3, 4)], tf.nn.relu, 0.0),
        ([(3, 4), (3, 4), (3, 4, 2)], stacked_mlp.LEAKY_RELU, 0.01),
    ],
)
def test_networks_equal_one_network_per_run(shapes, activation, slope):
    parts = [normal(*shape) for shape in shapes]
    net = make([11, 12, 13], len(parts), activation)
    outputs = net(*parts)
    assert outputs.shape == shapes[-1]
    # A value without the last axis is the same for all along it.
    wide = [np.reshape(part, [3, 4, -1]) for part in parts]
    columns = np.stack(np.broadcast_arrays(*wide), axis=-1)
    for run in range(3):
        weights = [weight[run] for weight in net.get_weights()]
        expected = plain_mlp(weights, columns[run], slope)
        actual = np.reshape(outputs[run], expected.shape)
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_initial_weights_depend_on_the_own_key_and_fill_their_range():
    widths = dict(hidden_layers=2, hidden_units=64)
    many, alone = make([3, 4, 5], 2, **widths), make([4], 2, **widths)
    limits = np.repeat(np.array([2, 64, 64]) ** -0.5, 2)
    assert len(many.get_weights()) == len(limits)
    for ours, its, limit in zip(many.get_weights(), alone.get_weights(), limits):
        np.testing.assert_array_equal(ours[1], its[0])
        assert (ours[0] != ours[1]).all() and (ours[1] != ours[2]).all()
        largest = np.abs(ours).max()
        assert largest <= limit and (ours.size < 64 or largest > 0.9 * limit)


def test_gradients_do_not_cross_runs():
    net = make([1, 2], 3)
    x, noise = normal(2, 3), normal(2, 3, 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(x, x, noise)[0] ** 2)
    for gradient in tape.gradient(loss, net.trainable_variables):
        assert np.abs(gradient[0]).max() > 0
        np.testing.assert_array_equal(gradient[1], 0)
