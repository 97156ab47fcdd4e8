"""Stage 1: trains F alone with the cross entropy (CAR, Algorithm 1, lines 2-5)."""

from __future__ import annotations

from typing import Callable, Dict, List

import tensorflow as tf
import tensorflow_probability as tfp

from car_tf import losses
from car_tf.models import averages as weight_averages
from car_tf.models.keras_api import keras
from car_tf.train import optimization


class CalibrationTrainer(keras.Model):
    """Holds F, its optimiser and the step counter; `fit` calls `train_step`."""

    def __init__(
        self,
        *,
        calibration_net: keras.Model,
        num_blackbox_classes: int,
        l2: float,
        seed: int,
        average_decay: float = 0.0,
    ):
        super().__init__(name="calibration_trainer")
        self.calibration_net = calibration_net
        self.num_blackbox_classes = num_blackbox_classes
        self.l2 = l2
        self.seed = seed
        self.average_decay = average_decay
        averaged = calibration_net.variables if average_decay else []
        # Updated inside the replicas, whose batch statistics differ.
        self.averages = [
            tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.MEAN)
            for value in averaged
        ]
        self.step = optimization.step_counter()
        self.loss_metric = keras.metrics.Mean("cross_entropy")
        self.accuracy_metric = keras.metrics.Mean("accuracy")

    @property
    def metrics(self) -> list:
        """Metrics that `fit` resets at the start of an epoch."""
        return [self.loss_metric, self.accuracy_metric]

    @property
    def selectable(self) -> List[tf.Variable]:
        """What is to be used of F: its variables, or their averages, in F's order."""
        return self.averages or self.calibration_net.variables

    @optimization.as_it_is
    def train_step(self, data: Dict[str, tf.Tensor]) -> Dict[str, tf.Tensor]:
        """Makes one update of F; returns running means since the start of the epoch."""
        image, label, blackbox, valid_mask = optimization.prepare(
            data, num_blackbox_classes=self.num_blackbox_classes
        )
        seed = optimization.step_seed(self.seed, self.step)
        variables = self.calibration_net.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.calibration_net(image, blackbox, training=True, seed=seed)
            logits = tf.cast(logits, tf.float32)
            if label.shape.rank == 4:
                logits = logits[:, None]
            likelihood = tfp.distributions.Categorical(logits=logits)
            per_image = losses.cross_entropy(likelihood, label, valid_mask)
            per_image = optimization.finite(per_image, "cross_entropy")
            loss = tf.nn.compute_average_loss(per_image)
            loss = optimization.scaled(self.optimizer, loss)
        gradients = tape.gradient(loss, variables)
        optimization.update(self.optimizer, gradients, variables, l2=self.l2)
        self.step.assign_add(1)
        weight_averages.update(
            self.averages,
            self.calibration_net.variables,
            decay=self.average_decay,
            step=self.step,
        )
        hit = tf.equal(tf.argmax(logits, -1, output_type=tf.int32), label)
        hit = tf.cast(hit, tf.float32)
        self.loss_metric.update_state(per_image)
        self.accuracy_metric.update_state(losses.masked_mean(hit, valid_mask))
        return {metric.name: metric.result() for metric in self.metrics}

    def make_train_function(self, force: bool = False) -> Callable:
        """Builds the function that `fit` calls."""
        if self.train_function is not None and not force:
            return self.train_function
        function = super().make_train_function(force)
        if self._jit_compile:

            @tf.function(reduce_retracing=True, autograph=False)
            def train_function(iterator) -> Dict[str, tf.Tensor]:
                return optimization.finite_means(function(iterator))

            self.train_function = self.train_tf_function = train_function
        return self.train_function
