"""The cVAE variants: latent codes, the ELBO, and what trains them."""

import numpy as np
import pytest
import shallow
import tensorflow as tf

from car_tf import config as config_lib
from car_tf import losses
from car_tf.blackbox import attach
from car_tf.models import layers, posterior_net, refinement_net, sampler
from car_tf.models.keras_api import keras
from car_tf.train import build

K, Z = 2, 3
SIDE = 16


def _normal(shape, seed=0):
    return tf.random.stateless_normal(shape, [seed, 1])


def _net(encoded):
    keras.utils.set_random_seed(1)
    net = refinement_net.RefinementNet(
        num_classes=K,
        base_channels=2,
        noise_dim=Z,
        dropout=0.0,
        logits="scratch",
        encoded_noise=encoded,
    )
    net(*_inputs(num=1))
    return net


def _with_eyes(head):
    """Gives a head, which begins blind, random weights."""
    kernel = head.dense.kernel
    kernel.assign(_normal(kernel.shape, 3))


def _inputs(num=4):
    log_probs = tf.nn.log_softmax(_normal([2, SIDE, SIDE, K]))
    return _normal([2, SIDE, SIDE, 1], 1), log_probs, _normal([2, num, Z], 2)


def _config(name, *overrides):
    return config_lib.load(
        name,
        [
            f"data.size={SIDE},{SIDE}",
            f"data.crop_size={SIDE},{SIDE}",
            "data.num_drawn=4,1,1",
            "calibration_net.channels=2",
            "refinement_net.base_channels=2",
            "refinement_net.dropout=0",
            "discriminator.base_channels=2",
            "stage2.batch_size=4",
            "stage2.num_samples=3",
            *overrides,
        ],
    )


class SmallNet(keras.Model):
    """Stands for F."""

    def __init__(self):
        super().__init__()
        self.conv = keras.layers.Conv2D(K, 3, padding="same")

    def call(self, image, blackbox_probs, training=False, seed=None):
        return self.conv(image)


def _trainer(config, strategy=None):
    """Stage 2 with plain descent: Adam would blow up the rounding of small gradients."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        keras.utils.set_random_seed(2)
        dataset = attach.load(config)
        calibration_net = SmallNet()
        calibration_net(_inputs()[0], None)
        with shallow.generators():
            trainer = build.build_refinement_trainer(config, dataset, calibration_net)
        # The residual starts at zero, where z has no gradient.
        kernel = trainer.refinement_net.logits_layer.kernel
        kernel.assign(_normal(kernel.shape))
        optimizers = [keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)]
        optimizers[0].build(trainer.generator_variables)
        optimizers[1].build(trainer.discriminator.trainable_variables)
        trainer.compile(
            generator_optimizer=optimizers[0], discriminator_optimizer=optimizers[1]
        )
    batches = build.build_batches(config, dataset, stage=2, first_step=0, num_steps=2)
    return trainer, batches


def test_the_complexity_is_the_kl_of_gaussians_from_the_standard_one():
    mean = tf.constant([[0.0, 0.0], [1.0, 0.0]])
    std = tf.constant([[1.0, 1.0], [2.0, 0.5]])
    # (mean^2 + std^2 - 1) / 2 - ln std: 0 for N(0, 1); (1 + 4 - 1) / 2 - ln 2 =
    # 1.306853 and (0.25 - 1) / 2 + ln 2 = 0.318147, which sum to 1.625.
    np.testing.assert_allclose(losses.complexity(mean, std), [0, 1.625], atol=1e-6)


def test_the_head_begins_at_the_standard_gaussian():
    head = layers.GaussianHead(Z)
    mean, std = head(_normal([2, 4, 4, 5]))
    np.testing.assert_array_equal(mean, np.zeros((2, Z)))
    np.testing.assert_allclose(std, np.ones((2, Z)), atol=1e-4)


def test_the_head_sees_the_mean_over_the_image():
    head = layers.GaussianHead(Z)
    features = _normal([2, 4, 4, 5])
    shuffled = tf.reverse(features, axis=[1])
    head(features)
    _with_eyes(head)
    for a, b in zip(head(features), head(shuffled)):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert float(tf.reduce_min(head(100 * features)[1])) > 0


def test_encoded_noise_is_mean_plus_std_times_noise():
    encoded, plain = _net(True), _net(False)
    _with_eyes(encoded.noise_head)
    shared = [v for v in encoded.variables if "noise_head" not in v.name]
    assert len(shared) == len(plain.variables)
    for variable, value in zip(plain.variables, shared):
        variable.assign(value)
    image, log_probs, noise = _inputs()
    *_, mean, std = encoded.encode(image, log_probs)
    assert float(tf.reduce_max(tf.abs(mean[0] - mean[1]))) > 1e-3
    latent = mean[:, None] + std[:, None] * noise
    np.testing.assert_allclose(
        encoded(image, log_probs, noise), plain(image, log_probs, latent), atol=1e-5
    )


def test_a_sampler_draws_from_each_image_s_own_gaussian():
    net = _net(True)
    dense = net.noise_head.dense
    dense.kernel.assign(tf.zeros_like(dense.kernel))

    def samples(raw_std):
        dense.bias.assign([1.0] * Z + [raw_std] * Z)
        model = sampler.Sampler(
            calibration_net=keras.layers.Conv2D(K, 1),
            refinement_net=net,
            num_blackbox_classes=0,
        )
        features = net.encode(*_inputs()[:2])
        noise = model.noise(tf.constant([[1, 2], [3, 4]]), tf.constant(6))
        return net.decode(features, _inputs()[1], noise).numpy()

    # Without spread all samples are that of z = 1; with it they differ.
    narrow, wide = samples(-50.0), samples(2.0)
    np.testing.assert_allclose(narrow, narrow[:, :1].repeat(6, 1), atol=1e-5)
    assert np.ptp(wide, axis=1).max() > 0.1


def test_gradients_reach_mean_and_standard_deviation():
    net = _net(True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(net(*_inputs())))
    kernel = tape.gradient(loss, net.noise_head.dense.kernel).numpy()
    assert kernel.shape == (16, 2 * Z)
    assert (np.abs(kernel).max(axis=0) > 1e-6).all()


def test_the_posterior_sees_the_label():
    net = posterior_net.PosteriorNet(base_channels=2, noise_dim=Z, dropout=0.0)
    image, log_probs, _ = _inputs()
    labels = [tf.one_hot(tf.fill([2, SIDE, SIDE], k), K) for k in (0, 1)]
    net(image, log_probs, labels[0])
    _with_eyes(net.head)
    (mean_0, std_0), (mean_1, std_1) = (net(image, log_probs, y) for y in labels)
    assert mean_0.shape == std_0.shape == (2, Z)
    assert float(tf.reduce_max(tf.abs(mean_0 - mean_1))) > 1e-3
    assert float(tf.reduce_max(tf.abs(std_0 - std_1))) > 1e-3


def test_lcal_trains_the_head_of_the_prior():
    trainer, batches = _trainer(_config("lidc_cvae"))
    kernel = trainer.refinement_net.noise_head.dense.kernel
    before = kernel.numpy()
    trainer.train_step(next(iter(batches)))
    moved = np.abs(kernel.numpy() - before).max(axis=0)
    assert (moved > 0).all()
    assert trainer.posterior_net is None


def test_the_elbo_is_lce_plus_beta_times_the_complexity():
    trainer, batches = _trainer(_config("lidc_cvae_elbo", "stage2.kl_weight=3"))
    _with_eyes(trainer.posterior_net.head)
    kernel = trainer.posterior_net.head.dense.kernel
    before = kernel.numpy()
    weights = [variable.numpy() for variable in trainer.generator_variables]
    results = []
    for trainer.kl_weight in (3.0, 0.0):
        for variable, value in zip(trainer.generator_variables, weights):
            variable.assign(value)
        trainer.reset_metrics()
        trainer.train_step(next(iter(batches)))
        results.append({k: float(v) for k, v in trainer.results().items()})
        # The cross entropy alone reaches mean and standard deviation too.
        assert (np.abs(kernel.numpy() - before).max(axis=0) > 0).all()
    with_kl, without = results
    assert without["complexity"] > 1e-3
    assert with_kl["complexity"] == pytest.approx(without["complexity"], rel=1e-5)
    assert with_kl["pixel_loss"] == pytest.approx(
        without["pixel_loss"] + 3 * without["complexity"], rel=1e-5
    )


def test_two_replicas_train_the_posterior_as_one_does(two_replicas):
    config = _config("lidc_cvae_elbo")
    one, batches = _trainer(config)
    before = [v.numpy() for v in one.generator_variables]
    one.train_step(next(iter(batches)))
    two, batches = _trainer(config, two_replicas)
    step = tf.function(lambda batch: two_replicas.run(two.train_step, args=(batch,)))
    step(next(iter(two_replicas.experimental_distribute_dataset(batches))))
    after = [v.numpy() for v in one.generator_variables]
    changes = [np.abs(a - start).max() for start, a in zip(before, after)]
    for change, a, b in zip(changes, after, two.generator_variables):
        # To the rounding of sums that are added up in another order, and whose terms,
        # as large as the largest change, cancel.
        limit = 1e-3 * change + np.finfo(np.float32).eps * max(changes)
        np.testing.assert_allclose(a, b.numpy(), atol=limit)


def test_the_elbo_with_encoded_noise_is_refused():
    with pytest.raises(config_lib.ConfigError, match="the prior .* is N"):
        _config("lidc_cvae_elbo", "refinement_net.noise=encoded")
