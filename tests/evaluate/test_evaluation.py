"""Evaluation of samplers whose numbers are known in closed form."""

import json

import numpy as np
import pytest
import stripes
import tensorflow as tf

from car_tf.data import examples, info
from car_tf.evaluate import accumulators, evaluation, sample_files
from car_tf.metrics import calibration
from car_tf.report import figures
from car_tf.runtime import run_dir


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


def test_a_flipped_name_is_right_as_often_as_it_flips():
    reliability = calibration.Reliability()
    # Sure by 0.6 that road is called by its twin, which happens in 4 of 17 images.
    probs = np.zeros((1, 1, stripes.K))
    probs[..., [0, 23]] = 0.4, 0.6
    label = np.zeros((1, 1, 1), np.uint8)
    accumulators.add_reliability(reliability, probs, label, stripes.FLIP_FACTS)
    assert reliability.ece() == pytest.approx(0.6 - 4 / 17)


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


class FixedLogits:
    """F with the same logits for every image."""

    receptive_field = 0

    def __init__(self, logits):
        self.logits = tf.constant(logits, tf.float32)

    def __call__(self, image, blackbox):
        return self.logits[None]


def test_cross_entropies_are_over_raters_and_the_pixels_they_labelled():
    # One row of two pixels. Class 1 has odds 3, so 3/4, in both. Rater A says 1 and 0,
    # rater B 1 and nothing: (-ln 3/4 - 1/2 ln 1/4) / (1 + 1/2) = 0.65389 nats.
    # At temperature 2 the odds are sqrt 3, class 1 has 0.63397: 0.63885.
    labels = np.array([[[1, 0]], [[1, info.IGNORE_LABEL]]], np.uint8)
    source = examples.Examples(
        ("a",), ("a",), np.zeros((1, 1, 2, 1), np.uint8), labels[None]
    )
    found = evaluation.cross_entropies(
        FixedLogits([[[0, np.log(3)]] * 2]),
        source,
        info.DatasetInfo("two pixels", ("other", "marked"), 2 * ((0, 0, 0),)),
        temperatures=np.array([1.0, 2.0]),
    )
    np.testing.assert_allclose(found, [0.65389, 0.63885], atol=1e-5)


def test_cross_entropies_expect_the_flips():
    # Class 0 becomes its twin with 8/17, and F says one half: ln 2 whatever falls.
    flip = stripes.FLIP_FACTS.flips[0]
    logits = np.full((8, 24, stripes.K), -30.0)
    logits[..., [flip.original, flip.flipped]] = 0.0
    found = evaluation.cross_entropies(
        FixedLogits(logits),
        stripes.examples_of(2, ids=(flip.original,) * 6),
        stripes.FLIP_FACTS,
        temperatures=np.ones(1),
        num_images=1,
    )
    np.testing.assert_allclose(found, np.log(2), atol=1e-5)


def test_f_is_wrong_where_it_is_wrong():
    source = stripes.examples_of(2)
    # The sampler believes in class 10 where the label says 2.
    source.labels[:, 0][source.labels[:, 0] == 10] = 2
    metrics, _ = evaluate(source)
    # Classes 2 and 10 have IoU 0, five have 1: 5 / 7.
    assert metrics["miou_calibration_net"] == pytest.approx(5 / 7)
    assert metrics["pixel_accuracy_calibration_net"] == pytest.approx(5 / 6)
    assert metrics["miou_refinement_net"] == pytest.approx(5 / 7)  # Of G's mean.
    assert metrics["iou_per_class_calibration_net"]["building"] == 0.0
    assert metrics["iou_per_class_calibration_net"]["wall"] is None
    # Sure of the wrong class on a sixth of the pixels.
    assert metrics["ece"] == pytest.approx(1 / 6, abs=1e-6)


@pytest.mark.parametrize("stratified", [False, True])
def test_only_independent_samples_have_an_unbiased_ged(stratified):
    model = stripes.KnownSampler()
    model.stratified = stratified
    metrics, _ = evaluate(stripes.examples_of(2), model=model)
    baselines = metrics["baselines"]
    for one in (metrics, baselines["gumbel_draws"]):
        for scores in (one, *one["by_num_samples"].values()):
            assert (scores["ged_unbiased"] is None) == (
                stratified or scores is one["by_num_samples"].get("1")
            )
    # Arg-max and pixels are drawn apart from the sampler's noise.
    assert baselines["f_pixels"]["ged_unbiased"] is not None
    assert set(metrics["ged_unbiased_per_image"]) >= ({None} if stratified else set())


# Figures


def test_what_is_kept_for_figures_is_painted_and_one_is_made_after_the_other():
    metrics, gallery = evaluate(stripes.examples_of(4))
    kept = [value for item in gallery for value in vars(item).values()]
    for value in kept:
        for one in value if isinstance(value, list) else [value]:
            # No `[H, W, K]` float32, which is many times as large.
            assert np.ndim(one) < 3 or one.dtype == np.uint8
    asked = []

    def named(name):
        return lambda: asked.append(name) or gallery

    galleries = {"samples": named("samples"), "worst": named("worst")}
    stream = figures.run_figures(metrics, galleries, class_names=[], curves={})
    for number, name in enumerate(galleries):
        assert next(stream)[0] == name and len(asked) == number + 1


# Images without a label


def figures_of(metrics, gallery, **more):
    galleries = {"samples": lambda: gallery}
    return figures.run_figures(metrics, galleries, curves={1: [], 2: []}, **more)


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
    names = stripes.FLIP_FACTS.class_names
    drawn = dict(figures_of(metrics, gallery, class_names=names))
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


def test_raters_of_three_classes_by_hand():
    source, dataset_info = stripes.leaves()
    model = stripes.KnownSampler(3, flips=())
    metrics, gallery = evaluate(source, dataset_info=dataset_info, model=model)
    assert_ready_for_json(metrics)
    # Image a: all samples are [0 0 1 2], d to the raters 1/2 and 1/2; d(y, y') = 1/2 in
    # half of the pairs: 2/2 - 1/4 = 3/4. Image b: [0 0 1 1], d 0 and 1/2: 1/2 - 1/4.
    assert metrics["ged_per_image"] == pytest.approx([3 / 4, 1 / 4])
    # IoU 1/2 with both; 1 and 1/2.
    assert metrics["hm_iou_per_image"] == pytest.approx([1 / 2, 3 / 4])
    assert metrics["distance"]["absent"] == "leave_out"
    # Two patients: the interval's ends are theirs.
    own = metrics["by_num_samples"]["16"]
    assert own["ged_interval"] == pytest.approx([1 / 4, 3 / 4])
    assert own["hm_iou_interval"] == pytest.approx([1 / 2, 3 / 4])
    # F's arg-max is what is sampled: no difference; its Gumbel draws are the same.
    for name in ("f_argmax", "gumbel_draws"):
        change = metrics["differences"][name]["16"]["ged"]
        assert change == {"mean": pytest.approx(0), "interval": pytest.approx([0, 0])}
    # Sure of everything. Right by 1, 1/2, 1 and 0 of those who know; 1, 1/2, 1 and 1.
    assert metrics["ece"] == pytest.approx(1 - 6 / 8)
    # Marked are the last three pixels of each: 1/2, 1, 0 and 1/2, 1, 1.
    assert metrics["ece_marked"] == pytest.approx(1 - 4 / 6)
    # Class 2 is predicted in one of eight pixels, and by no rater.
    spot = metrics["class_calibration"]["calibration_net"]["spot"]
    assert spot["mean_probability"] == pytest.approx(1 / 8)
    assert spot["share_of_labels"] == 0 and spot["ece"] == pytest.approx(1 / 8)
    # Right pixels of each rater: 3 of 4 and 2 of 3 in image a, 4 and 2 in image b.
    assert metrics["pixel_accuracy_calibration_net"] == pytest.approx(11 / 14)
    # One rater against the other, IoU 1/2.
    assert metrics["raters"]["comparisons"]["leave_one_out"]["hm_iou"] == 1 / 2
    lines = "\n".join(evaluation.summary_lines(metrics, dataset_info))
    assert "GED16 0.500 (unbiased 0.500, 95 % 0.250 to 0.750)" in lines
    assert "95 % intervals are over 2 groups" in lines
    names = dataset_info.class_names
    drawn = dict(figures_of(metrics, gallery, class_names=names))
    assert "samples" in drawn


def test_absent_classes_may_count_as_one():
    source, dataset_info = stripes.leaves()
    model = stripes.KnownSampler(3, flips=())
    metrics, _ = evaluate(
        source, dataset_info=dataset_info, model=model, absent="count_as_one"
    )
    # Image a: d = 1/2, and 1 - (1/2 + 1/2 + 1) / 3 = 1/3; d(y, y') = 1/3 in half of the
    # pairs: 5/6 - 1/6 = 2/3. Image b: d 0 and 1/3: 1/3 - 1/6.
    assert metrics["ged_per_image"] == pytest.approx([2 / 3, 1 / 6])
    assert metrics["distance"]["absent"] == "count_as_one"
    ged = evaluation.mean_ged(
        model, source, dataset_info, num_samples=2, seed=0, absent="count_as_one"
    )
    assert ged == pytest.approx(5 / 12)


# Samples of other models


@pytest.mark.parametrize("key", ["names", "labels"])
def test_other_models_are_scored_on_the_same_images(tmp_path, key):
    source, dataset_info = stripes.leaves()
    # A model that gives what the first rater says of image b, the only one, and zeros
    # for a.
    source.labels[1, 1] = 255
    samples = np.zeros((2, 4, 1, 4), np.uint8)
    samples[1] = source.labels[1, 0]
    arrays = {"labels": source.labels}
    if key == "names":
        samples, arrays = samples[::-1], {"names": np.array(["b", "a"])}
    np.savez(tmp_path / "peer.npz", samples=samples, **arrays)
    metrics, _ = evaluate(
        source,
        dataset_info=dataset_info,
        model=stripes.KnownSampler(3, flips=()),
        sample_files=[str(tmp_path / "peer.npz")],
    )
    assert_ready_for_json(metrics)
    # Zeros against [0 0 1 1] and [0 1 1]: IoU (1/2 + 0) / 2 and (1/3 + 0) / 2, so that
    # GED = (3/4 + 5/6) - 1/4 = 4/3. Image b: 0.
    peer = metrics["samplers"]["peer"]
    assert peer["num_samples"] == 4
    assert peer["ged"] == pytest.approx(2 / 3)
    assert "for comparison, peer: GED4 0.667" in "\n".join(
        evaluation.summary_lines(metrics, dataset_info)
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(samples=np.zeros((2, 4, 2, 4), np.uint8)), r"\[images, samples, 1, 4\]"),
        (dict(samples=np.zeros((2, 4, 1, 4))), "class ids, got float64"),
        (dict(labels=None), "names or labels .* found neither"),
        (dict(labels=np.zeros((2, 3, 1, 4), np.uint8)), "image 0 are not those of a"),
        (dict(labels=None, names=["a", "c"]), "all 2 images, found none of b"),
        (dict(labels=np.zeros((1, 3, 1, 4), np.uint8)), "labels of the split"),
        (dict(samples=np.full((2, 4, 1, 4), 9, np.uint8)), "0..2, found 9"),
    ],
)
def test_samples_of_other_images_are_refused(tmp_path, change, message):
    source, dataset_info = stripes.leaves()
    arrays = dict(samples=np.zeros((2, 4, 1, 4), np.uint8), labels=source.labels)
    arrays = {k: v for k, v in {**arrays, **change}.items() if v is not None}
    np.savez(tmp_path / "peer.npz", **arrays)
    with pytest.raises(run_dir.RunError, match=f"peer.npz: .*{message}"):
        sample_files.score([str(tmp_path / "peer.npz")], source, dataset_info, [16])


# Black boxes


def test_a_black_box_that_does_not_know_a_pixel():
    source = stripes.examples_of(2)
    source.blackbox[:, :2] = info.IGNORE_LABEL
    metrics, _ = evaluate(source)
    assert_ready_for_json(metrics)
    # Two of eight rows are unknown, and an unknown pixel is not a right one.
    assert metrics["pixel_accuracy_blackbox"] == pytest.approx(0.75)
    assert metrics["miou_blackbox"] < 1.0
