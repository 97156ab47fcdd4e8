"""Pieces of the metrics of a split."""

import numpy as np

from car_tf import tally


def test_probabilities_of_a_black_box_become_labels():
    probs = np.zeros((1, 1, 2, 3), np.float16)
    probs[0, 0, 0, 2] = probs[0, 0, 1, 1] = 1
    np.testing.assert_array_equal(tally.hard_labels(probs), [[[2, 1]]])
    labels = np.array([[[2, 255]]], np.uint8)
    assert tally.hard_labels(labels) is labels
