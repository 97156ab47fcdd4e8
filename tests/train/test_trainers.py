"""Both training stages: replicas, D's cycle, L2, ignored pixels, R1, and NaN."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_trainers import (
    ACTIVE,
    KB,
    PERIOD,
    SEED,
    K,
    Z,
    assert_close,
    assert_equal,
    batches,
    changed,
    eagerly,
    fit,
    image_zeros,
    one_batch,
    stage_1,
    stage_2,
    trained,
    weights,
)

from car_tf.models import calibration_net
from car_tf.models.keras_api import keras
from car_tf.train import optimization

# Stage 1


def averages_by_hand(states, decay):
    """Averages after each of the states; decay after step n: (1 + n) / (10 + n)."""
    result = states[0]
    for step, state in enumerate(states[1:], 1):
        kept = min(decay, (1 + step) / (10 + step))
        result = [kept * a + (1 - kept) * value for a, value in zip(result, state)]
    return result


def selectable(trainer):
    return [value.numpy() for value in trainer.selectable]


def test_stage_1_gives_equal_weights_on_one_and_two_replicas(two_replicas):
    """Two steps on one replica, eagerly, and on two, in a single execution."""
    single = stage_1(average_decay=0.25)
    double = stage_1(two_replicas, average_decay=0.25, steps_per_execution=2)
    start = weights(single.calibration_net)
    assert_equal(start, weights(double.calibration_net))
    states, means = [start], []
    for step in range(2):
        with eagerly():
            means.append(fit(single, step + 1, step))
        states.append(weights(single.calibration_net))
    one = {name: (means[0][name] + means[1][name]) / 2 for name in means[0]}
    two = fit(double, 2)
    assert int(single.step.numpy()) == int(double.step.numpy()) == 2
    expected = averages_by_hand(states, 0.25)
    assert_close(selectable(single), expected)
    assert changed(expected, states[-1])
    assert_close(selectable(double), expected, atol=1e-3)
    assert changed(start, trained(single.calibration_net))
    assert_close(trained(single.calibration_net), trained(double.calibration_net))
    # Fused batch norm divides a variance by n - 1 where the synchronised one divides
    # by n; here n = 4 * 16 * 16 = 1024.
    assert_close(
        weights(single.calibration_net), weights(double.calibration_net), atol=1e-3
    )
    # The means shown are over images, whatever the number of replicas.
    assert one.keys() == two.keys() == {"cross_entropy", "accuracy"}
    for name in one:
        assert one[name] == pytest.approx(two[name], abs=1e-4)


def test_stage_1_descends_the_mean_loss_of_the_batch_with_coupled_l2():
    # The update of one step of plain descent is -rate * (gradient + l2 * weight).
    trainer = stage_1(l2=0.5)
    net, batch = trainer.calibration_net, one_batch()
    image = batch["image"] / 127.5 - 1
    blackbox = tf.one_hot(tf.cast(batch["blackbox"], tf.int32), KB)
    label = tf.cast(batch["label"], tf.int32)
    with tf.GradientTape() as tape:
        log_probs = tf.nn.log_softmax(net(image, blackbox, training=True))
        loss = 0.0
        for index in range(4):
            valid = label[index] != 255
            rows = tf.boolean_mask(log_probs[index], valid)
            ids = tf.boolean_mask(label[index], valid)
            loss -= tf.reduce_mean(tf.gather(rows, ids, axis=1, batch_dims=1)) / 4
    before = trained(net)
    gradients = tape.gradient(loss, net.trainable_variables)
    trainer.train_step(batch)
    expected = [w - 0.1 * (g + 0.5 * w) for w, g in zip(before, gradients)]
    assert_close(trained(net), expected)
    metrics = {metric.name: float(metric.result()) for metric in trainer.metrics}
    assert metrics["cross_entropy"] == pytest.approx(float(loss), abs=1e-5)


def test_several_labels_of_an_image_count_as_their_mean():
    # Lce of two labels of one image is the mean of the Lce of each, and so is the
    # gradient, where both have the same valid pixels.
    batch = one_batch()
    swapped = tf.where(batch["label"] == 255, batch["label"], 1 - batch["label"] % 2)
    results = []
    for label in (batch["label"], swapped, tf.stack([batch["label"], swapped], 1)):
        trainer = stage_1(l2=0.0)
        before = trained(trainer.calibration_net)
        trainer.train_step({**batch, "label": label})
        after = trained(trainer.calibration_net)
        results.append([new - old for new, old in zip(after, before)])
    assert_close(results[2], [(a + b) / 2 for a, b in zip(*results[:2])])


def test_the_dropout_of_stage_1_changes_from_step_to_step():
    net = calibration_net.BlackBoxCalibrator(num_classes=K, channels=3, dropout=0.5)
    net(image_zeros(3), image_zeros(KB))
    trainer, found = stage_1(net=net, optimizer=keras.optimizers.SGD(0.0)), []
    for step in (0, 0, 1):
        trainer.step.assign(step)
        trainer.loss_metric.reset_state()
        found.append(float(trainer.train_step(one_batch())["cross_entropy"]))
    assert found[0] == found[1] != found[2]


# Adam and its schedule


def test_adam_is_the_papers_with_l2_added_to_the_gradient():
    variable = tf.Variable([2.0, -1.0])
    optimizer = optimization.adam(0.1, variables=[variable])
    assert len(optimizer.variables) > 1, "slots must exist before the first step"
    weight = np.array([2.0, -1.0])
    first, second = np.zeros(2), np.zeros(2)
    for step, gradient in enumerate(([-0.1, 0.3], [0.2, -0.4], [0.0, 1.0]), 1):
        # Step 1, entry 0: -0.1 + 0.1 * 2 = 0.1, so that the weight falls by 0.1 to
        # 1.9; with decoupled decay it would rise.
        optimization.update(optimizer, [tf.constant(gradient)], [variable], l2=0.1)
        total = np.array(gradient) + 0.1 * weight
        first = 0.5 * first + 0.5 * total
        second = 0.99 * second + 0.01 * total**2
        mean, square = first / (1 - 0.5**step), second / (1 - 0.99**step)
        weight = weight - 0.1 * mean / (np.sqrt(square) + 1e-8)
        np.testing.assert_allclose(variable, weight, atol=1e-5)
        if step == 1:
            np.testing.assert_allclose(variable[0], 1.9, atol=1e-5)


def test_learning_rates_by_hand():
    def rates(decay):
        schedule = optimization.learning_rate(
            8.0, decay=decay, num_updates=4, halve_at=2
        )
        return [float(schedule(step)) for step in range(7)]

    assert rates("linear") == [8, 6, 4, 2, 0, 0, 0]
    # Keras' boundaries belong to what lies before them.
    assert rates("halve") == [8, 8, 8, 4, 4, 4, 4]
    assert rates("constant") == [8, 8, 8, 8, 8, 8, 8]


# Seeds


def test_noise_is_that_of_the_whole_batch_and_no_function_of_the_crops(two_replicas):
    step = tf.constant(7, tf.int64)
    whole = optimization.batch_noise(4, 2, Z, seed=SEED, step=step)
    parts = two_replicas.run(
        lambda: optimization.batch_noise(2, 2, Z, seed=SEED, step=step)
    ).values
    np.testing.assert_array_equal(whole, tf.concat(parts, axis=0))
    assert np.any(whole != optimization.batch_noise(4, 2, Z, seed=SEED, step=step + 1))
    # Box and Muller's transform makes pairs of normal draws of pairs of uniform ones:
    # z0^2 + z1^2 = -2 ln u0, if both come from one key.
    uniform = tf.random.stateless_uniform([24], tf.stack([SEED, step])).numpy()
    flat = np.ravel(whole)
    related = np.isclose(
        flat[0::2] ** 2 + flat[1::2] ** 2, -2 * np.log(uniform[0::2]), rtol=1e-3
    )
    assert not related.any()


def test_stratified_noise_fills_every_stratum_and_is_normal():
    step = tf.constant(3, tf.int64)
    noise = optimization.batch_noise(500, 4, Z, stratified=True, seed=SEED, step=step)
    noise = np.sort(noise.numpy(), axis=1)
    # The quartiles of the normal distribution are at -0.6745, 0 and 0.6745.
    bounds = [-np.inf, -0.6745, 0.0, 0.6745, np.inf]
    for stratum in range(4):
        inside = noise[:, stratum]
        assert np.all((inside > bounds[stratum]) & (inside < bounds[stratum + 1]))
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.02
    # The mean of M independent ones has a variance of 1 / 4; of one per stratum,
    # (1 - (2 * 1.2711^2 + 2 * 0.3247^2) / 4) / 4 = 0.0348, with the strata's means.
    assert noise.mean(axis=1).var() == pytest.approx(0.0348, rel=0.15)


def test_stratified_noise_pairs_the_dimensions_at_random():
    step = tf.constant(0, tf.int64)
    noise = optimization.batch_noise(2000, 3, 2, stratified=True, seed=SEED, step=step)
    first, second = noise[..., 0].numpy().ravel(), noise[..., 1].numpy().ravel()
    # 6000 pairs: standard deviation of the correlation 0.013.
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_dropout_differs_between_replicas_and_steps(two_replicas):
    def seeds(step):
        return two_replicas.run(
            lambda: optimization.step_seed(SEED, tf.constant(step, tf.int64))
        ).values

    found = {tuple(seed.numpy()) for step in (0, 1) for seed in seeds(step)}
    assert len(found) == 4
    one = optimization.step_seed(SEED, tf.constant(0, tf.int64))
    np.testing.assert_array_equal(one, seeds(0)[0])


# Stage 2


@pytest.fixture(scope="module")
def both(two_replicas):
    """Five steps on one replica, eagerly, and on two, in a single execution."""
    shared = dict(average_decay=0.25, synchronized=True, num_levels=2)
    single = stage_2(**shared)
    double = stage_2(two_replicas, steps_per_execution=5, **shared)
    assert_equal(weights(single.refinement_net), weights(double.refinement_net))
    assert_equal(weights(single.discriminator), weights(double.discriminator))
    nets, means = (single.refinement_net, single.discriminator), []
    states, every = [[trained(net) for net in nets]], [weights(nets[0])]
    for step in range(5):
        with eagerly():
            means.append(fit(single, step + 1, step))
        states.append([trained(net) for net in nets])
        every.append(weights(nets[0]))
    means_of_all = fit(double, 5)
    averages = every, selectable(single), selectable(double)
    return single, states, means, double, means_of_all, averages


def test_averages_follow_a_net_and_its_batch_statistics(both):
    every, of_single, of_double = both[-1]
    expected = averages_by_hand(every, 0.25)
    assert_close(of_single, expected)
    assert changed(expected, every[-1])
    assert_close(of_double, expected, atol=1e-4)


def test_stage_2_gives_equal_weights_on_one_and_two_replicas(both):
    single, states, _, double, *_ = both
    assert changed(states[0][0], states[-1][0])
    assert_close(trained(single.refinement_net), trained(double.refinement_net), 2e-5)
    assert_close(trained(single.discriminator), trained(double.discriminator), 2e-5)
    assert int(single.step.numpy()) == int(double.step.numpy()) == 5


def test_d_is_updated_in_active_steps_alone(both):
    single, states, _, double, *_ = both
    for step in range(5):
        before, after = states[step], states[step + 1]
        assert changed(before[0], after[0])
        assert changed(before[1], after[1]) == (step % PERIOD < ACTIVE)
    # Steps 0 and 3 of 0 to 4; the optimizer of G counts all.
    for trainer in (single, double):
        assert int(trainer.discriminator_optimizer.iterations.numpy()) == 2
        assert int(trainer.generator_optimizer.iterations.numpy()) == 5


def test_d_rests_on_two_replicas_too(both, two_replicas):
    double = both[3]
    double._steps_per_execution.assign(1)
    for step in (5, 6):
        before = trained(double.discriminator)
        fit(double, step + 1, step)
        assert changed(before, trained(double.discriminator)) == (step == 6)


def test_means_of_stage_2_are_over_images(both):
    _, _, means, _, double, _ = both
    names = ["pixel_loss", "adversarial", "discriminator", "r1"]
    assert list(double) == names + ["real_accuracy", "fake_accuracy"]
    for name in double:
        steps = (0, 3) if name not in ("pixel_loss", "adversarial") else range(5)
        expected = np.mean([means[step][name] for step in steps])
        assert double[name] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_f_stays_as_it_was(both):
    single = both[0]
    assert_equal(weights(single.calibration_net), weights(stage_2().calibration_net))
    assert single.calibration_net.trainable_variables == []


# Networks without a neighbourhood, to see exactly where pixels have influence


class Pointwise(keras.Model):
    """A stand-in for G, one 1x1 convolution."""

    noise_dim = Z

    def __init__(self):
        super().__init__()
        self.conv = keras.layers.Conv2D(K, 1, kernel_initializer="random_normal")

    def call(self, image, log_probs, noise, training=False, seed=None, at_once=0):
        num = tf.shape(noise)[1]
        inputs = tf.repeat(tf.concat([image, log_probs], -1)[:, None], num, axis=1)
        shift = tf.reduce_sum(noise, -1)[:, :, None, None, None]
        return self.conv(inputs) * (1 + shift)


def pointwise_trainer(**changes):
    keras.utils.set_random_seed(3)
    net = Pointwise()
    net(image_zeros(3), image_zeros(K), tf.zeros([1, 1, Z]))
    table = np.eye(K)[:4]
    table[:2] = [0.5, 0, 0, 0, 0.5, 0], [0, 0.75, 0, 0, 0, 0.25]
    known = calibration_net.TrueDistribution(table=table)
    return stage_2(calibration_net=known, refinement_net=net, **changes)


def two_steps(trainer, batch):
    for _ in range(2):
        trainer.train_step(batch, True)
    return trained(trainer.refinement_net) + trained(trainer.discriminator)


@pytest.mark.parametrize("pixel_loss", ["calibration", "cross_entropy"])
def test_ignored_pixels_have_no_influence(pixel_loss):
    batch = one_batch()
    ignored = (batch["label"] == 255).numpy()
    assert 0.1 < ignored.mean() < 0.9
    expected = two_steps(pointwise_trainer(pixel_loss=pixel_loss), batch)
    other = dict(batch)
    other["image"] = tf.where(ignored[..., None], 255 - batch["image"], batch["image"])
    other["blackbox"] = tf.where(ignored, 3 - batch["blackbox"], batch["blackbox"])
    assert_equal(two_steps(pointwise_trainer(pixel_loss=pixel_loss), other), expected)
    # All others do have influence.
    other["image"] = tf.where(ignored[..., None], batch["image"], 255 - batch["image"])
    assert changed(two_steps(pointwise_trainer(pixel_loss=pixel_loss), other), expected)


def test_both_of_ds_inputs_are_zero_where_ignored():
    batch = one_batch()
    ignored = (batch["label"] == 255).numpy()
    image, real, samples = stage_2().train_step(batch)
    assert not np.any(image[ignored])
    assert not np.any(real[:, 0][ignored])
    np.testing.assert_allclose(image[~ignored], batch["image"][~ignored] / 127.5 - 1)
    np.testing.assert_array_equal(
        tf.argmax(real[:, 0], -1)[~ignored], batch["label"][~ignored]
    )
    for sample in range(2):
        assert not np.any(samples[:, sample][ignored])
        totals = tf.reduce_sum(samples[:, sample], -1)[~ignored]
        np.testing.assert_allclose(totals, 1, atol=1e-5)


def test_an_image_without_a_labelled_pixel_adds_nothing():
    batch = one_batch()
    label = batch["label"].numpy()
    label[0] = 255
    trainer = pointwise_trainer()
    two_steps(trainer, {**batch, "label": tf.constant(label)})
    for value in trained(trainer.refinement_net) + trained(trainer.discriminator):
        assert np.isfinite(value).all()
    label[:] = 255
    everything = stage_1()
    before = weights(everything.calibration_net)
    everything.train_step({**batch, "label": tf.constant(label)})
    logits = everything.calibration_net.logits_layer
    # Plain descent with a gradient of zero leaves the decay: w - 0.1 * 0.01 * w.
    np.testing.assert_allclose(logits.kernel, 0.999 * before[-2], rtol=1e-5)


def test_g_follows_the_weighted_sum_of_its_losses():
    # Without Ladv's weight D has no say, without Lcal's F has none.
    batch = one_batch()

    def after(**changes):
        trainer = pointwise_trainer(**changes)
        trainer.train_step(batch)
        return trained(trainer.refinement_net)

    start = trained(pointwise_trainer().refinement_net)
    both_losses = after(l2=0.0)
    ladv = after(l2=0.0, calibration_weight=0.0)
    lcal = after(l2=0.0, adversarial_weight=0.0)
    for s, b, a, c in zip(start, both_losses, ladv, lcal):
        assert np.any(a != s) and np.any(c != s)
        # Gradients add up.
        np.testing.assert_allclose(b - s, (a - s) + (c - s), atol=1e-5)
    double = after(l2=0.0, adversarial_weight=20.0, calibration_weight=0.0)
    for s, a, d in zip(start, ladv, double):
        np.testing.assert_allclose(d - s, 2 * (a - s), atol=1e-5)


def test_the_cross_entropy_baseline_is_the_mean_over_samples():
    batch = one_batch()
    trainer = pointwise_trainer(pixel_loss="cross_entropy")
    samples = trainer.train_step(batch)[2].numpy()
    label = batch["label"].numpy()
    each = []
    for b in range(4):
        valid = label[b] != 255
        for m in range(2):
            probs = samples[b, m][valid]
            each.append(-np.log(probs[np.arange(len(probs)), label[b][valid]]).mean())
    got = float(trainer._means["pixel_loss"].result())
    assert got == pytest.approx(np.mean(each), rel=1e-4)


@pytest.mark.parametrize("weight, sure", [(0.0, 1.0), (3.0, 1.0), (0.1, 400.0)])
def test_one_pass_through_d_serves_both_losses(weight, sure):
    # What is left of G's update without Lcal is Ladv's, D resting or not.
    batch, after = one_batch(), []
    for update_discriminator in (False, True):
        # The D that comes after a G of four levels takes its samples for generated.
        shared = dict(calibration_weight=0.0, l2=0.0, num_levels=4)
        trainer = stage_2(adversarial_weight=weight, **shared)
        # The last one is so sure that its loss has no slope left in float32.
        kernel = trainer.discriminator.logit_layer.kernel
        kernel.assign(sure * kernel)
        start = trained(trainer.refinement_net), trained(trainer.discriminator)
        trainer.train_step(batch, update_discriminator)
        after.append(trained(trainer.refinement_net))
        assert changed(start[0], after[-1]) == (weight > 0)
        assert changed(start[1], trained(trainer.discriminator)) == update_discriminator
    assert float(trainer._means["adversarial"].result()) > (50 if sure > 1 else 0)
    moved = max(np.abs(value - was).max() for value, was in zip(after[0], start[0]))
    assert_close(*after, atol=1e-6 + 1e-5 * moved)


def test_samples_in_turn_make_the_same_step():
    batch, after = one_batch(), []
    for at_once in (0, 1, 2):
        # Of three levels, the first and the last are not as the one between them.
        trainer = stage_2(num_samples=4, num_levels=3, samples_at_once=at_once)
        nets = trainer.refinement_net, trainer.discriminator
        start = [value for net in nets for value in weights(net)]
        trainer.train_step(batch, True)
        trainer.step.assign_add(1)
        trainer.train_step(batch)
        after.append([value for net in nets for value in weights(net)])
        assert changed(start, after[-1])
    assert_close(after[0], after[1], atol=2e-5)
    assert_close(after[0], after[2], atol=2e-5)


def test_samples_in_turn_in_the_graph_of_two_replicas(two_replicas):
    shared = dict(samples_at_once=1, rests={"period": 1})
    one, two = stage_2(**shared), stage_2(two_replicas, **shared)
    one.train_step(next(iter(batches(1))), True), fit(two, 1)
    assert_close(trained(one.refinement_net), trained(two.refinement_net), 2e-5)
    assert_close(trained(one.discriminator), trained(two.discriminator), 2e-5)


def test_float16_keeps_ladv_where_d_is_sure():
    batch, moved = one_batch(), []
    for policy in ("float32", "mixed_float16"):
        keras.mixed_precision.set_global_policy(policy)
        try:
            trainer = stage_2(calibration_weight=0.0, l2=0.0)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        if policy != "float32":
            trainer.generator_optimizer = keras.mixed_precision.LossScaleOptimizer(
                trainer.generator_optimizer
            )
        # Slopes of 1e-4, of which float16 would keep nothing without its loss scale.
        trainer.discriminator.logit_layer.bias.assign([9.0])
        before = trained(trainer.refinement_net)
        trainer.train_step(batch)
        after = trained(trainer.refinement_net)
        moved.append(np.concatenate([np.ravel(a - b) for a, b in zip(after, before)]))
    full, half = moved
    assert np.linalg.norm(half - full) < 0.1 * np.linalg.norm(full)


# R1


class SmoothDiscriminator(keras.Model):
    """D(x, y) = v . tanh(A x + B y) in float64."""

    def __init__(self, image, label, out):
        super().__init__(dtype=tf.float64)
        self.image, self.label, self.out = (
            tf.Variable(value, dtype=tf.float64) for value in (image, label, out)
        )

    def call(self, image, label_maps):
        image = tf.reshape(image, [len(image), 1, -1])
        maps = tf.reshape(label_maps, [*label_maps.shape[:2], -1])
        hidden = tf.tanh(image @ self.image + maps @ self.label)
        return tf.linalg.matvec(hidden, self.out)

    def heads(self, image, label_maps):
        return [self(image, label_maps)]


def test_ds_update_follows_finite_differences_of_its_loss_with_r1():
    rng = np.random.default_rng(3)
    batch, num, gamma = 2, 3, 10.0
    image = rng.normal(size=(batch, 1, 2, 1))
    real = rng.normal(size=(batch, 1, 1, 2, 2))
    samples = rng.normal(size=(batch, num, 1, 2, 2))
    start = [rng.normal(size=s) for s in ((2, 3), (4, 3), (3,))]

    def objective(values):
        """Loss of D with the gradient of R1 worked out: v * (1 - tanh^2) times A, B."""
        a, b, v = values

        def hidden(x, y):
            return np.tanh(x.reshape(-1) @ a + y.reshape(-1) @ b)

        total = 0.0
        for index in range(batch):
            h = hidden(image[index], real[index, 0])
            slope = v * (1 - h**2)
            squared = np.sum((a @ slope) ** 2) + np.sum((b @ slope) ** 2)
            fakes = [hidden(image[index], samples[index, m]) @ v for m in range(num)]
            total += np.logaddexp(0, -h @ v) + np.mean(np.logaddexp(0, fakes))
            total += gamma / 2 * squared
        return total / batch

    judge = SmoothDiscriminator(*start)
    trainer = stage_2(judge=judge, r1_gamma=gamma, l2=0.0, rate=1.0)
    trainer.discriminator_step(*(tf.constant(v) for v in (image, real, samples)))
    for place, variable in enumerate(judge.trainable_variables):
        descent = start[place] - variable.numpy()
        for index in np.ndindex(*descent.shape):
            values = [value.copy() for value in start]
            values[place][index] += 1e-6
            above = objective(values)
            values[place][index] -= 2e-6
            slope = (above - objective(values)) / 2e-6
            assert descent[index] == pytest.approx(slope, rel=1e-5, abs=1e-7)


# NaN


def test_a_nan_stops_stage_1_and_names_the_term():
    trainer, batch = stage_1(), one_batch()
    image = tf.tensor_scatter_nd_update(
        batch["image"], [[1, 15, 15, 0]], [float("nan")]
    )
    before = trained(trainer.calibration_net)
    with pytest.raises(tf.errors.InvalidArgumentError, match="cross_entropy is not"):
        trainer.train_step({**batch, "image": image})
    assert_equal(before, trained(trainer.calibration_net))


def test_a_nan_stops_stage_2_and_names_the_term():
    trainer, batch = pointwise_trainer(), one_batch()
    trainer.refinement_net.conv.kernel.assign(
        float("nan") * trainer.refinement_net.conv.kernel
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="calibration is not"):
        trainer.train_step(batch)


@pytest.mark.parametrize("r1_gamma, term", [(10.0, "discriminator")])
def test_a_nan_stops_ds_update_and_names_the_term(r1_gamma, term):
    trainer, batch = pointwise_trainer(r1_gamma=r1_gamma), one_batch()
    pair = trainer.train_step(batch)
    bias = trainer.discriminator.logit_layer.bias
    bias.assign([float("nan")])
    before = trained(trainer.discriminator)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"{term} is not"):
        trainer.discriminator_step(*pair)
    assert_equal(before[:-1], trained(trainer.discriminator)[:-1])
