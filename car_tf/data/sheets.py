"""Pictures for people: class ids in colours, and several pictures on one sheet."""

from typing import Mapping, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

TITLE_HEIGHT = 14


def color_table(colors: Mapping[int, Sequence[int]]) -> np.ndarray:
    """Returns `[256, 3]` uint8, class id -> colour; black for others, such as 255."""
    table = np.zeros((256, 3), np.uint8)
    for class_id, color in colors.items():
        table[class_id] = color
    return table


def montage(
    tiles: Sequence[Tuple[str, Image.Image]], *, tile_width: int, columns: int = 3
) -> Image.Image:
    """Lays titled pictures of one size out in rows."""
    width, height = tiles[0][1].size
    tile_height = max(1, round(tile_width * height / width))
    rows = -(-len(tiles) // columns)
    row_height = tile_height + TITLE_HEIGHT
    sheet = Image.new("RGB", (columns * tile_width, rows * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (title, picture) in enumerate(tiles):
        row, column = divmod(index, columns)
        corner = (column * tile_width, row * row_height)
        draw.text((corner[0] + 3, corner[1] + 1), title, fill="black")
        small = picture.resize((tile_width, tile_height))
        sheet.paste(small, (corner[0], corner[1] + TITLE_HEIGHT))
    return sheet


def with_legend(
    sheet: Image.Image, names: Sequence[str], colors: Sequence[Sequence[int]]
) -> Image.Image:
    """Returns a sheet with the names of the classes in their colours below it."""
    columns, line = max(1, sheet.width // 130), 18
    height = sheet.height + line * -(-len(names) // columns)
    whole = Image.new("RGB", (sheet.width, height), "white")
    whole.paste(sheet)
    pen = ImageDraw.Draw(whole)
    for index, (name, color) in enumerate(zip(names, colors)):
        left = index % columns * (sheet.width // columns)
        top = sheet.height + index // columns * line
        pen.rectangle((left, top + 2, left + 12, top + 13), fill=tuple(color))
        pen.text((left + 17, top + 2), name, fill="black")
    return whole
