"""LIDC crops as PNG files in folders, HPU-Net's `lidc_crops`.

`<split>/images/<patient>/<name>.png` with `<split>/gt/<patient>/<name>_l{0..3}.png` (or
1 to 4), also as `lidc_crops_<split>/<split>/...`.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import re
from typing import Dict, Hashable, List, Optional, Tuple

import numpy as np

from car_tf.data import cache, examples, io, pictures, splits
from car_tf.data.lidc import arrays as lidc_arrays

NUM_RATERS = lidc_arrays.NUM_RATERS
_NUM_LOOKED_AT = 16
_MASK_STEM = re.compile(r"(?P<image>.+)_l(?P<rater>\d+)")


@dataclasses.dataclass(frozen=True)
class SplitFiles:
    """What lies in the folder of a split."""

    images: Dict[Tuple[str, str], pathlib.Path]  # (patient, name) -> file, in order
    # (patient, name) of an image -> rater's number -> file.
    masks: Dict[Tuple[str, str], Dict[int, pathlib.Path]]
    strays: List[pathlib.Path]  # masks of no image
    # The numbers of the four raters, from 0 or from 1 as most crops have it.
    wanted: range


def split_folder(root: pathlib.Path, split: str) -> Optional[pathlib.Path]:
    """Returns the folder of a split, in either nesting; None if there is none."""
    for folder in (root / split, root / f"lidc_crops_{split}" / split):
        if (folder / "images").is_dir():
            return folder
    return None


def find(folder: pathlib.Path) -> SplitFiles:
    """Finds the files of a split; images and masks belong together by name.

    Raises:
      DataError: two files go by one name, such as `c0.png` and `c0.PNG`.
    """
    images = _png_files(folder / "images")
    masks: Dict[Tuple[str, str], Dict[int, pathlib.Path]] = {key: {} for key in images}
    strays = []
    for (patient, stem), path in _png_files(folder / "gt").items():
        match = _MASK_STEM.fullmatch(stem)
        if match and (patient, match["image"]) in images:
            _add(masks[patient, match["image"]], int(match["rater"]), path)
        else:
            strays.append(path)
    starts = collections.Counter(min(found) for found in masks.values() if found)
    first = starts.most_common(1)[0][0] if starts else 0
    return SplitFiles(images, masks, strays, range(first, first + NUM_RATERS))


def _patients(folder: pathlib.Path) -> List[str]:
    """Returns the names of the patients' folders, in order; none without a folder."""
    if not folder.is_dir():
        return []
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
    )


def _png_files(folder: pathlib.Path) -> Dict[Tuple[str, str], pathlib.Path]:
    """Returns the PNG files by patient and name without its ending, in order."""
    found = {}
    for patient in _patients(folder):
        for name in sorted(os.listdir(folder / patient)):
            stem, ending = os.path.splitext(name)
            if ending.lower() == ".png" and not name.startswith("."):
                _add(found, (patient, stem), folder / patient / name)
    return found


def _add(found: Dict, key: Hashable, path: pathlib.Path) -> None:
    if key in found:
        raise io.DataError(f"{path}: goes by the same name as {found[key].name}")
    found[key] = path


@dataclasses.dataclass(frozen=True)
class _Crop:
    name: str
    patient: str
    image: pathlib.Path
    masks: List[pathlib.Path]


def _pair(folder: pathlib.Path, on_error: str) -> Tuple[List[_Crop], List[str]]:
    """Returns each image of a split with the files of its four masks.

    Returns:
      The crops, and the names of those left out: with `skip`, where a mask is missing.
    """
    if not (folder / "gt").is_dir():
        raise FileNotFoundError(f"{folder / 'gt'}: no such folder")
    found = find(folder)
    if found.strays and on_error == "stop":
        raise io.DataError(f"{found.strays[0]}: found no image of this mask's name")
    crops, skipped = [], []
    for (patient, stem), image in found.images.items():
        masks = found.masks[patient, stem]
        if set(masks) == set(found.wanted):
            paths = [masks[rater] for rater in found.wanted]
            crops.append(_Crop(f"{patient}/{stem}", patient, image, paths))
            continue
        if on_error == "skip":
            skipped.append(f"{patient}/{stem}")
            continue
        for rater in found.wanted:
            if rater not in masks:
                mask = folder / "gt" / patient / f"{stem}_l{rater}.png"
                raise FileNotFoundError(
                    f"{mask}: no such mask; all four raters' are wanted, empty "
                    "where a rater saw nothing"
                )
        other = masks[min(set(masks) - set(found.wanted))]
        raise io.DataError(
            f"{other}: wanted the masks of raters {found.wanted[0]} to "
            f"{found.wanted[-1]} alone, as most crops have them"
        )
    if not crops:
        raise FileNotFoundError(
            f"{folder / 'images'}: no <patient>/*.png in it, or none with all masks"
        )
    return crops, skipped


def read(
    root: pathlib.Path,
    split: str,
    *,
    size: Tuple[int, int],
    cache_dir: Optional[pathlib.Path],
    on_error: str,
) -> examples.Examples:
    """Reads one split; arguments and errors as of `lidc.read`."""
    found = {name: split_folder(root, name) for name in splits.SPLITS}
    folders = {name: folder for name, folder in found.items() if folder}
    try:
        splits.check_disjoint(
            {name: _patients(folder / "images") for name, folder in folders.items()}
        )
    except ValueError as error:
        raise io.DataError(f"{root}: {error}") from None
    if split not in folders:
        raise FileNotFoundError(
            f"{root}: wanted split {split}, found {', '.join(folders)}"
        )
    crops, skipped = _pair(folders[split], on_error)
    names = [crop.name for crop in crops]
    height, width = _common_size(crops, size, on_error)
    specs = {
        "images": ((height, width, 1), np.uint8),
        "labels": ((NUM_RATERS, height, width), np.uint8),
    }
    load = functools.partial(_load, size=size, specs=specs)
    if cache_dir is None:
        stored = {
            name: np.empty((len(crops), *shape), dtype)
            for name, (shape, dtype) in specs.items()
        }
        kept = range(len(crops))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            for index, crop in enumerate(pool.map(load, crops)):
                for name, array in crop.items():
                    stored[name][index] = array
    else:
        paths = [path for crop in crops for path in (crop.image, *crop.masks)]
        hashes = cache.content_hashes(paths, cache_dir)
        key = f"lidc|{cache.FORMAT_VERSION}|{size}|{height}|{width}|{names}|{hashes}"
        stored, kept = cache.arrays(
            key=key,
            cache_dir=cache_dir,
            specs=specs,
            num=len(crops),
            read=lambda index: load(crops[index]),
            what=f"reading {split}",
            on_error=on_error,
        )
    skipped += [names[index] for index in sorted(set(range(len(names))) - set(kept))]
    return examples.Examples(
        names=tuple(names[index] for index in kept),
        groups=tuple(crops[index].patient for index in kept),
        skipped=tuple(sorted(skipped)),
        **stored,
    )


def _common_size(
    crops: List[_Crop], size: Tuple[int, int], on_error: str
) -> Tuple[int, int]:
    """Returns the size, cut to `size`, that most of the first readable crops have."""
    found: Dict[Tuple[int, int], int] = collections.Counter()
    for crop in crops:
        try:
            found[lidc_arrays.fit(read_grey(crop.image), size).shape] += 1
        except io.DataError:
            if on_error == "stop" or (not found and crop is crops[-1]):
                raise
        if sum(found.values()) == _NUM_LOOKED_AT:
            break
    return max(found, key=found.get)


def _load(
    crop: _Crop, *, size: Tuple[int, int], specs: Dict[str, tuple]
) -> Dict[str, np.ndarray]:
    """Reads one crop with its masks into arrays of the shapes in `specs`."""
    arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in specs.items()}
    image = read_grey(crop.image)
    fitted = lidc_arrays.fit(image, size)
    lidc_arrays.store(fitted, arrays["images"][..., 0], str(crop.image))
    for rater, path in enumerate(crop.masks):
        mask = lidc_arrays.as_mask(read_grey(path), image.shape, str(path))
        arrays["labels"][rater] = lidc_arrays.fit(mask, size)
    return arrays


def read_grey(path: pathlib.Path) -> np.ndarray:
    """Returns a grey image `[H, W]` uint8; the channels of a colour image are equal."""
    with io.opened(path) as image:
        turn = pictures.orientation(image)
        if turn > 1:  # Masks and images belong together pixel by pixel.
            raise io.DataError(f"{path}: turned by EXIF ({turn}): save it upright")
        pixels = np.asarray(pictures.to_rgb(image))
    if (pixels != pixels[..., :1]).any():
        raise io.DataError(f"{path}: channels differ, wanted grey or three equal")
    return np.ascontiguousarray(pixels[..., 0])
