"""The bimodal distribution on a line (CAR, Eq. 8), stacked over problems.

R problems that differ in mode probability, mode noise and seed share every tensor:
axis 0 is theirs. What a problem draws depends on its own key and the step.
"""

from __future__ import annotations

from typing import Callable, Sequence, Tuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def stacked_normal(
    keys: Sequence[int], step: tf.Tensor, shape: Sequence[int]
) -> tf.Tensor:
    """Draws standard normal numbers, `[R, *shape]`, from R keys and a step."""
    return _stacked(tf.random.stateless_normal, 1, keys, step, shape)


def stacked_uniform(
    keys: Sequence[int], step: tf.Tensor, shape: Sequence[int]
) -> tf.Tensor:
    """Draws uniform numbers in [0, 1), `[R, *shape]`, from R keys and a step."""
    return _stacked(tf.random.stateless_uniform, 0, keys, step, shape)


def _stacked(draw: Callable, stream: int, keys, step, shape) -> tf.Tensor:
    # Uniform and normal numbers of one seed are functions of the same bits.
    counter = 2 * tf.cast(step, tf.int64) + stream
    # A loop inside the program: R operations side by side take seconds to trace.
    return tf.map_fn(
        lambda key: draw(shape, tf.stack([key, counter]), alg="philox"),
        tf.constant(keys, tf.int64),
        fn_output_signature=tf.TensorSpec(shape, tf.float32),
    )


def upper_mode(x: tf.Tensor) -> tf.Tensor:
    """Returns the upper mode at x in [0, 1]; the lower one is its negative."""
    slope = tf.where(x < 0.8, 1.0 - 1.25 * x, 0.0)
    return tf.where(x < 0.4, 0.5, slope)


def midpoints(num_points: int) -> np.ndarray:
    """Returns the midpoints of `num_points` equal parts of [0, 1], float32."""
    return ((np.arange(num_points) + 0.5) / num_points).astype(np.float32)


class Bimodal:
    """R stacked distributions of (x, y): their batches and exact densities."""

    def __init__(
        self,
        *,
        mode_probability: Sequence[float],
        mode_noise: Sequence[float],
        keys: Sequence[int],
    ):
        """Stacks distributions.

        Args:
          mode_probability: R probabilities of the upper mode, pi.
          mode_noise: R standard deviations around a mode, sigma.
          keys: R integers that the draws depend on.
        """
        self.mode_probability = tf.constant(mode_probability, tf.float32)[:, None]
        self.mode_noise = tf.constant(mode_noise, tf.float32)[:, None]
        self.keys = tuple(keys)

    def batches(
        self, first_step: tf.Tensor, num_steps: int, batch_size: int
    ) -> Tuple[tf.Tensor, tf.Tensor]:
        """Draws the batches of a block of steps.

        Returns:
          x in [0, 1) and y, both `[R, S, B]` float32.
        """
        shape = [num_steps, batch_size]
        uniform = stacked_uniform(self.keys, first_step, [2, *shape])
        normal = stacked_normal(self.keys, first_step, shape)
        x, chance = uniform[:, 0], uniform[:, 1]
        is_upper = chance < self.mode_probability[..., None]
        mode = upper_mode(x)
        noise = self.mode_noise[..., None] * normal
        return x, tf.where(is_upper, mode, -mode) + noise

    def distribution(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns p(y | x) as a mixture of two Gaussians, batch shape `[R, N]`.

        Args:
          x: `[R, N]` float32 in [0, 1].
        """
        mode = upper_mode(x)
        probability = self.mode_probability[..., None]
        return tfd.MixtureSameFamily(
            tfd.Categorical(probs=tf.concat([probability, 1 - probability], axis=-1)),
            tfd.Normal(
                loc=tf.stack([mode, -mode], axis=-1), scale=self.mode_noise[..., None]
            ),
        )

    def log_likelihood(self, x: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
        """Mean exact log-density of one sample per x.

        Args:
          x: `[R, N]` float32.
          samples: `[R, N]` float32.

        Returns:
          `[R]`, nats.
        """
        return tf.reduce_mean(self.distribution(x).log_prob(samples), axis=-1)

    def upper_weight(self, x: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
        """Share of the samples that fall to the upper mode.

        Counted where the modes stand at least eight standard deviations apart, so
        that a draw of the true distribution is never assigned to the wrong one.

        Args:
          x: `[R, N]` float32.
          samples: `[R, N, M]` float32.

        Returns:
          `[R]` in [0, 1]; 0 where the modes are apart at no x.
        """
        apart = upper_mode(x) >= 4 * self.mode_noise
        apart = tf.cast(apart, tf.float32)
        is_upper = tf.reduce_mean(tf.cast(samples > 0, tf.float32), axis=-1)
        total = tf.reduce_sum(apart * is_upper, axis=-1)
        return tf.math.divide_no_nan(total, tf.reduce_sum(apart, axis=-1))
