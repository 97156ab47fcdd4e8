"""Predictions of single images on disk, so that none is ever computed twice.

One file per image, named by the image's content, in a folder named by the black box:
a changed image or black box never meets an old prediction, an interrupted run goes on
where it stopped, and splits that share images share predictions.
"""

from __future__ import annotations

import hashlib
import pathlib
import zipfile
from typing import Tuple

import numpy as np

from car_tf.data import io

FORMAT_VERSION = 1
# Probabilities are kept in steps of 1 / 255, so that each is off by 1 / 510 at most.
_STEPS = 255


class Store:
    """The predictions of one black box at one size."""

    def __init__(
        self, cache_dir: pathlib.Path, *, fingerprint: str, size: Tuple[int, int]
    ):
        """Names the folder; nothing is written yet.

        Args:
          cache_dir: the cache folder.
          fingerprint: of the black box and how it is used.
          size: (height, width) of the maps.
        """
        dataset_info = f"{FORMAT_VERSION}|{fingerprint}|{tuple(size)}"
        self.key = hashlib.sha256(dataset_info.encode()).hexdigest()
        self._folder = cache_dir / "blackbox" / self.key[:32]

    def file(self, image_hash: str) -> pathlib.Path:
        """Returns where the prediction of an image lies, by the image's SHA-256."""
        return self._folder / f"{image_hash[:32]}.npz"

    def has(self, image_hash: str) -> bool:
        """Tells whether an image's prediction is there and whole."""
        # A file that a full disk or a crash cut short lacks the directory at its end.
        return zipfile.is_zipfile(self.file(image_hash))

    def write(self, image_hash: str, prediction: np.ndarray) -> None:
        """Writes a prediction: all of it, or nothing.

        Args:
          image_hash: SHA-256 of the image.
          prediction: `[H, W]` uint8 class ids or `[H, W, K]` probabilities.
        """
        if prediction.dtype != np.uint8:
            prediction = np.rint(_STEPS * prediction).astype(np.uint8)
        with io.atomic_file(self.file(image_hash)) as file:
            np.savez_compressed(file, prediction=prediction)

    def read(self, image_hash: str) -> np.ndarray:
        """Reads a prediction, `[H, W]` uint8 or `[H, W, K]` float16.

        Raises:
          DataError: a damaged file.
        """
        path = self.file(image_hash)
        try:
            with zipfile.ZipFile(path) as stored:
                steps = io.decode_array(stored.read("prediction.npy"))
        except Exception as error:  # NumPy and zlib raise many types.
            raise io.DataError(
                f"{path}: damaged prediction in the cache; delete it ({error})"
            ) from error
        if steps.ndim == 2:
            return steps
        return (steps * np.float32(1 / _STEPS)).astype(np.float16)
