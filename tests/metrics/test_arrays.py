"""The metrics as functions of arrays, by hand."""

import numpy as np
import pytest

from car_tf import metrics

ONE = np.array([[[0, 1]]])
TWO = np.array([[[0, 1]], [[1, 1]]])


def test_ged_and_hm_iou_of_masks():
    # d is 0 and 1/2 from the raters, who are 1/2 apart: 2 * 1/4 - 0 - 1/4.
    assert metrics.ged(ONE, TWO) == pytest.approx(0.25)
    assert metrics.hm_iou(ONE, TWO) == pytest.approx((1 + 0.5) / 2)
    assert metrics.ged(ONE, TWO, unbiased=True) is None
    # Of one rater the axis may be left out: 2 * 1/4 - (1/2)/2 - 0.
    assert metrics.ged(TWO, ONE[0]) == metrics.ged(TWO, ONE) == pytest.approx(0.25)
    # Two images: the other one has samples like its raters.
    assert metrics.ged(np.stack([TWO, TWO]), np.stack([TWO, TWO])) == 0
    both = metrics.ged(np.stack([ONE, ONE]), np.stack([TWO, TWO[::-1]]))
    assert both == pytest.approx(0.25)


def test_classes_are_weighed_alike():
    sample, label = np.array([[[0, 1, 2, 2]]]), np.array([[[0, 1, 2, 1]]])
    # IoU 1, 1/2 and 1/2: d = 1 - 2/3, and GED is 2 d.
    assert metrics.ged(sample, label, num_classes=3) == pytest.approx(2 / 3)
    assert metrics.hm_iou(sample, label, num_classes=3) == pytest.approx(2 / 3)
    # Of a fourth class that is nowhere, IoU 1: d = 1 - 3/4.
    kinds = dict(num_classes=4, absent="count_as_one")
    assert metrics.ged(sample, label, **kinds) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "scale, label, message",
    [
        (1.0, -1, "wanted labels 0 to 1, or 255, got -1"),
        (1.0, 2, "wanted labels 0 to 1, or 255, got 2"),
        (0.5, 1, "that sum to 1, got 0.5 to 0.5"),
    ],
)
def test_ece_of_labels_of_no_class_and_of_other_scores_is_refused(
    scale, label, message
):
    probs, labels = np.full((1, 2, 2), 0.5 * scale), np.array([[0, label]])
    with pytest.raises(ValueError, match=message):
        metrics.ece(probs, labels)


def test_ece_is_right_in_the_share_of_raters():
    probs = np.array([[[0.9, 0.1], [0.6, 0.4]]])
    # Right where 0.9 sure, wrong where 0.6 sure.
    label = np.array([[0, 1]])
    assert metrics.ece(probs, label) == pytest.approx((0.1 + 0.6) / 2)
    # Each right by one rater of two.
    assert metrics.ece(probs, np.array([[[0, 1]], [[1, 0]]])) == pytest.approx(0.25)
    # The second rater knows one pixel, and nobody any.
    half = np.array([[[0, 1]], [[1, 255]]])
    assert metrics.ece(probs, half) == pytest.approx((0.4 + 0.6) / 2)
    assert metrics.ece(probs, np.full([1, 2], 255)) is None
    with pytest.raises(ValueError, match=r"got \(1, 2, 2\) and \(3, 3\)"):
        metrics.ece(probs, np.zeros([3, 3], int))


def test_realism_is_the_share_of_pairs_that_a_judge_orders():
    # 2 > 1, 2 = 2, 3 > 1, 3 > 2: three and a half of four.
    assert metrics.realism(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 0.875
