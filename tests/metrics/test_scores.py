"""Protocols over sets of images: means, undefined images, sample counts, bad input."""

from __future__ import annotations

import json
import os
import pathlib

import numpy as np
import pytest

from car_tf.data import class_flips
from car_tf.metrics import scores as metrics_scores

FLIPS = dict(originals=[0], flipped=[2], probabilities=[0.25], num_classes=3)


def class_flips_set():
    """Three images of four samples; the second has no class that flips."""
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 3, (3, 4, 5, 6)).astype(np.uint8)
    labels = rng.integers(0, 2, (3, 5, 6)).astype(np.uint8)
    labels[1] = 1
    labels[:, 0, 0] = 255
    return samples, labels


def multi_rater_set():
    rng = np.random.default_rng(1)
    return rng.random((3, 10, 8, 8)) < 0.4, rng.random((3, 4, 8, 8)) < 0.4


def test_class_flips_by_hand():
    # Image 0: one sample as the label, [0 1]. E d(s, y) = 1/4, E d(y, y') = 3/8, GED
    # = 2/4 - 3/8 = 1/8. Image 1 is undefined. Image 2: nothing switchable sampled,
    # E d(s, y) = 1, GED = 2 - 3/8 = 13/8.
    labels = np.array([[[0, 1]], [[1, 1]], [[0, 1]]], np.uint8)
    samples = np.array([[[[0, 1]]], [[[0, 1]]], [[[1, 1]]]], np.uint8)
    scores = metrics_scores.score_class_flips(samples, labels, **FLIPS)
    assert scores["ged_per_image"] == pytest.approx([0.125, None, 1.625])
    assert scores == {
        "ged": pytest.approx(0.875),
        "ged_unbiased": None,
        "ged_per_image": scores["ged_per_image"],
        "ged_unbiased_per_image": [None] * 3,
        "sample_diversity": 0.0,
        "label_diversity": pytest.approx(0.375),
        "num_images": 3,
        "num_undefined_images": 1,
        "num_samples": 1,
    }


def test_multi_rater_by_hand():
    # s = [1 0] and [1 1], y = [1 0] and [0 0]: GED 1/2, unbiased 1/4 (see the test of
    # the metric). Matching: the second sample meets the empty mask, IoU 0, the first
    # its equal, IoU 1: 1/2.
    samples = np.array([[[[1, 0]], [[1, 1]]]], np.uint8)
    labels = np.array([[[[1, 0]], [[0, 0]]]], np.uint8)
    scores = metrics_scores.score_multi_rater(samples, labels)
    assert scores == {
        "ged": pytest.approx(0.5),
        "ged_unbiased": pytest.approx(0.25),
        "ged_per_image": [pytest.approx(0.5)],
        "ged_unbiased_per_image": [pytest.approx(0.25)],
        "hm_iou": pytest.approx(0.5),
        "hm_iou_per_image": [pytest.approx(0.5)],
        "sample_diversity": pytest.approx(0.25),
        "label_diversity": pytest.approx(0.5),
        "num_images": 1,
        "num_undefined_images": 0,
        "num_samples": 2,
        "distance": {
            "is": "1 - mean IoU",
            "classes": [1],
            "absent": "count_as_one",
            "labels": "class ids, 255 is unknown",
        },
    }


def test_several_sample_counts_equal_separate_runs():
    samples, labels = multi_rater_set()
    scores = metrics_scores.score_multi_rater(
        samples, labels, sample_counts=[10, 4, 7, 4]
    )
    by_count = scores.pop("by_num_samples")
    assert list(by_count) == ["4", "7", "10"]
    del scores["distance"]
    assert scores == by_count["10"]
    for count in (4, 7, 10):
        alone = metrics_scores.score_multi_rater(samples[:, :count], labels)
        del alone["distance"]
        assert by_count[str(count)] == alone

    samples, labels = class_flips_set()
    scores = metrics_scores.score_class_flips(
        samples, labels, sample_counts=[2], **FLIPS
    )
    by_count = scores.pop("by_num_samples")
    assert list(by_count) == ["2"]
    assert scores == metrics_scores.score_class_flips(samples[:, :2], labels, **FLIPS)


def test_everything_undefined_is_none_and_json():
    labels = np.ones((2, 3, 3), np.uint8)
    samples = np.zeros((2, 4, 3, 3), np.uint8)
    scores = metrics_scores.score_class_flips(samples, labels, **FLIPS)
    assert scores["ged"] is None and scores["sample_diversity"] is None
    assert scores["num_undefined_images"] == 2
    json.dumps(scores, allow_nan=False)


def test_scores_are_plain_json():
    samples, labels = class_flips_set()
    scores = metrics_scores.score_class_flips(samples, labels, **FLIPS)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    samples, labels = multi_rater_set()
    scores = metrics_scores.score_multi_rater(samples, labels, sample_counts=[1, 10])
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores


def test_types_do_not_matter():
    samples, labels = class_flips_set()
    expected = metrics_scores.score_class_flips(samples, labels, **FLIPS)
    other = metrics_scores.score_class_flips(
        samples.astype(np.int64), labels.astype(np.uint16), **FLIPS
    )
    assert other == expected


def test_progress_sees_every_image():
    seen = []

    def progress(images):
        for index in images:
            seen.append(index)
            yield index

    samples, labels = multi_rater_set()
    metrics_scores.score_multi_rater(samples, labels, progress=progress)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    "samples, labels, message",
    [
        (np.zeros((3, 5, 6), int), None, r"samples must have shape .* got \(3, 5, 6\)"),
        (None, np.zeros((3, 1, 5, 6), int), r"labels must have shape .*\(3, 1, 5, 6\)"),
        (np.zeros((0, 4, 5, 6), int), None, r"samples must not be empty"),
        (np.zeros((3, 0, 5, 6), int), None, r"samples must not be empty"),
        (np.zeros((3, 4, 5, 6)), None, "samples must be integer or bool, got float64"),
        (None, np.zeros((3, 5, 6), "f4"), "labels must be integer or bool, got float"),
        (np.zeros((2, 4, 5, 6), int), None, "same images, got 2 and 3"),
        (np.zeros((3, 4, 6, 5), int), None, r"one size, got \(6, 5\) and \(5, 6\)"),
    ],
)
def test_class_flips_refuses_shapes_and_types(samples, labels, message):
    good_samples, good_labels = class_flips_set()
    samples = good_samples if samples is None else samples
    labels = good_labels if labels is None else labels
    with pytest.raises(ValueError, match=message):
        metrics_scores.score_class_flips(samples, labels, **FLIPS)


@pytest.mark.parametrize("counts", [[0], [11], [4, 11], []])
def test_refuses_sample_counts_that_are_not_there(counts):
    with pytest.raises(ValueError, match="sample counts must be in 1..10"):
        metrics_scores.score_multi_rater(*multi_rater_set(), sample_counts=counts)


def test_bad_values_name_their_image():
    samples, labels = class_flips_set()
    samples[2, 1, 3, 3] = 40
    with pytest.raises(ValueError, match="image 2: samples .* found 40"):
        metrics_scores.score_class_flips(samples, labels, **FLIPS)
    samples, labels = class_flips_set()
    labels[1, 2, 2] = 2
    with pytest.raises(ValueError, match="image 1: .* flipped id 2"):
        metrics_scores.score_class_flips(samples, labels, **FLIPS)
    samples, labels = multi_rater_set()
    samples = samples.astype(np.uint8)
    samples[1, 2, 3, 3] = 7
    with pytest.raises(ValueError, match="image 1: samples .* 0..1, found 7"):
        metrics_scores.score_multi_rater(samples, labels)


@pytest.mark.parametrize("white", ["samples", "labels", "both"])
def test_masks_of_black_and_white(white):
    samples, labels = (one.astype(np.uint8) for one in multi_rater_set())
    expected = metrics_scores.score_multi_rater(samples, labels)
    scores = metrics_scores.score_multi_rater(
        samples if white == "labels" else samples * np.uint8(255),
        labels if white == "samples" else labels * np.uint8(255),
    )
    read_as = {scores.pop("distance")["labels"], expected.pop("distance")["labels"]}
    assert scores == expected
    assert ("masks of 0 and 255" in read_as) == (white != "samples")


def test_images_without_a_rater_stay_out_of_the_means():
    labels = np.array([[[[0, 0, 1, 2]], [[0, 0, 1, 1]]], [[[255] * 4]] * 2], np.uint8)
    samples = labels[:1].repeat(2, axis=0)
    scores = metrics_scores.score_multi_rater(samples, labels, num_classes=3)
    # The samples of the first image are its raters.
    assert scores["ged_per_image"] == [pytest.approx(0), None]
    assert scores["hm_iou_per_image"] == [1, None] and scores["hm_iou"] == 1
    assert scores["num_undefined_images"] == 1
    assert scores["distance"]["classes"] == [0, 1, 2]
    assert scores["distance"]["absent"] == "leave_out"
    json.dumps(scores, allow_nan=False)


def real_data(folder):
    root = os.environ.get("CAR_TF_DATA") or (
        pathlib.Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
    )
    path = pathlib.Path(root) / folder
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path


def read_image(path):
    return np.array(pytest.importorskip("PIL.Image").open(path))


def test_real_readers_against_each_other():
    gt = real_data("lidc_crops") / "test" / "gt"
    firsts = sorted(gt.glob("*/*_l0.png"))[::20]
    masks = np.array(
        [
            [read_image(str(path).replace("_l0.png", f"_l{n}.png")) for n in range(4)]
            for path in firsts
        ]
    )
    masks = (masks[:, :, 26:154, 26:154] > 0).astype(np.uint8)
    scores = metrics_scores.score_multi_rater(masks, masks)
    # The raters drawn as samples are the distribution itself.
    assert scores["ged"] == pytest.approx(0, abs=1e-12)
    assert scores["hm_iou"] == pytest.approx(1)
    pairs = [(a, b) for image in masks for a in image for b in image]
    ious = [(a & b).sum() / (a | b).sum() if (a | b).any() else 1 for a, b in pairs]
    assert scores["label_diversity"] == pytest.approx(1 - np.mean(ious), abs=1e-12)


def test_real_street_scenes_reach_the_floor_with_perfect_samples():
    gt = real_data("camvid") / "gtFine" / "val"
    # Label ids of road, sidewalk, vegetation, person and car; the others stay ignored.
    table = np.full(256, 255, np.uint8)
    table[[7, 8, 21, 24, 26]] = [0, 1, 8, 11, 13]
    paths = sorted(gt.glob("*/*_labelIds.png"))[::4]
    labels = np.stack([table[read_image(path)] for path in paths])
    flips = class_flips.CITYSCAPES_FLIPS
    rng = np.random.default_rng(0)
    samples = [
        class_flips.flip_oracle(label % 255, flips=flips, num_samples=16, rng=rng)
        for label in labels
    ]
    scores = metrics_scores.score_class_flips(
        np.stack(samples),
        labels,
        originals=[flip.original for flip in flips],
        flipped=[flip.flipped for flip in flips],
        probabilities=[flip.probability for flip in flips],
        num_classes=24,
    )
    assert scores["num_undefined_images"] == 0
    # E GED is E d(y, y') / 16, unbiased 0; 26 images, standard deviation 0.022 each.
    floor = scores["label_diversity"] / 16
    assert scores["ged"] == pytest.approx(floor, abs=0.015)
    assert scores["ged_unbiased"] == pytest.approx(0, abs=0.015)
