"""A picture of images, their labels and what a black box makes of them."""

from __future__ import annotations

from typing import Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

_GAP = 8
_LINE = 18
_TEXT = (30, 30, 30)
_NONE = (0, 0, 0)


def colorize(ids: np.ndarray, colors: Sequence[Tuple[int, int, int]]) -> np.ndarray:
    """Returns `[H, W, 3]` uint8 colours of `[H, W]` ids; others, such as 255, black."""
    table = np.full((256, 3), _NONE, np.uint8)
    table[: len(colors)] = colors
    return table[ids]


def draw(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    class_names: Sequence[str],
    class_colors: Sequence[Tuple[int, int, int]],
) -> Image.Image:
    """Draws one row per image: input, label, prediction; and the colours' meaning.

    Args:
      images: `[N, H, W, 3]` uint8.
      labels: `[N, H, W]` class ids, 255 ignored.
      predictions: `[N, H, W]` class ids, 255 for none.
      class_names: of K classes.
      class_colors: K (red, green, blue) triples.
    """
    num, height, width = labels.shape
    titles = ("image", "label", "prediction")
    across = 3 * width + 4 * _GAP
    columns = max(1, across // 130)
    legend = _LINE * (-(-len(class_names) // columns)) + _GAP
    sheet = Image.new(
        "RGB", (across, _LINE + num * (height + _GAP) + _GAP + legend), "white"
    )
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        pen.text((_GAP + column * (width + _GAP), 3), title, fill=_TEXT)
    for row in range(num):
        top = _LINE + row * (height + _GAP)
        tiles = (
            images[row],
            colorize(labels[row], class_colors),
            colorize(predictions[row], class_colors),
        )
        for column, tile in enumerate(tiles):
            left = _GAP + column * (width + _GAP)
            sheet.paste(Image.fromarray(np.ascontiguousarray(tile)), (left, top))
    first = _LINE + num * (height + _GAP) + _GAP
    for index, (name, color) in enumerate(zip(class_names, class_colors)):
        left = _GAP + index % columns * (across // columns)
        top = first + index // columns * _LINE
        pen.rectangle((left, top + 2, left + 12, top + 13), fill=tuple(color))
        pen.text((left + 17, top + 2), name, fill=_TEXT)
    return sheet
