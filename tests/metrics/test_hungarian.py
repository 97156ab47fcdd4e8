"""Hungarian-matched IoU, against hand-worked matchings and optimal transport."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from car_tf.metrics import hungarian


def transported_iou(iou):
    """Optimal transport between uniform distributions, as a linear program."""
    num_samples, num_labels = iou.shape
    rows = np.kron(np.eye(num_samples), np.ones(num_labels))
    columns = np.kron(np.ones(num_samples), np.eye(num_labels))
    solution = optimize.linprog(
        -iou.ravel(),
        A_eq=np.concatenate([rows, columns]),
        b_eq=[1 / num_samples] * num_samples + [1 / num_labels] * num_labels,
    )
    return -solution.fun


def test_square_matching_by_hand():
    # 0.9 + 0.1 = 1.0 is beaten by 0.8 + 0.7 = 1.5, although 0.9 is the best pair.
    iou = np.array([[0.9, 0.8], [0.7, 0.1]])
    assert hungarian.hungarian_matched_iou(iou) == pytest.approx(0.75)


def test_more_samples_than_labels_all_count():
    # The label is matched by each of the samples, (0.9 + 0.3) / 2; a rectangular
    # assignment would report the best one, 0.9.
    assert hungarian.hungarian_matched_iou([[0.9], [0.3]]) == pytest.approx(0.6)


def test_three_samples_and_two_labels_by_hand():
    # Every sample stands twice, every label three times. The third sample prefers
    # neither; the best plan gives both copies of the first to label 0, of the second
    # to label 1, and splits the third: (2 * 1 + 2 * 1 + 0.5 + 0.5) / 6.
    iou = np.array([[1, 0], [0, 1], [0.5, 0.5]])
    assert hungarian.hungarian_matched_iou(iou) == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 4), (3, 2), (4, 4), (16, 4), (50, 4), (7, 5), (4, 6)]
)
def test_equals_optimal_transport(shape):
    rng = np.random.default_rng(0)
    iou = rng.random(shape)
    # Empty masks give many ties at exactly 0 and 1.
    tied = np.where(rng.random(shape) < 0.5, np.round(iou), iou)
    for values in (iou, tied):
        result = hungarian.hungarian_matched_iou(values)
        assert result == pytest.approx(transported_iou(values), abs=1e-9)


def test_many_copies_are_transported_instead(monkeypatch):
    iou = np.random.default_rng(2).random((16, 7))
    expected = hungarian.hungarian_matched_iou(iou)
    monkeypatch.setattr(hungarian, "MAX_COPIES", 100)  # 16 and 7: 112 copies.
    monkeypatch.setattr(hungarian.optimize, "linear_sum_assignment", None)
    assert hungarian.hungarian_matched_iou(iou) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "iou, message",
    [
        (np.zeros((0, 4)), r"got \(0, 4\)"),
        (np.zeros(4), r"got \(4,\)"),
        ([[np.nan]], "NaN"),
    ],
)
def test_refuses(iou, message):
    with pytest.raises(ValueError, match=message):
        hungarian.hungarian_matched_iou(iou)
