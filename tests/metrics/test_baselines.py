"""Tests of car_tf.metrics.baselines: what is drawn, and hand-worked scores."""

import numpy as np
import pytest

from car_tf.metrics import baselines, ged, hungarian

# Four masks of a 1 x 4 image: two pixels, one of them, the other one, nothing.
MASKS = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 0, 0]]])


def rng(*seed):
    return np.random.default_rng(seed or 0)


def of_class_1(values):
    """Two-class probabilities `[1, W, 2]` of those of class 1."""
    values = np.array([values])
    return np.stack([1 - values, values], axis=-1)


def scores(samples, masks=MASKS):
    distances = ged.multi_rater_distances(samples, masks)
    return distances.ged().ged, hungarian.hungarian_matched_iou(1 - distances.cross)


def test_the_arg_max_is_a_constant_sampler():
    samples = baselines.argmax(of_class_1([0.9, 0.5, 0.1, 0.0]))
    # A tie goes to the first class.
    assert samples.tolist() == [[[1, 0, 0, 0]]] and samples.dtype == np.uint8
    # IoU with the raters: 1/2, 1, 0 and 0, so E d(s, y) = 1 - 3/8 = 5/8. Pairs of
    # raters: d = 1/2, 1/2, 1, 1, 1, 1, twice each, of 16: 10/16 = 5/8.
    # GED = 2 * 5/8 - 0 - 5/8.
    assert scores(samples) == (pytest.approx(5 / 8), pytest.approx(3 / 8))


def test_pixels_are_drawn_from_the_probabilities_one_by_one():
    certain = of_class_1([1.0, 1.0, 0.0, 0.0])
    samples = baselines.independent_pixels(certain, num_samples=16, rng=rng())
    # All samples are (1, 1, 0, 0): IoU 1, 1/2, 1/2, 0; GED = 2 * 1/2 - 0 - 5/8.
    assert scores(samples) == (pytest.approx(3 / 8), pytest.approx(1 / 2))
    # Half the pixels of 2 x 2 equal raters: two samples overlap little.
    half = np.full((40, 40, 2), 0.5)
    samples = baselines.independent_pixels(half, num_samples=16, rng=rng())
    # d(s, y) is 1/2; two samples share 1/4 and join 3/4, so d(s, s') = 2/3 but for
    # the diagonal: GED = 2 * 1/2 - 15/16 * 2/3 = 0.375.
    found = scores(samples, np.ones((4, 40, 40), int))
    assert found[0] == pytest.approx(0.375, abs=0.01)
    assert found[1] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("draw", [baselines.independent_pixels, baselines.gumbel_draws])
def test_draws_show_each_class_as_often_as_f_says(draw):
    probs = np.array([[[0.5, 0.0, 0.3, 0.2], [0.0, 0.1, 0.0, 0.9]]], np.float32)
    samples = draw(probs, num_samples=20_000, rng=rng())
    shares = (samples[..., None] == np.arange(4)).mean(axis=0)
    # The standard deviation of a share is at most 0.5 / sqrt(20000) = 0.0035.
    np.testing.assert_allclose(shares, probs, atol=0.014)
    assert (shares[probs == 0] == 0).all()


def test_gumbel_draws_switch_all_pixels_alike_together():
    probs = np.tile([0.4, 0.35, 0.25], (8, 8, 1))
    samples = baselines.gumbel_draws(probs, num_samples=50, rng=rng())
    assert (samples == samples[:, :1, :1]).all()
    assert len(np.unique(samples)) == 3
    pixels = baselines.independent_pixels(probs, num_samples=50, rng=rng())
    assert not (pixels == pixels[:, :1, :1]).all(axis=(1, 2)).any()


def test_stratified_gumbel_draws_vary_less_from_set_to_set():
    probs = np.array([[[0.5, 0.3, 0.2]]])

    def spread(stratified):
        shares = [
            (
                baselines.gumbel_draws(
                    probs, num_samples=16, rng=rng(seed), stratified=stratified
                )
                == 0
            ).mean()
            for seed in range(300)
        ]
        assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
        return np.std(shares)

    # Independent draws: sqrt(1/2 * 1/2 / 16) = 0.125.
    assert spread(False) == pytest.approx(0.125, abs=0.02)
    assert spread(True) < 0.09


def test_level_sets_are_nested_and_as_likely_as_f_says():
    # Half of the 16 levels lie below 1/2, a quarter below 1/4: 4 samples are (1, 1),
    # 4 are (1, 0) and 8 are empty. The raters say (1, 1), (1, 0) and twice nothing.
    samples = baselines.level_sets(of_class_1([0.5, 0.25]), num_samples=16)
    assert samples.sum(axis=0).tolist() == [[8, 4]]
    masks = np.array([[[1, 1]], [[1, 0]], [[0, 0]], [[0, 0]]])
    assert scores(samples, masks) == (pytest.approx(0), 1)
    with pytest.raises(ValueError, match="two classes, got 3"):
        baselines.level_sets(np.ones((1, 1, 3)), num_samples=2)


def test_cuts_move_on_the_scale_of_the_logit():
    # Levels 1/8, 3/8, 5/8, 7/8 have odds 1/7, 3/5, 5/3, 7. Twice the logit squares the
    # odds: 1/49, 9/25, 25/9, 49; a shift by ln 2 doubles them: levels 2/51, 18/43,
    # 50/59, 98/99.
    cuts = baselines.Cuts(2.0, np.log(2.0))
    shares = of_class_1([2 / 51, 18 / 43, 50 / 59, 98 / 99])
    for nudge, wanted in ((1e-6, [1, 2, 3, 4]), (-1e-6, [0, 1, 2, 3])):
        drawn = baselines.level_sets(shares + [-nudge, nudge], num_samples=4, cuts=cuts)
        assert drawn.sum(axis=0).tolist() == [wanted]
