"""Entropy, reliability and flip calibration, against hand-worked numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from car_tf.metrics import calibration

FLIPS = dict(originals=[0, 1], flipped=[2, 3], probabilities=[0.25, 0.5])


def test_entropy_in_bits_by_hand():
    probs = np.array([[0.25] * 4, [0.5, 0.5, 0, 0], [1, 0, 0, 0], [0.5, 0.25, 0.25, 0]])
    # log2 4 = 2; one fair bit; certain; 0.5 * 1 + 2 * 0.25 * 2 = 1.5.
    np.testing.assert_allclose(calibration.entropy_bits(probs), [2, 1, 0, 1.5])


def test_entropy_keeps_the_image_axes_and_the_type():
    probs = np.full((3, 5, 8), 1 / 8, np.float32)
    entropy = calibration.entropy_bits(probs)
    assert entropy.shape == (3, 5) and entropy.dtype == np.float32
    np.testing.assert_allclose(entropy, 3.0)


def test_ece_by_hand():
    reliability = calibration.Reliability()
    reliability.update(np.array([0.95, 0.95]), np.array([True, False]))
    reliability.update(np.array([[0.55], [0.65]]), np.array([[True], [False]]))
    # Bin (0.9, 1]: 2 pixels, confidence 0.95, accuracy 0.5, gap 0.45.
    # Bin (0.5, 0.6]: 1 pixel, gap 0.45. Bin (0.6, 0.7]: 1 pixel, gap 0.65.
    # ECE = (2 * 0.45 + 0.45 + 0.65) / 4 = 0.5.
    assert reliability.ece() == pytest.approx(0.5)
    bins = reliability.bins()
    assert [entry["num_pixels"] for entry in bins] == [0, 0, 0, 0, 0, 1, 1, 0, 0, 2]
    assert bins[9]["confidence"] == pytest.approx(0.95)
    assert bins[9]["accuracy"] == pytest.approx(0.5)
    assert bins[0] == {
        "lower": 0.0,
        "upper": 0.1,
        "num_pixels": 0,
        "confidence": None,
        "accuracy": None,
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_hold_their_upper_edges(dtype):
    reliability = calibration.Reliability()
    # 0.5 belongs to (0.4, 0.5]; 0 and 1 to the first and the last bin.
    confidence = np.array([0.0, 0.5, np.nextafter(dtype(0.5), dtype(1)), 1.0], dtype)
    reliability.update(confidence, np.ones(4, bool))
    counts = [entry["num_pixels"] for entry in reliability.bins()]
    assert counts == [1, 0, 0, 0, 1, 1, 0, 0, 0, 1]


def test_correctness_can_be_a_probability():
    drawn, expected = calibration.Reliability(), calibration.Reliability()
    # Three of four draws are right: the same as one pixel right with 0.75, by weight.
    drawn.update(np.full(4, 0.8), np.array([True, True, True, False]))
    expected.update(np.full(4, 0.8), np.full(4, 0.75))
    assert drawn.ece() == pytest.approx(0.05)
    assert expected.ece() == pytest.approx(0.05)


def test_calibrated_predictions_have_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.1, 1, 200_000)
    reliability = calibration.Reliability()
    reliability.update(confidence, rng.random(200_000) < confidence)
    # Standard deviation per bin is below 0.5 / sqrt(22000) = 0.0034.
    assert reliability.ece() < 0.007


def test_reliability_without_pixels_is_none():
    reliability = calibration.Reliability()
    reliability.update(np.zeros(0), np.zeros(0, bool))
    assert reliability.ece() is None
    json.dumps(reliability.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "confidence, correct, message",
    [
        ([0.5, 0.5], [True], r"one shape, got \(2,\) and \(1,\)"),
        ([1.5], [True], "confidence must be in"),
        ([np.nan], [True], "confidence must be in"),
        ([0.5], [-1.0], "correct must be in"),
    ],
)
def test_reliability_refuses(confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        calibration.Reliability().update(np.array(confidence), np.array(correct))


def test_flip_calibration_by_hand():
    probs = np.array(
        [
            [[0.6, 0.1, 0.2, 0.1], [0.4, 0.2, 0.2, 0.2]],
            [[0.1, 0.5, 0.1, 0.3], [0.0, 0.0, 1.0, 0.0]],
        ]
    )
    label = np.array([[0, 0], [1, 255]], np.uint8)
    accumulator = calibration.FlipCalibration(**FLIPS)
    accumulator.update(probs, label)
    result = accumulator.to_dict()
    first, second = result["classes"]
    # Class 0: 0.2 + 0.2 over 0.6 + 0.2 + 0.4 + 0.2 = 2/7; mean 0.2 of two pixels.
    assert first["flip_probability"] == pytest.approx(2 / 7)
    assert first["flip_offset"] == pytest.approx(2 / 7 - 1 / 4)
    assert first["class_probability"] == pytest.approx(0.2)
    assert first["class_offset"] == pytest.approx(0.05)
    assert first["num_pixels"] == 2
    # Class 1: 0.3 over 0.5 + 0.3 = 0.375; mean 0.3 of one pixel.
    assert second["flip_probability"] == pytest.approx(0.375)
    assert result["mean_flip_offset"] == pytest.approx((1 / 28 + 0.125) / 2)
    assert result["worst_flip_offset"] == pytest.approx(0.125)
    assert result["mean_class_offset"] == pytest.approx((0.05 + 0.2) / 2)
    assert result["worst_class_offset"] == pytest.approx(0.2)
    assert result["num_undefined_classes"] == 0


def test_flip_calibration_counts_masked_pixels_alone_and_sums_over_images():
    rng = np.random.default_rng(0)
    accumulator = calibration.FlipCalibration(**FLIPS)
    flipped_sum, named_sum = 0.0, 0.0
    for _ in range(3):
        probs = rng.dirichlet(np.ones(5), (6, 7))
        label = rng.integers(0, 2, (6, 7))
        mask = rng.random((6, 7)) < 0.5
        accumulator.update(probs, label, mask)
        for row, column in np.argwhere((label == 0) & mask):
            flipped_sum += probs[row, column, 2]
            named_sum += probs[row, column, 0] + probs[row, column, 2]
    result = accumulator.to_dict()["classes"][0]["flip_probability"]
    assert result == pytest.approx(flipped_sum / named_sum)


def test_flip_calibration_of_samples_is_that_of_their_mean():
    rng = np.random.default_rng(1)
    samples = rng.integers(0, 5, (16, 6, 7)).astype(np.uint8)
    label = rng.integers(0, 3, (6, 7)).astype(np.uint8)
    label[label == 2] = 255
    mask = rng.random((6, 7)) < 0.7
    mean = np.mean(samples[..., None] == np.arange(5), axis=0)
    from_samples = calibration.FlipCalibration(**FLIPS)
    from_samples.update_samples(samples, label, mask)
    from_mean = calibration.FlipCalibration(**FLIPS)
    from_mean.update(mean, label, mask)
    for a, b in zip(from_samples.to_dict()["classes"], from_mean.to_dict()["classes"]):
        assert a == pytest.approx(b, rel=1e-12)


def test_absent_classes_are_counted_and_left_out_of_the_mean():
    accumulator = calibration.FlipCalibration(**FLIPS)
    probs = np.tile([0.5, 0.0, 0.5, 0.0], (2, 2, 1))
    accumulator.update(probs, np.zeros((2, 2), np.uint8))
    result = accumulator.to_dict()
    assert result["classes"][1]["flip_probability"] is None
    assert result["classes"][1]["class_offset"] is None
    # Class 0 alone: 0.5 against 0.25.
    assert result["mean_flip_offset"] == pytest.approx(0.25)
    assert result["num_undefined_classes"] == 1
    json.dumps(result, allow_nan=False)


def test_nothing_seen_is_undefined_not_nan():
    result = calibration.FlipCalibration(**FLIPS).to_dict()
    assert result["mean_flip_offset"] is None and result["worst_flip_offset"] is None
    assert result["num_undefined_classes"] == 2
    json.dumps(result, allow_nan=False)


def test_flip_calibration_refuses():
    accumulator = calibration.FlipCalibration(**FLIPS)
    probs = np.full((2, 2, 4), 0.25)
    with pytest.raises(ValueError, match="flipped id 3"):
        accumulator.update(probs, np.array([[0, 1], [3, 0]]))
    with pytest.raises(ValueError, match=r"probs .* size \(2, 3\), got \(2, 2\)"):
        accumulator.update(probs, np.zeros((2, 3), int))
    with pytest.raises(ValueError, match=r"samples .* size \(2, 3\), got \(2, 2\)"):
        accumulator.update_samples(np.zeros((5, 2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match=r"mask .* size \(2, 2\), got \(1, 2\)"):
        accumulator.update(probs, np.zeros((2, 2), int), np.ones((1, 2), bool))
    assert accumulator.to_dict()["num_undefined_classes"] == 2
    with pytest.raises(ValueError, match="equally long, got 2, 2 and 1"):
        calibration.FlipCalibration(originals=[0, 1], flipped=[2, 3], probabilities=[1])


def test_reliability_of_each_class_by_hand():
    reliability = calibration.ClassReliability(3)
    probs = np.array([[0.8, 0.2, 0.0], [0.8, 0.1, 0.1]])
    # Two raters: both say class 0; one says 0, the other 2.
    shares = np.array([[1, 0, 0], [0.5, 0, 0.5]])
    reliability.update(probs, shares)
    result = reliability.to_dict(["a", "b", "c"])
    # Class a: confidence 0.8, right by (1 + 0.5) / 2 = 0.75, one bin.
    assert result["a"] == {
        "ece": pytest.approx(0.05),
        "mean_probability": pytest.approx(0.8),
        "share_of_labels": pytest.approx(0.75),
    }
    # Class b: 0.2 and 0.1 lie in two bins and are never right.
    assert result["b"]["ece"] == pytest.approx(0.15)
    # Class c: 0 and 0.1 share the first bin: |0.5 - 0.1| / 2.
    assert result["c"]["ece"] == pytest.approx(0.2)
