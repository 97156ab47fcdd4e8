"""IoU of mask pairs and of classes, against hand-worked numbers and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from car_tf.metrics import iou


def plain_iou(a, b, classes, absent):
    """Mean IoU of two maps by loops, over the pixels that both know."""
    known = (a != 255) & (b != 255)
    ious = []
    for k in classes:
        union = np.count_nonzero(((a == k) | (b == k)) & known)
        if union or absent == "count_as_one":
            shared = np.count_nonzero((a == k) & (b == k) & known)
            ious.append(shared / union if union else 1.0)
    return np.mean(ious) if ious and known.any() else np.nan


def of_masks(maps):
    """IoU of class 1 of all pairs of binary maps; two empty ones are equal."""
    return iou.pairwise_iou(
        np.array(maps, np.uint8).reshape(len(maps), -1),
        classes=(1,),
        absent="count_as_one",
    )


def test_masks_by_hand():
    # The first shares 1 of 3 pixels with the second, 2 of 4 with the third, none with
    # the last, which is empty and equals itself.
    first, second, full, empty = [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]
    result = of_masks([first, second, full, empty])
    np.testing.assert_array_equal(result[0], [1, 1 / 3, 1 / 2, 0])
    np.testing.assert_array_equal(result[3], [0, 0, 0, 1])
    assert result.dtype == np.float64


def test_classes_by_hand_with_hidden_pixels():
    maps = np.array([[0, 0, 1, 2], [0, 1, 1, 255], [255] * 4], np.uint8)
    # Over the first three pixels: class 0 shares 1 of 2, class 1 likewise, class 2 is
    # absent there: mean 1/2, or (1/2 + 1/2 + 1) / 3. The third map knows nothing.
    for absent, expected in (("leave_out", 1 / 2), ("count_as_one", 2 / 3)):
        result = iou.pairwise_iou(maps, classes=range(3), absent=absent)
        nan = np.nan
        wanted = [[1, expected, nan], [expected, 1, nan], [nan] * 3]
        np.testing.assert_allclose(result, wanted)


@pytest.mark.parametrize("absent", iou.ABSENT)
@pytest.mark.parametrize("num_classes, hidden", [(2, 0), (2, 0.3), (5, 0), (5, 0.3)])
@pytest.mark.parametrize("block_ids", [1 << 22, 50])
def test_equals_plain_loops(num_classes, hidden, absent, block_ids, monkeypatch):
    monkeypatch.setattr(iou, "_BLOCK_IDS", block_ids)
    rng = np.random.default_rng(0)
    # Few pixels of many classes, so that some are absent, and one constant map.
    maps = rng.integers(0, num_classes, (8, 11)).astype(np.uint8)
    maps[0] = 0
    maps[rng.random(maps.shape) < hidden] = 255
    maps = maps.repeat(1 + np.arange(11) % 3, axis=1)  # Runs of 1 to 3 alike pixels.
    classes = (1,) if num_classes == 2 else range(num_classes)
    expected = [[plain_iou(a, b, classes, absent) for b in maps] for a in maps]
    result = iou.pairwise_iou(maps, classes=classes, absent=absent)
    np.testing.assert_allclose(result, expected, atol=1e-15)


def test_large_masks_are_counted_exactly():
    # 2 ** 24 + 1 is the first count that float32 cannot hold.
    size = 4097 * 4096
    maps = np.ones((2, size), np.uint8)
    maps[1, 0] = 0
    assert of_masks(maps)[0, 1] == (size - 1) / size


def test_an_unknown_word_for_absent_classes_is_refused():
    with pytest.raises(ValueError, match="leave_out, count_as_one, got 'zero'"):
        iou.pairwise_iou(np.zeros((2, 3), np.uint8), classes=(0,), absent="zero")


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


def test_everything_ignored_counts_nothing():
    ignored = np.full((2, 2), 255, np.uint8)
    confusion = iou.confusion_matrix(ignored, ignored, num_classes=3)
    assert confusion.sum() == 0


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
