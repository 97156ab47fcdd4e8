"""Both stages of the 1-D regression, for R stacked runs (CAR, Algorithm 1).

As in segmentation, stage 1 trains F with Lce and stage 2 trains G and D with F frozen;
the losses are the same functions, with Gaussians of unit scale (CAR, A.2). They see
the runs folded into the batch, `[R * B, ...]`. The sum over runs of each run's mean
loss gives every run the gradient that it would have alone, and Adam works element by
element: one update of the stacked weights is one update of each run.
"""

from __future__ import annotations

from typing import Dict, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from car_tf import losses
from car_tf.experiment.regression import bimodal
from car_tf.models.keras_api import keras

tfd = tfp.distributions


def _fold(values: tf.Tensor) -> tf.Tensor:
    """Folds the runs into the batch: `[R, B, ...]` to `[R * B, ...]`."""
    return tf.reshape(values, [-1, *values.shape[2:]])


def _adam(learning_rate: float, variables: Sequence[tf.Variable]):
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
    optimizer.build(variables)
    return optimizer


class _StackedTrainer(keras.Model):
    """What the stages share: the step, the data, and each run's last losses."""

    def __init__(
        self,
        *,
        source: bimodal.Bimodal,
        batch_size: int,
        steps_per_block: int,
        loss_names: Sequence[str],
        name: str,
    ):
        super().__init__(name=name)
        self.source = source
        self.num_runs = len(source.keys)
        self.batch_size = batch_size
        self.steps_per_block = steps_per_block
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.last_losses = {
            loss: tf.Variable(tf.zeros([self.num_runs]), trainable=False, name=loss)
            for loss in loss_names
        }

    def _per_run(self, name: str, per_example: tf.Tensor) -> tf.Tensor:
        """Averages `[R * B]` losses over each run's batch and keeps them by name."""
        each = tf.reshape(per_example, [self.num_runs, self.batch_size])
        means = tf.reduce_mean(each, axis=1)
        self.last_losses[name].assign(means)
        return means

    def draw(self) -> Sequence[tf.Tensor]:
        """Draws what the next block of steps needs, `[R, steps_per_block, B, ...]`."""
        return self.source.batches(self.step, self.steps_per_block, self.batch_size)

    def advance(self, num_blocks: tf.Tensor) -> None:
        """Trains for `num_blocks` blocks of steps; for use inside a `tf.function`."""

        def one_block(block: tf.Tensor) -> Sequence[tf.Tensor]:
            data = self.draw()

            def one_step(index: tf.Tensor) -> Sequence[tf.Tensor]:
                self.train_step([part[:, index] for part in data])
                return [index + 1]

            tf.while_loop(lambda i: i < self.steps_per_block, one_step, [0])
            self.step.assign_add(self.steps_per_block)
            self.end_block()
            return [block + 1]

        tf.while_loop(lambda block: block < num_blocks, one_block, [0])

    def end_block(self) -> None:
        """Is called after each block of steps."""


class CalibrationTrainer(_StackedTrainer):
    """Stage 1: trains R networks F."""

    def __init__(
        self,
        *,
        calibration_net: keras.Model,
        source: bimodal.Bimodal,
        batch_size: int,
        steps_per_block: int,
        learning_rate: float,
    ):
        super().__init__(
            source=source,
            batch_size=batch_size,
            steps_per_block=steps_per_block,
            loss_names=["cross_entropy"],
            name="calibration_trainer",
        )
        self.calibration_net = calibration_net
        self.calibration_net(tf.zeros([self.num_runs, 1]))
        self.optimizer = _adam(learning_rate, calibration_net.trainable_variables)

    def train_step(self, data: Sequence[tf.Tensor]) -> Dict[str, tf.Variable]:
        """Makes one update of F.

        Args:
          data: x and y, `[R, B]` each.

        Returns:
          The losses before the update by name, `[R]`, nats.
        """
        x, y = data
        variables = self.calibration_net.trainable_variables
        with tf.GradientTape() as tape:
            likelihood = tfd.Normal(_fold(self.calibration_net(x)), 1.0)
            cross_entropy = losses.cross_entropy(likelihood, _fold(y))
            loss = tf.reduce_sum(self._per_run("cross_entropy", cross_entropy))
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))
        return self.last_losses


class RefinementTrainer(_StackedTrainer):
    """Stage 2: trains R networks G and D; keeps the log-likelihood curves."""

    def __init__(
        self,
        *,
        calibration_net: keras.Model,
        refinement_net: keras.Model,
        discriminator: keras.Model,
        source: bimodal.Bimodal,
        noise_keys: Sequence[int],
        evaluation_keys: Sequence[int],
        calibration_weight: Sequence[float],
        num_samples: int,
        batch_size: int,
        learning_rate: float,
        num_steps: int,
        steps_per_block: int,
        num_points: int,
    ):
        """Makes the trainer.

        Args:
          calibration_net: F, which is not trained here.
          refinement_net: G.
          discriminator: D.
          source: the data.
          noise_keys: R integers for z of the training steps.
          evaluation_keys: R integers for z of the evaluations.
          calibration_weight: R values of lambda.
          num_samples: M.
          batch_size: B, per run.
          learning_rate: of G and of D.
          num_steps: planned length.
          steps_per_block: steps between evaluations.
          num_points: values of x in an evaluation.
        """
        super().__init__(
            source=source,
            batch_size=batch_size,
            steps_per_block=steps_per_block,
            loss_names=["adversarial", "calibration", "discriminator"],
            name="refinement_trainer",
        )
        self.calibration_net = calibration_net
        self.refinement_net = refinement_net
        self.discriminator = discriminator
        one = tf.zeros([self.num_runs, 1])
        refinement_net(one, calibration_net(one), one[..., None])
        discriminator(one, one[..., None])
        self.calibration_net.trainable = False
        self.noise_keys = tuple(noise_keys)
        self.evaluation_keys = tuple(evaluation_keys)
        self.calibration_weight = tf.constant(calibration_weight, tf.float32)
        self.num_samples = num_samples
        points = tf.constant(bimodal.midpoints(num_points))[None]
        self.points = tf.repeat(points, self.num_runs, axis=0)
        self.points_mean = tf.Variable(
            calibration_net(self.points), trainable=False, name="points_mean"
        )
        self.generator_optimizer = _adam(
            learning_rate, refinement_net.trainable_variables
        )
        self.discriminator_optimizer = _adam(
            learning_rate, discriminator.trainable_variables
        )
        num_evaluations = num_steps // steps_per_block + 1
        # Part of the state, so that a resumed run needs no other record.
        self.log_likelihood = tf.Variable(
            tf.zeros([num_evaluations, self.num_runs]),
            trainable=False,
            name="log_likelihood",
        )

    def draw(self) -> Sequence[tf.Tensor]:
        """Draws x, y and z for the next block of steps."""
        shape = [self.steps_per_block, self.batch_size, self.num_samples]
        noise = bimodal.stacked_normal(self.noise_keys, self.step, shape)
        return [*super().draw(), noise]

    def train_step(self, data: Sequence[tf.Tensor]) -> Dict[str, tf.Variable]:
        """Makes one update of G and one of D, on the same samples.

        Args:
          data: x and y, `[R, B]` each, and z, `[R, B, M]`.

        Returns:
          The losses before the update by name, `[R]`, nats.
        """
        x, y, noise = data
        mean = self.calibration_net(x)
        target = tfd.Normal(_fold(mean), 1.0)
        with tf.GradientTape(persistent=True) as tape:
            samples = self.refinement_net(x, mean, noise)
            fake_logits = _fold(self.discriminator(x, samples))
            real_logits = _fold(self.discriminator(x, y[..., None]))[:, 0]
            sample_mean = tfd.Normal(tf.reduce_mean(_fold(samples), axis=1), 1.0)
            calibration = losses.calibration(sample_mean, target)
            calibration = self._per_run("calibration", calibration)
            calibration = self.calibration_weight * calibration
            adversarial = losses.adversarial(fake_logits)
            adversarial = self._per_run("adversarial", adversarial)
            judged = losses.discriminator(real_logits, fake_logits)
            judged = self._per_run("discriminator", judged)
        # Both losses reach a sample through its logit alone, so that one backward pass
        # through D serves both: what D's loss sends to a sample, times the ratio of
        # the losses' derivatives by its logit, is what the adversarial loss sends.
        weights = self.discriminator.trainable_variables
        to_samples, to_logits, *gradients = tape.gradient(
            judged, [samples, fake_logits, *weights]
        )
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
        # Below a logit of -87 float32 has no gradient of D left to scale.
        ratio = tf.math.divide_no_nan(
            tape.gradient(adversarial, fake_logits), to_logits
        )
        to_samples *= tf.reshape(ratio, samples.shape)
        to_samples += tape.gradient(calibration, samples)
        weights = self.refinement_net.trainable_variables
        gradients = tape.gradient(samples, weights, output_gradients=to_samples)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        return self.last_losses

    def take_calibration(self, weights: Sequence[np.ndarray]) -> None:
        """Takes the weights of F over from stage 1, `[R, ...]` each."""
        self.calibration_net.set_weights(weights)
        self.points_mean.assign(self.calibration_net(self.points))

    def sample(self, num_samples: int) -> tf.Tensor:
        """Draws from G at the evaluation's points, `[R, num_points, num_samples]`."""
        noise = bimodal.stacked_normal(
            self.evaluation_keys, self.step, [self.points.shape[1], num_samples]
        )
        return self.refinement_net(self.points, self.points_mean, noise)

    def end_block(self) -> None:
        """Records the log-likelihood of one sample per x."""
        value = self.source.log_likelihood(self.points, self.sample(1)[..., 0])
        self.log_likelihood[self.step // self.steps_per_block].assign(value)
