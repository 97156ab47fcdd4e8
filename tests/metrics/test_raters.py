"""Tests of car_tf.metrics.raters: hand-worked scores of raters."""

import itertools

import numpy as np
import pytest

from car_tf.metrics import ged, raters

# Four masks of a 1 x 4 image: two pixels, one of them, the other one, nothing.
MASKS = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 0, 0]]])


def _compare(
    labels=MASKS, probs=None, sample_mean=None, samples=None, seed=0, indices=(0,)
):
    """Compares; `probs` and `sample_mean` are `[H, W]`, of class 1 of two."""
    comparison = raters.RaterComparison(seed)
    zeros = np.zeros(labels.shape[1:])
    probs, sample_mean = (
        np.stack([1 - one, one], axis=-1)
        for one in (
            zeros if probs is None else probs,
            zeros if sample_mean is None else sample_mean,
        )
    )
    for index in indices:
        comparison.add(
            index,
            distances=ged.multi_rater_distances(zeros[None], labels).within_labels,
            labels=labels,
            probs=probs,
            sample_mean=sample_mean,
            samples=zeros[None] if samples is None else samples,
        )
    return comparison.to_dict()


def _distance(a, b):
    union = np.logical_or(a, b).sum()
    return 1 - np.logical_and(a, b).sum() / union if union else 0.0


def test_three_raters_are_scored_against_the_fourth():
    result = _compare()["comparisons"]["leave_one_out"]
    geds, ious = [], []
    for left in range(4):
        others = [MASKS[k] for k in range(4) if k != left]
        cross = np.mean([_distance(other, MASKS[left]) for other in others])
        pairs = itertools.product(others, repeat=2)
        geds.append(2 * cross - np.mean([_distance(a, b) for a, b in pairs]))
        ious.append(1 - cross)
    assert result["ged"] == pytest.approx(np.mean(geds))
    assert result["hm_iou"] == pytest.approx(np.mean(ious))
    # IoU of distinct pairs: 1/2, 1/2, 0, 0, 0, 0.
    assert result["hm_iou"] == pytest.approx(1 / 6)


def test_raters_that_agree_leave_nothing_to_gain():
    agreed = MASKS[:1].repeat(4, axis=0)
    comparisons = _compare(agreed)["comparisons"]
    for name in ("leave_one_out", "readers_drawn"):
        assert comparisons[name] == {"ged": pytest.approx(0), "hm_iou": 1}


def test_drawn_raters_score_a_sixteenth_of_their_diversity():
    result = _compare(indices=range(400))["comparisons"]["readers_drawn"]
    # E d(s, y) = D = 5/8 and E d(s, s') = 15/16 D, so GED = D / 16 = 0.039.
    assert result["ged"] == pytest.approx(5 / 8 / 16, abs=0.004)
    assert ged.multi_rater_distances(MASKS, MASKS).ged().ged == pytest.approx(0)


def test_the_draws_are_a_function_of_seed_and_index():
    first = _compare()
    assert first == _compare()
    assert first != _compare(seed=1)
    assert first != _compare(indices=(1,))


def test_means_are_compared_with_the_raters_mean():
    # The raters' mean is (1/2, 1/2, 0, 0), of which two pixels are marked.
    probs = np.array([[0.6, 0.3, 0.2, 0.0]])
    sample_mean = np.array([[0.5, 0.5, 0.0, 0.4]])
    # Of the first 16 samples 8 have the first pixel, and all the second.
    samples = np.zeros((17, 1, 4), np.uint8)
    samples[:8, 0, 0] = samples[:16, 0, 1] = samples[16] = 1
    result = _compare(probs=probs, sample_mean=sample_mean, samples=samples)
    assert result["mean_difference"] == {
        "calibration_net_all_pixels": pytest.approx(0.5 / 4),
        "calibration_net_marked_pixels": pytest.approx(0.3 / 2),
        "refinement_net_all_pixels": pytest.approx(0.4 / 4),
        "refinement_net_marked_pixels": pytest.approx(0),
        "samples_all_pixels": pytest.approx((0.1 + 0.7 + 0.2) / 4),
        "samples_marked_pixels": pytest.approx((0.1 + 0.7) / 2),
    }


def test_an_image_without_a_mark_stays_out_of_marked_pixels():
    result = _compare(np.zeros((4, 1, 4), int))
    assert "calibration_net_marked_pixels" not in result["mean_difference"]
    assert result["mean_difference"]["calibration_net_all_pixels"] == 0
    # Nothing is all agreed on: two empty masks have IoU 1.
    for scores in result["comparisons"].values():
        assert scores == {"ged": 0, "hm_iou": 1}


def test_three_classes_and_hidden_pixels_by_hand():
    # The third rater did not label the image, the second does not know the last pixel.
    labels = np.array([[[0, 1, 2, 1]], [[0, 2, 2, 255]], [[255] * 4]], np.uint8)
    comparison = raters.RaterComparison(0)
    even = np.full((1, 4, 3), 1 / 3)
    comparison.add(
        0,
        distances=ged.multi_rater_distances(
            np.zeros((1, 1, 4), int), labels, num_classes=3
        ).within_labels,
        labels=labels,
        probs=even,
        sample_mean=even,
        samples=np.array([[[0, 1, 2, 0]], [[0, 2, 2, 0]]]),
    )
    result = comparison.to_dict()
    # [0 1 2] against [0 2 2]: IoU 1, 0 and 1/2. One against one: GED 2d = 1.
    assert result["comparisons"]["leave_one_out"] == {
        "ged": pytest.approx(1),
        "hm_iou": pytest.approx(1 / 2),
    }
    # Shares (1 0 0), (0 1/2 1/2), (0 0 1), (0 1 0): total variation from a third each
    # is 2/3, 1/3, 2/3, 2/3. All pixels but the first are marked.
    differences = result["mean_difference"]
    assert differences["calibration_net_all_pixels"] == pytest.approx(7 / 12)
    assert differences["calibration_net_marked_pixels"] == pytest.approx(5 / 9)
    # The samples' shares differ from F's as the raters' do, but for (1 0 0) at last.
    assert differences["samples_all_pixels"] == pytest.approx(7 / 12)


def test_one_rater_is_compared_with_nobody():
    result = _compare(MASKS[:1])
    assert result["comparisons"] == {}
    assert result["mean_difference"]["calibration_net_all_pixels"] == 1 / 2
