"""Energy distance: closed forms, hand-worked images and a version that builds modes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from car_tf.data import class_flips
from car_tf.metrics import ged, iou

CITYSCAPES = dict(
    originals=[flip.original for flip in class_flips.CITYSCAPES_FLIPS],
    flipped=[flip.flipped for flip in class_flips.CITYSCAPES_FLIPS],
    probabilities=[flip.probability for flip in class_flips.CITYSCAPES_FLIPS],
    num_classes=24,
)
# One class, 0, that flips to 2 with 1/4; class 1 does not flip.
ONE_FLIP = dict(originals=[0], flipped=[2], probabilities=[0.25], num_classes=3)


def multi_rater_ged(samples, labels, **kinds):
    return ged.multi_rater_distances(samples, labels, **kinds).ged()


def class_flips_ged(samples, label, **flips):
    return ged.class_flips_distances(samples, label, **flips).ged()


def modes(label, originals, flipped, probabilities):
    """All 2^F label maps and their probabilities."""
    maps, weights = [], []
    for hits in itertools.product([False, True], repeat=len(originals)):
        mode, weight = label.copy(), 1.0
        for hit, original, name, probability in zip(
            hits, originals, flipped, probabilities
        ):
            weight *= probability if hit else 1 - probability
            if hit:
                mode[label == original] = name
        maps.append(mode)
        weights.append(weight)
    return maps, weights


def distance(a, b, valid, switchable):
    """1 - mean IoU over the switchable classes in either map, or None."""
    ious = []
    for class_id in switchable:
        in_a, in_b = (a == class_id) & valid, (b == class_id) & valid
        if (in_a | in_b).any():
            ious.append((in_a & in_b).sum() / (in_a | in_b).sum())
    return 1 - np.mean(ious) if ious else None


def expectation(maps_a, weights_a, maps_b, weights_b, distance_of, distinct=False):
    total = weight_sum = 0.0
    for (i, a), (j, b) in itertools.product(enumerate(maps_a), enumerate(maps_b)):
        value = None if distinct and i == j else distance_of(a, b)
        if value is not None:
            weight = weights_a[i] * weights_b[j]
            total, weight_sum = total + weight * value, weight_sum + weight
    return total / weight_sum if weight_sum else None


def plain_ged(samples, label, originals, flipped, probabilities, ignore_label=255):
    """GED and unbiased GED over explicit modes, pair by pair."""
    valid = label != ignore_label

    def distance_of(a, b):
        return distance(a, b, valid, [*originals, *flipped])

    maps, weights = modes(label, originals, flipped, probabilities)
    equal = [1.0] * len(samples)
    within_labels = expectation(maps, weights, maps, weights, distance_of)
    if within_labels is None:
        return None, None
    cross = expectation(samples, equal, maps, weights, distance_of)
    within = expectation(samples, equal, samples, equal, distance_of) or 0.0
    value = 2 * cross - within - within_labels
    if len(samples) == 1:
        return value, None
    distinct = expectation(samples, equal, samples, equal, distance_of, True) or 0.0
    return value, 2 * cross - distinct - within_labels


def test_one_flip_by_hand():
    label = np.array([[0, 0, 1, 255]], np.uint8)
    samples = np.array([[[0, 1, 1, 0]], [[2, 2, 2, 2]]], np.uint8)
    result = class_flips_ged(samples, label, **ONE_FLIP)
    # Over the three labelled pixels, modes [0 0 1] (3/4) and [2 2 1] (1/4):
    # s1 = [0 1 1]: class 0 shares 1 of 2, d = 1/2; then 0 and 2 share nothing, d = 1.
    # s2 = [2 2 2]: nothing, d = 1; then class 2 shares 2 of 3, d = 1/3.
    cross = (0.75 * 0.5 + 0.25 * 1 + 0.75 * 1 + 0.25 / 3) / 2
    assert result.cross_distance == pytest.approx(cross, abs=1e-12)
    # d(s1, s2) = 1, in two of the four pairs; modes differ with 2 * 1/4 * 3/4, d = 1.
    assert result.sample_diversity == pytest.approx(0.5)
    assert result.label_diversity == pytest.approx(0.375)
    assert result.ged == pytest.approx(2 * cross - 0.5 - 0.375)
    assert result.ged_unbiased == pytest.approx(2 * cross - 1 - 0.375)


def test_two_raters_by_hand():
    samples = np.array([[[1, 0]], [[1, 1]]], bool)
    labels = np.array([[[1, 0]], [[0, 0]]], np.uint8)
    result = multi_rater_ged(samples, labels)
    # d(s, y): 0, 1, 1/2, 1. d(s1, s2) = 1/2 in two of four pairs. d(y1, y2) = 1.
    assert result.cross_distance == pytest.approx(2.5 / 4)
    assert result.sample_diversity == pytest.approx(1 / 4)
    assert result.label_diversity == pytest.approx(1 / 2)
    assert result.ged == pytest.approx(1.25 - 0.25 - 0.5)
    assert result.ged_unbiased == pytest.approx(1.25 - 0.5 - 0.5)


# Two samples and three raters of three classes. The second rater does not know the
# last pixel, the third did not label the image.
CLASS_SAMPLES = np.array([[[0, 0, 1, 2]], [[0, 1, 1, 1]]], np.uint8)
CLASS_LABELS = np.array([[[0, 0, 1, 1]], [[0, 1, 1, 255]], [[255] * 4]], np.uint8)


@pytest.mark.parametrize(
    "absent, cross, samples, labels, matched",
    [
        # d(s1, y1): IoU 1, 1/2 and 0, d = 1/2. d(s1, y2) over three pixels: 1/2 and
        # 1/2, d = 1/2. d(s2, y1): 1/2 and 2/3, d = 5/12. d(s2, y2) = 0.
        # d(s1, s2): 1/2, 1/3 and 0, d = 13/18. d(y1, y2) over three pixels: 1/2.
        ("leave_out", [[1 / 2, 1 / 2], [5 / 12, 0]], 13 / 18, 1 / 2, 3 / 4),
        # Where class 2 is absent it adds an IoU of 1: d(s1, y2) = 1 - 2/3, d(s2, y1) =
        # 1 - (1/2 + 2/3 + 1) / 3 = 5/18, d(y1, y2) = 1/3.
        ("count_as_one", [[1 / 2, 1 / 3], [5 / 18, 0]], 13 / 18, 1 / 3, 3 / 4),
    ],
)
def test_raters_of_three_classes_by_hand(absent, cross, samples, labels, matched):
    distances = ged.multi_rater_distances(
        CLASS_SAMPLES, CLASS_LABELS, num_classes=3, absent=absent
    )
    np.testing.assert_allclose(distances.cross, cross)
    result = distances.ged()
    assert result.sample_diversity == pytest.approx(samples / 2)
    assert result.label_diversity == pytest.approx(labels / 2)
    # Leaving out: 2 * 17/48 - 13/36 - 1/4 = 7/72; as one: 2 * 5/18 - 13/36 - 1/6 = 1/36.
    by_hand = {"leave_out": 7 / 72, "count_as_one": 1 / 36}[absent]
    assert result.ged == pytest.approx(by_hand)
    # s1 goes to y1, s2 to y2.
    assert distances.matched_iou() == pytest.approx(matched)


def test_pixels_that_no_rater_knows_count_nowhere():
    samples, labels = CLASS_SAMPLES.copy(), CLASS_LABELS.copy()
    labels[0, 0, 3] = 255
    first = multi_rater_ged(samples, labels, num_classes=3)
    # [0 0 1] against [0 1 1]: both classes share 1 of 2.
    assert first.sample_diversity == pytest.approx(1 / 4)
    samples[:, 0, 3] = [1, 0]
    assert multi_rater_ged(samples, labels, num_classes=3) == first


def test_an_image_that_no_rater_labelled_is_undefined():
    nobody = np.full((2, 1, 4), 255, np.uint8)
    distances = ged.multi_rater_distances(CLASS_SAMPLES, nobody, num_classes=3)
    assert distances.ged() == ged.GedResult(None, None, None, None, None)
    assert distances.matched_iou() is None


def test_an_absent_rater_changes_nothing_for_masks_either():
    rng = np.random.default_rng(2)
    samples, labels = rng.random((5, 6, 6)) < 0.5, rng.random((3, 6, 6)) < 0.5
    with_absent = np.insert(labels.astype(np.uint8), 1, 255, axis=0)
    first, second = (
        ged.multi_rater_distances(samples, one) for one in (labels, with_absent)
    )
    assert first.ged() == second.ged()
    assert first.matched_iou(3) == second.matched_iou(3)


@pytest.mark.parametrize(
    "samples, labels, message",
    [
        (np.full((1, 2, 2), 2), np.zeros((1, 2, 2), int), "samples .* 0..1, found 2"),
        (np.full((1, 2, 2), 255), np.zeros((1, 2, 2), int), "samples .* found 255"),
        (
            np.zeros((1, 2, 2), int),
            np.full((1, 2, 2), -1),
            "labels .* 0..1 .* found -1",
        ),
        (
            np.zeros((1, 2, 2), int),
            np.zeros((1, 2, 3), int),
            r"one size, got \(1, 2, 2",
        ),
        (
            np.zeros((1, 2, 2), int),
            np.zeros((2, 2), int),
            r"\[raters, H, W\], got \(2, 2",
        ),
    ],
)
def test_raters_refuse(samples, labels, message):
    with pytest.raises(ValueError, match=message):
        multi_rater_ged(samples, labels)


def test_empty_masks_agree():
    empty = np.zeros((3, 4, 4), bool)
    result = multi_rater_ged(empty, empty)
    assert (result.ged, result.ged_unbiased, result.label_diversity) == (0, 0, 0)


def all_five(num_pixels=10):
    return np.resize(np.array(CITYSCAPES["originals"], np.uint8), (1, num_pixels))


def test_perfect_predictor_that_never_flips():
    samples = np.stack([all_five()] * 16)
    result = class_flips_ged(samples, all_five(), **CITYSCAPES)
    assert result.sample_diversity == 0
    assert result.label_diversity == pytest.approx(0.5798, abs=5e-5)
    assert result.ged == pytest.approx(0.391, abs=5e-4)
    # Without diversity the pairs of a sample with itself change nothing.
    assert result.ged_unbiased == pytest.approx(result.ged, abs=1e-12)


def test_perfect_sampler_reaches_its_closed_form():
    rng = np.random.default_rng(0)
    results = []
    for _ in range(200):
        samples = class_flips.flip_oracle(
            all_five(5), flips=class_flips.CITYSCAPES_FLIPS, num_samples=16, rng=rng
        )
        results.append(class_flips_ged(samples, all_five(5), **CITYSCAPES))
    # E GED = E d(y, y') / 16 = 0.0362, unbiased 0. One image's standard deviation is
    # about 0.022, of the mean 0.0016.
    assert np.mean([result.ged for result in results]) == pytest.approx(
        0.5798 / 16, abs=0.005
    )
    assert np.mean([result.ged_unbiased for result in results]) == pytest.approx(
        0, abs=0.005
    )


def test_samples_that_are_the_distribution_score_exactly_zero():
    # Two flips at 1/2: the four modes once each are the distribution itself.
    label = np.array([[0, 0, 1, 4, 255]], np.uint8)
    flips = dict(originals=[0, 1], flipped=[2, 3], probabilities=[0.5, 0.5])
    samples = np.array(modes(label, **flips)[0])
    samples[samples == 255] = 0
    result = class_flips_ged(samples, label, num_classes=5, **flips)
    assert result.ged == pytest.approx(0, abs=1e-12)


def random_case(rng, num_flips, num_samples, size=(6, 7)):
    """Label and samples over F originals, F flipped and two other classes."""
    ids = rng.permutation(2 * num_flips + 2)
    originals, flipped = ids[:num_flips], ids[num_flips : 2 * num_flips]
    others = ids[2 * num_flips :]
    # Only some of the classes occur, so that absent ones and undefined pairs do.
    in_label = np.concatenate([rng.permutation(originals)[: rng.integers(4)], others])
    label = rng.choice(in_label, size)
    samples = np.empty((num_samples, *size), np.uint8)
    for sample in samples:
        in_sample = np.concatenate([rng.permutation(ids)[: rng.integers(5)], others])
        copied = rng.random(size) < 0.5
        sample[...] = np.where(copied, label, rng.choice(in_sample, size))
        hits = rng.random(num_flips) < 0.5
        for original, name in zip(originals[hits], flipped[hits]):
            sample[sample == original] = name
    label[rng.random(size) < 0.15] = 255
    flips = dict(
        originals=originals.tolist(),
        flipped=flipped.tolist(),
        probabilities=rng.random(num_flips).tolist(),
    )
    return samples, label.astype(np.uint8), flips


@pytest.mark.parametrize("num_flips", [1, 2, 5])
@pytest.mark.parametrize("num_samples", [1, 2, 4])
def test_equals_the_version_that_builds_all_modes(num_flips, num_samples):
    rng = np.random.default_rng([num_flips, num_samples])
    undefined = 0
    for _ in range(6):
        samples, label, flips = random_case(rng, num_flips, num_samples)
        result = class_flips_ged(samples, label, num_classes=2 * num_flips + 2, **flips)
        value, unbiased = plain_ged(samples, label, **flips)
        assert result.ged == pytest.approx(value, abs=1e-9)
        assert result.ged_unbiased == pytest.approx(unbiased, abs=1e-9)
        undefined += value is None
    assert undefined < 6


def test_blocks_of_pixels_add_up(monkeypatch):
    samples, label, flips = random_case(np.random.default_rng(9), 5, 4, (30, 31))
    whole = class_flips_ged(samples, label, num_classes=12, **flips)
    assert whole.ged is not None
    monkeypatch.setattr(iou, "_BLOCK_IDS", 64)
    blocks = class_flips_ged(samples, label, num_classes=12, **flips)
    assert blocks == whole


def test_ten_flips_equal_their_1024_modes():
    samples, label, flips = random_case(np.random.default_rng(5), 10, 2, (4, 4))
    maps, weights = modes(label, **flips)
    switchable = flips["originals"] + flips["flipped"]
    cross = [
        sum(w * distance(s, m, label != 255, switchable) for m, w in zip(maps, weights))
        for s in samples
    ]
    distances = ged.class_flips_distances(samples, label, num_classes=22, **flips)
    np.testing.assert_allclose(distances.cross[:, 0], cross, rtol=0, atol=1e-9)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certain_flips(probability):
    flips = dict(ONE_FLIP, probabilities=[probability])
    label = np.array([[0, 1]], np.uint8)
    samples = np.array([[[0, 1]], [[2, 1]]], np.uint8)
    result = class_flips_ged(samples, label, **flips)
    # One sample is right and one wrong for sure: E d(s, y) = E d(s, s') = 1/2.
    assert result.label_diversity == 0
    assert result.ged == pytest.approx(2 * 0.5 - 0.5)


def test_label_without_originals_is_undefined():
    label = np.array([[1, 1, 255]], np.uint8)
    samples = np.array([[[0, 1, 0]], [[2, 1, 0]]], np.uint8)
    result = class_flips_ged(samples, label, **ONE_FLIP)
    assert result == ged.GedResult(None, None, None, None, None)


def test_label_ignored_throughout_is_undefined():
    label = np.full((1, 2), 255, np.uint8)
    result = class_flips_ged(np.zeros((2, 1, 2), np.uint8), label, **ONE_FLIP)
    assert result.ged is None


def test_samples_without_switchable_classes_do_not_differ():
    label = np.array([[0, 1]], np.uint8)
    samples = np.ones((2, 1, 2), np.uint8)
    result = class_flips_ged(samples, label, **ONE_FLIP)
    # d(s, y) = 1 for every pair, E d(s, s') = 0 by definition, E d(y, y') = 0.375.
    assert result.sample_diversity == 0
    assert result.ged == pytest.approx(2 - 0.375)
    assert result.ged_unbiased == pytest.approx(2 - 0.375)


def test_undefined_pair_leaves_its_expectation_alone():
    label = np.array([[0, 1]], np.uint8)
    samples = np.array([[[0, 1]], [[1, 1]], [[1, 1]]], np.uint8)
    result = class_flips_ged(samples, label, **ONE_FLIP)
    # Samples 2 and 3 hold nothing switchable: their four pairs drop out, and five
    # remain, of which four are 1 and d(s1, s1) = 0. Without the latter, all are 1.
    assert result.sample_diversity == pytest.approx(4 / 5)
    # E d(s, y) = (1/4 + 1 + 1) / 3.
    assert result.ged == pytest.approx(2 * 0.75 - 0.8 - 0.375)
    assert result.ged_unbiased == pytest.approx(2 * 0.75 - 1 - 0.375)


def test_one_sample_has_no_unbiased_value():
    label = np.array([[0, 1]], np.uint8)
    result = class_flips_ged(label[None], label, **ONE_FLIP)
    # E d(s, y) = 1/4: 2/4 - 0 - 3/8.
    assert result.ged == pytest.approx(0.125)
    assert result.ged_unbiased is None
    assert multi_rater_ged(label[None] > 0, label[None] > 0).ged_unbiased is None


def test_another_ignored_id_and_type():
    rng = np.random.default_rng(4)
    samples, label, flips = random_case(rng, 2, 4)
    signed = np.where(label == 255, -1, label.astype(np.int64))
    first = class_flips_ged(samples, label, num_classes=6, **flips)
    second = class_flips_ged(
        samples.astype(np.int32), signed, num_classes=6, ignore_label=-1, **flips
    )
    assert first == second


def test_first_samples_come_from_the_same_distances():
    rng = np.random.default_rng(6)
    samples, labels = rng.random((7, 8, 8)) < 0.5, rng.random((4, 8, 8)) < 0.5
    distances = ged.multi_rater_distances(samples, labels)
    for count in (1, 3, 7):
        expected = multi_rater_ged(samples[:count], labels)
        assert distances.ged(count) == expected
    assert distances.ged() == expected


def test_energy_distance_weighs_labels_and_drops_undefined_pairs():
    nan = np.nan
    result = ged.energy_distance(
        cross=np.array([[0.2, nan], [0.4, 1.0]]),
        within_samples=np.array([[nan, 0.5], [0.5, 0.0]]),
        within_labels=np.array([[0.0, 0.8], [0.8, nan]]),
        label_weights=np.array([0.75, 0.25]),
    )
    # Weights 3 and 1 of the labels: (3 * 0.2 + 3 * 0.4 + 1) / 7 = 0.4.
    assert result.cross_distance == pytest.approx(0.4)
    # (0.5 + 0.5 + 0) / 3, and 0.5 without the diagonal.
    assert result.sample_diversity == pytest.approx(1 / 3)
    # Weights 9, 3, 3 and 1, the last undefined: (3 * 0.8 + 3 * 0.8) / 15 = 0.32.
    assert result.label_diversity == pytest.approx(0.32)
    assert result.ged == pytest.approx(0.8 - 1 / 3 - 0.32)
    assert result.ged_unbiased == pytest.approx(0.8 - 0.5 - 0.32)


@pytest.mark.parametrize("undefined", ["cross", "within_labels"])
def test_energy_distance_without_a_defined_pair_is_none(undefined):
    matrices = dict(
        cross=np.zeros((2, 1)),
        within_samples=np.zeros((2, 2)),
        within_labels=np.zeros((1, 1)),
        label_weights=np.ones(1),
    )
    matrices[undefined] = np.full_like(matrices[undefined], np.nan)
    result = ged.energy_distance(**matrices)
    assert result == ged.GedResult(None, None, None, None, None)


@pytest.mark.parametrize("name", ["within_samples", "within_labels", "label_weights"])
def test_energy_distance_refuses_other_shapes(name):
    matrices = dict(
        cross=np.zeros((2, 3)),
        within_samples=np.zeros((2, 2)),
        within_labels=np.zeros((3, 3)),
        label_weights=np.ones(3),
    )
    matrices[name] = np.zeros(matrices[name].shape + (1,))
    with pytest.raises(ValueError, match=name):
        ged.energy_distance(**matrices)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(label=np.array([[0, 2]])), "found the flipped id 2"),
        (dict(label=np.array([[0, 3]])), "labels must hold class ids 0..2 .* found 3"),
        (dict(label=np.array([[0, -1]])), "labels must hold .* found -1"),
        (dict(label=np.array([[0, 255]]), ignore_label=-1), "ignored -1, found 255"),
        (dict(label=np.array([[0]])), r"got \(2, 1, 2\) and \(1, 1\)"),
        (dict(samples=np.full((2, 1, 2), 3)), "samples must hold .* found 3"),
        (dict(samples=np.full((2, 1, 2), -1)), "samples must hold .* found -1"),
        (dict(samples=np.zeros((0, 1, 2), int)), r"got \(0, 1, 2\)"),
        (dict(flipped=[0]), "must all differ"),
        (dict(flipped=[7]), "ids of flips must be in 0..2"),
        (dict(flipped=[2, 1]), "equally long"),
        (dict(probabilities=[1.5]), "probabilities must be in"),
        (dict(num_classes=256), "num_classes must be in 1..255"),
    ],
)
def test_class_flips_refuses(changes, message):
    arguments = dict(
        samples=np.zeros((2, 1, 2), int), label=np.array([[0, 1]]), **ONE_FLIP
    )
    arguments.update(changes)
    samples, label = arguments.pop("samples"), arguments.pop("label")
    with pytest.raises(ValueError, match=message):
        class_flips_ged(samples, label, **arguments)
