"""Joins what accumulators have counted, of images that each saw apart from the others.

An accumulator names in `COUNTED` what grows with each image: arrays of sums, lists of
values per image, dicts of such by text, and further accumulators. Added in the order of
the images, floats are those of one accumulator that saw them all.
"""

from typing import Any

import numpy as np


def counted(one: Any) -> Any:
    """Returns what images have added to an accumulator, ready for JSON."""
    if isinstance(one, np.ndarray):
        return one.tolist()
    if isinstance(one, list):
        return one
    items = one if isinstance(one, dict) else {n: getattr(one, n) for n in one.COUNTED}
    return {name: counted(value) for name, value in items.items()}


def add(one: Any, found: Any) -> None:
    """Adds to an accumulator what `counted` returned of another."""
    if isinstance(one, np.ndarray):
        one += np.asarray(found, one.dtype)
    elif isinstance(one, list):
        one.extend(found)
    else:
        for name, value in found.items():
            add(one[name] if isinstance(one, dict) else getattr(one, name), value)
