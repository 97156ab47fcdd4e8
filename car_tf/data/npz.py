"""Arrays in .npz files that are larger than the memory."""

import contextlib
import zipfile
from typing import IO, Iterator, Sequence, Tuple

import numpy as np
from numpy.lib import format as npy


class NpzArray:
    """One array of an .npz that is read image by image, never as a whole.

    Has `shape`, `dtype` and iteration over axis 0, like the array itself. Damage is a
    ValueError, of the array's values while iterating.
    """

    def __init__(self, path: str, key: str):
        self._path = path
        self._key = key
        with self._opened() as stream:
            self.shape, self._fortran_order, self.dtype = _read_header(stream)

    def __iter__(self) -> Iterator[np.ndarray]:
        with self._opened() as stream:
            _read_header(stream)
            if self._fortran_order:
                # Images are interleaved in the file: no way around reading it whole.
                yield from self.whole()
                return
            num_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
            for index in range(self.shape[0]):
                data = stream.read(num_bytes)
                if len(data) < num_bytes:
                    raise ValueError(f"array {self._key!r} ends before image {index}")
                # Only a read past the end compares the checksum.
                if index == self.shape[0] - 1 and stream.read(1):
                    raise ValueError(f"array {self._key!r} is longer than its shape")
                yield np.frombuffer(data, self.dtype).reshape(self.shape[1:])

    def reordered(self, axes: Sequence[int]) -> "_Reordered":
        """Returns the array with its axes in another order, as `np.transpose` does."""
        return _Reordered(self, axes)

    def whole(self) -> np.ndarray:
        """Reads it all."""
        with self._opened():
            return np.load(self._path)[self._key]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """The array's stream, at its start; damage met meanwhile is a ValueError."""
        try:
            with zipfile.ZipFile(self._path) as archive:
                names = archive.namelist()
                if f"{self._key}.npy" not in names:
                    found = ", ".join(name[:-4] for name in names) or "no array"
                    raise ValueError(f"wanted an array {self._key!r}, found {found}")
                with archive.open(f"{self._key}.npy") as stream:
                    yield stream
        except (ValueError, FileNotFoundError):
            raise
        except Exception as error:  # Of zipfile, zlib, NumPy, tokenize and ast.
            raise ValueError(f"not a sound .npz: {error}") from error


class _Reordered:
    """An `NpzArray` with other axes; read whole where images are not its first."""

    def __init__(self, array: NpzArray, axes: Sequence[int]):
        self._array, self._axes = array, tuple(axes)
        self.shape, self.dtype = tuple(array.shape[i] for i in axes), array.dtype

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._axes[0] != 0:
            yield from self._array.whole().transpose(self._axes)
            return
        for image in self._array:
            yield image.transpose([axis - 1 for axis in self._axes[1:]])


def _read_header(stream: IO[bytes]) -> Tuple[Tuple[int, ...], bool, np.dtype]:
    """Shape, Fortran order and type of the .npy that a stream starts with."""
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream)
    return npy.read_array_header_2_0(stream)
