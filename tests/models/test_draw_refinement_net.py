"""G on calibrated draws: what it starts from, and how far it sees."""

import numpy as np
import pytest
import tensorflow as tf

from car_tf.models import draw_refinement_net

B, M, K, Z, C = 2, 3, 5, 8, 3


def normal(shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 0])


def log_probs_of(shape, num_classes=K):
    return tf.nn.log_softmax(normal([*shape, num_classes], 1))


def build(*, num_classes=K, trained=True, **kwargs):
    net = draw_refinement_net.DrawRefinementNet(
        num_classes=num_classes, base_channels=3, noise_dim=Z, **kwargs
    )
    net(
        tf.zeros([1, 16, 16, C]),
        log_probs_of([1, 16, 16], num_classes),
        normal([1, 1, net.noise_dim]),
    )
    if trained:
        kernel = net.logits_layer.kernel
        kernel.assign(normal(kernel.shape, 2))
    return net


def test_at_step_zero_samples_are_their_draws():
    net = build(trained=False)
    log_probs, noise = log_probs_of([B, 20, 20]), normal([B, M, Z], 3)
    logits = net(normal([B, 20, 20, C]), log_probs, noise)
    draws = net.draws(log_probs, noise)
    np.testing.assert_array_equal(tf.argmax(logits, -1), tf.argmax(draws, -1))
    # But for classes as good as impossible, whose gradient must stay finite.
    np.testing.assert_allclose(logits, np.maximum(draws, -12))
    drawn = tf.argmax(draws, -1)
    assert np.any(drawn[:, 0] != drawn[:, 1])
    assert all("class_gumbels" not in v.name for v in net.trainable_variables)


def test_of_a_class_and_its_twin_the_draw_alone_decides():
    net = build(twins=[(0, 4), (3, 1)])
    image, log_probs = normal([B, 16, 16, C]), log_probs_of([B, 16, 16])
    noise = normal([B, 40, Z], 3)
    learned = (
        net(image, log_probs, noise) - np.maximum(net.draws(log_probs, noise), -12)
    ).numpy()
    same = lambda *ks: np.allclose(learned[..., ks[0]], learned[..., ks[1]], 0, 1e-4)
    assert same(0, 4) and same(3, 1)
    assert not same(0, 1) and not same(0, 2) and not same(1, 2)
    # And it decides once for an image: without twins it does so pixel by pixel.
    mixed = []
    for drawn in (net.draws(log_probs, noise), build().draws(log_probs, noise)):
        drawn = tf.argmax(drawn, -1).numpy()
        has = [np.any(drawn == k, axis=(2, 3)) for k in range(K)]
        mixed.append(np.mean(has[0] & has[4]) + np.mean(has[3] & has[1]))
    assert mixed[0] == 0 and mixed[1] > 0.5
    assert net.receptive_field is None


def test_a_class_and_its_twin_keep_their_shares_of_an_image():
    net = build(twins=[(0, 4)])
    probs = np.full([1, 1, 2, K], 0.1)
    probs[0, 0, :, 0], probs[0, 0, :, 4] = (0.5, 0.3), (0.2, 0.4)
    whole = tf.exp(net._with_whole_twins(tf.constant(np.log(probs), tf.float32)))
    # Both have 0.8 and 0.6 of the image's two pixels, so 4/7 and 3/7 of 0.7 in each.
    probs[0, 0, :, 0], probs[0, 0, :, 4] = 0.4, 0.3
    np.testing.assert_allclose(whole, probs, rtol=1e-5)


@pytest.mark.parametrize("num_classes", [2, K])
def test_draws_are_distributed_as_f_and_the_same_in_alike_pixels(num_classes):
    net, num = build(num_classes=num_classes), 4000
    probs = np.array([0.5, 0.3, 0.1, 0.06, 0.04])[-num_classes:]
    probs /= probs.sum()
    log_probs = tf.tile(
        tf.constant(np.log(probs), tf.float32)[None, None, None], [1, 2, 2, 1]
    )
    drawn = tf.argmax(net.draws(log_probs, normal([1, num, Z])), -1).numpy()[0]
    np.testing.assert_array_equal(drawn, drawn[:, :1, :1] + 0 * drawn)
    shares = np.bincount(drawn[:, 0, 0], minlength=num_classes) / num
    # Standard deviation at most sqrt(0.25 / 4000) = 0.008.
    np.testing.assert_allclose(shares, probs, atol=0.03)


@pytest.mark.parametrize("twins", [(), [(0, 4)]])
def test_local_draws_are_distributed_as_f_and_alike_nearby(twins):
    net, num = build(draw_scale=0.4, twins=twins), 3000
    probs = np.array([0.4, 0.3, 0.2, 0.06, 0.04])
    log_probs = tf.tile(
        tf.constant(np.log(probs), tf.float32)[None, None, None], [1, 8, 40, 1]
    )
    noise = normal([1, num, net.noise_dim])
    drawn = tf.argmax(net.draws(log_probs, noise), -1).numpy()[0]
    for column in (0, 17, 39):
        shares = np.bincount(drawn[:, 3, column], minlength=K) / num
        # Standard deviation at most sqrt(0.25 / 3000) = 0.009.
        np.testing.assert_allclose(shares, probs, atol=0.03)
    first = [twins[0][0] if twins and k == twins[0][1] else k for k in range(K)]
    bases = np.array(first)[drawn]
    alike = [np.mean(bases[:, 3, 0] == bases[:, 3, column]) for column in (0, 1, 39)]
    # Far apart they are independent, but for what few waves have in common.
    by_chance = sum(np.bincount(first, weights=probs) ** 2)
    assert alike[0] == 1 and 0.7 < alike[1] < 0.99
    assert abs(alike[2] - by_chance) < 0.15
    if twins:
        has = [np.any(drawn == k, axis=(1, 2)) for k in (0, 4)]
        assert not np.any(has[0] & has[1]) and has[1].any()
    assert net.receptive_field is None
    assert all("gumbel_fields" not in v.name for v in net.trainable_variables)


@pytest.mark.parametrize("size", [(16, 32), (33, 17), (1, 50), (1, 1)])
@pytest.mark.parametrize("changes", [{}, {"draw_scale": 0.3}, {"half_size": True}])
def test_any_size_and_the_parts_equal_the_whole(size, changes):
    net = build(**changes)
    image, log_probs = normal([B, *size, C]), log_probs_of([B, *size])
    noise = normal([B, M, net.noise_dim], 3)
    whole = net(image, log_probs, noise)
    assert whole.shape == [B, M, *size, K] and np.isfinite(whole).all()
    features = net.encode(image, log_probs)
    np.testing.assert_array_equal(net.decode(features, log_probs, noise), whole)
    # A sample is of its own image and noise; in training several are kept at once.
    alone = net(image[1:], log_probs[1:], noise[1:, 2:])
    np.testing.assert_allclose(alone[0, 0], whole[1, 2], atol=1e-3)
    in_turn = net(image, log_probs, noise, training=True, at_once=1)
    np.testing.assert_allclose(in_turn, whole, atol=1e-3)


def test_image_f_and_noise_all_matter_after_training():
    net = build()
    image, log_probs = normal([1, 16, 16, C]), log_probs_of([1, 16, 16])
    noise = normal([1, 1, Z], 3)
    learned = lambda *inputs: net(*inputs) - tf.maximum(net.draws(*inputs[1:]), -12.0)
    base = learned(image, log_probs, noise)
    assert np.abs(base - learned(image + 1, log_probs, noise)).max() > 1e-2
    assert (
        np.abs(base - learned(image, log_probs_of([2, 16, 16])[1:], noise)).max() > 1e-2
    )
    # The last values of z reach the decoder alone, not the draw.
    other = tf.concat([noise[..., :K], noise[..., K:] + 2], -1)
    np.testing.assert_array_equal(
        net.draws(log_probs, noise), net.draws(log_probs, other)
    )
    assert np.abs(base - learned(image, log_probs, other)).max() > 1e-2
    with tf.GradientTape() as tape:
        logits = net(image, log_probs, noise)
    gradients = tape.gradient(logits, net.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


def test_at_half_size_squares_of_pixels_are_channels():
    net, whole = build(half_size=True), build()
    assert net.logits_layer.filters == 4 * K
    (features,) = net.encode(normal([B, 40, 64, C]), log_probs_of([B, 40, 64]))
    assert features.shape == [B, 32, 32, 3]
    assert net.receptive_field == 2 * whole.receptive_field
    # The learned map differs within a square: no sample is made of squares.
    log_probs, noise = log_probs_of([B, 32, 32]), normal([B, M, Z], 3)
    learned = net(normal([B, 32, 32, C]), log_probs, noise)
    learned -= np.maximum(net.draws(log_probs, noise), -12)
    assert np.abs(learned[:, :, ::2] - learned[:, :, 1::2]).min((0, 1, 2, 3)).max() > 0


def test_a_pixel_changes_nothing_beyond_the_receptive_field():
    net, reached = build(), []
    side = 2 * net.receptive_field + 64
    image, log_probs = normal([1, side, 16, C]), log_probs_of([1, side, 16])
    run = tf.function(net.call)
    base = run(image, log_probs, normal([1, 1, Z]))
    for row in range(side // 2 - 8, side // 2 + 8, 5):
        pixel = tf.one_hot(row, side)[None, :, None, None]
        other = run(image + 1e3 * pixel, log_probs, normal([1, 1, Z]))
        differs = np.any(other != base, axis=(0, 1, 3, 4))
        reached.append(np.abs(np.nonzero(differs)[0] - row).max())
    assert 60 < max(reached) <= net.receptive_field
