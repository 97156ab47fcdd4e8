"""Stage 2: what its losses hold against what, its noise, and who moves when."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_trainers import (
    SIDE,
    K,
    Z,
    assert_close,
    changed,
    image_zeros,
    one_batch,
    stage_2,
    trained,
)

from car_tf import losses
from car_tf.models import discriminator, draw_refinement_net
from car_tf.train import augmentation, optimization


def seen_by_f(trainer, batch):
    """What `train_step` gives to G: the image and log F."""
    image, _, blackbox, _ = optimization.prepare(batch, num_blackbox_classes=4)
    return image, tf.nn.log_softmax(trainer.calibration_net(image, blackbox))


def mean_of(trainer, name):
    return float(trainer._means[name].result())


# The pixel loss


def test_lcal_holds_the_mean_of_the_samples_against_f():
    trainer, batch = stage_2(), one_batch()
    log_f = seen_by_f(trainer, batch)[1].numpy()
    mean = trainer.train_step(batch)[2].numpy().mean(1)
    each = []
    for index, label in enumerate(batch["label"].numpy()):
        p, log_q = mean[index][label != 255], log_f[index][label != 255]
        each.append((p * (np.log(p) - log_q)).sum(-1).mean())
    assert mean_of(trainer, "pixel_loss") == pytest.approx(np.mean(each), rel=1e-4)


@pytest.mark.parametrize("weights, name", [((0.0, 5.0), "pixel_loss")])
def test_g_comes_nearer_to_f_and_deceives_d(weights, name):
    # Each loss alone, with D at rest, falls.
    trainer = stage_2(
        adversarial_weight=weights[0], calibration_weight=weights[1], l2=0.0
    )
    batch, found = one_batch(), []
    for _ in range(5):
        trainer._means[name].reset_state()
        trainer.train_step(batch)
        found.append(mean_of(trainer, name))
    assert found[-1] < 0.98 * found[0]


def test_d_teaches_g_which_classes_never_occur():
    # Labels are of classes 0 to 3 alone; F, untrained, knows nothing, so that draws are
    # of all six. Fails where stage 2 does nothing, where D is never updated, and where
    # nothing of D reaches G, whose other loss is off.
    judge = discriminator.Discriminator(
        input_size=(SIDE, SIDE), base_channels=2, presence=True
    )
    judge(image_zeros(3), image_zeros(K, 1))
    trainer = draw_trainer(
        judge, hard_samples=True, calibration_weight=0.0, r1_gamma=0.0, l2=0.0
    )
    adam = lambda variables: optimization.adam(1e-2, variables=variables)
    trainer.compile(
        generator_optimizer=adam(trainer.generator_variables),
        discriminator_optimizer=adam(judge.trainable_variables),
    )
    batch, shares, untaught = one_batch(), [], trained(judge)
    valid = tf.cast(batch["label"] != 255, tf.float32)[:, None]

    @tf.function
    def step():
        return trainer.train_step(batch, True)[2]

    for _ in range(30):
        absent = tf.reduce_sum(step()[..., 4:], -1)
        shares.append(float(tf.reduce_sum(absent) / tf.reduce_sum(valid) / 3))
        trainer.step.assign_add(1)
    assert shares[0] > 0.2 and np.mean(shares[-5:]) < 0.1
    # A D of chance weights may push G that way, too; this one has learned to.
    assert changed(untaught, trained(judge))
    assert mean_of(trainer, "real_accuracy") > 0.6


def draw_trainer(judge=None, **changes):
    net = draw_refinement_net.DrawRefinementNet(
        num_classes=K, base_channels=2, noise_dim=Z
    )
    net(image_zeros(3), image_zeros(K), tf.zeros([1, 1, Z]))
    return stage_2(
        refinement_net=net, judge=judge, paired=True, num_samples=3, **changes
    )


def test_the_paired_loss_takes_the_draws_of_the_samples_own_noise():
    trainer, batch = draw_trainer(), one_batch()
    image, log_f = seen_by_f(trainer, batch)
    valid = tf.cast(batch["label"] != 255, tf.float32)
    noise = trainer._noise(image)
    net = trainer.refinement_net
    draws = tf.one_hot(tf.argmax(net.draws(log_f, noise), -1), K)
    samples = tf.nn.softmax(net(image, log_f, noise))
    want = losses.paired_calibration(samples, draws, tf.exp(log_f), valid)
    trainer.train_step(batch)
    got = mean_of(trainer, "pixel_loss")
    assert got == pytest.approx(float(tf.reduce_mean(want)), rel=1e-4)
    assert abs(got) > 1e-3
    # At first the arg-max of a sample is its draw: nothing has changed.
    hard = draw_trainer(hard_samples=True)
    hard.train_step(batch)
    assert abs(mean_of(hard, "pixel_loss")) < 1e-9


def test_the_energy_of_the_samples_is_a_term_of_its_own_weight():
    batch = one_batch()
    trainer = draw_trainer(hard_samples=True, energy_weight=2.0)
    image, log_f = seen_by_f(trainer, batch)
    valid = tf.cast(batch["label"] != 255, tf.float32)[:, None, ..., None]
    logits = trainer.refinement_net(image, log_f, trainer._noise(image))
    real = tf.one_hot(batch["label"], K)[:, None] * valid
    want = losses.energy(trainer._maps(logits) * valid, real)
    trainer.train_step(batch)
    assert mean_of(trainer, "energy") == pytest.approx(float(tf.reduce_mean(want)))
    # Nothing else draws G where the other weights are zero.
    alone = dict(calibration_weight=0.0, adversarial_weight=0.0, hard_samples=True)
    for weight, moves in ((0.0, False), (2.0, True)):
        trainer = draw_trainer(**alone, energy_weight=weight)
        top = trainer.refinement_net.logits_layer.kernel
        before = top.numpy()
        trainer.train_step(batch)
        assert (np.abs(top.numpy() - before).max() > 0) == moves


def test_hard_samples_are_one_hot_with_the_gradient_of_probabilities():
    trainer = stage_2(hard_samples=True)
    logits = tf.random.stateless_normal([2, 2, 4, 4, K], [1, 2])
    upstream = tf.random.stateless_normal(logits.shape, [3, 4])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        hard, soft = trainer._maps(logits), tf.nn.softmax(logits)
    np.testing.assert_allclose(hard, tf.one_hot(tf.argmax(logits, -1), K), atol=1e-6)
    assert_close(
        [tape.gradient(hard, logits, upstream)], [tape.gradient(soft, logits, upstream)]
    )


# Noise


def test_every_step_draws_noise_of_its_own():
    trainer, batch = stage_2(rate=0.0), one_batch()
    for update_generator in (True, False):
        trainer.step.assign(0)
        first = trainer.train_step(batch, False, update_generator)[2]
        again = trainer.train_step(batch, False, update_generator)[2]
        assert_close([first], [again])
        trainer.step.assign(1)
        other = trainer.train_step(batch, False, update_generator)[2]
        assert float(tf.reduce_max(tf.abs(first - other))) > 1e-3


# What D sees


def test_r1_comes_every_so_many_steps_as_many_times_as_large():
    every, third = stage_2(), stage_2(r1_every=3)
    image, real, _ = every.train_step(one_batch(), False, False)
    full = every._r1(image, real[:, :1])
    assert np.all(full > 0)
    for step, factor in ((0, 3), (1, 0), (2, 0), (3, 3)):
        third.step.assign(step)
        np.testing.assert_allclose(third._r1(image, real[:, :1]), factor * full, 1e-5)


def test_d_sees_images_labels_and_samples_changed_alike(monkeypatch):
    seen = []
    heads = lambda image, maps: seen.append((image, maps)) or found(image, maps)
    for augment in (False, True):
        trainer = stage_2(augment=augment, r1_gamma=0.0)
        found = trainer.discriminator.heads
        monkeypatch.setattr(trainer.discriminator, "heads", heads)
        image, real, samples = trainer.train_step(one_batch(), True)
        seed = optimization.step_seed(trainer.seed, trainer.step)
        change = lambda maps: augmentation.augment(maps, seed) if augment else maps
        # Of G's update, of D's on labels and of D's on samples.
        assert len(seen) == 3
        for got, maps in zip(seen, (samples, real, samples)):
            assert_close(got, (change(image), change(maps)))
        seen.clear()


def test_losses_of_d_and_g_are_means_over_its_heads(monkeypatch):
    trainer, batch = stage_2(r1_gamma=0.0), one_batch()
    whole = trainer.discriminator.heads

    def heads(image, maps):
        (logits,) = whole(image, maps)
        return [logits, tf.stack([logits + 1, logits - 2], -1)]

    monkeypatch.setattr(trainer.discriminator, "heads", heads)
    image, real, samples = trainer.train_step(batch, False, False)
    reals, fakes = heads(image, real), heads(image, samples)
    soft = lambda values: float(tf.reduce_mean(tf.nn.softplus(values)))
    adversarial, to_samples = trainer._judge(image, samples)
    want = np.mean([soft(-head) for head in fakes])
    assert float(tf.reduce_mean(adversarial)) == pytest.approx(want, rel=1e-5)
    assert to_samples.shape == samples.shape
    trainer.discriminator_step(image, real, samples)
    want = np.mean([soft(-r) + soft(f) for r, f in zip(reals, fakes)])
    assert mean_of(trainer, "discriminator") == pytest.approx(want, rel=1e-5)


def test_each_label_of_an_image_is_shown_to_d():
    batch = one_batch()
    other = tf.where(batch["label"] == 255, batch["label"], batch["label"] + 1)
    both = {**batch, "label": tf.stack([batch["label"], other], 1)}
    _, real, samples = stage_2().train_step(both, True)
    assert real.shape[:2] == [4, 2] and samples.shape[:2] == [4, 2]
    for index, label in enumerate((batch["label"], other)):
        one = stage_2().train_step({**batch, "label": label})[1]
        np.testing.assert_array_equal(real[:, index], one[:, 0])
