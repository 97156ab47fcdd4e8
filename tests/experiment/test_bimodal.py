"""The bimodal distribution: hand-worked densities, draws, and their independence."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from car_tf.experiment.regression import bimodal
from car_tf.experiment.regression import config as regression_config


def make(*problems):
    """Stacks (mode probability, mode noise, seed) triples."""
    problems = problems or [(0.9, 0.1, 7)]
    return bimodal.Bimodal([regression_config.Problem(*p) for p in problems], "data")


def test_upper_mode_at_the_pieces_of_the_paper():
    # 0.5 below 0.4; 1 - 1.25 * 0.4 = 0.5; 1 - 1.25 * 0.6 = 0.25; 0 from 0.8 on.
    x = tf.constant([0.0, 0.39, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(
        bimodal.upper_mode(x), [0.5, 0.5, 0.5, 0.25, 0.0, 0.0], atol=1e-7
    )


def test_log_density_by_hand():
    # sigma = 0.1: log N(0; 0, 0.1) = -log(0.1 sqrt(2 pi)) = 2.302585 - 0.918939
    # = 1.383647. At x = 0.2 the modes are +-0.5 with weights 0.9 and 0.1.
    # y = 0.5: log 0.9 + 1.383647 (the other mode is 10 sigma away) = 1.278286.
    # y = -0.5: log 0.1 + 1.383647 = -0.918938.
    # y = 0: both are 5 sigma away: 1.383647 - 12.5 = -11.116353.
    # At x = 0.9 both modes are 0; y = 0.2: 1.383647 - 0.5 * 2^2 = -0.616353.
    x = tf.constant([[0.2, 0.2, 0.2, 0.9]])
    y = tf.constant([[0.5, -0.5, 0.0, 0.2]])
    expected = [1.278286, -0.918938, -11.116353, -0.616353]
    actual = make().distribution(x).log_prob(y)
    np.testing.assert_allclose(actual[0], expected, atol=1e-5)
    mean = make().log_likelihood(x, y)
    np.testing.assert_allclose(mean, [np.mean(expected)], atol=1e-5)


def test_density_integrates_to_one_and_matches_the_draws():
    source = make((0.6, 0.05, 7))
    y = np.linspace(-1.5, 1.5, 3001, dtype=np.float32)
    for x in (0.1, 0.7, 0.95):
        density = source.distribution(tf.fill([1, 3001], x)).prob(y[None])
        assert float(tf.reduce_sum(density)) * 0.001 == pytest.approx(1, abs=1e-3)
    x, y = (part[0, 0].numpy() for part in source.batches(0, 1, 40_000))
    assert 0 <= x.min() and x.max() < 1
    # Uniform x: mean 1/2 and variance 1/12, with standard errors of 0.0014 and 0.0004.
    assert x.mean() == pytest.approx(0.5, abs=0.006)
    assert x.var() == pytest.approx(1 / 12, abs=0.002)
    flat = y[x < 0.4]
    # Some 16000 draws: the standard error of a share of 0.6 is 0.004.
    assert (flat > 0).mean() == pytest.approx(0.6, abs=0.016)
    assert np.abs(np.abs(flat) - 0.5).std() > 0.01
    assert (flat[flat > 0] - 0.5).std() == pytest.approx(0.05, abs=0.002)
    assert y[x > 0.8].std() == pytest.approx(0.05, abs=0.002)
    assert y[x > 0.8].mean() == pytest.approx(0, abs=0.003)


def test_draws_depend_on_the_own_key_and_the_step_alone():
    many = make((0.9, 0.01, 1), (0.5, 0.02, 1), (0.5, 0.02, 2))
    alone = make((0.5, 0.02, 1))
    for ours, its in zip(many.batches(30, 4, 8), alone.batches(30, 4, 8)):
        assert ours.shape == [3, 4, 8]
        np.testing.assert_array_equal(ours[1], its[0])
        assert len(np.unique(ours)) == ours.shape.num_elements()
    later = alone.batches(40, 4, 8)[0]
    assert not np.intersect1d(later, alone.batches(30, 4, 8)[0]).size


def test_upper_weight_counts_where_the_modes_are_apart():
    # sigma = 0.1: apart means an upper mode of at least 0.4, so x <= 0.48.
    # x = 0.2 and 0.45 count, with shares 3/4 and 1/4: 1/2. x = 0.5 and 0.9 do not.
    x = tf.constant([[0.2, 0.45, 0.5, 0.9]])
    samples = [[0.5, 0.4, 0.1, -0.5], [0.5, -0.4, -0.4, -0.1], [1.0] * 4, [1.0] * 4]
    weight = make().upper_weight(x, tf.constant([samples]))
    np.testing.assert_allclose(weight, [0.5])
