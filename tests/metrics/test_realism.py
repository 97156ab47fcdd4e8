"""Tests of car_tf.metrics.realism: worked by hand, and against every pair in turn."""

import itertools

import numpy as np
import pytest

from car_tf.metrics import realism


def test_the_auc_counts_pairs_and_ties_half():
    labels, samples = np.array([[3.0], [1.0]]), np.array([[1.0], [0.0], [2.0]])
    # 3 beats all three; 1 ties with 1, beats 0 and loses to 2: (3 + 1.5) / 6.
    assert realism.auc(labels, samples) == pytest.approx(0.75)
    assert realism.auc(samples, labels) == pytest.approx(0.25)
    assert realism.auc(np.ones(4), np.ones(3)) == 0.5


def test_the_auc_is_the_share_of_all_pairs():
    rng = np.random.default_rng(0)
    labels, samples = rng.integers(0, 5, (7, 3)), rng.integers(0, 6, (7, 2))
    pairs = itertools.product(labels.ravel(), samples.ravel())
    wins = [(label > sample) + (label == sample) / 2 for label, sample in pairs]
    assert realism.auc(labels, samples) == pytest.approx(np.mean(wins))


def test_the_paired_accuracy_compares_within_images_alone():
    labels = np.array([[1.0, 3.0], [10.0, 12.0]])
    samples = np.array([[2.0], [12.0]])
    # First image: 1 < 2 < 3, a half; second: 10 < 12 and a tie, a quarter.
    assert realism.paired_accuracy(labels, samples) == pytest.approx(0.375)
    # Over all pairs 10 and 12 beat 2 as well: (0 + 1 + 1 + 1 + 0.5) / 8.
    assert realism.auc(labels, samples) == pytest.approx(3.5 / 8)


def test_scores_that_cannot_be_compared():
    for measure in (realism.auc, realism.paired_accuracy):
        assert measure(np.zeros((0, 1)), np.zeros((0, 1))) is None
        with pytest.raises(ValueError, match="finite"):
            measure(np.array([[np.nan]]), np.ones((1, 1)))
    with pytest.raises(ValueError, match=r"\(2, 1\) and \(3, 1\)"):
        realism.paired_accuracy(np.ones((2, 1)), np.ones((3, 1)))
