"""A drawn data set: leaves with veins and spots, as three raters saw them."""

import json

import numpy as np
from PIL import Image

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.data import layouts
from car_tf.data.folders import describe

RATERS = ("anna", "ben", "cleo")
SIZE = (40, 56)
# Soil, leaf, vein, spot.
PALETTE = ((90, 60, 30), (40, 160, 60), (200, 220, 120), (150, 30, 90))


def draw(index, size=SIZE):
    """Draws a picture `[H, W, 3]` and the raters' class ids `[3, H, W]`."""
    rng = np.random.default_rng(index)
    rows, columns = np.mgrid[: size[0], : size[1]]
    y, x = rows - size[0] * rng.uniform(0.4, 0.6), columns - size[1] / 2
    radius = np.hypot(y / (size[0] * 0.35), x / (size[1] * 0.4))
    spot = np.hypot(y + rng.uniform(2, 6), x - rng.uniform(4, 8))
    labels = []
    for rater in range(3):
        label = (radius < 1 + 0.1 * (rater - 1)).astype(np.uint8)
        label[(np.abs(y) < 1 + rater) & (label == 1)] = 2
        label[(spot < 3 + rater) & (label > 0)] = 3
        labels.append(label)
    noise = rng.integers(-12, 13, (*size, 3))
    picture = np.array(PALETTE)[labels[1]] + noise
    return picture.clip(0, 255).astype(np.uint8), np.stack(labels)


def save(path, array, palette=None):
    """Writes an image; ids `[H, W]` with a palette, if it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette([level for color in palette for level in color])
    image.save(path)


def write(root, num=9, size=SIZE):
    """Writes images and palette masks; ben has not labelled the second one."""
    for index in range(num):
        picture, labels = draw(index, size)
        save(root / "images" / f"leaf{index}.png", picture)
        for name, label in zip(RATERS, labels):
            if (index, name) != (1, "ben"):
                save(root / "masks" / name / f"leaf{index}.png", label, PALETTE)
    return root


def change(root, **fields):
    """Changes fields of `dataset.json`."""
    path = root / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def drafted(root):
    """Writes the draft; returns what it says and asks."""
    _, draft = describe.write(root, force=True)
    return draft


def load(root, *overrides):
    """Reads a folder as training does."""
    config = config_lib.load("folders")
    config = config_lib.load(
        "folders",
        [
            *layouts.overrides(config, str(root), "folders"),
            f"data.data_dir={root}",
            f"data.cache_dir={root.parent / 'cache'}",
            *overrides,
        ],
    )
    return attach.load(config)


def by_name(dataset):
    """Returns name -> image and labels, of all splits."""
    return {
        name: (split.images[i], split.labels[i])
        for split in dataset.splits.values()
        for i, name in enumerate(split.names)
    }
