"""Losses against numbers worked by hand, their edges, and brute force."""

import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from car_tf import losses

tfd = tfp.distributions
LN2 = math.log(2)


def categorical(probs):
    return tfd.Categorical(logits=tf.math.log(tf.constant(probs, tf.float32)))


def sample_mean(probs):
    return losses.categorical_mean(tf.math.log(tf.constant(probs, tf.float32)))


# masked_mean


def test_masked_mean_counts_valid_entries_alone():
    values = tf.constant([[1.0, 2.0, 6.0], [1.0, 1.0, 1.0]])
    mask = tf.constant([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    # (1 + 6) / 2 and 1 / 1
    np.testing.assert_allclose(losses.masked_mean(values, mask), [3.5, 1.0])


def test_masked_mean_of_nothing_is_zero_with_a_zero_gradient():
    values = tf.Variable([[1.0, float("nan")]])
    with tf.GradientTape() as tape:
        mean = losses.masked_mean(values, tf.zeros([1, 2]))
    np.testing.assert_array_equal(mean, [0.0])
    np.testing.assert_array_equal(tape.gradient(mean, values), [[0.0, 0.0]])


@pytest.mark.parametrize("hidden", [float("nan"), float("inf"), -1e30])
def test_masked_mean_does_not_read_under_the_mask(hidden):
    values = tf.Variable([[2.0, hidden]])
    with tf.GradientTape() as tape:
        mean = losses.masked_mean(values, tf.constant([[1.0, 0.0]]))
    np.testing.assert_array_equal(mean, [2.0])
    np.testing.assert_array_equal(tape.gradient(mean, values), [[1.0, 0.0]])


def test_masked_mean_without_a_mask_takes_everything():
    np.testing.assert_allclose(losses.masked_mean(tf.constant([[1.0, 3.0]]), None), [2])
    # One value per image already, as in the 1-D regression.
    np.testing.assert_allclose(
        losses.masked_mean(tf.constant([1.0, 3.0]), None), [1, 3]
    )


# Lce


def test_cross_entropy_by_hand():
    likelihood = categorical([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]])
    label = tf.constant([[0, 1]])
    # -ln 0.5 = 0.6931, -ln 0.8 = 0.2231; mean 0.4581
    got = losses.cross_entropy(likelihood, label, tf.ones([1, 2]))
    np.testing.assert_allclose(got, [0.458145], atol=1e-6)
    got = losses.cross_entropy(likelihood, label, tf.constant([[0.0, 1.0]]))
    np.testing.assert_allclose(got, [0.223144], atol=1e-6)


def test_cross_entropy_is_one_value_per_image():
    likelihood = categorical([[[0.5, 0.5]], [[0.25, 0.75]]])
    got = losses.cross_entropy(likelihood, tf.constant([[0], [0]]))
    # ln 2 and ln 4
    np.testing.assert_allclose(got, [LN2, 2 * LN2], rtol=1e-6)


def test_cross_entropy_of_a_gaussian_is_half_the_squared_error_and_a_constant():
    likelihood = tfd.Normal(tf.constant([1.0, 2.0]), 1.0)
    got = losses.cross_entropy(likelihood, tf.constant([4.0, 2.0]))
    # (4 - 1)^2 / 2 = 4.5 and 0, each plus ln(2 pi) / 2 (CAR, A.2)
    constant = math.log(2 * math.pi) / 2
    np.testing.assert_allclose(got, [4.5 + constant, constant], rtol=1e-6)


# Lcal


def test_calibration_by_hand():
    # Two samples that are sure of opposite things: their mean is (1/2, 1/2).
    mean = sample_mean([[[[1 - 1e-12, 1e-12]], [[1e-12, 1 - 1e-12]]]])
    target = categorical([[[0.8, 0.2]]])
    # 0.5 ln(0.5 / 0.8) + 0.5 ln(0.5 / 0.2) = 0.5 (-0.4700 + 0.9163) = 0.2231
    got = losses.calibration(mean, target, tf.ones([1, 1]))
    np.testing.assert_allclose(got, [0.223144], atol=1e-6)


def test_calibration_is_not_the_reverse_divergence():
    # KL(0.9, 0.1 || 0.5, 0.5) = 0.9 ln 1.8 + 0.1 ln 0.2 = 0.5290 - 0.1609 = 0.3681;
    # the reverse would be 0.5 ln(0.5 / 0.9) + 0.5 ln(0.5 / 0.1) = 0.5108
    got = losses.calibration(sample_mean([[[[0.9, 0.1]]]]), categorical([[[0.5, 0.5]]]))
    np.testing.assert_allclose(got, [0.368064], atol=1e-6)


def test_calibration_is_of_the_mean_and_not_the_mean_of_divergences():
    rng = np.random.default_rng(0)
    samples = rng.dirichlet(np.ones(4), size=(2, 5, 3))  # B, M, pixels
    target = rng.dirichlet(np.ones(4), size=(2, 3))
    mask = np.array([[1, 1, 0], [0, 1, 0]], np.float32)
    mean = samples.mean(axis=1)
    per_pixel = (mean * np.log(mean / target)).sum(-1)
    expected = (per_pixel * mask).sum(1) / mask.sum(1)
    got = losses.calibration(sample_mean(samples), categorical(target), mask)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_calibration_is_zero_where_the_mean_matches():
    probs = [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]
    mean = sample_mean([[[p] for p in probs]])
    target = categorical([[[0.4, 0.2, 0.4]]])
    np.testing.assert_allclose(losses.calibration(mean, target), [0.0], atol=1e-6)


def test_calibration_of_one_sample_is_its_divergence():
    mean = sample_mean([[[[0.25, 0.75]]]])
    # 0.25 ln(0.25 / 0.5) + 0.75 ln(0.75 / 0.5) = -0.1733 + 0.3041 = 0.1308
    got = losses.calibration(mean, categorical([[[0.5, 0.5]]]))
    np.testing.assert_allclose(got, [0.130812], atol=1e-6)


def test_calibration_of_unit_gaussians_is_half_the_squared_difference():
    # (3 - 1)^2 / 2 = 2 (CAR, Eq. 17)
    got = losses.calibration(tfd.Normal([3.0], 1.0), tfd.Normal([1.0], 1.0))
    np.testing.assert_allclose(got, [2.0])


def test_saturated_samples_give_no_nan():
    # Both samples are sure of class 0 far beyond float32, where probabilities would
    # meet 0 ln 0, whose gradient is NaN.
    logits = tf.Variable([[[[400.0, 0.0]], [[300.0, 0.0]]]])
    with tf.GradientTape() as tape:
        mean = losses.categorical_mean(tf.nn.log_softmax(logits))
        loss = losses.calibration(mean, categorical([[[0.5, 0.5]]]))
    # 1 ln(1 / 0.5)
    np.testing.assert_allclose(loss, [LN2], rtol=1e-6)
    assert np.isfinite(tape.gradient(loss, logits)).all()


def test_the_gradient_survives_where_f_is_saturated():
    # F gives class 1 a probability of e^-400, no float32; the sample says (1/2, 1/2).
    log_q = tf.nn.log_softmax(tf.constant([[[400.0, 0.0]]]))
    logits = tf.Variable([[[[0.0, 0.0]]]])
    with tf.GradientTape() as tape:
        mean = losses.categorical_mean(tf.nn.log_softmax(logits))
        loss = losses.calibration(mean, tfd.Categorical(logits=log_q))
    # 0.5 ln(0.5 / 1) + 0.5 (ln 0.5 + 400) = 200 - ln 2;
    # p0 p1 (ln(p0 / q0) - ln(p1 / q1)) = 0.25 (0 - 400) = -100
    np.testing.assert_allclose(loss, [200 - LN2], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits)[0, 0, 0], [-100, 100])


def test_a_sample_far_from_f_gets_the_gradient_worked_by_hand():
    # One sample, two classes: dKL/dlogit_0 = p0 p1 (ln(p0/q0) - ln(p1/q1)).
    p0, q0 = 0.9, 0.3
    logits = tf.Variable([[[[math.log(p0), math.log(1 - p0)]]]])
    with tf.GradientTape() as tape:
        mean = losses.categorical_mean(tf.nn.log_softmax(logits))
        loss = losses.calibration(mean, categorical([[[q0, 1 - q0]]]))
    # 0.9 * 0.1 * (ln 3 - ln(1 / 7)) = 0.09 * 3.0445 = 0.27401
    expected = 0.27401
    gradient = tape.gradient(loss, logits)
    np.testing.assert_allclose(gradient[0, 0, 0], [expected, -expected], atol=1e-5)


# Ladv, D and R1


def test_adversarial_by_hand():
    # softplus(0) = 0.6931, softplus(-2) = 0.1269; mean 0.4100. Chance: ln 2.
    got = losses.adversarial(tf.constant([[0.0, 2.0], [0.0, 0.0]]))
    np.testing.assert_allclose(got, [0.410038, LN2], atol=1e-6)


def test_adversarial_does_not_saturate_where_d_is_sure():
    logits = tf.Variable([[-50.0]])
    with tf.GradientTape() as tape:
        loss = losses.adversarial(logits)
    np.testing.assert_allclose(loss, [50.0])
    np.testing.assert_allclose(tape.gradient(loss, logits), [[-1.0]])


def test_discriminator_by_hand():
    real, fake = tf.constant([0.0, 2.0]), tf.constant([[0.0, 0.0], [-2.0, 0.0]])
    # softplus(0) + (softplus(0) + softplus(0)) / 2 = 2 ln 2;
    # softplus(-2) + (softplus(-2) + softplus(0)) / 2 = 0.1269 + 0.4100 = 0.5370
    got = losses.discriminator(real, fake)
    np.testing.assert_allclose(got, [2 * LN2, 0.536966], atol=1e-6)


def test_r1_penalty_by_hand():
    image = tf.constant([[[1.0, 2.0]], [[0.0, 0.0]]])
    label = tf.constant([[[2.0]], [[3.0]]])
    # (1 + 4 + 4) / 2 and 9 / 2
    np.testing.assert_allclose(losses.r1_penalty([image, label]), [4.5, 4.5])
    np.testing.assert_allclose(losses.r1_penalty([image]), [2.5, 0.0])


@pytest.mark.parametrize("num_images", [1, 3])
def test_every_loss_returns_one_value_per_image(num_images):
    rng = np.random.default_rng(1)
    log_probs = tf.math.log(
        tf.constant(rng.dirichlet(np.ones(3), (num_images, 2, 4, 5)), tf.float32)
    )
    target = tfd.Categorical(logits=log_probs[:, 0])
    mask = tf.ones([num_images, 4, 5])
    label = tf.zeros([num_images, 4, 5], tf.int32)
    logits = tf.zeros([num_images, 2])
    for values in (
        losses.cross_entropy(target, label, mask),
        losses.calibration(losses.categorical_mean(log_probs), target, mask),
        losses.adversarial(logits),
        losses.discriminator(logits[:, 0], logits),
        losses.r1_penalty([log_probs, mask]),
    ):
        assert values.shape == [num_images]


# energy


def masks(*rows, num_classes=2):
    """One-hot `[1, M, 1, W, K]` of class ids, one row of pixels each."""
    return tf.one_hot(tf.constant(rows)[None, :, None], num_classes)


def test_energy_by_hand():
    # The background does not count. With a pixel more in overlap and union: samples
    # from the rater 1 - 2/4 and 1 - 2/3, from each other 1 - 2/3:
    # 2 * (1/2 + 1/3) / 2 - 1/3.
    samples, labels = masks([1, 1, 0, 0, 0], [0, 1, 0, 0, 0]), masks([0, 1, 1, 0, 0])
    np.testing.assert_allclose(losses.energy(samples, labels), [0.5], rtol=1e-6)
    # Raters count equally: the second is the first sample, 0 and 1/3 from the two.
    labels = masks([0, 1, 1, 0, 0], [1, 1, 0, 0, 0])
    wanted = 2 * (1 / 2 + 1 / 3 + 0 + 1 / 3) / 4 - 1 / 3
    np.testing.assert_allclose(losses.energy(samples, labels), [wanted], rtol=1e-6)
    # Of three classes, those that occur: 0 in both, 1 - 2/3, and 1 in one, 1 - 1/2.
    one, other = masks([0, 0, 0, 1], num_classes=3), masks([0, 0, 0, 0], num_classes=3)
    each = (1 - 4 / 5 + 1 - 1 / 2) / 2
    got = losses.energy(tf.concat([one, one], 1), other)
    np.testing.assert_allclose(got, [2 * each], rtol=1e-6)
    with pytest.raises(ValueError, match="at least 2"):
        losses.energy(one, other)


def test_energy_of_samples_is_least_where_they_are_the_raters():
    raters = masks([1, 1, 1, 0], [0, 0, 1, 0])
    agreeing = losses.energy(raters, raters)
    for pair in ([1, 1, 1, 0], [1, 1, 1, 0]), ([0, 0, 0, 0], [1, 1, 1, 1]):
        assert losses.energy(masks(*pair), raters) > agreeing + 0.1


def test_energy_has_no_gradient_of_a_sample_against_itself():
    # Two equal samples that are the rater: no pixel may be worth a change alone.
    same = masks([1, 1, 0, 0], [1, 1, 0, 0])
    with tf.GradientTape() as tape:
        tape.watch(same)
        value = losses.energy(same, masks([1, 1, 0, 0]))
    marked = tape.gradient(value, same)[0, :, 0, :, 1]
    # From the rater +-1/3 a pixel, twice over two samples; less the same from the other
    # sample, of two ordered pairs over two.
    np.testing.assert_allclose(marked, 0.0, atol=1e-6)


# paired_calibration


def test_paired_calibration_by_hand():
    # Two samples, one pixel, two classes, F = (0.5, 0.5), floor 0: both samples moved
    # from class 0 to class 1: change (-1, 1) each, pairs (4 - 2, 4 - 2), each / 0.5,
    # summed 8, over 2 * 2 * 1: 2.
    draws = tf.constant([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    samples = tf.constant([[[[0.0, 1.0]], [[0.0, 1.0]]]])
    probs = tf.constant([[[0.5, 0.5]]])
    got = losses.paired_calibration(samples, draws, probs, floor=0.0)
    np.testing.assert_allclose(got, [2.0], rtol=1e-6)
    # One of them moved back again: the pair's product is negative.
    samples = tf.constant([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    draws = tf.constant([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    got = losses.paired_calibration(samples, draws, probs, floor=0.0)
    np.testing.assert_allclose(got, [-2.0], rtol=1e-6)


def test_paired_calibration_has_no_bias_where_the_kl_has_one():
    # Samples of F itself, redrawn without regard to the draw: the mean is right.
    rng = np.random.default_rng(0)
    probs = np.float32([0.7, 0.2, 0.1])
    drawn = np.eye(3, dtype=np.float32)[rng.choice(3, p=probs, size=(2, 20000, 4))]
    samples, draws = drawn[..., None, :]
    target = np.broadcast_to(probs, [20000, 1, 3])
    paired = losses.paired_calibration(samples, draws, target)
    assert abs(float(tf.reduce_mean(paired))) < 0.01
    mean = tfd.Categorical(probs=(samples.mean(1) + 1e-6) / (1 + 3e-6))
    kl = losses.calibration(mean, tfd.Categorical(probs=target))
    assert float(tf.reduce_mean(kl)) > 0.2
    # A class that is never drawn any more is missed: 1/2 * (0.1 ** 2 / 0.15 + ...).
    moved = np.where(samples[..., 2:] == 1, np.float32([1, 0, 0]), samples)
    paired = losses.paired_calibration(moved, draws, target)
    wanted = 0.5 * (0.01 / 0.75 + 0.01 / 0.15)
    np.testing.assert_allclose(tf.reduce_mean(paired), wanted, atol=0.01)


def test_paired_calibration_leaves_masked_pixels_and_single_samples_alone():
    rng = np.random.default_rng(1)
    samples, draws = rng.random([2, 2, 3, 4, 5], np.float32)
    probs = rng.random([2, 4, 5], np.float32)
    mask = np.float32([[1, 1, 0, 0], [0, 0, 0, 0]])
    got = losses.paired_calibration(samples, draws, probs, mask)
    alone = losses.paired_calibration(
        samples[:1, :, :2], draws[:1, :, :2], probs[:1, :2]
    )
    np.testing.assert_allclose(got, [alone[0], 0.0], rtol=1e-5)
    with pytest.raises(ValueError, match="at least 2"):
        losses.paired_calibration(samples[:, :1], draws[:, :1], probs)
