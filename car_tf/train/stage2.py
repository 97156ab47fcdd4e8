"""Stage 2: trains G and D with F frozen (CAR, Algorithm 1, lines 6-15)."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

import tensorflow as tf
import tensorflow_probability as tfp

from car_tf import losses
from car_tf.models import layers, recompute
from car_tf.models.keras_api import keras
from car_tf.train import optimization

# The least slope of D's loss by the logit of a sample. Too little to move D, it leaves
# something for Ladv to scale up where D is sure, and the slope itself would be zero.
SLOPE_FLOOR = 1e-9


class RefinementTrainer(keras.Model):
    """Holds F, G, D, the optimisers and the step counter.

    Each step updates G; D is updated in the first `discriminator_active` of every
    `discriminator_period` steps, on the samples that G has just drawn. The choice is
    made outside the replicas (`make_train_function`), because a condition around an
    optimiser's update inside one cannot be distributed; while D rests, nothing of its
    update is computed.

    With a `posterior_net` z comes from q(z | x, y), which is trained together with G:
    the pixel loss is then the negative ELBO of the cVAE-GAN (CAR, Eq. 20).
    """

    def __init__(
        self,
        *,
        calibration_net: keras.Model,
        refinement_net: keras.Model,
        discriminator: keras.Model,
        num_classes: int,
        num_blackbox_classes: int,
        num_samples: int,
        adversarial_weight: float,
        calibration_weight: float,
        pixel_loss: str,
        r1_gamma: float,
        discriminator_active: int,
        discriminator_period: int,
        l2: float,
        seed: int,
        posterior_net: Optional[keras.Model] = None,
        kl_weight: float = 0.0,
        stratified_noise: bool = False,
        samples_at_once: int = 0,
        average_decay: float = 0.0,
    ):
        super().__init__(name="refinement_trainer")
        self.calibration_net = calibration_net
        self.calibration_net.trainable = False
        self.refinement_net = refinement_net
        self.discriminator = discriminator
        self.posterior_net = posterior_net
        self.kl_weight = kl_weight
        self.stratified_noise = stratified_noise
        self.samples_at_once = samples_at_once
        self.average_decay = average_decay
        averaged = refinement_net.variables if average_decay else []
        self.averages = [tf.Variable(value, trainable=False) for value in averaged]
        self.num_classes = num_classes
        self.num_blackbox_classes = num_blackbox_classes
        self.num_samples = num_samples
        self.adversarial_weight = adversarial_weight
        self.calibration_weight = calibration_weight
        self.pixel_loss = pixel_loss
        self.r1_gamma = r1_gamma
        self.discriminator_active = discriminator_active
        self.discriminator_period = discriminator_period
        self.l2 = l2
        self.seed = seed
        self.step = tf.Variable(
            0,
            dtype=tf.int64,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="step",
        )
        names = ("pixel_loss", "adversarial", "discriminator", "r1")
        names += ("real_accuracy", "fake_accuracy")
        if posterior_net is not None:
            names += ("complexity",)
        self._means = {name: keras.metrics.Mean(name) for name in names}

    def compile(self, *, generator_optimizer, discriminator_optimizer, **kwargs):
        """Takes the two optimisers; other arguments as in `keras.Model.compile`."""
        super().compile(**kwargs)
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer

    @property
    def generator_variables(self) -> List[tf.Variable]:
        """What G's optimiser updates: G, and the posterior where there is one."""
        posterior = self.posterior_net
        extra = [] if posterior is None else posterior.trainable_variables
        return [*self.refinement_net.trainable_variables, *extra]

    @property
    def selectable(self) -> List[tf.Variable]:
        """What is to be used of G: its variables, or their averages, in G's order."""
        return self.averages or self.refinement_net.variables

    @property
    def metrics(self) -> list:
        """Metrics that `fit` resets at the start of an epoch."""
        return list(self._means.values())

    def results(self) -> Dict[str, tf.Tensor]:
        """Returns the running means since the start of the epoch."""
        return {name: mean.result() for name, mean in self._means.items()}

    def train_step(
        self, data: Dict[str, tf.Tensor], update_discriminator: bool = False
    ) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Makes one update of G and, if asked, one of D on the same samples.

        Args:
          data: this replica's part of a batch of `pipeline.training_batches`.
          update_discriminator: whether D is updated.

        Returns:
          What D has judged, ignored pixels zeroed in all three: the image
          `[B, H, W, C]`, the one-hot label `[B, 1, H, W, K]` and the samples
          `[B, M, H, W, K]`.
        """
        image, label, blackbox, valid_mask = optimization.prepare(
            data, num_blackbox_classes=self.num_blackbox_classes
        )
        logits = tf.cast(self.calibration_net(image, blackbox), tf.float32)
        log_probs = tf.stop_gradient(tf.nn.log_softmax(logits))
        noise = optimization.batch_noise(
            image.shape[0],
            self.num_samples,
            self.refinement_net.noise_dim,
            stratified=self.stratified_noise,
            seed=self.seed,
            step=self.step,
        )
        seed = optimization.step_seed(self.seed, self.step)
        masked_image = image * valid_mask[..., None]
        real = tf.one_hot(label, self.num_classes) * valid_mask[..., None]
        variables = self.generator_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            complexity = None
            if self.posterior_net is not None:
                mean, std = self.posterior_net(
                    image, log_probs, real, training=True, seed=seed
                )
                noise = layers.reparameterize(mean, std, noise)
                complexity = losses.complexity(mean, std)
            logits = self.refinement_net(
                image,
                log_probs,
                noise,
                training=True,
                seed=seed,
                at_once=self.samples_at_once,
            )
            sample_log_probs = tf.nn.log_softmax(logits)
            samples = tf.exp(sample_log_probs) * valid_mask[:, None, ..., None]
            pixel = self._pixel_loss(sample_log_probs, log_probs, label, valid_mask)
            if complexity is not None:
                pixel += self.kl_weight * complexity
            pixel = optimization.finite(pixel, self.pixel_loss)
            loss = tf.nn.compute_average_loss(self.calibration_weight * pixel)
            loss = optimization.scaled(self.generator_optimizer, loss)
        drawn = tf.stop_gradient(samples)
        judged = masked_image, real[:, None], drawn
        if update_discriminator and not optimization.scales(self.generator_optimizer):
            fake_logits, to_samples = self.discriminator_step(*judged)
            to_samples *= self.adversarial_weight
        else:
            fake_logits, to_samples = self._judge(masked_image, drawn)
            if update_discriminator:
                self.discriminator_step(*judged)
        adversarial = optimization.finite(
            losses.adversarial(fake_logits), "adversarial"
        )
        gradients = tape.gradient(
            [loss, samples], variables, output_gradients=[tf.ones([]), to_samples]
        )
        optimization.update(self.generator_optimizer, gradients, variables, l2=self.l2)
        self._means["adversarial"].update_state(adversarial)
        self._means["pixel_loss"].update_state(pixel)
        if complexity is not None:
            self._means["complexity"].update_state(complexity)
        return judged

    def _judge(
        self, image: tf.Tensor, samples: tf.Tensor
    ) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns D's logits, and what G's loss sends to the samples through D."""
        logits, to_samples = [], []
        for part in self._parts(samples):
            (part,) = recompute.after(to_samples[-1:], [part])
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(part)
                logits.append(self.discriminator(image, part))
                loss = self.adversarial_weight * losses.adversarial(logits[-1])
                # Before D, in whose float16 a gradient of its own size would vanish.
                loss = optimization.scaled(
                    self.generator_optimizer, tf.nn.compute_average_loss(loss)
                )
            to_samples.append(tape.gradient(loss, part))
        return tf.concat(logits, 1), tf.concat(to_samples, 1) / len(logits)

    def _parts(self, samples: tf.Tensor) -> List[tf.Tensor]:
        """Divides `[B, M, ...]` by the number of samples that are kept at once."""
        at_once = self.samples_at_once or self.num_samples
        return tf.split(samples, max(samples.shape[1] // at_once, 1), axis=1)

    def _pixel_loss(self, sample_log_probs, log_probs, label, valid_mask) -> tf.Tensor:
        if self.pixel_loss == "calibration":
            target = tfp.distributions.Categorical(logits=log_probs)
            sample_mean = losses.categorical_mean(sample_log_probs)
            return losses.calibration(sample_mean, target, valid_mask)
        each = tfp.distributions.Categorical(logits=sample_log_probs)
        shape = tf.shape(sample_log_probs)[:-1]
        label = tf.broadcast_to(label[:, None], shape)
        mask = tf.broadcast_to(valid_mask[:, None], shape)
        return losses.cross_entropy(each, label, mask)

    def discriminator_step(
        self, image: tf.Tensor, real: tf.Tensor, samples: tf.Tensor
    ) -> Tuple[tf.Tensor, tf.Tensor]:
        """Makes one update of D; arguments as `train_step` returns them.

        Both losses reach a sample through its logit alone, so that one pass through D
        serves both: what D's loss sends back to a sample, times the ratio of the
        losses' derivatives by its logit, is what Ladv sends.

        Returns:
          D's logits of the samples and the gradient of Ladv by the samples, both before
          the update; the gradient is worth nothing where losses are scaled, whose
          float16 has no digits left for samples that D is sure of.
        """
        judge = self.discriminator
        variables = judge.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch([image, real])
                real_logits = judge(image, real)[:, 0]
            r1 = losses.r1_penalty(inner.gradient(real_logits, [image, real]))
            r1 = optimization.finite(r1, "r1")
            loss = losses.judged_real(real_logits) + self.r1_gamma * r1
            loss = optimization.scaled(
                self.discriminator_optimizer, tf.nn.compute_average_loss(loss)
            )
        gradients = tape.gradient(loss, variables)
        logits, to_samples = [], []
        parts = self._parts(samples)
        for part in parts:
            (part,) = recompute.after(to_samples[-1:], [part])
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([part, *variables])
                fake = judge(image, part)
                loss = losses.judged_fake(fake) + SLOPE_FLOOR * tf.reduce_mean(fake, 1)
                loss = tf.nn.compute_average_loss(loss / len(parts))
                loss = optimization.scaled(self.discriminator_optimizer, loss)
            to_part, *to_variables = tape.gradient(loss, [part, *variables])
            ratio = -tf.sigmoid(-fake) / (tf.sigmoid(fake) + SLOPE_FLOOR)
            to_samples.append(to_part * ratio[..., None, None, None])
            gradients = [sum(pair) for pair in zip(gradients, to_variables)]
            logits.append(fake)
        fake_logits = tf.concat(logits, axis=1)
        judged = losses.discriminator(real_logits, fake_logits)
        judged = optimization.finite(judged, "discriminator")
        optimization.update(
            self.discriminator_optimizer, gradients, variables, l2=self.l2
        )
        self._means["discriminator"].update_state(judged)
        self._means["r1"].update_state(r1)
        self._means["real_accuracy"].update_state(tf.cast(real_logits > 0, tf.float32))
        self._means["fake_accuracy"].update_state(tf.cast(fake_logits < 0, tf.float32))
        return fake_logits, tf.concat(to_samples, axis=1)

    def _update_averages(self) -> None:
        """Moves the averages towards G, outside the replicas; at first they follow."""
        step = tf.cast(self.step, tf.float32)
        decay = tf.minimum(self.average_decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.averages, self.refinement_net.variables):
            average.assign(decay * average + (1.0 - decay) * variable)

    def make_train_function(self, force: bool = False) -> Callable:
        """Builds the function that `fit` calls; see the class's docstring."""
        if self.train_function is not None and not force:
            return self.train_function
        strategy = self.distribute_strategy

        # Returns nothing: XLA would keep all samples to hand them out.
        def replica_step(batch, update_discriminator: bool) -> None:
            self.train_step(batch, update_discriminator)

        if self._jit_compile:
            replica_step = tf.function(replica_step, jit_compile=True)

        def one_step(iterator) -> None:
            batch = next(iterator)

            def step(update_discriminator: bool) -> bool:
                strategy.run(replica_step, args=(batch, update_discriminator))
                return update_discriminator

            active, period = self.discriminator_active, self.discriminator_period
            if active < period:
                now = self.step % period < active
                tf.cond(now, lambda: step(True), lambda: step(False))
            else:
                step(True)
            self.step.assign_add(1)
            self._update_averages()

        @tf.function(reduce_retracing=True)
        def train_function(iterator) -> Dict[str, tf.Tensor]:
            for _ in tf.range(self._steps_per_execution):
                one_step(iterator)
            results = self.results()
            return optimization.finite_means(results) if self._jit_compile else results

        self.train_function = self.train_tf_function = train_function
        return train_function
