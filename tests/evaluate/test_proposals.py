"""What proposals are worth: choices and mixtures that are worked out by hand."""

import json
import types

import numpy as np
import pytest
import stripes
import tensorflow as tf

from car_tf.data import class_flips, examples, info
from car_tf.evaluate import proposal_study, sampling
from car_tf.metrics import proposals

# Two lesions of 4 x 2 pixels in an image of 4 x 8.
LEFT, RIGHT, NONE, BOTH = np.zeros((4, 4, 8), np.uint8)
LEFT[:, :2] = BOTH[:, :2] = 1
RIGHT[:, 6:] = BOTH[:, 6:] = 1
ONE_GUESS = dict(least_pixels=1, max_regions=10)


def target(label, classes=(1,), num_classes=2):
    return proposals.Target(label, num_classes=num_classes, classes=classes)


def regions(samples, guess, **changes):
    return proposals.regions(np.stack(samples), guess, **{**ONE_GUESS, **changes})


# One map


def test_counts_and_efforts_by_hand():
    label = np.array([[0, 1], [1, 255]])
    aim = target(label)
    counts = aim.everywhere(np.array([[[1, 1], [1, 0]], [[0, 0], [1, 1]]]))
    np.testing.assert_array_equal(counts, [[[0, 1], [0, 2]], [[1, 0], [1, 1]]])
    # Lesion: 2 of a union of 3, then 1 of 2. One of three labelled pixels is wrong.
    assert aim.iou(counts) == pytest.approx([2 / 3, 1 / 2])
    assert aim.effort(counts[0], 0).wrong_pixels == pytest.approx(1 / 3)
    # Both classes: 0 and 2/3; 1/2 and 1/2.
    both = target(label, classes=(0, 1))
    assert both.iou(counts) == pytest.approx([1 / 3, 1 / 2])


def test_nothing_marked_and_nothing_proposed_is_right():
    aim = target(NONE)
    counts = aim.everywhere(np.stack([NONE, LEFT]))
    assert aim.iou(counts).tolist() == [1.0, 0.0]
    unlabelled = target(np.full((4, 8), 255))
    effort = unlabelled.effort(unlabelled.everywhere(LEFT[None])[0], 0)
    assert (effort.iou, effort.wrong_pixels) == (1.0, 0.0)


def test_the_best_sample_is_the_nearest():
    chosen, effort = proposals.best_sample(target(BOTH), np.stack([NONE, LEFT, RIGHT]))
    # 8 of 16 pixels; the first of the two that are equally good.
    assert (chosen, effort) == (1, proposals.Effort(0.5, 8 / 32, 1))
    # IoU 0 with all of them, so that the pixels decide.
    wanted = np.zeros((4, 8), np.uint8)
    wanted[0, 4] = 1
    assert proposals.best_sample(target(wanted), np.stack([BOTH, LEFT]))[0] == 1


# Regions


def test_regions_are_the_connected_parts_on_which_samples_differ():
    found = regions([LEFT, RIGHT], NONE)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0] | found[1], BOTH)
    assert regions([LEFT, LEFT], NONE) == []
    assert len(regions([LEFT, RIGHT], NONE, max_regions=1)) == 1
    assert regions([LEFT, RIGHT], NONE, least_pixels=9) == []
    # Corners connect.
    one, other = np.zeros((2, 4, 8), np.uint8)
    other[0, 0] = other[1, 1] = 1
    assert [region.sum() for region in regions([one, other], one)] == [2]


def test_regions_end_where_the_guess_changes_class_and_are_sorted():
    guess = NONE.copy()
    guess[0] = 1
    found = regions([BOTH, NONE], guess)
    assert [int(region.sum()) for region in found] == [6, 6, 2, 2]


# Mixtures


def test_a_mixture_takes_each_lesion_from_where_it_is():
    samples = np.stack([LEFT, RIGHT])
    where = regions(samples, NONE)
    mixed, effort = proposals.mixture(target(BOTH), samples, where)
    np.testing.assert_array_equal(mixed, BOTH)
    # The left one whole, and the right one into it.
    assert effort == proposals.Effort(1.0, 0.0, 2)
    mixed, effort = proposals.mixture(target(LEFT), samples, where)
    np.testing.assert_array_equal(mixed, LEFT)
    assert effort == proposals.Effort(1.0, 0.0, 1)


def test_a_mixture_is_what_its_counts_say():
    rng = np.random.default_rng(3)
    samples = rng.integers(0, 4, (5, 6, 9)).astype(np.uint8)
    label = rng.integers(0, 4, (6, 9)).astype(np.uint8)
    label[0] = 255
    aim = target(label, classes=range(4), num_classes=4)
    where = regions(samples, samples[1])
    mixed, effort = proposals.mixture(aim, samples, where)
    again = aim.effort(aim.everywhere(mixed[None])[0], effort.picks)
    assert again == effort
    assert effort.iou >= proposals.best_sample(aim, samples)[1].iou


# A split


class TwoMinds:
    """Draws the left lesion in even and the right one in odd samples."""

    receptive_field = None

    def __init__(self):
        layer = types.SimpleNamespace(filters=2)
        self.refinement_net = types.SimpleNamespace(logits_layer=layer)
        self.strategy = None

    def sample(self, image, blackbox, seed, num_samples):
        shape = [tf.shape(image)[0], 1, 1, 1]
        pair = tf.constant(np.stack([LEFT, RIGHT]))[None]
        samples = tf.tile(pair, [shape[0], num_samples // 2, 1, 1])
        mean = np.stack([1 - BOTH / 2, BOTH / 2], axis=-1).astype(np.float32)
        # F finds the left lesion a little likelier.
        probs = mean + np.stack([-1.0 * LEFT, LEFT], axis=-1) * 0.125
        probs = probs.astype(np.float32)
        maps = {"probs": probs, "sample_mean": mean, "first_probs": mean}
        return {
            "samples": samples,
            **{name: tf.tile(each[None], shape) for name, each in maps.items()},
        }


FACTS = info.DatasetInfo(
    title="lesions",
    class_names=("background", "lesion"),
    class_colors=((0, 0, 0), (255, 255, 255)),
    image_channels=1,
    num_raters=4,
)


def source(labels):
    labels = np.stack(labels)[None]
    images = np.zeros((1, 4, 8, 1), np.uint8)
    return examples.Examples(("a",), ("a",), images, labels)


def test_four_readers_by_hand():
    summary = proposal_study.simulate(
        TwoMinds(), source([LEFT, RIGHT, BOTH, NONE]), FACTS, num_samples=2, seed=0
    )
    json.dumps(summary, allow_nan=False)
    assert (summary["num_targets"], summary["marked"]["num_targets"]) == (4, 3)
    iou = {name: values["iou"] for name, values in summary["methods"].items()}
    # With left, right, both, none, F's arg-max (left) has 1, 0, 1/2, 0; each sample by
    # itself 1/2, 1/2, 1/2, 0; the best of both 1, 1, 1/2, 0. Mixed they give all four:
    # the right one's background in the left one's region is nothing.
    assert iou["argmax"] == pytest.approx(1.5 / 4)
    assert iou["one_sample"] == pytest.approx(1.5 / 4)
    assert iou["best"] == pytest.approx(2.5 / 4)
    assert iou["mixture"] == pytest.approx(1.0)
    # Levels 1/3 and 2/3: both lesions at 0.625 and 0.5, then neither: 1/2, 1/2, 1, 1.
    assert iou["thresholds"] == pytest.approx(3 / 4)
    marked = summary["marked"]["methods"]
    assert marked["best"]["iou"] == pytest.approx(2.5 / 3)
    # The right one, both and, mixed to nothing, none.
    assert summary["closer"] == {"best": 1 / 4, "mixture": 3 / 4}
    text = proposal_study.markdown(summary)
    assert "4 pairs of image and rater, 1 images" in text
    assert "| best of 2 samples of G | 0.625 | 0.833 |" in text


def test_three_classes_and_raters_who_know_less_by_hand():
    labelled, dataset_info = stripes.leaves()
    model = stripes.KnownSampler(3, flips=())
    summary = proposal_study.simulate(
        model, labelled, dataset_info, num_samples=2, seed=0
    )
    # The third rater labelled nothing. IoU of the others: 1/2 and 1/2, 1 and 1/2; the
    # sampler is sure, so that draws of F are its arg-max.
    assert summary["num_targets"] == 4
    for name in ("argmax", "best", "gumbel_draws"):
        assert summary["methods"][name]["iou"] == pytest.approx(5 / 8)
    # Wrong are 1 of 4 and 1 of 3 pixels, none of 4 and 1 of 3.
    wrong = summary["methods"]["best"]["wrong_pixels"]
    assert wrong == pytest.approx((1 / 4 + 1 / 3 + 0 + 1 / 3) / 4)
    assert "IoU where any leaf is marked" in proposal_study.markdown(summary)


def test_annotators_want_flips_where_classes_flip():
    flip = class_flips.ClassFlip(0, 1, 0.5)
    dataset_info = info.DatasetInfo(
        title="flips",
        class_names=("road", "road2"),
        class_colors=((0, 0, 0), (255, 0, 0)),
        flips=(flip,),
    )
    labels = np.zeros((1, 4, 8), np.uint8)
    labels[0, 0] = info.IGNORE_LABEL
    wanted = proposal_study.wanted(labels, dataset_info, np.random.default_rng(0))
    assert wanted.shape == (proposal_study.NUM_DRAWN, 4, 8)
    assert {int(each[1, 0]) for each in wanted} == {0, 1}
    for each in wanted:
        assert len(np.unique(each[1:])) == 1 and (each[0] == info.IGNORE_LABEL).all()


def test_levels_are_evenly_spread():
    probs = np.array([0.2, 0.5, 0.9])
    maps = proposal_study.thresholded(np.stack([1 - probs, probs], -1)[None], 3)
    # Above 1/4, 1/2 and 3/4.
    assert maps[:, 0].tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 1]]


def test_drawing_is_the_evaluations():
    drawn = list(sampling.sample(TwoMinds(), source([LEFT] * 4), num_samples=2, seed=0))
    np.testing.assert_array_equal(drawn[0].samples, np.stack([LEFT, RIGHT]))
