"""Multi-layer perceptrons of many runs at once: axis 0 of every weight is the run's.

A layer of all runs is one einsum. No operation mixes runs, so that each computes what
it would compute alone.
"""

from __future__ import annotations

from typing import Sequence

import tensorflow as tf

from car_tf.models.keras_api import keras

LEAKY_SLOPE = 0.01


class StackedDense(keras.layers.Layer):
    """A dense layer per run.

    Weights and biases are uniform in +-1/sqrt(inputs). Biases of zero would put the
    kinks of all units of the first layer at x = 0, the edge of the data.
    """

    def __init__(self, units: int, *, keys: Sequence[int], salt: int, **kwargs):
        """Makes the layer.

        Args:
          units: outputs per run.
          keys: R integers; the initial weights of a run depend on its own alone.
          salt: number of the layer within its network.
          **kwargs: of `keras.layers.Layer`.
        """
        super().__init__(**kwargs)
        self.units = units
        self.keys = tuple(keys)
        self.salt = salt

    def build(self, input_shape) -> None:
        """Makes kernels `[R, I, O]` and biases `[R, 1, O]` for inputs `[R, N, I]`."""
        num_inputs = input_shape[-1]
        limit = num_inputs**-0.5

        def initial(shape, salt):
            return tf.stack(
                [
                    tf.random.stateless_uniform(
                        shape, [key, salt], -limit, limit, alg="philox"
                    )
                    for key in self.keys
                ]
            )

        kernel = initial([num_inputs, self.units], 2 * self.salt)
        bias = initial([1, self.units], 2 * self.salt + 1)
        self.kernel = tf.Variable(kernel, name="kernel")
        self.bias = tf.Variable(bias, name="bias")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps `[R, N, I]` to `[R, N, O]`."""
        return tf.einsum("rni,rio->rno", inputs, self.kernel) + self.bias


class StackedMLP(keras.Model):
    """Hidden layers with leaky ReLU (slope 0: ReLU) and one linear output."""

    def __init__(
        self,
        *,
        keys: Sequence[int],
        hidden_layers: int = 4,
        hidden_units: int = 64,
        slope: float,
        name: str,
    ):
        super().__init__(name=name)
        self.slope = slope
        self.hidden = [
            StackedDense(hidden_units, keys=keys, salt=salt, name=f"hidden{salt}")
            for salt in range(hidden_layers)
        ]
        self.head = StackedDense(1, keys=keys, salt=hidden_layers, name="head")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Maps `[R, N, I]` to `[R, N]`."""
        features = inputs
        for layer in self.hidden:
            features = layer(features)
            if self.slope:
                features = tf.nn.leaky_relu(features, self.slope)
            else:
                features = tf.nn.relu(features)
        return self.head(features)[..., 0]


def _inputs(*parts: tf.Tensor) -> tf.Tensor:
    """Concatenates `[R, B]` and `[R, B, M]` parts to `[R, B * M, number of parts]`."""
    shape = next(part.shape for part in parts if part.shape.rank == 3)
    parts = [part if part.shape.rank == 3 else part[..., None] for part in parts]
    parts = [tf.broadcast_to(part, shape) for part in parts]
    return tf.reshape(tf.stack(parts, axis=-1), [shape[0], -1, len(parts)])


class CalibrationNet(StackedMLP):
    """F: the mean of q(y | x), a Gaussian of unit scale (CAR, A.2)."""

    def __init__(self, *, name: str = "calibration_net", **kwargs):
        super().__init__(slope=0.0, name=name, **kwargs)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps x `[R, B]` to means `[R, B]`."""
        return super().call(x[..., None])


class RefinementNet(StackedMLP):
    """G: a sample of y for every x and noise value."""

    def __init__(self, *, name: str = "refinement_net", **kwargs):
        super().__init__(slope=LEAKY_SLOPE, name=name, **kwargs)

    def call(self, x: tf.Tensor, mean: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Draws samples.

        Args:
          x: `[R, B]`.
          mean: `[R, B]`, F's output at x.
          noise: `[R, B, M]` standard normal.

        Returns:
          `[R, B, M]`.
        """
        return tf.reshape(super().call(_inputs(x, mean, noise)), noise.shape)


class Discriminator(StackedMLP):
    """D: a logit for every pair of x and y."""

    def __init__(self, *, name: str = "discriminator", **kwargs):
        super().__init__(slope=LEAKY_SLOPE, name=name, **kwargs)

    def call(self, x: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
        """Maps x `[R, B]` and values of y `[R, B, M]` to logits `[R, B, M]`."""
        return tf.reshape(super().call(_inputs(x, samples)), samples.shape)
