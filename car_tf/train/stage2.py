"""Stage 2: trains G and D with F frozen (CAR, Algorithm 1, lines 6-15)."""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Tuple

import tensorflow as tf
import tensorflow_probability as tfp

from car_tf import losses
from car_tf.models import averages as weight_averages
from car_tf.models import layers, recompute
from car_tf.models.keras_api import keras
from car_tf.train import augmentation, balance, optimization


class RefinementTrainer(keras.Model):
    """Holds F, G, D, the optimisers and the step counter.

    Each step updates G, and D on the samples that G has just drawn, but for those in
    which one of them rests (`balance`). The choice is made outside the replicas
    (`make_train_function`), because a condition around an optimiser's update inside one
    cannot be distributed; while one rests, nothing of its update is computed.

    With `hard_samples` D and Lcal see one-hot maps, the arg-max of what G gives, and
    gradients go through them as if they were its probabilities: what is judged and
    calibrated is then what is scored and used.

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
        balance: balance.Balance,
        l2: float,
        seed: int,
        posterior_net: Optional[keras.Model] = None,
        kl_weight: float = 0.0,
        stratified_noise: bool = False,
        samples_at_once: int = 0,
        average_decay: float = 0.0,
        hard_samples: bool = False,
        paired: bool = False,
        r1_every: int = 1,
        augment: bool = False,
        energy_weight: float = 0.0,
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
        self.hard_samples = hard_samples
        self.paired = paired
        self.balance = balance
        self.r1_every = r1_every
        self.augment = augment
        self.energy_weight = energy_weight
        averaged = refinement_net.variables if average_decay else []
        self.averages = [tf.Variable(value, trainable=False) for value in averaged]
        self.num_classes = num_classes
        self.num_blackbox_classes = num_blackbox_classes
        self.num_samples = num_samples
        self.adversarial_weight = adversarial_weight
        self.calibration_weight = calibration_weight
        self.pixel_loss = pixel_loss
        self.r1_gamma = r1_gamma
        self.l2 = l2
        self.seed = seed
        self.step = optimization.step_counter()
        names = ("pixel_loss", "adversarial", "discriminator", "r1")
        names += ("real_accuracy", "fake_accuracy")
        names += ("complexity",) * (posterior_net is not None)
        names += ("energy",) * bool(energy_weight)
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
        self,
        data: Dict[str, tf.Tensor],
        update_discriminator: bool = False,
        update_generator: bool = True,
    ) -> Tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Makes one update of G, of D on the same samples, or of both.

        Of this replica's part of a batch of `pipeline.training_batches`. Returns what D
        has judged, ignored pixels zeroed in all three: images `[B, H, W, C]`, R one-hot
        labels `[B, R, H, W, K]` and samples `[B, M, H, W, K]`.
        """
        image, label, blackbox, valid_mask = optimization.prepare(
            data, num_blackbox_classes=self.num_blackbox_classes
        )
        if label.shape.rank == 3:
            label = label[:, None]
        else:  # The labels of an image differ in their flips alone.
            valid_mask = valid_mask[:, 0]
        logits = tf.cast(self.calibration_net(image, blackbox), tf.float32)
        log_probs = tf.stop_gradient(tf.nn.log_softmax(logits))
        masked_image = image * valid_mask[..., None]
        real = tf.one_hot(label, self.num_classes) * valid_mask[:, None, ..., None]
        if update_generator:
            drawn = self._update_generator(image, log_probs, real, valid_mask)
        else:
            noise = self._noise(image)
            logits = self.refinement_net(image, log_probs, noise)
            drawn = self._maps(logits) * valid_mask[:, None, ..., None]
        if update_discriminator:
            self.discriminator_step(masked_image, real, drawn)
        return masked_image, real, drawn

    def _noise(self, image: tf.Tensor) -> tf.Tensor:
        return optimization.batch_noise(
            image.shape[0],
            self.num_samples,
            self.refinement_net.noise_dim,
            stratified=self.stratified_noise,
            seed=self.seed,
            step=self.step,
        )

    def _maps(self, logits: tf.Tensor) -> tf.Tensor:
        """Returns the maps that D and Lcal see, `[B, M, H, W, K]`."""
        probs = tf.nn.softmax(logits)
        if not self.hard_samples:
            return probs
        hard = tf.one_hot(tf.argmax(logits, axis=-1), self.num_classes)
        return probs + tf.stop_gradient(hard - probs)

    def _update_generator(self, image, log_probs, real, valid_mask) -> tf.Tensor:
        """Updates G; returns its masked samples `[B, M, H, W, K]`, from before."""
        noise = self._noise(image)
        seed = optimization.step_seed(self.seed, self.step)
        variables = self.generator_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            complexity = None
            if self.posterior_net is not None:
                mean, std = self.posterior_net(
                    image, log_probs, real[:, 0], training=True, seed=seed
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
            maps = self._maps(logits)
            samples = maps * valid_mask[:, None, ..., None]
            pixel = self._pixel_loss(logits, maps, log_probs, noise, real, valid_mask)
            if complexity is not None:
                pixel += self.kl_weight * complexity
            pixel = optimization.finite(pixel, self.pixel_loss)
            each = self.calibration_weight * pixel
            if self.energy_weight:
                energy = optimization.finite(losses.energy(samples, real), "energy")
                each += self.energy_weight * energy
            loss = tf.nn.compute_average_loss(each)
            loss = optimization.scaled(self.generator_optimizer, loss)
        drawn = tf.stop_gradient(samples)
        adversarial, to_samples = self._judge(image * valid_mask[..., None], drawn)
        gradients = tape.gradient(
            [loss, samples], variables, output_gradients=[tf.ones([]), to_samples]
        )
        optimization.update(self.generator_optimizer, gradients, variables, l2=self.l2)
        adversarial = optimization.finite(adversarial, "adversarial")
        self._means["adversarial"].update_state(adversarial)
        self._means["pixel_loss"].update_state(pixel)
        if complexity is not None:
            self._means["complexity"].update_state(complexity)
        if self.energy_weight:
            self._means["energy"].update_state(energy)
        return drawn

    def _judge(self, image, samples: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Returns Ladv `[B]`, and what it sends to the samples through D, weighted."""
        view = self._view()
        image = view(image)
        parts, found, to_samples = self._parts(samples), [], []
        for part in parts:
            (part,) = recompute.after(to_samples[-1:], [part])
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(part)
                heads = self.discriminator.heads(image, view(part))
                found.append(_mean([losses.adversarial(head) for head in heads]))
                loss = self.adversarial_weight * found[-1]
                # Before D, in whose float16 a gradient of its own size would vanish.
                loss = optimization.scaled(
                    self.generator_optimizer, tf.nn.compute_average_loss(loss)
                )
            to_samples.append(tape.gradient(loss, part))
        return _mean(found), tf.concat(to_samples, 1) / len(parts)

    def _view(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns how D sees images and maps in this step."""
        if not self.augment:
            return lambda maps: maps
        seed = optimization.step_seed(self.seed, self.step)
        return lambda maps: augmentation.augment(maps, seed)

    def _parts(self, samples: tf.Tensor) -> List[tf.Tensor]:
        """Divides `[B, M, ...]` by the number of samples that are kept at once."""
        at_once = self.samples_at_once or self.num_samples
        return tf.split(samples, max(samples.shape[1] // at_once, 1), axis=1)

    def _pixel_loss(
        self, logits, maps, log_probs, noise, real, valid_mask
    ) -> tf.Tensor:
        if self.pixel_loss == "calibration" and self.paired:
            draws = tf.argmax(self.refinement_net.draws(log_probs, noise), axis=-1)
            draws = tf.one_hot(draws, self.num_classes)
            return losses.paired_calibration(maps, draws, tf.exp(log_probs), valid_mask)
        sample_log_probs = tf.nn.log_softmax(logits)
        if self.pixel_loss == "calibration":
            target = tfp.distributions.Categorical(logits=log_probs)
            sample_mean = losses.categorical_mean(sample_log_probs)
            return losses.calibration(sample_mean, target, valid_mask)
        each = tfp.distributions.Categorical(logits=sample_log_probs)
        shape = tf.shape(sample_log_probs)[:-1]
        label = tf.broadcast_to(tf.argmax(real[:, 0], axis=-1)[:, None], shape)
        mask = tf.broadcast_to(valid_mask[:, None], shape)
        return losses.cross_entropy(each, label, mask)

    def discriminator_step(
        self, image: tf.Tensor, real: tf.Tensor, samples: tf.Tensor
    ) -> None:
        """Makes one update of D; arguments as `train_step` returns them."""
        judge, view = self.discriminator, self._view()
        variables = judge.trainable_variables
        image, real, samples = view(image), view(real), view(samples)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            real_heads = judge.heads(image, real)
            real_loss = _mean([losses.real_logits_loss(head) for head in real_heads])
            r1 = self._r1(image, real[:, :1])
            loss = tf.nn.compute_average_loss(real_loss + self.r1_gamma * r1)
            loss = optimization.scaled(self.discriminator_optimizer, loss)
        gradients = tape.gradient(loss, variables)
        fakes, fake_losses = [], []
        parts = self._parts(samples)
        for part in parts:
            (part,) = recompute.after(fake_losses[-1:], [part])
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(variables)
                heads = judge.heads(image, part)
                loss = _mean([losses.fake_logits_loss(head) for head in heads])
                fake_losses.append(loss)
                loss = tf.nn.compute_average_loss(loss / len(parts))
                loss = optimization.scaled(self.discriminator_optimizer, loss)
            to_variables = tape.gradient(loss, variables)
            gradients = [sum(pair) for pair in zip(gradients, to_variables)]
            fakes.append(heads[0])
        judged = optimization.finite(real_loss + _mean(fake_losses), "discriminator")
        optimization.update(
            self.discriminator_optimizer, gradients, variables, l2=self.l2
        )
        self.balance.observe(judged)
        accuracies = real_heads[0] > 0, tf.concat(fakes, axis=1) < 0
        self._means["discriminator"].update_state(judged)
        self._means["r1"].update_state(r1)
        for name, right in zip(("real_accuracy", "fake_accuracy"), accuracies):
            self._means[name].update_state(tf.cast(right, tf.float32))

    def _r1(self, image: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """R1 `[B]` at one label per image; every `r1_every`-th step, as much more."""

        def penalty() -> tf.Tensor:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([image, real])
                heads = self.discriminator.heads(image, real)
                axes = [list(range(1, head.shape.rank)) for head in heads]
                logits = _mean(list(map(tf.reduce_mean, heads, axes)))
            gradients = tape.gradient(logits, [image, real])
            return self.r1_every * losses.r1_penalty(gradients)

        none = tf.zeros([tf.shape(image)[0]])
        if not self.r1_gamma:
            return none
        if self.r1_every == 1:
            return optimization.finite(penalty(), "r1")
        now = self.step % self.r1_every == 0
        return optimization.finite(tf.cond(now, penalty, lambda: none), "r1")

    def make_train_function(self, force: bool = False) -> Callable:
        """Builds the function that `fit` calls; see the class's docstring."""
        if self.train_function is not None and not force:
            return self.train_function
        strategy = self.distribute_strategy

        # Returns nothing: XLA would keep all samples to hand them out.
        def replica_step(batch, *updates: bool) -> None:
            self.train_step(batch, *updates)

        if self._jit_compile:
            replica_step = tf.function(replica_step, jit_compile=True, autograph=False)

        @optimization.as_it_is
        def one_step(batch) -> None:
            def step(*updates: bool) -> Callable[[], bool]:
                def run() -> bool:
                    strategy.run(replica_step, args=(batch, *updates))
                    return True

                return run

            self.balance.run(self.step, step)
            self.step.assign_add(1)
            weight_averages.update(
                self.averages,
                self.refinement_net.variables,
                decay=self.average_decay,
                step=self.step,
            )

        @tf.function(reduce_retracing=True)
        def train_function(iterator) -> Dict[str, tf.Tensor]:
            for _ in tf.range(self._steps_per_execution):
                one_step(next(iterator))
            results = self.results()
            return optimization.finite_means(results) if self._jit_compile else results

        self.train_function = self.train_tf_function = train_function
        return train_function


def _mean(values: List[tf.Tensor]) -> tf.Tensor:
    """The mean over equally shaped tensors."""
    return sum(values) / len(values)
