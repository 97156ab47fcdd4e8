"""The class flips that give Cityscapes its known multimodality (CAR, Section 5.2.2).

One draw per class and image decides whether every pixel of the class in that image
takes a second name. The `2 ** num_flips` outcomes and their probabilities are therefore
known exactly. NumPy only, so that scoring needs no TensorFlow.
"""

import dataclasses
from typing import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class ClassFlip:
    """One class that switches its name in some images."""

    original: int  # train id in the data set
    flipped: int  # train id after a hit; an id of its own, outside the data set's
    probability: float  # of a hit, in [0, 1]

    def __post_init__(self):
        for name in ("original", "flipped"):
            class_id = getattr(self, name)
            if not 0 <= class_id <= 254:
                raise ValueError(f"{name} must be a train id in 0..254, got {class_id}")
        if self.original == self.flipped:
            raise ValueError(f"class {self.original} cannot flip to itself")
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")


CITYSCAPES_FLIPS = (
    ClassFlip(original=1, flipped=19, probability=8 / 17),  # sidewalk
    ClassFlip(original=11, flipped=20, probability=7 / 17),  # person
    ClassFlip(original=13, flipped=21, probability=6 / 17),  # car
    ClassFlip(original=8, flipped=22, probability=5 / 17),  # vegetation
    ClassFlip(original=0, flipped=23, probability=4 / 17),  # road
)


def tables(hits: np.ndarray, flips: Sequence[ClassFlip]) -> np.ndarray:
    """Returns look-up tables `[S, 256]` uint8 that carry out `hits` `[S, F]` bool.

    Ids that do not flip, 255 too, stay.
    """
    tables = np.tile(np.arange(256, dtype=np.uint8), (len(hits), 1))
    for index, flip in enumerate(flips):
        tables[hits[:, index], flip.original] = flip.flipped
    return tables


def fold(label: np.ndarray, flips: Sequence[ClassFlip]) -> np.ndarray:
    """Maps flipped ids, uint8 of any shape, back to the classes they come from."""
    table = np.arange(256, dtype=np.uint8)
    for flip in flips:
        table[flip.flipped] = flip.original
    return table[label]


def flip_oracle(
    label: np.ndarray,
    *,
    flips: Sequence[ClassFlip],
    num_samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws samples `[S, H, W]` uint8 that know the flips exactly and nothing else.

    The map `[H, W]` uint8 is folded to the original classes, then each class flips
    whole by its true probability: what perfect knowledge of the flips, without any
    sense of uncertain shapes, reaches.
    """
    probabilities = np.array([flip.probability for flip in flips])
    hits = rng.random((num_samples, len(flips))) < probabilities
    folded = fold(label, flips)
    return np.stack([table[folded] for table in tables(hits, flips)])
