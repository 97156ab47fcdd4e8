"""Both stages of the 1-D regression, for R stacked runs (CAR, Algorithm 1).

As in segmentation, stage 1 trains F with Lce and stage 2 trains G and D with F frozen;
the losses are the same functions, with Gaussians of unit scale (CAR, A.2). They see
the runs folded into the batch, `[R * B, ...]`. The sum over runs of each run's mean
loss gives every run the gradient that it would have alone, and Adam works element by
element: one update of the stacked weights is one update of each run.
"""

from __future__ import annotations

from typing import List, Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from car_tf import losses
from car_tf.experiment.regression import bimodal
from car_tf.experiment.regression import config as regression_config
from car_tf.experiment.regression import stacked_mlp
from car_tf.models.keras_api import keras

tfd = tfp.distributions


def _fold(values: tf.Tensor) -> tf.Tensor:
    """Folds the runs into the batch: `[R, B, ...]` to `[R * B, ...]`."""
    return tf.reshape(values, [-1, *values.shape[2:]])


def _net(config, problems, name, num_inputs, activation=stacked_mlp.LEAKY_RELU):
    return stacked_mlp.StackedMLP(
        keys=[problem.key(name) for problem in problems],
        num_inputs=num_inputs,
        hidden_layers=config.networks.hidden_layers,
        hidden_units=config.networks.hidden_units,
        activation=activation,
        name=name,
    )


def _adam(learning_rate: float, net: keras.Model) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.Adam(learning_rate, epsilon=1e-8)
    optimizer.build(net.trainable_variables)
    return optimizer


class _StackedTrainer(keras.Model):
    """What the stages share: the step, the data, and each run's last losses."""

    LOSSES: Sequence[str] = ()

    def __init__(
        self,
        config: regression_config.Regression,
        problems: Sequence[regression_config.Problem],
        *,
        stage: int,
        name: str,
    ):
        super().__init__(name=name)
        self.source = bimodal.Bimodal(problems, f"data of stage {stage}")
        self.num_runs = len(problems)
        self.batch_size = (config.stage1, config.stage2)[stage - 1].batch_size
        self.steps_per_block = config.evaluation.every
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.last_losses = {
            name: tf.Variable(tf.zeros([self.num_runs]), trainable=False, name=name)
            for name in self.LOSSES
        }

    def _per_run(self, name: str, per_example: tf.Tensor) -> tf.Tensor:
        """Averages `[R * B]` losses over each run's batch and keeps them by name."""
        each = tf.reshape(per_example, [self.num_runs, self.batch_size])
        means = tf.reduce_mean(each, axis=1)
        self.last_losses[name].assign(means)
        return means

    def draw(self) -> List[tf.Tensor]:
        """Draws x and y of the next block of steps, `[R, steps_per_block, B]` each."""
        return [*self.source.batches(self.step, self.steps_per_block, self.batch_size)]

    def train_block(self) -> None:
        """Makes `steps_per_block` updates; for use inside a `tf.function`."""
        data = self.draw()

        def one_step(index: tf.Tensor) -> List[tf.Tensor]:
            self.train_step([part[:, index] for part in data])
            return [index + 1]

        tf.while_loop(lambda index: index < self.steps_per_block, one_step, [0])
        self.step.assign_add(self.steps_per_block)


class CalibrationTrainer(_StackedTrainer):
    """Stage 1: trains R networks F."""

    LOSSES = ("cross_entropy",)

    def __init__(
        self,
        config: regression_config.Regression,
        problems: Sequence[regression_config.Problem],
    ):
        super().__init__(config, problems, stage=1, name="stage 1")
        net = _net(config, problems, "CalibrationNet", 1, tf.nn.relu)
        self.calibration_net = net
        self.optimizer = _adam(config.stage1.learning_rate, net)

    def train_step(self, data: Sequence[tf.Tensor]) -> None:
        """Makes one update of F on x and y, `[R, B]` each."""
        x, y = data
        variables = self.calibration_net.trainable_variables
        with tf.GradientTape() as tape:
            likelihood = tfd.Normal(_fold(self.calibration_net(x)), 1.0)
            cross_entropy = losses.cross_entropy(likelihood, _fold(y))
            loss = tf.reduce_sum(self._per_run("cross_entropy", cross_entropy))
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables))


class RefinementTrainer(_StackedTrainer):
    """Stage 2: trains R networks G and D; keeps the log-likelihood curves."""

    LOSSES = ("adversarial", "calibration", "discriminator")

    def __init__(
        self,
        config: regression_config.Regression,
        problems: Sequence[regression_config.Problem],
        calibration_net: keras.Model,
        *,
        calibration_weight: float,
    ):
        """Makes the trainer of R problems' G and D, on an F that is not trained here."""
        settings, evaluation = config.stage2, config.evaluation
        name = f"stage 2, lambda {calibration_weight:g}"
        super().__init__(config, problems, stage=2, name=name)
        self.calibration_net = calibration_net
        self.refinement_net = _net(config, problems, "RefinementNet", 3)
        self.discriminator = _net(config, problems, "Discriminator", 2)
        self.noise_keys = tuple(problem.key("noise") for problem in problems)
        self.evaluation_keys = tuple(problem.key("evaluation") for problem in problems)
        self.calibration_weight = calibration_weight
        # Without Lcal nothing is averaged.
        self.num_samples = settings.num_samples if calibration_weight else 1
        points = tf.constant(bimodal.midpoints(evaluation.num_points))[None]
        self.points = tf.repeat(points, self.num_runs, axis=0)
        self.points_mean = tf.Variable(tf.zeros_like(self.points), trainable=False)
        rate = settings.learning_rate
        self.generator_optimizer = _adam(rate, self.refinement_net)
        self.discriminator_optimizer = _adam(rate, self.discriminator)
        # Part of the state, so that a resumed run needs no other record.
        num_evaluations = settings.steps // evaluation.every + 1
        self.log_likelihood = tf.Variable(
            tf.zeros([num_evaluations, self.num_runs]), trainable=False
        )

    def draw(self) -> List[tf.Tensor]:
        """Draws x, y and z `[R, steps_per_block, B, M]` of the next block of steps."""
        shape = [self.steps_per_block, self.batch_size, self.num_samples]
        noise = bimodal.draw(bimodal.NORMAL, self.noise_keys, self.step, shape)
        return [*super().draw(), noise]

    def train_step(self, data: Sequence[tf.Tensor]) -> None:
        """Makes one update of G and one of D, on the same samples.

        Of x and y, `[R, B]` each, and z, `[R, B, M]`.
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

    def sample(self, num_samples: int) -> tf.Tensor:
        """Draws from G at the evaluation's points, `[R, num_points, num_samples]`."""
        shape = [self.points.shape[1], num_samples]
        noise = bimodal.draw(bimodal.NORMAL, self.evaluation_keys, self.step, shape)
        return self.refinement_net(self.points, self.points_mean, noise)

    def begin(self) -> None:
        """Evaluates F, whose training has ended, and G before its own."""
        self.points_mean.assign(self.calibration_net(self.points))
        self._evaluate()

    def train_block(self) -> None:
        """Makes `steps_per_block` updates and an evaluation."""
        super().train_block()
        self._evaluate()

    def _evaluate(self) -> None:
        """Records the log-likelihood of one sample per x."""
        value = self.source.log_likelihood(self.points, self.sample(1)[..., 0])
        self.log_likelihood[self.step // self.steps_per_block].assign(value)
