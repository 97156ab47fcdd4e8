"""From uint8 images to samples: seeds, batches, and the figures beside the samples."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import shallow
import tensorflow as tf
from tensorflow.python.eager import context

from car_tf import config as config_lib
from car_tf.data import cityscapes
from car_tf.models import build, calibration_net, refinement_net, sampler

K, KB, Z, H, W = 5, 3, 4, 20, 24


@pytest.fixture(scope="module")
def model():
    calibrator = calibration_net.BlackBoxCalibrator(
        num_classes=K, channels=4, dropout=0.5
    )
    net = refinement_net.RefinementNet(
        num_classes=K, base_channels=4, noise_dim=Z, dropout=0.5
    )
    calibrator(tf.zeros([1, 16, 16, 3]), tf.zeros([1, 16, 16, KB]))
    net(tf.zeros([1, 16, 16, 3]), tf.zeros([1, 16, 16, K]), tf.zeros([1, 1, Z]))
    for index, variable in enumerate([*calibrator.variables, *net.variables]):
        if "variance" not in variable.name:
            variable.assign(
                0.5 * tf.random.stateless_normal(variable.shape, [index, 1])
            )
    return sampler.Sampler(
        calibration_net=calibrator, refinement_net=net, num_blackbox_classes=KB
    )


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, H, W, 3)).astype(np.uint8)
    blackbox = rng.integers(0, KB, (3, H, W)).astype(np.uint8)
    return tf.constant(images), tf.constant(blackbox)


SEEDS = [[1, 0], [1, 1], [7, 2]]


def test_shapes_and_types(model, inputs):
    drawn = model.sample(*inputs, tf.constant(SEEDS), tf.constant(2))
    assert drawn["samples"].shape == [3, 2, H, W]
    assert drawn["samples"].dtype == tf.uint8
    for name in ("probs", "sample_mean", "first_probs"):
        assert drawn[name].shape == [3, H, W, K]
        np.testing.assert_allclose(tf.reduce_sum(drawn[name], -1), 1, atol=1e-5)


def test_arg_maxed_maps_are_their_own_probabilities(model, inputs):
    hard = sampler.Sampler(
        calibration_net=model.calibration_net,
        refinement_net=model.refinement_net,
        num_blackbox_classes=KB,
        one_hot=True,
    )
    drawn = hard.sample(*inputs, tf.constant(SEEDS), tf.constant(4))
    one_hot = np.eye(K)[drawn["samples"]]
    np.testing.assert_allclose(drawn["sample_mean"], one_hot.mean(1), atol=1e-6)
    np.testing.assert_allclose(drawn["first_probs"], one_hot[:, 0])
    soft = model.sample(*inputs, tf.constant(SEEDS), tf.constant(4))
    np.testing.assert_array_equal(drawn["samples"], soft["samples"])
    assert np.abs(drawn["sample_mean"] - soft["sample_mean"]).max() > 0.1


def test_figures_beside_the_samples_are_those_of_the_samples(model, inputs):
    image, blackbox = inputs
    log_probs = model.log_probs(image, blackbox)
    noise = model.noise(tf.constant(SEEDS), tf.constant(4))
    drawn = model.decode(model.encode(image, log_probs), log_probs, noise)
    image = tf.cast(image, tf.float32) / 127.5 - 1
    probs = tf.nn.softmax(model.refinement_net(image, log_probs, noise)).numpy()
    np.testing.assert_array_equal(drawn["samples"], probs.argmax(-1))
    np.testing.assert_allclose(drawn["sample_mean"], probs.mean(1), atol=1e-6)
    np.testing.assert_allclose(drawn["first_probs"], probs[:, 0], atol=1e-6)


def test_same_seed_same_samples_whatever_else_is_in_the_batch(model, inputs):
    image, blackbox = inputs
    together = model.sample(image, blackbox, tf.constant(SEEDS), tf.constant(4))
    assert np.any(together["samples"][:, 0] != together["samples"][:, 1])
    for order in ([0], [1], [2, 0], [2, 1, 0]):
        drawn = model.sample(
            tf.gather(image, order),
            tf.gather(blackbox, order),
            tf.constant([SEEDS[i] for i in order]),
            tf.constant(4),
        )
        for place, i in enumerate(order):
            same = drawn["samples"][place] == together["samples"][i]
            # Rounding may decide a tie otherwise in another batch.
            assert np.mean(same) > 0.999
            for name in ("probs", "sample_mean", "first_probs"):
                np.testing.assert_allclose(
                    drawn[name][place], together[name][i], atol=1e-4
                )


def test_a_larger_number_of_samples_does_not_change_f(model, inputs):
    few = model.sample(*inputs, tf.constant(SEEDS), tf.constant(1))
    many = model.sample(*inputs, tf.constant(SEEDS), tf.constant(6))
    np.testing.assert_array_equal(few["probs"], many["probs"])
    np.testing.assert_allclose(few["sample_mean"], few["first_probs"], atol=1e-6)


def test_noise_is_standard_normal_and_its_rows_seeds_alone(model):
    noise = model.noise(tf.constant([[1, 0], [1, 1], [1, 0]]), tf.constant(5000))
    np.testing.assert_array_equal(noise[0], noise[2])
    assert np.any(noise[0] != noise[1])
    assert abs(np.mean(noise[:2])) < 0.02 and abs(np.std(noise[:2]) - 1) < 0.02
    between = np.corrcoef(np.ravel(noise[0]), np.ravel(noise[1]))[0, 1]
    assert abs(between) < 0.03


def test_stratified_noise_fills_sixteen_intervals_and_its_start_is_that_of_more(model):
    spread = sampler.Sampler(
        calibration_net=model.calibration_net,
        refinement_net=model.refinement_net,
        num_blackbox_classes=KB,
        stratified=True,
    )
    noise = spread.noise(tf.constant(SEEDS), tf.constant(40)).numpy()
    for block in (noise[:, :16], noise[:, 16:32]):
        interval = np.floor(16 * scipy.stats.norm.cdf(np.sort(block, axis=1)))
        expected = np.broadcast_to(np.arange(16)[None, :, None], interval.shape)
        np.testing.assert_array_equal(interval, expected)
    assert np.abs(noise[:, :16] - noise[:, 16:32]).max() > 0.1
    for num in (1, 16, 17):
        fewer = spread.noise(tf.constant(SEEDS[1:]), tf.constant(num))
        np.testing.assert_array_equal(fewer, noise[1:, :num])


def test_another_seed_gives_other_samples(model, inputs):
    one = model.sample(*inputs, tf.constant([[0, 0]] * 3), tf.constant(2))
    other = model.sample(*inputs, tf.constant([[1, 0]] * 3), tf.constant(2))
    for index in range(3):
        assert np.any(one["samples"][index] != other["samples"][index])


def test_log_probs_are_normalised_and_see_the_black_box(model, inputs):
    image, blackbox = inputs
    log_probs = model.log_probs(image, blackbox)
    np.testing.assert_allclose(tf.reduce_logsumexp(log_probs, -1), 0, atol=1e-5)
    other = model.log_probs(image, (blackbox + 1) % KB)
    assert np.abs(log_probs - other).max() > 1e-3
    # One-hot probabilities say the same as labels.
    probs = tf.one_hot(tf.cast(blackbox, tf.int32), KB, dtype=tf.float16)
    np.testing.assert_array_equal(model.log_probs(image, probs), log_probs)


def test_entropy_in_bits_by_hand():
    probs = tf.constant([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    # 1 bit; 0, with 0 ln 0 = 0; 2 * 0.25 * 2 + 0.5 * 1 = 1.5
    np.testing.assert_allclose(sampler.entropy_bits(probs), [1, 0, 1.5], atol=1e-6)


@pytest.fixture
def optimized():
    """Graphs are optimised as users' are."""
    usual = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options(usual)


def fused_kernels(function, *arguments):
    """Returns what TensorFlow puts into single kernels when it runs a function."""
    context.enable_run_metadata()
    function(*arguments)
    graphs = context.export_run_metadata().function_graphs
    context.disable_run_metadata()
    nodes = [node for graph in graphs for node in graph.post_optimization_graph.node]
    return [kinds for node in nodes if (kinds := node.attr["fused_ops"].list.s)]


@pytest.mark.parametrize("name", ["cityscapes", "cityscapes_sampler", "lidc"])
def test_no_sum_is_part_of_a_convolution_s_kernel(name, optimized):
    """Samples or requests that run it at the same time would share maps: see `_Onto`."""
    config = config_lib.change(
        config_lib.load(name),
        calibration_net={"channels": 4},
        refinement_net={"base_channels": 4},
    )
    facts, blackbox = cityscapes.dataset_info("street scenes"), [2, H, W]
    if config.calibration_net.kind == "segnet":
        facts, blackbox = dataclasses.replace(facts, num_blackbox_classes=0), None
    with shallow.generators(2):
        nets = [
            build.build_calibration_net(config, facts),
            build.build_refinement_net(config, facts),
        ]
    found = fused_kernels(
        tf.function(build.build_sampler(*nets, facts).sample, autograph=False),
        tf.zeros([2, H, W, 3], tf.uint8),
        blackbox and tf.zeros(blackbox, tf.uint8),
        tf.constant(SEEDS[:2]),
        tf.constant(2),
    )
    assert any(b"BiasAdd" in kinds for kinds in found)
    assert not any(b"Add" in kinds for kinds in found)
