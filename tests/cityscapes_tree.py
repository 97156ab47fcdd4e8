"""A miniature data set in Cityscapes' layout, written by the tests that read it."""

import pathlib

import numpy as np
from PIL import Image

SIZE = (64, 128)
# Label ids of Cityscapes: road 7, sidewalk 8, building 11, vegetation 21, sky 23,
# person 24, car 26; 3 (out of ROI) is ignored.
_BANDS = (23, 11, 21, 24, 26, 8, 7, 3)


def image_file(root, split, city, index):
    name = f"{city}_{index:06d}_000019_leftImg8bit.png"
    return pathlib.Path(root) / "leftImg8bit" / split / city / name


def label_file(root, split, city, index):
    name = f"{city}_{index:06d}_000019_gtFine_labelIds.png"
    return pathlib.Path(root) / "gtFine" / split / city / name


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def label_ids(size=SIZE):
    """Horizontal bands of all classes that can flip, and some others."""
    rows = np.arange(size[0]) * len(_BANDS) // size[0]
    return np.tile(np.array(_BANDS, np.uint8)[rows][:, None], (1, size[1]))


def write(root, *, size=SIZE, train=None, val=None):
    """Writes images of noise over bands; `train` and `val` map cities to numbers."""
    train = {"aachen": 3, "bochum": 3} if train is None else train
    val = {"frankfurt": 2} if val is None else val
    rng = np.random.default_rng(0)
    for split, cities in (("train", train), ("val", val)):
        for city, num in cities.items():
            for index in range(num):
                ids = label_ids(size)
                noise = rng.integers(0, 60, (*size, 3))
                grey = (ids[..., None] * 7 + noise).clip(0, 255).astype(np.uint8)
                write_image(image_file(root, split, city, index), grey)
                write_image(label_file(root, split, city, index), ids)
    return pathlib.Path(root)
