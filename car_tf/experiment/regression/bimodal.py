"""The bimodal distribution on a line (CAR, Eq. 8), stacked over problems.

R problems that differ in mode probability, mode noise and seed share every tensor:
axis 0 is theirs. What a problem draws depends on its own key and the step.
"""

from typing import Sequence, Tuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from car_tf.experiment.regression import config as regression_config

tfd = tfp.distributions

# Uniform and normal numbers of one seed are functions of the same bits: two streams.
_DRAWS = (tf.random.stateless_uniform, tf.random.stateless_normal)
UNIFORM, NORMAL = range(2)


def draw(kind: int, keys: Sequence[int], step: tf.Tensor, shape: Sequence[int]):
    """Draws numbers from R keys and a step, `[R, *shape]` float32.

    `kind` is `UNIFORM`, in [0, 1), or `NORMAL`, of mean 0 and deviation 1.
    """
    counter = 2 * tf.cast(step, tf.int64) + kind
    # A loop inside the program: R operations side by side take seconds to trace.
    return tf.map_fn(
        lambda key: _DRAWS[kind](shape, tf.stack([key, counter]), alg="philox"),
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

    def __init__(self, problems: Sequence[regression_config.Problem], purpose: str):
        """Stacks the distributions of R problems; `purpose` names their draws."""
        self.problems = tuple(problems)
        probabilities = [[problem.mode_probability] for problem in problems]
        self.mode_probability = tf.constant(probabilities, tf.float32)
        noises = [[problem.mode_noise] for problem in problems]
        self.mode_noise = tf.constant(noises, tf.float32)
        self.keys = tuple(problem.key(purpose) for problem in problems)

    def batches(
        self, first_step: tf.Tensor, num_steps: int, batch_size: int
    ) -> Tuple[tf.Tensor, tf.Tensor]:
        """Draws x in [0, 1) and y of S steps, both `[R, S, B]` float32."""
        shape = [num_steps, batch_size]
        uniform = draw(UNIFORM, self.keys, first_step, [2, *shape])
        noise = draw(NORMAL, self.keys, first_step, shape)
        x, chance = uniform[:, 0], uniform[:, 1]
        is_upper = chance < self.mode_probability[..., None]
        mode = upper_mode(x)
        noise = self.mode_noise[..., None] * noise
        return x, tf.where(is_upper, mode, -mode) + noise

    def distribution(self, x: tf.Tensor) -> tfd.Distribution:
        """Returns p(y | x) at x `[R, N]`: two Gaussians, batch shape `[R, N]`."""
        mode = upper_mode(x)
        probability = self.mode_probability[..., None]
        return tfd.MixtureSameFamily(
            tfd.Categorical(probs=tf.concat([probability, 1 - probability], axis=-1)),
            tfd.Normal(
                loc=tf.stack([mode, -mode], axis=-1), scale=self.mode_noise[..., None]
            ),
        )

    def log_likelihood(self, x: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
        """Mean exact log-density of one sample per x: `[R, N]` each to `[R]` nats."""
        return tf.reduce_mean(self.distribution(x).log_prob(samples), axis=-1)

    def upper_weight(self, x: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
        """Share of samples `[R, N, M]` at `[R, N]` that fall to the upper mode, `[R]`.

        Counted where the modes stand at least eight standard deviations apart, so that
        a draw of the true distribution is never assigned to the wrong one; 0 where they
        are apart at no x.
        """
        apart = tf.cast(upper_mode(x) >= 4 * self.mode_noise, tf.float32)
        is_upper = tf.reduce_mean(tf.cast(samples > 0, tf.float32), axis=-1)
        total = tf.reduce_sum(apart * is_upper, axis=-1)
        return tf.math.divide_no_nan(total, tf.reduce_sum(apart, axis=-1))
