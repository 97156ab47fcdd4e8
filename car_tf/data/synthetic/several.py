"""Draws many scenes or crops, each by its number alone."""

from typing import Callable, Tuple

import numpy as np

from car_tf.data import io


def draw(
    draw_one: Callable[[int], Tuple[np.ndarray, np.ndarray]],
    num: int,
    *,
    first_index: int,
    progress: bool,
    what: str,
) -> Tuple[np.ndarray, np.ndarray]:
    """Stacks what `draw_one` gives of `num` numbers: images and their labels."""
    indices = range(first_index, first_index + num)
    bar = io.progress(
        iterable=indices, desc=f"drawing {what}s", unit=what, disable=not progress
    )
    stacks: Tuple[np.ndarray, ...] = ()
    for position, index in enumerate(bar):
        drawn = draw_one(index)
        stacks = stacks or tuple(np.empty((num, *a.shape), a.dtype) for a in drawn)
        for stack, array in zip(stacks, drawn):
            stack[position] = array
    return stacks
