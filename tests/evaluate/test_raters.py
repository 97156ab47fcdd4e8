"""Evaluation against several raters: all sample counts at once, and the figure."""

import types

import numpy as np
import pytest
import tensorflow as tf

from car_tf.data import examples
from car_tf.data.lidc import read as lidc
from car_tf.evaluate import evaluation, sampling
from car_tf.metrics import ged, hungarian
from car_tf.report import figures

FACTS = lidc.dataset_info("four raters")
SIDE = 6


class SeededSampler:
    """Marks each pixel with probability 1/4, from the seed alone."""

    receptive_field = None

    def __init__(self):
        layer = types.SimpleNamespace(filters=2)
        self.refinement_net = types.SimpleNamespace(logits_layer=layer)
        self.strategy = None

    def sample(self, image, blackbox, seed, num_samples):
        def draw(key):
            return tf.random.stateless_uniform([num_samples, SIDE, SIDE], key) < 0.25

        samples = tf.map_fn(draw, seed, fn_output_signature=tf.bool)
        probs = tf.ones_like(tf.cast(image, tf.float32)) * tf.constant([0.75, 0.25])
        return {
            "samples": tf.cast(samples, tf.uint8),
            "probs": probs,
            "sample_mean": probs,
            "first_probs": probs,
        }


def _source(num=3):
    rng = np.random.default_rng(0)
    labels = (rng.random((num, 4, SIDE, SIDE)) < 0.3).astype(np.uint8)
    names = tuple(str(i) for i in range(num))
    images = np.zeros((num, SIDE, SIDE, 1), np.uint8)
    return examples.Examples(names, names, images, labels)


@pytest.fixture(scope="module")
def result():
    return evaluation.evaluate(
        SeededSampler(), _source(), FACTS, num_samples=100, seed=3, gallery_size=2
    )


def test_sixteen_fifty_and_a_hundred_samples_come_from_one_pass(result):
    metrics, _ = result
    assert list(metrics["by_num_samples"]) == ["16", "50", "100"]
    source = _source()
    drawn = list(sampling.sample(SeededSampler(), source, num_samples=100, seed=3))
    for count, scores in metrics["by_num_samples"].items():
        geds, ious = [], []
        for item in drawn:
            labels = source.labels[item.index]
            distances = ged.multi_rater_distances(item.samples[: int(count)], labels)
            geds.append(distances.ged().ged)
            ious.append(hungarian.hungarian_matched_iou(1 - distances.cross))
        assert scores["ged"] == pytest.approx(np.mean(geds))
        assert scores["hm_iou"] == pytest.approx(np.mean(ious))
    assert metrics["num_samples"] == 100
    assert metrics["ged"] == metrics["by_num_samples"]["100"]["ged"]


def test_a_number_of_one_s_own_stands_beside_the_usual_ones():
    metrics, _ = evaluation.evaluate(
        SeededSampler(), _source(1), FACTS, num_samples=20, seed=3
    )
    assert list(metrics["by_num_samples"]) == ["16", "20"]


def test_comparisons_and_means_are_reported(result):
    metrics, _ = result
    raters = metrics["raters"]
    assert set(raters["comparisons"]) == {
        "argmax",
        "independent",
        "leave_one_out",
        "level_sets",
        "readers_drawn",
    }
    # Level sets are drawn as well, with noise like G's.
    drawn = metrics["baselines"]["gumbel_draws"]["by_num_samples"]["16"]
    assert drawn["ged_unbiased"] is not None
    # F says 1/4 everywhere, the raters' mean is 0 to 4 quarters.
    mean = _source().labels.mean(axis=1)
    assert raters["mean_difference"]["calibration_net_all_pixels"] == pytest.approx(
        np.abs(mean - 0.25).mean()
    )
    lines = "\n".join(evaluation.summary_lines(metrics, FACTS))
    for words in ("GED16 ", "GED50 ", "GED100 ", "HM-IoU", "constant sampler"):
        assert words in lines
    # Sure by 3/4 that nothing is there, and right where the raters' mean is low.
    assert metrics["ece"] == pytest.approx(abs((1 - mean).mean() - 0.75))


def test_the_figure_shows_readers_means_and_samples(result):
    metrics, gallery = result
    source = _source()
    drawn = dict(
        figures.run_figures(
            metrics,
            {"samples": lambda: gallery},
            class_names=FACTS.class_names,
            curves={},
        )
    )
    axes = drawn["samples"].axes
    titles = [axis.get_title() for axis in axes[:14]]
    assert titles[:8] == [
        "input",
        *(f"rater {i}" for i in (1, 2, 3, 4)),
        *("mean of raters", "F", "mean of G"),
    ]
    assert len(axes) == 2 * 14
    shown = [axis.images[0].get_array() for axis in axes[:14]]
    labels = source.labels[gallery[0].index]
    for rater in range(4):
        np.testing.assert_array_equal(shown[1 + rater][..., 0], 255 * labels[rater])
    np.testing.assert_array_equal(shown[5][..., 0], np.rint(255 * labels.mean(0)))
    # A quarter of white is 64.
    np.testing.assert_array_equal(shown[6], np.full((SIDE, SIDE, 3), 64))
    first, *_ = sampling.sample(SeededSampler(), source, num_samples=100, seed=3)
    for index in range(6):
        np.testing.assert_array_equal(
            shown[8 + index][..., 0], 255 * first.samples[index]
        )
