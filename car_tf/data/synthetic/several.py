"""Draws many scenes or crops, each by its number alone."""

from typing import Callable, Sequence, Tuple

import numpy as np

from car_tf.data import io


def draw(
    draw_one: Callable[[int], Tuple[np.ndarray, ...]], numbers: Sequence[int], what: str
) -> Tuple[np.ndarray, ...]:
    """Stacks what `draw_one` gives of each number: images and their labels."""
    bar = io.progress(numbers, f"drawing {what}s", what)
    stacks: Tuple[np.ndarray, ...] = ()
    for position, number in enumerate(bar):
        drawn = draw_one(number)
        size = len(numbers)
        stacks = stacks or tuple(np.empty((size, *a.shape), a.dtype) for a in drawn)
        for stack, array in zip(stacks, drawn):
            stack[position] = array
    return stacks
