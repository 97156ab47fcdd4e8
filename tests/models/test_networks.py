"""Networks: shapes, the once-per-image forms against naive ones, seeds and dropout."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from car_tf.data import class_flips, info
from car_tf.models import calibration_net, discriminator, layers, refinement_net
from car_tf.models import noise as noise_lib

B, M, K, Z, C = 2, 3, 5, 4, 3
SEED = tf.constant([3, 4])


def normal(shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 0])


def log_probs_of(shape, seed=1):
    return tf.nn.log_softmax(normal([*shape, K], seed))


def randomize(net, seed=0):
    """Gives every variable a value with which it matters, statistics included."""
    for index, variable in enumerate(net.variables):
        value = 0.3 * normal(variable.shape, seed + index)
        if variable.name.split("/")[-1].startswith(("gamma", "moving_variance")):
            value = 1.0 + tf.abs(value)
        variable.assign(value)


def build_refinement(*, logits="residual", dropout=0.0, noise_dim=Z, **kwargs):
    net = refinement_net.RefinementNet(
        num_classes=K,
        base_channels=4,
        noise_dim=noise_dim,
        dropout=dropout,
        logits=logits,
        **kwargs,
    )
    net(tf.zeros([1, 16, 16, C]), tf.zeros([1, 16, 16, K]), tf.zeros([1, 1, noise_dim]))
    return net


def build_calibrator(dropout=0.0):
    net = calibration_net.BlackBoxCalibrator(num_classes=K, channels=6, dropout=dropout)
    net(tf.zeros([1, 8, 8, C]), tf.zeros([1, 8, 8, 3]))
    return net


# Inputs


def test_grey_levels_become_minus_one_to_one():
    image = tf.constant([0, 255, 51], tf.uint8)
    # 51 / 127.5 - 1 = -0.6
    np.testing.assert_allclose(layers.image_to_float(image), [-1, 1, -0.6], atol=1e-6)


def test_black_box_labels_become_one_hot_and_unknown_ids_zero():
    got = layers.blackbox_to_probs(tf.constant([[[0, 2, 255]]], tf.uint8), 3)
    np.testing.assert_array_equal(got, [[[[1, 0, 0], [0, 0, 1], [0, 0, 0]]]])
    probs = tf.constant([[[[0.25, 0.75]]]], tf.float16)
    got = layers.blackbox_to_probs(probs, 2)
    assert got.dtype == tf.float32
    np.testing.assert_array_equal(got, [[[[0.25, 0.75]]]])


def test_samples_are_merged_and_split_in_order():
    features = tf.reshape(tf.range(2 * 3 * 1 * 2 * 4), [2, 3, 1, 2, 4])
    merged = layers.merge_samples(features)
    np.testing.assert_array_equal(merged[3 + 1], features[1, 1])
    np.testing.assert_array_equal(layers.split_samples(merged, 2, 3), features)


def test_enlarging_makes_four_of_one_and_sums_their_gradients():
    features = tf.reshape(tf.range(1.0, 5.0), [1, 1, 2, 2])
    with tf.GradientTape() as tape:
        tape.watch(features)
        enlarged = layers.upsample_nearest(features)
    np.testing.assert_array_equal(enlarged[0, :, :, 0], [[1, 1, 3, 3]] * 2)
    upstream = tf.reshape(tf.range(16.0), [1, 2, 4, 2])
    # Channel 0 of the first four: 0 + 2 + 8 + 10.
    found = tape.gradient(enlarged, features, upstream)[0, 0]
    np.testing.assert_array_equal(found, [[20, 24], [36, 40]])


# Dropout


def test_dropout_is_a_function_of_its_seed_and_salt():
    inputs = tf.ones([4, 50])
    one, same = (layers.SeededDropout(0.3, salt=1) for _ in range(2))
    other = layers.SeededDropout(0.3, salt=2)
    np.testing.assert_array_equal(one(inputs, seed=SEED), same(inputs, seed=SEED))
    assert np.any(one(inputs, seed=SEED) != one(inputs, seed=SEED + 1))
    assert np.any(one(inputs, seed=SEED) != other(inputs, seed=SEED))


def test_dropout_keeps_the_mean_and_drops_its_rate():
    dropped = layers.SeededDropout(0.25, salt=0)(tf.ones([200, 200]), seed=SEED).numpy()
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
    # Standard deviation of the share: sqrt(.25 * .75 / 40000) = 0.0022.
    assert abs((dropped == 0).mean() - 0.25) < 0.01


def test_dropout_without_a_seed_passes_everything_on():
    inputs = normal([3, 5])
    np.testing.assert_array_equal(layers.SeededDropout(0.9, salt=0)(inputs), inputs)


# F


@pytest.mark.parametrize("size", [(8, 8), (7, 13), (1, 1)])
def test_calibrator_gives_logits_for_any_size(size):
    net = build_calibrator()
    logits = net(normal([B, *size, C]), normal([B, *size, 3], 1))
    assert logits.shape == [B, *size, K]


def test_calibrator_is_five_blocks_of_which_none_has_a_bias_before_its_norm():
    net = build_calibrator()
    names = [v.name.rpartition("/")[2].split(":")[0] for v in net.trainable_variables]
    assert names == ["kernel", "gamma", "beta"] * 5 + ["kernel", "bias"]
    kernels = [v.shape for v in net.trainable_variables if "kernel" in v.name]
    assert kernels == [[3, 3, 6, 6]] * 5 + [[1, 1, 6, K]]


def test_calibrator_sees_both_inputs():
    net = build_calibrator()
    randomize(net)
    image, blackbox = normal([1, 8, 8, C]), normal([1, 8, 8, 3], 1)
    base = net(image, blackbox)
    assert np.any(base != net(image + 1, blackbox))
    assert np.any(base != net(image, blackbox + 1))


def test_batch_norm_has_the_constants_of_the_paper():
    norm = build_calibrator().blocks[0].norm
    assert norm.momentum == 0.9 and norm.epsilon == 1e-5


def build_true_distribution():
    flips = class_flips.ClassFlip(0, 3, 0.25), class_flips.ClassFlip(2, 4, 0.6)
    facts = info.DatasetInfo("five", ("",) * 5, (), flips)
    return calibration_net.TrueDistribution(table=facts.flip_table()[:3])


def test_true_distribution_by_hand():
    label = tf.constant([[[0, 1, 2, 255]]], tf.uint8)
    blackbox = layers.blackbox_to_probs(label, 3)
    logits = build_true_distribution()(tf.zeros([1, 1, 4, C]), blackbox)
    # 0.999 of (3/4, 0, 0, 1/4, 0), (0, 1, 0, 0, 0), (0, 0, 2/5, 0, 3/5), and 0.001 / 5
    expected = 0.999 * np.array(
        [[0.75, 0, 0, 0.25, 0], [0, 1, 0, 0, 0], [0, 0, 0.4, 0, 0.6]]
    )
    np.testing.assert_allclose(
        tf.exp(logits)[0, 0, :3], expected + 0.0002, rtol=1e-5, atol=1e-8
    )
    # Where nothing is labelled, nothing is known.
    np.testing.assert_allclose(tf.nn.softmax(logits)[0, 0, 3], [0.2] * 5, rtol=1e-5)


def test_true_distribution_has_nothing_to_train():
    assert build_true_distribution().variables == []


# G


@pytest.mark.parametrize("size", [(16, 32), (1, 50)])
def test_refinement_gives_logits_for_any_size(size):
    net = build_refinement(logits="gumbel")
    logits = net(normal([B, *size, C]), log_probs_of([B, *size]), normal([B, M, Z]))
    assert logits.shape == [B, M, *size, K]
    assert np.isfinite(logits).all()


def test_sizes_may_be_unknown_when_the_graph_is_built():
    net = build_refinement()
    spec = [tf.TensorSpec(s) for s in ([None] * 3 + [C], [None] * 3 + [K])]
    graph = tf.function(
        net.call, input_signature=[*spec, tf.TensorSpec([None, None, Z])]
    )
    for size, num in (((16, 16), 2), ((20, 9), 5)):
        args = normal([1, *size, C]), log_probs_of([1, *size]), normal([1, num, Z])
        np.testing.assert_allclose(graph(*args), net(*args), atol=1e-5)


def test_at_step_zero_every_residual_sample_equals_f():
    net = build_refinement(dropout=0.1)
    log_probs = log_probs_of([B, 20, 20])
    for kwargs in (dict(), dict(training=True, seed=SEED)):
        logits = net(normal([B, 20, 20, C]), log_probs, normal([B, M, Z]), **kwargs)
        for sample in range(M):
            np.testing.assert_array_equal(logits[:, sample], log_probs)


def test_gumbel_samples_are_drawn_from_f_by_whole_regions_at_step_zero():
    net = build_refinement(logits="gumbel", noise_dim=8)
    probs = np.array([[0.5, 0.3, 0.1, 0.06, 0.04], [0.05, 0.05, 0.1, 0.2, 0.6]])
    # Two halves of an image in which all pixels are alike.
    log_probs = np.log(np.repeat(probs, 8, axis=0))[None, None].repeat(16, axis=1)
    log_probs = tf.constant(log_probs, tf.float32)
    num = 2000
    logits = net(normal([1, 16, 16, C]), log_probs, normal([1, num, 8]))
    samples = tf.argmax(logits, -1).numpy()[0].reshape(num, 16, 2, 8)
    halves = samples[:, 0, :, 0]
    np.testing.assert_array_equal(samples, halves[:, None, :, None] + 0 * samples)
    for half in range(2):
        shares = np.bincount(halves[:, half], minlength=K) / num
        # Standard deviation at most sqrt(0.25 / 2000) = 0.011.
        np.testing.assert_allclose(shares, probs[half], atol=0.045)
    # And samples are nearly sure of themselves.
    assert tf.reduce_mean(tf.reduce_max(tf.nn.softmax(logits), -1)) > 0.9


def test_two_classes_take_one_logistic_variable():
    gumbels = noise_lib.ClassGumbels(2, 3)
    # The quartiles of the normal are at 0.6745; a logistic's logits are log(1 / 3), 0
    # and log 3.
    noise = tf.constant([[[-0.67449, 1.0, 2.0], [0.0, 1.0, 2.0], [0.67449, 1.0, 2.0]]])
    expected = [[[0, -np.log(3)], [0, 0], [0, np.log(3)]]]
    np.testing.assert_allclose(gumbels(noise), expected, atol=1e-4)


def test_gumbels_of_the_classes_are_independent_where_z_is_long_enough():
    long, short = (noise_lib.ClassGumbels(K, size) for size in (K + 2, K - 2))
    found = long(normal([1, 4000, K + 2])).numpy()[0]
    # Mean 0.5772 and variance pi^2 / 6 of the standard Gumbel distribution.
    np.testing.assert_allclose(found.mean(0), 0.5772, atol=0.08)
    np.testing.assert_allclose(found.var(0), np.pi**2 / 6, atol=0.25)
    assert np.abs(np.corrcoef(found.T) - np.eye(K)).max() < 0.07
    found = short(normal([1, 4000, K - 2])).numpy()[0]
    np.testing.assert_allclose(found.mean(0), 0.5772, atol=0.08)
    # The tails stay finite.
    extremes = long(tf.constant([[[-30.0, 30.0, 0.0, 9.0, -9.0, 0.0, 0.0]]])).numpy()
    assert np.isfinite(extremes).all()


def naive_refinement(net, image, log_probs, noise, *, training=False):
    """G from the same weights, but with every sample on its own from the image on.

    Image and probabilities are repeated for every sample, and each decoder level is
    one 5x5 convolution of a concatenation [enlarged features; skip]: convolving 3x3
    before enlarging by 2 (nearest) is convolving afterwards with the same taps two
    pixels apart, and the skip's 3x3 taps are the inner ones.
    """
    size = image.shape[1:3]
    num = noise.shape[1]
    inputs = tf.concat([image, tf.exp(log_probs)], axis=-1)
    bottom, right = -size[0] % 16, -size[1] % 16
    inputs = tf.pad(inputs, [[0, 0], [0, bottom], [0, right], [0, 0]])
    features = tf.repeat(inputs, num, axis=0)
    each_noise = tf.reshape(noise, [-1, noise.shape[-1]])

    def normalised(norm, values):
        mean, variance = norm.moving_mean, norm.moving_variance
        if training:
            mean, variance = tf.nn.moments(values, [0, 1, 2])
        return tf.nn.batch_normalization(
            values, mean, variance, norm.beta, norm.gamma, 1e-5
        )

    skips = []
    for block in net.down_blocks:
        skips.append(features)
        features = tf.nn.conv2d(features, block.conv.kernel, 2, "SAME")
        features = tf.nn.leaky_relu(normalised(block.norm, features), 0.2)
    for block, skip in zip(net.up_blocks, reversed(skips)):
        enlarged = tf.repeat(tf.repeat(features, 2, axis=1), 2, axis=2)
        apart = np.zeros([5, 5, *block.up.kernel.shape[2:]], np.float32)
        apart[::2, ::2] = block.up.kernel
        inner = tf.pad(block.skip.kernel, [[1, 1], [1, 1], [0, 0], [0, 0]])
        kernel = tf.concat([apart, inner], axis=2)
        merged = tf.nn.conv2d(tf.concat([enlarged, skip], -1), kernel, 1, "SAME")
        merged = normalised(block.norm, merged)
        scale = block.inject.scale(each_noise)[:, None, None]
        residual = block.inject.residual(each_noise)[:, None, None]
        features = tf.nn.leaky_relu(merged * (1 + scale) + residual, 0.2)
    logits = net.logits_layer(features)[:, : size[0], : size[1]]
    logits = tf.reshape(logits, [-1, num, *size, K])
    if net.logits == "scratch":
        return logits
    if net.logits == "residual":
        return logits + log_probs[:, None]
    # A normal quantile is looked up in the Gumbel distribution, and divided by the temperature.
    values = net.class_gumbels.dense(noise).numpy().astype(np.float64)
    gumbels = scipy.stats.gumbel_r.ppf(scipy.stats.norm.cdf(values))
    return logits + (log_probs[:, None] + gumbels[:, :, None, None]) / net.temperature


@pytest.mark.parametrize(
    "size, logits, training",
    [
        *(((32, 48), "gumbel", True), ((19, 33), "gumbel", False)),
        *(((19, 33), "residual", True), ((19, 33), "scratch", False)),
    ],
)
def test_computing_the_encoder_once_equals_repeating_it(size, logits, training):
    net = build_refinement(logits=logits, temperature=0.3)
    randomize(net)
    args = normal([B, *size, C]), log_probs_of([B, *size]), normal([B, M, Z], 7)
    expected = naive_refinement(net, *args, training=training)
    got = net(*args, training=training)
    assert tf.math.reduce_std(got, axis=1).numpy().max() > 0.1, "noise does nothing"
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


def test_noise_reaches_every_up_block():
    net = build_refinement()
    randomize(net)
    image, log_probs = normal([1, 32, 32, C]), log_probs_of([1, 32, 32])
    for chosen in net.up_blocks:
        silent = [block for block in net.up_blocks if block is not chosen]
        kept = [[v.numpy() for v in block.inject.variables] for block in silent]
        for block in silent:
            for variable in block.inject.variables:
                variable.assign(tf.zeros_like(variable))
        logits = net(image, log_probs, normal([1, 2, Z]))
        assert np.abs(logits[:, 0] - logits[:, 1]).max() > 1e-3, chosen.name
        for block, values in zip(silent, kept):
            for variable, value in zip(block.inject.variables, values):
                variable.assign(value)


@pytest.mark.parametrize("part", ["refinement", "calibration"])
def test_inference_is_not_random_and_changes_nothing(part):
    if part == "refinement":
        net, inputs = build_refinement(dropout=0.5), [normal([B, 16, 16, C])]
        inputs += [log_probs_of([B, 16, 16]), normal([B, M, Z])]
    else:
        net, inputs = build_calibrator(0.5), [normal([B, 8, 8, C])]
        inputs += [normal([B, 8, 8, 3])]
    randomize(net)
    before = [variable.numpy() for variable in net.variables]
    np.testing.assert_array_equal(net(*inputs), net(*inputs))
    for variable, value in zip(net.variables, before):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("part", ["refinement", "calibration"])
def test_training_repeats_itself_with_the_same_seed_alone(part):
    if part == "refinement":
        net, inputs = build_refinement(dropout=0.5), [normal([B, 16, 16, C])]
        inputs += [log_probs_of([B, 16, 16]), normal([B, M, Z])]
    else:
        net, inputs = build_calibrator(0.5), [normal([B, 8, 8, C])]
        inputs += [normal([B, 8, 8, 3])]
    randomize(net)
    once = net(*inputs, training=True, seed=SEED)
    np.testing.assert_array_equal(net(*inputs, training=True, seed=SEED), once)
    assert np.any(net(*inputs, training=True, seed=SEED + 1) != once)


def test_training_moves_the_statistics_by_a_tenth():
    net = build_calibrator()
    norm = net.blocks[0].norm
    image, blackbox = normal([B, 8, 8, C]), normal([B, 8, 8, 3], 1)
    features = net.blocks[0].conv(tf.concat([blackbox, image], -1))
    mean = tf.reduce_mean(features, [0, 1, 2])
    net(image, blackbox, training=True)
    # momentum 0.9: 0.9 * 0 + 0.1 * mean
    np.testing.assert_allclose(norm.moving_mean, 0.1 * mean, atol=1e-6)


# D


@pytest.mark.parametrize(
    "size, num_convs", [((16, 16), 2), ((64, 64), 4), ((128, 128), 5), ((40, 72), 4)]
)
def test_discriminator_halves_until_four_pixels_are_left(size, num_convs):
    net = discriminator.Discriminator(input_size=size, base_channels=2)
    logits = net(normal([B, *size, C]), normal([B, M, *size, K], 1))
    assert logits.shape == [B, M]
    assert len(net.convs) + 1 == num_convs
    left = [-(-side // 2**num_convs) for side in size]
    assert 2 < min(left) <= 4
    channels = 2 * min(2 ** (num_convs - 1), 8)
    assert net.logit_layer.kernel.shape == [left[0] * left[1] * channels, 1]


def test_every_pixel_of_both_inputs_reaches_the_logit():
    net = discriminator.Discriminator(input_size=(32, 48), base_channels=2)
    image, label = normal([1, 32, 48, C]), normal([1, 1, 32, 48, K], 1)
    net(image, label)
    randomize(net)
    with tf.GradientTape() as tape:
        tape.watch([image, label])
        logit = net(image, label)
    for gradient in tape.gradient(logit, [image, label]):
        reached = tf.reduce_any(gradient != 0, axis=-1)
        assert reached.numpy().all()


def test_discriminator_equals_one_convolution_of_the_concatenated_pair():
    size = (32, 16)
    net = discriminator.Discriminator(input_size=size, base_channels=3)
    image, maps = normal([B, *size, C]), normal([B, M, *size, K], 1)
    net(image, maps)
    randomize(net)
    pairs = tf.concat([tf.repeat(image[:, None], M, axis=1), maps], axis=-1)
    kernel = tf.concat([net.image_conv.kernel, net.label_conv.kernel], axis=2)
    features = tf.nn.conv2d(tf.reshape(pairs, [B * M, *size, C + K]), kernel, 2, "SAME")
    features = tf.nn.leaky_relu(features + net.image_conv.bias, 0.2)
    for conv in net.convs:
        features = tf.nn.conv2d(features, conv.kernel, 2, "SAME") + conv.bias
        features = tf.nn.leaky_relu(features, 0.2)
    flat = tf.reshape(features, [B * M, -1])
    expected = flat @ net.logit_layer.kernel + net.logit_layer.bias
    np.testing.assert_allclose(
        net(image, maps), tf.reshape(expected, [B, M]), rtol=1e-4, atol=1e-4
    )
