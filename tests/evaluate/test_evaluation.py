"""Evaluation of samplers whose numbers are known in closed form."""

import json

import numpy as np
import pytest
import stripes

from car_tf.data import examples, info
from car_tf.evaluate import evaluation
from car_tf.report import figures


def evaluate(source, *, dataset_info=stripes.FLIP_FACTS, model=None, **kwargs):
    arguments = dict(num_samples=16, seed=0, **kwargs)
    return evaluation.evaluate(
        model or stripes.KnownSampler(), source, dataset_info, **arguments
    )


def assert_ready_for_json(metrics):
    json.dumps(metrics, allow_nan=False)


def test_extremes_are_ranked_and_no_image_is_in_both():
    geds = [0.3, None, 0.1, 0.5, 0.2, None, 0.4]
    assert evaluation.extremes(geds, 2) == {"worst": [3, 6], "best": [2, 4]}
    # Five are defined: two of each at most.
    assert evaluation.extremes(geds, 9) == {"worst": [3, 6], "best": [2, 4]}
    assert evaluation.extremes([None, 0.2]) == {"worst": [], "best": []}


# Numbers


def test_a_perfect_predictor_that_never_flips():
    metrics, _ = evaluate(stripes.examples_of())
    assert_ready_for_json(metrics)
    # SPEC section 5's closed form: 0.391 with all five classes present; class 10
    # cannot flip and does not count.
    assert metrics["ged"] == pytest.approx(0.391, abs=5e-4)
    assert metrics["num_images"] == 3 and metrics["num_undefined_images"] == 0
    assert metrics["miou_calibration_net"] == metrics["miou_blackbox"] == 1.0
    assert metrics["pixel_accuracy_calibration_net"] == 1.0
    # The confidence of the likelier name is its chance of being right.
    assert metrics["ece"] == pytest.approx(0.0, abs=1e-6)
    of_f, of_g = (
        metrics["calibration"][net] for net in ("calibration_net", "refinement_net")
    )
    for entry, flip in zip(of_f["classes"], stripes.FLIP_FACTS.flips):
        assert entry["flip_probability"] == pytest.approx(flip.probability)
    assert of_f["worst_flip_offset"] < 1e-6
    # G is judged by its arg-maxed samples, which never flip.
    assert [entry["flip_probability"] for entry in of_g["classes"]] == [0] * 5
    assert of_g["worst_flip_offset"] == pytest.approx(8 / 17)
    # Entropies: five stripes of six with H(p), mean over pixels.
    chances = np.array([flip.probability for flip in stripes.FLIP_FACTS.flips])
    bits = -chances * np.log2(chances) - (1 - chances) * np.log2(1 - chances)
    assert metrics["entropy_bits"]["probs"] == pytest.approx(bits.sum() / 6, rel=1e-5)
    assert metrics["sample_mean_difference"] == 0.0


def test_f_s_flips_are_judged_where_the_black_box_is_right():
    source = stripes.examples_of()
    # In half of the rows the black box takes what flips for class 2, and F with it.
    wrong = np.zeros((8, 24), bool)
    wrong[::2, :4] = True
    source.blackbox[:, wrong] = 2
    source.images[:, wrong] = 2
    *others, road = evaluate(source)[0]["calibration"]["calibration_net"]["classes"]
    assert road["num_pixels"] == 3 * 4 * 4 and others[0]["num_pixels"] == 3 * 4 * 8
    assert road["class_probability"] == pytest.approx(road["true_probability"])
    # Without a black box all pixels count, those of which F is wrong too.
    source.blackbox[:, wrong] = source.labels[:, 0][:, wrong]
    *_, road = evaluate(source)[0]["calibration"]["calibration_net"]["classes"]
    assert road["num_pixels"] == 3 * 4 * 8
    assert road["class_probability"] == pytest.approx(road["true_probability"] / 2)


def test_flip_oracles_stand_where_their_maps_are_right():
    metrics, _ = evaluate(stripes.examples_of(40))
    # With 16 samples the floor is 0.5798 / 16 = 0.0362 in expectation; one image's
    # standard deviation is about as large, the mean of 40 within 0.02.
    for name in ("truth", "calibration_net", "blackbox"):
        assert metrics[f"ged_flip_oracle_{name}"] == pytest.approx(0.0362, abs=0.02)


def test_mean_ged_is_the_evaluations():
    ged = evaluation.mean_ged(
        stripes.KnownSampler(),
        stripes.examples_of(),
        stripes.FLIP_FACTS,
        num_samples=16,
        seed=0,
    )
    assert ged == pytest.approx(0.391, abs=5e-4)


@pytest.mark.parametrize("num, indices", [(0, [0, 1, 2, 3, 4]), (2, [0, 2]), (1, [0])])
def test_mean_ged_spreads_fewer_images_over_the_split(num, indices):
    seen = []
    evaluation.mean_ged(
        stripes.KnownSampler(),
        stripes.examples_of(5),
        stripes.FLIP_FACTS,
        num_samples=2,
        seed=0,
        num_images=num,
        watch=lambda drawn: seen.append(drawn.index),
    )
    assert seen == indices


def test_f_is_wrong_where_it_is_wrong():
    source = stripes.examples_of(2)
    # The sampler believes in class 10 where the label says 2.
    source.labels[:, 0][source.labels[:, 0] == 10] = 2
    metrics, _ = evaluate(source)
    # Classes 2 and 10 have IoU 0, five have 1: 5 / 7.
    assert metrics["miou_calibration_net"] == pytest.approx(5 / 7)
    assert metrics["pixel_accuracy_calibration_net"] == pytest.approx(5 / 6)
    assert metrics["iou_per_class_calibration_net"]["building"] == 0.0
    assert metrics["iou_per_class_calibration_net"]["wall"] is None
    # Sure of the wrong class on a sixth of the pixels.
    assert metrics["ece"] == pytest.approx(1 / 6, abs=1e-6)


# Images without a label


def test_an_image_without_a_label_counts_nowhere():
    metrics, gallery = evaluate(stripes.examples_of(4, ignored=[1]))
    assert_ready_for_json(metrics)
    assert metrics["num_undefined_images"] == 1
    assert metrics["ged_per_image"][1] is None
    assert metrics["ged"] == pytest.approx(0.391, abs=5e-4)
    assert metrics["miou_calibration_net"] == 1.0
    assert len(gallery) == 4


def test_a_split_without_any_label_gives_nulls_and_figures():
    source = stripes.examples_of(2, ignored=[0, 1])
    metrics, gallery = evaluate(source)
    assert_ready_for_json(metrics)
    for name in ("ged", "ged_unbiased", "ece", "miou_calibration_net", "miou_blackbox"):
        assert metrics[name] is None
    assert metrics["num_undefined_images"] == 2
    for line in evaluation.summary_lines({**metrics}, stripes.FLIP_FACTS):
        assert "nan" not in line
    drawn = figures.run_figures(
        metrics,
        {"samples": gallery},
        images=source.images,
        labels=source.labels,
        blackbox=source.blackbox,
        class_names=stripes.FLIP_FACTS.class_names,
        class_colors=stripes.FLIP_FACTS.class_colors,
        curves={1: [], 2: []},
    )
    assert {"samples", "entropies", "reliability", "calibration"} <= set(drawn)
    assert (
        evaluation.mean_ged(
            stripes.KnownSampler(), source, stripes.FLIP_FACTS, num_samples=2, seed=0
        )
        is None
    )


def test_labels_of_a_class_that_no_class_can_flip_to_are_undefined():
    metrics, _ = evaluate(stripes.examples_of(2, ids=(10, 10, 5, 5)))
    assert_ready_for_json(metrics)
    assert metrics["ged"] is None
    assert metrics["miou_calibration_net"] == 1.0


# Raters instead of flips


def test_annotators_are_compared_as_they_are():
    dataset_info = info.DatasetInfo(
        title="two raters",
        class_names=("none", "lesion"),
        class_colors=((0, 0, 0), (255, 255, 255)),
        image_channels=3,
        num_raters=2,
    )
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[:, :2, :, 0] = 1
    labels = np.zeros((2, 2, 4, 4), np.uint8)
    # One rater draws what the sampler says, the other half of it.
    labels[:, 0, :2], labels[:, 1, :1] = 1, 1
    source = examples.Examples(("a", "b"), ("a", "b"), images, labels)
    metrics, _ = evaluate(
        source, dataset_info=dataset_info, model=stripes.KnownSampler(2, flips=())
    )
    assert_ready_for_json(metrics)
    # E d(s, y) = (0 + 1/2) / 2 = 1/4, E d(s, s') = 0, E d(y, y') = 2 / 4 * 1/2 = 1/4;
    # 2 / 4 - 1 / 4 = 1/4
    assert metrics["ged"] == pytest.approx(0.25)
    # Half of the samples match with IoU 1, half with 1/2.
    assert metrics["hm_iou"] == pytest.approx(0.75)
    # Sure of all pixels; the second rater says otherwise on 4 of 16: 1/2 * 1/4.
    assert metrics["ece"] == pytest.approx(1 / 8)
    assert "calibration" not in metrics


# Black boxes


def test_a_black_box_that_does_not_know_a_pixel():
    source = stripes.examples_of(2)
    source.blackbox[:, :2] = info.IGNORE_LABEL
    metrics, _ = evaluate(source)
    assert_ready_for_json(metrics)
    # Two of eight rows are unknown, and an unknown pixel is not a right one.
    assert metrics["pixel_accuracy_blackbox"] == pytest.approx(0.75)
    assert metrics["miou_blackbox"] < 1.0
