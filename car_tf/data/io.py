"""Reading image files, with errors that name the file."""

from __future__ import annotations

import contextlib
import io
import pathlib
import threading
import warnings
from typing import Iterator, Optional, Tuple

import numpy as np
from PIL import ExifTags, Image

MAX_PIXELS = 64_000_000
# Without those for which Pillow starts other programs, such as EPS.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")

# By the EXIF data's number of an orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTERS = tuple(_TURNS[number] for number in (5, 6, 7, 8))

# NumPy parses an array's header as Python, and before Python 3.12 that fails now and
# then (SystemError) where several threads do so.
_PARSING = threading.Lock()

# Pillow warns of images that `opened` refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class DataError(ValueError):
    """Bad input data; the message names the file, what was wanted and what found."""


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Image.Image]:
    """Opens an image file; its pixels are decoded when they are asked for.

    Raises:
      DataError: missing, no image, of more than `MAX_PIXELS` as its header says (nothing
        is decoded then), or damage that shows in the block.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: wanted at most {MAX_PIXELS} pixels, got "
                    f"{image.width} x {image.height}"
                )
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: wanted an image file, found none") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path}: wanted at most {MAX_PIXELS} pixels ({error})"
        ) from None
    except Exception as error:  # Pillow raises many types on damaged files.
        raise DataError(f"{path}: not a readable image ({error})") from error


def turn_of(image: Image.Image) -> Optional[Image.Transpose]:
    """Returns how an opened image is to be turned for people; None where it is upright.

    Telephones store photographs as the sensor lies, and in their EXIF data how to turn
    them.
    """
    if image.format == "TIFF":
        return None  # Pillow has turned it.
    if image.format == "PNG" and "exif" not in image.info:
        return None  # Pillow would decode all of it to look for more.
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises many types on damaged EXIF data.
        return None


def upright_size(image: Image.Image) -> Tuple[int, int]:
    """Returns (height, width) of an opened image as people look at it."""
    is_turned = turn_of(image) in _QUARTERS
    return (image.width, image.height) if is_turned else (image.height, image.width)


def read_png(path: pathlib.Path, *, mode: str) -> Image.Image:
    """Decodes an image file whole.

    Args:
      path: the file.
      mode: Pillow's mode to convert to, `RGB` or `L`; a colour image is not taken
        for `L`, since class ids in it would be changed.

    Returns:
      The decoded image.

    Raises:
      DataError: missing, truncated, too large, or no image.
    """
    with opened(path) as image:
        if mode == "L" and image.mode not in ("L", "P", "I", "I;16", "1"):
            raise DataError(
                f"{path}: wanted one channel of class ids, got mode {image.mode}"
            )
        image.load()
        # A palette image of class ids keeps its indices.
        if mode == "L" and image.mode != "1":
            return image if image.mode in ("L", "P") else _narrow(image, path)
        return image.convert(mode)


def _narrow(image: Image.Image, path: pathlib.Path) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 255:
        raise DataError(
            f"{path}: wanted ids 0 to 255, got {values.min()} to {values.max()}"
        )
    return Image.fromarray(values.astype(np.uint8))


def resize_antialiased(image: Image.Image, size: tuple) -> np.ndarray:
    """Resizes an image to (height, width) with antialiasing, uint8."""
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def decode_array(content: bytes) -> np.ndarray:
    """Decodes the content of a `.npy` file; safe in threads, unlike `np.load`.

    Raises:
      ValueError: it is none, or one of Python objects.
    """
    try:
        with _PARSING:
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except ValueError:
        raise
    except Exception as error:  # Of NumPy, tokenize and ast; no memory for the shape.
        raise ValueError(f"not a sound .npy: {error}") from error


def read_ids(path: pathlib.Path) -> np.ndarray:
    """Reads a map of ids at its own size, `[H, W]` uint8."""
    return np.asarray(read_png(path, mode="L"))


def resize_nearest(ids: np.ndarray, size: tuple) -> np.ndarray:
    """Resizes `[H, W]` ids to (height, width) by nearest neighbour."""
    if ids.shape == tuple(size):
        return ids
    image = Image.fromarray(ids).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(image)


def map_ids(
    ids: np.ndarray, table: np.ndarray, *, path: pathlib.Path, wanted: str
) -> np.ndarray:
    """Maps ids through a table.

    Args:
      ids: integer array.
      table: `[256]` int16; -1 marks ids that must not occur.
      path: the file the ids come from, for the message.
      wanted: the ids that may occur, in words.

    Returns:
      uint8 array of `ids`' shape.

    Raises:
      DataError: an id that must not occur.
    """
    if ids.size and (ids.min() < 0 or ids.max() > 255):
        bad = int(ids.min() if ids.min() < 0 else ids.max())
        raise DataError(f"{path}: wanted {wanted}, got id {bad}")
    mapped = table[ids]
    if (mapped < 0).any():
        raise DataError(f"{path}: wanted {wanted}, got id {int(ids[mapped < 0][0])}")
    return mapped.astype(np.uint8)
