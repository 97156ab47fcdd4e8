"""What this machine reaches at best: the roofs that times are compared with."""

from __future__ import annotations

import os
from typing import Callable, Dict, List

import tensorflow as tf

from tests.benchmarks import timing

MATRIX_SIZE = 2048
# (batch, side, channels) of the convolution; the batch is divided among the cores.
CONVOLUTION = (16, 64, 64)
REPEATS = 5


def matrix_multiply_side(size: int) -> Callable[[], float]:
    """Returns a function that measures multiply-adds a second on all cores."""
    num_parallel = os.cpu_count()
    matrices = tf.random.stateless_normal([num_parallel, size, size], [0, 0])

    @tf.function(autograph=False)
    def multiply() -> List[tf.Tensor]:
        # Side by side, because an operation may be confined to one core.
        return [tf.matmul(matrix, matrix)[0, 0] for matrix in tf.unstack(matrices)]

    multiply()
    seconds = timing.clock(lambda: [multiply() for _ in range(3)])
    return lambda: 3 * num_parallel * size**3 / seconds()


def convolution_side(batch: int, side: int, channels: int) -> Callable[[], float]:
    """Returns a function that measures multiply-adds a second of a 3x3 convolution."""
    features = tf.random.stateless_normal([batch, side, side, channels], [0, 0])
    kernel = tf.random.stateless_normal([3, 3, channels, channels], [0, 1])

    @tf.function(autograph=False)
    def convolve() -> tf.Tensor:
        return tf.nn.conv2d(features, kernel, 1, "SAME")

    convolve()
    seconds = timing.clock(lambda: [convolve() for _ in range(10)])
    return lambda: 10 * batch * side**2 * 9 * channels**2 / seconds()


def measure(small: bool = False) -> Dict[str, float]:
    """Measures both roofs in turns.

    Returns:
      `matrix_multiply` and `convolution`, the best round of each, in multiply-adds a
      second (twice as many floating-point operations).
    """
    sides = {
        "matrix_multiply": matrix_multiply_side(128 if small else MATRIX_SIZE),
        "convolution": convolution_side(*((2, 16, 8) if small else CONVOLUTION)),
    }
    measured = timing.in_turns(sides, repeats=REPEATS)
    return {name: max(values) for name, values in measured.items()}
