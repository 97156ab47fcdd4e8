"""An image and the masks of its raters: read whole, and what is wrong with them."""

import functools
import pathlib
from typing import Any, Dict, Tuple

import numpy as np

from car_tf.data import findings, info, io, pictures
from car_tf.data.folders import description, files

Color = Tuple[int, ...]


def examine(
    example: files.Example, told: description.Description
) -> Tuple[findings.Item, np.ndarray, np.ndarray]:
    """Reads an image and its masks whole.

    Returns what was found out, the image `[H, W, C]` uint8 and the class ids `[A, H,
    W]`; both of no use where an error was found.
    """
    problems, labels = findings.Problems(), []
    where = example.split, example.image
    pixels = problems.attempt(*where, lambda: read_image(example.image, told))
    shape = None if pixels is None else pixels.shape[:2]
    if shape and told.fit == "pad" and any(s > t for s, t in zip(shape, told.size)):
        words = f"wanted at most {findings.by(told.size)} pixels to be padded, got "
        words += f"{findings.by(shape)}: enlarge size, or set fit to tiles or resize"
        problems.error("size of image", *where, words)
    for path in example.masks:
        read = functools.partial(_read_mask, path, told)
        label = path and problems.attempt(example.split, path, read)
        if label is not None and shape not in (None, label.shape):
            words = f"wanted {findings.by(shape)}, as its image, got "
            words += f"{findings.by(label.shape)}: save it at the image's size"
            is_turned = np.diff(shape) * np.diff(label.shape) < 0
            if is_turned:  # Resized, it would lie across its image.
                words += ", turned as that is"
            elif told.masks_of_other_size == "nearest":
                label = io.resize_nearest(label, shape)
            else:
                words += ", or set masks_of_other_size to nearest in dataset.json"
            if label.shape != shape:
                problems.error("size of mask", example.split, path, words)
        labels.append(label)
    read = [label for label in labels if label is not None]
    if read and all((label == info.IGNORE_LABEL).all() for label in read):
        words = "no pixel of any class in any mask: nothing can be learnt from it"
        problems.error("empty label", *where, words)
    num_empty = sum(not ((label > 0) & (label < 255)).any() for label in read)
    item = findings.Item(
        name=example.name,
        group=example.group,
        split=example.split,
        problems=tuple(problems),
        size=shape,
        digest=None if pixels is None else findings.digest(pixels),
        num_labels=len(read),
        num_empty=num_empty,
    )
    if pixels is None or problems.has_errors():
        return item, pixels, np.zeros([len(labels), 0, 0], np.uint8)
    missing = np.full(shape, info.IGNORE_LABEL, np.uint8)
    filled = [missing if label is None else label for label in labels]
    return item, pixels, np.stack(filled)


def read_image(path: pathlib.Path, told: description.Description) -> np.ndarray:
    """Reads an image at its own size, `[H, W, C]` uint8.

    Raises:
      DataError: unreadable, turned (EXIF), or of another kind than told.
    """
    limits = told.images.range or ()
    with io.opened(path) as image:
        pictures.map_size(image)
    try:
        pixels = np.asarray(io.read_png(path, mode="RGB", limits=limits))
    except io.DataError as error:
        if "wanted 8 bits" not in str(error) or "got mode RGB" in str(error):
            raise
        raise io.DataError(
            f"{error}, or set images.kind to grey16 and images.range in dataset.json"
        ) from None
    if told.images.kind == "rgb" or pixels.ndim == 2:
        return pixels if pixels.ndim == 3 else pixels[..., None]
    if (pixels != pixels[..., :1]).any():
        raise io.DataError(f"{path}: wanted grey (images.kind), got colours")
    return pixels[..., :1]


def _read_mask(path: pathlib.Path, told: description.Description) -> np.ndarray:
    """Reads a mask at its own size as class ids, `[H, W]` uint8.

    Raises:
      DataError: unreadable, or a value of no class; naming it.
    """
    mode = "colors" if told.uses_colors else "values"
    codes, palette = read_codes(path, mode)
    known, ids = _table(told)
    if mode == "values":  # As below, in a tenth of the time.
        places = np.searchsorted(known, np.arange(256)).clip(0, len(known) - 1)[codes]
    else:
        places = np.searchsorted(known, codes).clip(0, len(known) - 1)
    strange = codes[known[places] != codes]
    if strange.size:
        raise io.DataError(
            f"{path}: {strange.size} pixels have the value {value_of(strange[0], mode)}"
            ", which is of no class and not ignored in dataset.json"
        )
    _check_palette(path, palette, told)
    return ids[places]


def _check_palette(
    path: pathlib.Path, palette: Dict[int, Color], told: description.Description
) -> None:
    """Refuses values whose colours in a palette are those of other classes."""
    for value, color in palette.items():
        alike = [e for e in told.classes if e.color == color and e.values]
        values = [own for entry in alike for own in entry.values]
        if alike and value not in (*values, *told.ignore):
            raise io.DataError(
                f"{path}: its palette gives the value {value} the colour of "
                f"{alike[0].name}, whose value is {values[0]}: where palettes differ "
                "the values of classes in dataset.json must be colours [r, g, b]"
            )


def read_codes(path: pathlib.Path, mode: str) -> Tuple[np.ndarray, Dict[int, Color]]:
    """Reads a mask as codes of `codes_of`, `[H, W]`.

    Beside them, of a mask with a palette, the colour of each value that occurs.
    """
    codes = codes_of(np.asarray(io.read_png(path, mode=mode)))
    return codes, {} if mode == "colors" else palette_of(path, codes)


def palette_of(path: pathlib.Path, values: np.ndarray) -> Dict[int, Color]:
    """Returns the colour of each of the values that a mask with a palette holds."""
    with io.opened(path) as image:
        if image.mode != "P":
            return {}
        colors = np.reshape(image.getpalette(), (-1, 3)).tolist()
    return {value: tuple(colors[value]) for value in np.unique(values).tolist()}


def codes_of(values: np.ndarray) -> np.ndarray:
    """Returns one integer for each pixel of values `[H, W]` or colours `[H, W, 3]`."""
    if values.ndim == 2:
        return values.astype(np.int32)
    return values.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def value_of(code: int, mode: str) -> Any:
    """Returns the value, or the colour as a list, of a code of `codes_of`."""
    code = int(code)
    return [code >> 16, code >> 8 & 255, code & 255] if mode == "colors" else code


@functools.lru_cache(maxsize=8)
def _table(told: description.Description) -> Tuple[np.ndarray, np.ndarray]:
    """Returns codes in order, and the class id of each."""
    pairs = [
        (int(codes_of(np.array(value)[None, None])[0, 0]), class_id)
        for class_id, values in [
            *enumerate(entry.values for entry in told.classes),
            (info.IGNORE_LABEL, told.ignore),
        ]
        for value in values
    ]
    codes, ids = zip(*sorted(pairs))
    return np.array(codes, np.int32), np.array(ids, np.uint8)
