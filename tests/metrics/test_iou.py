"""IoU of mask pairs and of classes, against hand-worked numbers and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from car_tf.metrics import iou


def plain_iou(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def test_binary_iou_by_hand():
    a = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]]], np.uint8)
    b = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], np.uint8)
    # First of a: shares 1 of 3 pixels, meets an empty mask, shares 2 of 4.
    # Second of a is empty: 0 with a lesion, 1 with an empty mask.
    expected = [[1 / 3, 0, 1 / 2], [0, 1, 0]]
    result = iou.binary_iou(a, b)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.float64


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize("block_ids", [1 << 22, 50])
def test_binary_iou_equals_plain_loops(density, block_ids, monkeypatch):
    monkeypatch.setattr(iou, "_BLOCK_IDS", block_ids)
    rng = np.random.default_rng(0)
    a, b = rng.random((5, 7, 9)) < density, rng.random((3, 7, 9)) < density
    expected = [[plain_iou(x, y) for y in b] for x in a]
    np.testing.assert_array_equal(iou.binary_iou(a, b), expected)
    integers = iou.binary_iou(a.astype(np.int64), b.astype(np.uint8))
    np.testing.assert_array_equal(integers, expected)


def test_joint_iou_holds_both_sets_in_order():
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 4, 4)) < 0.5, rng.random((3, 4, 4)) < 0.5
    masks = np.concatenate([a, b])
    expected = [[plain_iou(x, y) for y in masks] for x in masks]
    np.testing.assert_array_equal(iou.joint_iou(a, b), expected)


def test_binary_iou_counts_large_masks_exactly():
    # 2 ** 24 + 1 is the first count that float32 cannot hold.
    a = np.ones((1, 4097, 4096), bool)
    b = a.copy()
    b[0, 0, 0] = False
    size = 4097 * 4096
    assert iou.binary_iou(a, b)[0, 0] == (size - 1) / size


@pytest.mark.parametrize("value", [2, 255, -1])
def test_binary_iou_refuses_other_values(value):
    a = np.zeros((1, 2, 2), np.int16)
    b = np.full((1, 2, 2), value, np.int16)
    with pytest.raises(ValueError, match=f"0 and 1 alone, found {value}"):
        iou.binary_iou(a, b)


def test_binary_iou_refuses_other_sizes():
    with pytest.raises(ValueError, match=r"one size, got \(2, 2\) and \(2, 3\)"):
        iou.binary_iou(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool))


@pytest.mark.parametrize("block_ids", [1 << 22, 12])
def test_pixel_runs_cover_every_pixel_once(block_ids, monkeypatch):
    monkeypatch.setattr(iou, "_BLOCK_IDS", block_ids)
    maps = np.array([[1, 1, 1, 2, 2, 2, 2], [5, 5, 6, 6, 6, 6, 5]], np.uint8)
    runs = list(iou.pixel_runs(maps))
    rebuilt = [columns.repeat(lengths.astype(int), 1) for columns, lengths in runs]
    np.testing.assert_array_equal(np.concatenate(rebuilt, axis=1), maps)
    if block_ids > maps.size:
        # Something changes after pixels 2, 3 and 6: runs of 2, 1, 3 and 1.
        np.testing.assert_array_equal(runs[0][1], [2, 1, 3, 1])


def test_confusion_matrix_by_hand():
    label = np.array([[0, 0, 1], [2, 255, 1]], np.uint8)
    prediction = np.array([[0, 1, 1], [0, 9, 1]], np.uint8)
    # The ignored pixel's prediction, 9, is not read.
    expected = [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    confusion = iou.confusion_matrix(label, prediction, num_classes=3)
    np.testing.assert_array_equal(confusion, expected)
    assert confusion.dtype == np.int64


def test_confusion_matrix_with_another_ignored_id():
    label, prediction = np.array([0, -1, 1]), np.array([0, 0, 0])
    confusion = iou.confusion_matrix(label, prediction, num_classes=2, ignore_label=-1)
    np.testing.assert_array_equal(confusion, [[1, 0], [1, 0]])


def test_class_ious_by_hand():
    confusion = np.array([[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    # Class 0: 2 of 3 true + 3 predicted - 2 = 4. Class 1: 2 of 2 + 3 - 2 = 3.
    # Class 2: true once, never predicted, 0. Class 3: in neither map.
    np.testing.assert_allclose(
        iou.per_class_iou(confusion), [1 / 2, 2 / 3, 0, np.nan], rtol=1e-15
    )
    assert iou.mean_iou(confusion) == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_confusion_matrices_add_up_over_images():
    rng = np.random.default_rng(2)
    label, prediction = rng.integers(0, 5, (2, 3, 8, 8))
    label[rng.random(label.shape) < 0.2] = 255
    whole = iou.confusion_matrix(label, prediction, num_classes=5)
    parts = [
        iou.confusion_matrix(*pair, num_classes=5) for pair in zip(label, prediction)
    ]
    np.testing.assert_array_equal(sum(parts), whole)


def test_everything_ignored_has_no_mean_iou():
    ignored = np.full((2, 2), 255, np.uint8)
    confusion = iou.confusion_matrix(ignored, ignored, num_classes=3)
    assert confusion.sum() == 0
    assert np.isnan(iou.mean_iou(confusion))


@pytest.mark.parametrize(
    "label, prediction, message",
    [
        ([0, 3], [0, 0], "label must hold class ids 0..2, found 3"),
        ([0, 0], [0, -1], "prediction must hold class ids 0..2, found -1"),
        ([0, 0], [0, 0, 0], r"label's shape \(2,\), got \(3,\)"),
    ],
)
def test_confusion_matrix_refuses(label, prediction, message):
    with pytest.raises(ValueError, match=message):
        iou.confusion_matrix(np.array(label), np.array(prediction), num_classes=3)
