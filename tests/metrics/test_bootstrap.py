"""Intervals over groups, against resamples that can be listed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from car_tf.metrics import bootstrap


def test_two_groups_by_hand():
    # Three images of patient a, one of b. A resample is aa (1/4), ab (1/2) or bb (1/4):
    # means (3 * 0.2) / 3 = 0.2, (3 * 0.2 + 1) / 4 = 0.4 and 1. The 2.5 % and 97.5 %
    # quantiles are the outer two.
    resampled = bootstrap.GroupBootstrap(["a", "b", "a", "a"])
    values = [0.1, 1.0, 0.2, 0.3]
    assert resampled.interval(values) == pytest.approx([0.2, 1.0])
    assert resampled.to_dict()["num_groups"] == 2


def test_groups_and_not_images_are_drawn():
    # A hundred images of each of two patients: as two values, not as two hundred.
    groups = np.repeat(["a", "b"], 100)
    values = np.repeat([0.0, 1.0], 100)
    assert bootstrap.GroupBootstrap(groups).interval(values) == [0, 1]
    low, high = bootstrap.GroupBootstrap(range(200)).interval(values)
    # A standard error of sqrt(0.25 / 200) = 0.035, twice to each side.
    assert low == pytest.approx(0.43, abs=0.01)
    assert high == pytest.approx(0.57, abs=0.01)


def test_a_shift_that_all_images_share_has_no_width():
    rng = np.random.default_rng(0)
    values = rng.random(30)
    resampled = bootstrap.GroupBootstrap(np.arange(30) // 2)
    low, high = resampled.interval(values)
    assert high - low > 0.1
    result = resampled.difference(values, values + 0.01)
    assert result["mean"] == pytest.approx(-0.01)
    assert result["interval"] == pytest.approx([-0.01, -0.01])


def test_undefined_images_count_nowhere():
    resampled = bootstrap.GroupBootstrap(["a", "b", "c"])
    assert resampled.interval([0.2, None, 0.4]) == pytest.approx([0.2, 0.4])
    assert resampled.interval([0.2, None, None]) is None
    change = resampled.difference([0.2, None, 0.4], [0.1, 0.1, None])
    assert change == {"mean": pytest.approx(0.1), "interval": None}
    assert resampled.difference([None] * 3, [0.1] * 3) is None


def test_the_draws_are_fixed():
    values = np.random.default_rng(1).random(20)
    first, again = (bootstrap.GroupBootstrap(range(20)) for _ in range(2))
    assert first.interval(values) == again.interval(values)
    other = bootstrap.GroupBootstrap(range(20), seed=1)
    assert other.interval(values) != first.interval(values)
