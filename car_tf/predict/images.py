"""Images to predict: read, brought to their working size, or drawn as examples."""

import pathlib
from typing import Any, Dict, Sequence, Tuple

import numpy as np
from PIL import Image

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.data import io, pictures
from car_tf.predict import predictor as predict_predictor


def read_image(
    path: pathlib.Path, channels: int, limits: Sequence[float] = ()
) -> Image.Image:
    """Reads an image, `RGB` (3 channels) or grey (1), as people look at it (EXIF).

    `limits` are the `image_range` of the model's data, for images of 16 bits.

    Raises:
      DataError: unreadable, or refused by `pictures.to_rgb`.
    """
    image = io.read_png(path, mode="RGB", limits=tuple(limits))
    return _of_channels(image, channels, str(path))


def _of_channels(picture: Image.Image, channels: int, where: str) -> Image.Image:
    """Returns `RGB`, or grey of a picture that is; of colours as training does none."""
    if channels == 3:
        return picture.convert("RGB")
    pixels = np.asarray(picture)
    if pixels.ndim == 3 and (pixels != pixels[..., :1]).any():
        raise io.DataError(f"{where}: wanted grey, as in training, got colours")
    return picture.convert("L")


def as_picture(source: Any, channels: int, limits: Sequence[float] = ()) -> Image.Image:
    """Takes an image as a program has it: a file, a PIL image or an array.

    The array is `[H, W]`, `[H, W, 1]` or `[H, W, 3]` uint8; else as `read_image`.

    Raises:
      DataError: unreadable, or neither of these.
    """
    if isinstance(source, Image.Image):
        try:
            picture = pictures.to_rgb(source)
        except pictures.PictureError as error:
            raise io.DataError(f"image: {error}") from None
    elif isinstance(source, np.ndarray):
        flat = source[..., 0] if source.ndim == 3 and source.shape[-1] == 1 else source
        is_image = flat.ndim == 2 or (flat.ndim == 3 and flat.shape[-1] == 3)
        if not is_image or flat.dtype != np.uint8:
            raise io.DataError(
                "image: wanted [H, W], [H, W, 1] or [H, W, 3] uint8, got "
                f"{source.dtype} of shape {list(source.shape)}"
            )
        picture = Image.fromarray(flat)
    else:
        return read_image(pathlib.Path(source).expanduser(), channels, limits)
    return _of_channels(picture, channels, "image")


def working_size(
    labels: Dict[str, Any], options: predict_predictor.Options, own: Tuple[int, int]
) -> Tuple[int, int]:
    """Returns the (height, width) at which an image of its own size is predicted."""
    blackbox = labels["blackbox"]
    if blackbox is not None and blackbox["embedded"]:
        return own  # The model resizes, after its black box has seen the whole image.
    if options.size == "own" or (options.size == "trained" and not labels["resizes"]):
        return own
    return tuple(labels["trained_size"] if options.size == "trained" else options.size)


def at_working_size(
    picture: Image.Image, labels: Dict[str, Any], options: predict_predictor.Options
) -> np.ndarray:
    """Returns a picture as `[H, W, C]` uint8 at the size at which it is predicted."""
    size = working_size(labels, options, (picture.height, picture.width))
    return np.atleast_3d(io.resize_antialiased(picture, size))


def own_size(file: pathlib.Path) -> Tuple[int, int]:
    """Returns the (height, width) of an image's file, as people look at it."""
    with io.opened(file) as image:
        return pictures.upright_size(image)


def write_examples(
    config: config_lib.Config, folder: pathlib.Path, num: int
) -> Tuple[Dict[str, pathlib.Path], str]:
    """Writes what `attach.draw_unseen` draws as PNG files, to predict.

    Returns name -> file in `folder/images`, and the folder of the maps, empty for none.
    """
    split = attach.draw_unseen(config, num)
    drawn = {"images": split.images}
    if split.blackbox is not None:
        drawn["blackbox"] = split.blackbox
    for kind, arrays in drawn.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, array in zip(split.names, arrays):
            Image.fromarray(array.squeeze()).save(folder / kind / f"{name}.png")
    images = {name: folder / "images" / f"{name}.png" for name in split.names}
    return images, str(folder / "blackbox") if "blackbox" in drawn else ""
