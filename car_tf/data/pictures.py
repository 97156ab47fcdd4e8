"""Pictures and maps of ids as Pillow opens them: read to their values, or refused.

Nothing is guessed: Pillow cuts 16 bits down to 8, spreads 4-bit ids over 0 to 255 and
drops what is transparent without a word.
"""

import contextlib
import re
from typing import Tuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

_STACKS = ("PNG", "TIFF", "WEBP")
# What Pillow multiplies grey values of few bits by.
_SCALES = {"L;2": 85, "L;4": 17}


class PictureError(ValueError):
    """An image that is not what is wanted; the message says what was found."""


def orientation(image: Image.Image) -> int:
    """Returns how an image that is not decoded yet is turned (EXIF): 1 for upright."""
    # Pillow would decode all of a PNG to look for EXIF data.
    known = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
    if image.format != "PNG" or any(name in image.info for name in known):
        with contextlib.suppress(Exception):  # Many types, on damaged data.
            found = image.getexif().get(ExifTags.Base.Orientation)
            return found if found in range(1, 9) else 1
    return 1


def upright_size(image: Image.Image) -> Tuple[int, int]:
    """Returns (height, width) of an opened image as people look at it (EXIF)."""
    # Pillow gives the size of a TIFF as it is when turned.
    if image.format != "TIFF" and orientation(image) >= 5:  # A quarter turn.
        return image.width, image.height
    return image.height, image.width


def map_size(image: Image.Image) -> Tuple[int, int]:
    """Returns the (height, width) of a map that belongs to an opened image.

    An image that is turned by its EXIF data is refused where the size of a map does not
    tell whether it is turned as well.
    """
    height, width = upright_size(image)
    turn = orientation(image)
    if turn > 1 and (turn < 5 or height == width):
        raise PictureError(
            f"turned by its EXIF data (orientation {turn}), and nothing tells "
            "whether its labels are turned as well: save it upright"
        )
    return height, width


def _raw_mode(image: Image.Image) -> str:
    """Returns how the values lie in the file, such as `L;4`; empty once decoded."""
    # A photograph of two frames (MPO) has the second for other uses.
    num = getattr(image, "n_frames", 1) if image.format in _STACKS else 1
    if num > 1:
        raise PictureError(f"wanted one image, got {num} frames")
    args = image.tile[0][3] if getattr(image, "tile", None) else ""
    return str(args[0] if isinstance(args, tuple) else args or "")


def to_rgb(image: Image.Image) -> Image.Image:
    """Returns a picture as 8-bit `RGB`, turned as people look at it (EXIF).

    Raises:
      PictureError: more than 8 bits, colours that need a profile, transparent pixels,
        or several frames.
    """
    raw = _raw_mode(image)
    image.load()
    if image.mode[0] in "IF" or re.match(r"(L|LA|RGB|RGBA|RGBX|CMYK);16", raw):
        values = np.asarray(image)
        low, high = values.min().item(), values.max().item()
        if image.mode[0] not in "IF":  # Pillow has cut the lower half off.
            low, high = 256 * low, 256 * high + 255
        raise PictureError(
            f"wanted 8 bits per channel, got mode {raw or image.mode} with "
            f"values {low} to {high}: scale it to 0 to 255 first"
        )
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"):
        words = f"wanted grey or RGB values, got mode {image.mode}"
        raise PictureError(f"{words}: convert it")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        if image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
            raise PictureError(
                "wanted an opaque picture, got transparent pixels: what is "
                "behind them is not known, so save it without transparency"
            )
    if orientation(image) > 1:
        image = ImageOps.exif_transpose(image)
    return image.convert("RGB")


def to_ids(image: Image.Image) -> Image.Image:
    """Returns a map of ids as `L`, each as it is stored: a palette's index, too.

    Raises:
      PictureError: colours, ids above 255, lossy compression, a turned map (EXIF), or
        values that may stand for others.
    """
    raw = _raw_mode(image)
    if image.mode[0] not in "LPI" or image.mode in ("LA", "La", "PA", "LAB"):
        raise PictureError(f"wanted one channel of class ids, got mode {image.mode}")
    _check_exact(image, "class ids")
    image.load()
    values = np.asarray(image)
    if image.mode == "P":
        _check_palette(image)
    elif raw in _SCALES:  # Pillow has spread them over 0 to 255.
        values = values // _SCALES[raw]
    elif raw.startswith("L;"):
        raise PictureError(f"wanted plain class ids, got {raw} (inverted?)")
    if values.min() < 0 or values.max() > 255:
        found = f"{values.min()} to {values.max()}"
        words = f"wanted ids 0 to 255, got {found}: give each class one of those"
        raise PictureError(words)
    return Image.fromarray(values.astype(np.uint8))


def to_values(image: Image.Image) -> Image.Image:
    """Returns mask values as `L`: as `to_ids`, black and white as 0 and 255, and of
    colour channels, which must be equal, one.
    """
    if image.mode == "1":
        _raw_mode(image)
        _check_exact(image, "mask values")
        return image.convert("L")
    if image.mode not in ("RGB", "RGBA"):
        return to_ids(image)
    pixels = np.asarray(to_colors(image))
    red, green, blue = (np.ascontiguousarray(pixels[..., c]) for c in range(3))
    odd = (red != green) | (red != blue)
    if odd.any():
        found = pixels[odd][0].tolist()
        raise PictureError(f"wanted grey mask values, got the colour {found}")
    return Image.fromarray(red)


def to_colors(image: Image.Image) -> Image.Image:
    """Returns a mask of colours (or a palette's) as `RGB`, each as it is stored."""
    _check_exact(image, "mask colours")
    # Grey values of more than 8 bits would have to be scaled.
    return to_rgb(to_ids(image) if image.mode[0] in "IF" else image)


def to_grey(image: Image.Image, limits: Tuple[float, float]) -> Image.Image:
    """Returns a grey picture of any number of bits as `L`, limits as 0 and 255.

    Raises:
      PictureError: colours, a turned picture (EXIF), several frames, or values that
        the limits are not of.
    """
    _raw_mode(image)
    if image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
        words = f"wanted grey values {limits[0]:g} to {limits[1]:g}"
        raise PictureError(f"{words}, got mode {image.mode}: save it as such")
    if orientation(image) > 1:
        raise PictureError("wanted an upright picture, got EXIF orientation")
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise PictureError("wanted numbers, got some that are not finite")
    picture, found = within(values, limits), (values.min(), values.max())
    # Nor do two levels remain of a picture that has more.
    is_flat = np.count_nonzero(picture.histogram()) <= 2 < len(np.unique(values))
    if is_flat or (image.mode == "L" and limits[1] > 255):
        raise PictureError(
            f"wanted grey values {limits[0]:g} to {limits[1]:g} (black to white), got "
            f"{found[0]:g} to {found[1]:g} of mode {image.mode}: save it with the "
            "bits and on the scale of the others, or mend images.range"
        )
    return picture


def within(values: np.ndarray, limits: Tuple[float, float]) -> Image.Image:
    """Returns finite grey values `[H, W]` as `L`, limits as 0 and 255."""
    scaled = (values.astype(np.float64) - limits[0]) / (limits[1] - limits[0])
    return Image.fromarray(np.round(255 * scaled.clip(0, 1)).astype(np.uint8))


def _check_exact(image: Image.Image, what: str) -> None:
    """Refuses a map that is turned, or whose values compression has altered."""
    turn, packed = orientation(image), str(image.info.get("compression"))
    if turn > 1:
        raise PictureError(f"wanted an upright map, got EXIF orientation {turn}")
    is_webp = "webp" in packed or _is_lossy_webp(image)
    if image.format in ("JPEG", "MPO") or "jpeg" in packed or is_webp:
        name = "WebP with loss" if is_webp else "JPEG"
        words = f"wanted exact {what}, got {name}, which alters them"
        raise PictureError(f"{words}: save masks as PNG")


def _is_lossy_webp(image: Image.Image) -> bool:
    if image.format != "WEBP" or not getattr(image, "filename", ""):
        return False
    with open(image.filename, "rb") as file:
        file.seek(12)  # Behind the file's own name and size.
        while len(head := file.read(8)) == 8 and head[:4] not in (b"VP8 ", b"VP8L"):
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return head[:4] == b"VP8 "


def _check_palette(image: Image.Image) -> None:
    """Refuses a grey palette: what programs make of grey ids to save bytes."""
    colors = np.reshape(image.getpalette() or [], (-1, 3))
    grey = colors[:, 0]
    is_grey = (colors == grey[:, None]).all() and len(set(grey)) == len(grey) > 1
    if is_grey and (grey != np.arange(len(grey))).any():
        raise PictureError(
            f"its palette is of grey values {grey[:4].tolist()}..., and nothing "
            "tells whether the ids are these or the palette's indices: save it as grey"
        )
