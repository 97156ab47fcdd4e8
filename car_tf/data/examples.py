"""A split of a data set as arrays of one size, however it came about."""

import dataclasses
import hashlib
import pathlib
from typing import Any, Iterator, Optional, Sequence, Tuple, Union

import numpy as np


class Rows:
    """Rows `indices` of an `array` that is mapped from a file, in any order: no copy."""

    def __init__(self, array: np.ndarray, indices: Sequence[int]):
        self.array = array
        self.indices = np.asarray(indices, np.int64)
        self.shape, self.dtype = (len(self.indices), *array.shape[1:]), array.dtype

    ndim = property(lambda self: len(self.shape))

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.array[index] for index in self.indices)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Reads what an array `[N, ...]` would give; the key starts with its rows."""
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if rows is Ellipsis or rows is None:
            return np.asarray(self)[key]
        return self.array[(self.indices[rows], *rest)]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.array[self.indices], dtype)


def rows_of(array: Union[np.ndarray, Rows], indices: Sequence[int]) -> Any:
    """Returns rows of an array: of one that is mapped, without reading them."""
    if isinstance(array, Rows):
        return Rows(array.array, array.indices[indices])
    return Rows(array, indices) if isinstance(array, np.memmap) else array[indices]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an example comes from in an image that was cut, padded or scaled."""

    image: str  # Name of the image.
    size: Tuple[int, int]  # Its (height, width) in pixels.
    # (row, column) in it of the example's upper left pixel; None where the example is
    # the whole image, resized.
    corner: Optional[Tuple[int, int]] = None


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images with their labels; arrays may be mapped from files, or `Rows` of such."""

    names: Tuple[str, ...]  # N unique names
    groups: Tuple[str, ...]  # N names of what must not be split: city, patient
    images: np.ndarray  # `[N, H, W, C]` uint8
    # `[N, A, H, W]` uint8 class ids of A raters. 255 hides a pixel of one rater alone;
    # who did not label an image has a plane of 255.
    labels: np.ndarray
    # N files with the images at their own size; empty where an example is no file of its
    # own: drawn ones, crops, tiles, 16 bits.
    image_files: Tuple[pathlib.Path, ...] = ()
    # N places in the images of a folder, where `image_files` is empty.
    places: Tuple[Place, ...] = ()
    # Names that were left out because they could not be read.
    skipped: Tuple[str, ...] = ()
    # `[N, H, W]` uint8 class ids or `[N, H, W, K]` float16 probabilities.
    blackbox: Optional[np.ndarray] = None

    def __post_init__(self):
        parts = [self.names, self.groups, self.images, self.labels]
        parts += [] if self.blackbox is None else [self.blackbox]
        lengths = set(map(len, parts))
        if len(lengths) != 1:
            raise ValueError(f"examples of different lengths: {sorted(lengths)}")

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Sequence[int]) -> "Examples":
        """Returns the examples at `indices`, in that order."""
        indices = np.asarray(indices, dtype=np.int64)
        names = ("names", "groups", "image_files", "places")
        lists = {n: getattr(self, n) for n in names}
        arrays = {n: getattr(self, n) for n in ("images", "labels", "blackbox")}
        return dataclasses.replace(
            self,
            **{n: tuple(v[i] for i in indices) for n, v in lists.items() if v},
            **{n: rows_of(v, indices) for n, v in arrays.items() if v is not None},
        )

    def fingerprint(self) -> str:
        """Returns a SHA-256 over names, images, labels and black-box outputs."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        arrays = [self.images, self.labels]
        arrays += [] if self.blackbox is None else [self.blackbox]
        for array in arrays:
            digest.update(str(array.shape).encode())
            for item in array:
                digest.update(np.ascontiguousarray(item))
        return digest.hexdigest()


def hold_out(
    groups: Sequence[str], fraction: float, *, seed: int, min_groups: int = 10
) -> Tuple[np.ndarray, np.ndarray, str]:
    """Splits examples in two by a seeded draw of a share `fraction`, in (0, 1).

    Whole groups are held out where there are at least `min_groups`; fewer groups would
    make the share too coarse, so that single examples are drawn. Returns indices kept,
    indices held out (both sorted), and how it was done in words.

    Raises:
      ValueError: fewer than two examples.
    """
    if len(groups) < 2:
        raise ValueError(f"cannot hold out from {len(groups)} examples: wanted 2")
    rng = np.random.default_rng(seed)
    groups = np.asarray(groups)
    units = np.unique(groups)
    by_group = len(units) >= min_groups
    if not by_group:
        units = np.arange(len(groups))
    num = min(max(1, round(fraction * len(units))), len(units) - 1)
    chosen = rng.permutation(units)[:num]
    held = np.isin(groups if by_group else units, chosen)
    how = f"{num} of {len(units)} {'groups' if by_group else 'images'}"
    words = f"{how} held out by a draw with seed {seed}"
    return np.flatnonzero(~held), np.flatnonzero(held), words


def spread(total: int, num: int) -> np.ndarray:
    """Returns `num` indices below `total` (0, or too many: all), evenly apart.

    Neighbours in a split tend to show one patient or street.
    """
    num = min(num or total, total)
    return np.arange(num) * total // max(num, 1)
