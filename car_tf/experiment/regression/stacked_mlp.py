"""Multi-layer perceptrons of R runs at once: axis 0 of every weight is the run's.

A layer of all runs is one einsum. No operation mixes runs, so that each computes what
it would compute alone.
"""

import functools
from typing import Callable, Sequence

import tensorflow as tf

from car_tf.models.keras_api import keras

LEAKY_RELU = functools.partial(tf.nn.leaky_relu, alpha=0.01)


class StackedMLP(keras.Model):
    """F, G or D of R runs: hidden layers and one linear output.

    Weights and biases are uniform in +-1/sqrt(inputs). Biases of zero would put the
    kinks of all units of the first layer at x = 0, the edge of the data.
    """

    def __init__(
        self,
        *,
        keys: Sequence[int],
        num_inputs: int,
        hidden_layers: int = 4,
        hidden_units: int = 64,
        activation: Callable = LEAKY_RELU,
        name: str,
    ):
        """Makes the networks of R `keys`; a run's initial weights depend on its own.

        `num_inputs` values are given to `call` for an output; `hidden_units` are per
        run.
        """
        super().__init__(name=name)
        self.dense = []
        for index in range(hidden_layers + 1):
            is_last = index == hidden_layers
            limit = num_inputs**-0.5
            layer = keras.layers.EinsumDense(
                "rni,rio->rno",
                output_shape=(None, 1 if is_last else hidden_units),
                activation=None if is_last else activation,
                bias_axes="ro",
                kernel_initializer=_uniform(keys, 2 * index, limit),
                bias_initializer=_uniform(keys, 2 * index + 1, limit),
            )
            layer.build([len(keys), None, num_inputs])
            self.dense.append(layer)
            num_inputs = hidden_units

    def call(self, *parts: tf.Tensor) -> tf.Tensor:
        """Maps values to outputs, one by one.

        Of `[R, B]` or, with M values for each of them, `[R, B, M]`; the last in the
        shape of the outputs, which are float32.
        """
        shape = parts[-1].shape
        columns = [
            tf.broadcast_to(
                part if part.shape.rank == shape.rank else part[..., None], shape
            )
            for part in parts
        ]
        features = tf.reshape(tf.stack(columns, axis=-1), [shape[0], -1, len(parts)])
        for layer in self.dense:
            features = layer(features)
        return tf.reshape(features, shape)


def _uniform(keys: Sequence[int], salt: int, limit: float) -> Callable:
    """Returns an initializer of `[R, ...]`: each run by its own key."""

    def initial(shape, dtype=tf.float32, **unused):
        draw = functools.partial(
            tf.random.stateless_uniform, minval=-limit, maxval=limit, dtype=dtype
        )
        rows = [draw(shape[1:], [key, salt], alg="philox") for key in keys]
        return tf.stack(rows)

    return initial
