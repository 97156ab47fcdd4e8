"""The pictures of the proposal page, as arrays and encoded files."""

import io
from typing import Optional, Tuple

import numpy as np
from PIL import Image

from car_tf.predict import output

THUMB_WIDTH = 320
# Weight of the class colours over the image, in thumbnails; and beside a region.
_OVER, _BESIDE = 0.7, 0.3
# A region's thumbnail shows it with this share of its size around it on each side,
# and at least this share of the image.
_AROUND, _LEAST_SHARE = 0.35, 0.25


def visible_colors(colors: np.ndarray) -> np.ndarray:
    """Returns colours `[K, 3]` with white, which no one sees on grey, made orange."""
    is_white = (colors == 255).all(1)[:, None]
    return np.where(is_white, (255, 140, 0), colors).astype(np.uint8)


def heat(bits: np.ndarray) -> np.ndarray:
    """Returns entropies `[H, W]` as `[H, W, 4]`, transparent where F is sure."""
    share = bits / max(float(bits.max()), 1e-6)
    alpha = np.rint(255 * np.clip(2 * share, 0, 1)).astype(np.uint8)
    return np.dstack([np.asarray(output.heat_map(bits)), alpha])


def thumbnail(
    shown: Image.Image,
    ids: np.ndarray,
    colors: np.ndarray,
    region: Optional[np.ndarray] = None,
) -> Image.Image:
    """Returns the image under a map `[H, W]` in colours `[K, 3]`, small.

    With a `region` `[H, W]` bool, what lies around that.
    """
    height, width = ids.shape
    top, left, bottom, right = 0, 0, height, width
    if region is not None:
        top, bottom = _around(region.any(1))
        left, right = _around(region.any(0))
    scale = shown.width / width, shown.height / height
    box = (left * scale[0], top * scale[1], right * scale[0], bottom * scale[1])
    size = THUMB_WIDTH, max(1, round(THUMB_WIDTH * shown.height / shown.width))
    below = shown.resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    # Black is no class to be shown, so it is transparent.
    visible = visible_colors(colors)
    alpha = np.where((visible == 0).all(1), 0, 255).astype(np.uint8)
    over = np.dstack([visible[ids], alpha[ids]])
    weight = np.float32(_OVER) if region is None else np.where(region, _OVER, _BESIDE)
    over[..., 3] = np.rint(over[..., 3] * weight)
    over = Image.fromarray(over[top:bottom, left:right])
    over = over.resize(size, Image.Resampling.NEAREST)
    return Image.composite(over.convert("RGB"), below, over.getchannel("A"))


def _around(inside: np.ndarray) -> Tuple[int, int]:
    """Returns where to cut along one axis, of `[n]` bool."""
    found = np.flatnonzero(inside)
    low, high, total = int(found[0]), int(found[-1]) + 1, len(inside)
    wanted = max((high - low) * (1 + 2 * _AROUND), total * _LEAST_SHARE)
    length = min(total, round(wanted))
    start = min(max(0, round((low + high - length) / 2)), total - length)
    return start, start + length


def encoded(picture: Image.Image, kind: str) -> bytes:
    """Returns a picture as a file's content; `kind` is Pillow's name of it."""
    content = io.BytesIO()
    # A page waits for these: speed counts more than bytes.
    fast = {"PNG": {"compress_level": 1}, "JPEG": {"quality": 85}}
    picture.save(content, kind, **fast[kind])
    return content.getvalue()
