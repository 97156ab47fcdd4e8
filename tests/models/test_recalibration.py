"""The recalibration of F: a monotone map of its logit, decided by the whole image."""

import numpy as np
import tensorflow as tf

from car_tf.models import recalibration


def _logits(values):
    """Logits `[1, H, W, 2]`, of which the difference alone matters."""
    values = np.array(values, np.float32)[None]
    return tf.constant(np.stack([values - 7, 2 * values - 7], -1))


def _found(layer, values):
    return np.diff(layer(_logits(values)).numpy(), axis=-1)[0, ..., 0]


def test_areas_are_counted_above_each_level():
    logit = tf.constant([[[-7.0, -1.0], [1.0, 9.0]]])
    found = recalibration.areas(logit, np.array([-6.0, -1.0, 0.0, 6.0, 9.0]))
    np.testing.assert_array_equal(found, [[3, 2, 2, 1, 0]])


def test_until_it_is_fitted_nothing_changes():
    values = np.linspace(-20, 20, 60).reshape(6, 10)
    found = _found(recalibration.Recalibration(), values)
    np.testing.assert_allclose(found, values, atol=2e-5)


def test_a_logit_becomes_that_of_the_share_of_levels_below_it():
    layer = recalibration.Recalibration()
    layer.bias.assign(tf.constant(np.log([1.0] * 60 + [3.0]), tf.float32))
    below = np.cumsum(recalibration.SHARES * ([1.0] * 60 + [3.0]))
    # Of the knot between the levels 1.8 and 2.0, and half-way to the next one.
    index = np.searchsorted(recalibration.KNOTS, 1.85)
    knots = np.log(below[:-1] / (below[-1] - below[:-1]))
    wanted = [knots[index], (knots[index] + knots[index + 1]) / 2]
    np.testing.assert_allclose(_found(layer, [[1.9, 2.0]])[0], wanted, rtol=1e-4)
    # Beyond the last knot it goes on with the same slope.
    found = _found(layer, [[5.9, 8.9, -5.9, -9.0]])[0]
    np.testing.assert_allclose(found[1] - found[0], 3.0, rtol=1e-4)
    np.testing.assert_allclose(found[3] - found[2], -3.1, rtol=1e-4)


def test_the_map_is_monotone_and_each_image_has_its_own():
    layer = recalibration.Recalibration()
    rng = np.random.default_rng(0)
    layer.mean.assign(tf.fill(layer.mean.shape, 1.0))
    layer.scale.assign(tf.fill(layer.scale.shape, 2.0))
    layer.kernel.assign(rng.normal(size=layer.kernel.shape))
    few, many = np.full([8, 8], -8.0), np.full([8, 8], -8.0)
    ramp = np.linspace(-9, 9, 8)
    few[0], many[0], many[1:5] = ramp, ramp, 4.0
    found = [_found(layer, one) for one in (few, many)]
    both = layer(tf.concat([_logits(few), _logits(many)], 0)).numpy()
    np.testing.assert_allclose(np.diff(both, axis=-1)[..., 0], found, rtol=1e-5)
    assert (np.diff(found[0][0]) > 0).all() and (np.diff(found[1][0]) > 0).all()
    assert np.abs(found[0][0] - found[1][0]).max() > 0.1


def test_it_is_float32_and_no_part_of_what_stage_1_trains():
    layer = recalibration.Recalibration()
    assert layer.trainable_variables == [] and len(layer.variables) == 4
    found = layer(tf.cast(_logits([[0.5]]), tf.float16))
    assert found.dtype == tf.float32
