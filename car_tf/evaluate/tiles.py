"""Large images in overlapping tiles: the memory of a tile, and the result of the whole.

A sample's noise is the same in all pixels, so tiles of one seed are parts of one sample.
F and G see no further than some hundred pixels, so that what lies deeper inside a tile
than that is what the whole image would give, to rounding.
"""

import dataclasses
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import numpy as np

# Images of more pixels are cut.
MAX_PIXELS, SIDE = 2**21, 1024
# Tiles begin where features of all networks do: their strides divide it.
STRIDE = 32
Slices = Tuple[slice, slice]


@dataclasses.dataclass(frozen=True)
class Tile:
    """A rectangle of an image, as (rows, columns)."""

    seen: Slices  # what is computed, with the overlap
    kept: Slices  # what of the image it is for
    inside: Slices  # where that lies in what is computed


def _spans(length: int, side: int, margin: int) -> Iterator[Tuple[slice, slice, slice]]:
    for start in range(0, length, side):
        stop = min(start + side, length)
        first, last = max(start - margin, 0), min(stop + margin, length)
        yield slice(first, last), slice(start, stop), slice(start - first, stop - first)


def cut(
    size: Tuple[int, int],
    receptive_field: Optional[int],
    *,
    max_pixels: int = MAX_PIXELS,
    side: int = SIDE,
) -> Sequence[Tile]:
    """Cuts an image of a (height, width); what its tiles keep covers it once.

    A sampler whose `receptive_field` is None sees the whole image, which is not cut
    then, nor where it has `max_pixels` or fewer. `side` is that of what a tile keeps, a
    multiple of `STRIDE`.
    """
    height, width = size
    if receptive_field is None or height * width <= max_pixels:
        receptive_field, side = 0, max(size)
    margin = -(-receptive_field // STRIDE) * STRIDE
    return [
        Tile(*zip(rows, columns))
        for rows in _spans(height, side, margin)
        for columns in _spans(width, side, margin)
    ]


def compute(
    tiles: Sequence[Tile],
    function: Callable[[Slices], Dict[str, Any]],
    axes: Dict[str, int],
) -> Dict[str, np.ndarray]:
    """Computes maps of an image tile by tile; returns those of the whole by name.

    `function` takes what a tile of `cut` sees and returns maps of it by name; `axes`
    names those that are wanted, with the axis of their rows, which that of the columns
    follows.
    """
    height, width = (spans.stop for spans in tiles[-1].kept)
    whole: Dict[str, np.ndarray] = {}
    for tile in tiles:
        computed = function(tile.seen)
        for name, axis in axes.items():
            part = np.asarray(computed[name])
            if len(tiles) == 1:
                whole[name] = part
                continue
            if name not in whole:
                shape = list(part.shape)
                shape[axis : axis + 2] = height, width
                whole[name] = np.empty(shape, part.dtype)
            lead = (slice(None),) * axis
            whole[name][(*lead, *tile.kept)] = part[(*lead, *tile.inside)]
    return whole
