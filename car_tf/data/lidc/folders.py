"""LIDC crops as PNG files in folders, HPU-Net's `lidc_crops`.

`<split>/images/<patient>/<name>.png` with `<split>/gt/<patient>/<name>_l{0..3}.png` (or
1 to 4), also as `lidc_crops_<split>/<split>/...`.
"""

import collections
import dataclasses
import functools
import os
import pathlib
import re
from typing import Dict, Hashable, List, Optional, Tuple

import numpy as np

from car_tf.data import cache, examples, findings, io, pictures
from car_tf.data.lidc import arrays as lidc_arrays

NUM_RATERS = lidc_arrays.NUM_RATERS
_NUM_LOOKED_AT = 16
_MASK_STEM = re.compile(r"(?P<image>.+)_l(?P<rater>\d+)")


# (patient, name without its ending) -> file.
Files = Dict[Tuple[str, str], pathlib.Path]


def split_folder(root: pathlib.Path, split: str) -> Optional[pathlib.Path]:
    """Returns the folder of a split, in either nesting; None if there is none."""
    for folder in (root / split, root / f"lidc_crops_{split}" / split):
        if (folder / "images").is_dir():
            return folder
    return None


def find(
    folder: pathlib.Path,
) -> Tuple[Files, Dict[Tuple[str, str], Dict[int, pathlib.Path]], List[pathlib.Path]]:
    """Finds the files of a split; images and masks belong together by name.

    Returns the images in order, the masks of each by the rater's number, and the masks
    of no image.

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
    return images, masks, strays


def _png_files(folder: pathlib.Path) -> Files:
    """Returns the PNG files by patient and name without its ending, in order."""
    found = {}
    entries = sorted(folder.iterdir()) if folder.is_dir() else ()
    patients = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    for patient in patients:
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
class Crop:
    """An image with the masks that are there of the four raters."""

    split: str
    patient: str
    image: pathlib.Path
    masks: Tuple[pathlib.Path, ...]
    is_whole: bool  # Whether there are these four masks, and no others.

    @property
    def name(self) -> str:
        """Patient and file, without its ending."""
        return f"{self.patient}/{self.image.stem}"


def plan(folder: pathlib.Path, split: str) -> Tuple[List[Crop], findings.Problems]:
    """Lists the crops of a split's folder, and what is wrong as far as names tell.

    Raises:
      DataError: two files go by one name.
    """
    crops, problems = [], findings.Problems()
    images, all_masks, strays = find(folder)
    for path in strays:
        words = "there is no image of this mask's name"
        problems.error("missing image", split, path, words)
    for kind in ("images", "gt"):
        for path in sorted((folder / kind).glob("[!.]*.[pP][nN][gG]")):
            words = "it lies in no patient's folder, so it is not read"
            problems.warning("other place", split, path, words)
    # Raters are numbered from 0 or from 1, as most crops have it.
    starts = collections.Counter(min(found) for found in all_masks.values() if found)
    first = starts.most_common(1)[0][0] if starts else 0
    wanted, has_masks = range(first, first + NUM_RATERS), (folder / "gt").is_dir()
    if not has_masks:
        words = "wanted a folder of masks, found none"
        problems.error("missing folder", split, folder / "gt", words)
    for (patient, stem), image in images.items():
        masks = all_masks[patient, stem]
        for rater in sorted(set(wanted) - set(masks)) if has_masks else ():
            path = folder / "gt" / patient / f"{stem}_l{rater}.png"
            words = "the mask of this rater is missing; wanted an empty one where "
            words += "nothing was seen"
            problems.error("missing label", split, path, words)
        for rater in sorted(set(masks) - set(wanted)):
            words = f"wanted the masks of raters {wanted[0]} to {wanted[-1]} alone"
            problems.error("fifth mask", split, masks[rater], words)
        paths = tuple(masks[rater] for rater in wanted if rater in masks)
        is_whole = set(masks) == set(wanted)
        crops.append(Crop(split, patient, image, paths, is_whole))
    return crops, problems


def examine(crop: Crop) -> Tuple[findings.Item, Optional[np.ndarray], List]:
    """Reads a crop: what was found out, the image, and masks of 0 and 1, `[H, W]`."""
    problems, split, read = findings.Problems(), crop.split, []
    pixels = problems.attempt(split, crop.image, lambda: read_grey(crop.image))
    for path in crop.masks:
        mask = problems.attempt(split, path, lambda: read_grey(path))
        if mask is not None:
            shape = mask.shape if pixels is None else pixels.shape
            use = functools.partial(lidc_arrays.as_mask, mask, shape, str(path))
            read.append(problems.attempt(split, path, use, "unusable mask"))
    read = [mask for mask in read if mask is not None]
    what = split, crop.name, crop.patient
    return lidc_arrays.item(*what, pixels, read, problems), pixels, read


def read(
    root: pathlib.Path,
    split: str,
    *,
    size: Tuple[int, int],
    cache_dir: pathlib.Path,
    on_error: str,
) -> examples.Examples:
    """Reads one split; arguments and errors as of `lidc.read`."""
    folder = split_folder(root, split)
    if folder is None:
        raise io.DataError(f"{root}: wanted a folder {split}/images, found none")
    listed, problems = plan(folder, split)
    findings.stop_at(problems, on_error)
    crops = [crop for crop in listed if crop.is_whole]
    if not crops:
        words = "wanted <patient>/*.png with all masks, found none"
        raise io.DataError(f"{folder / 'images'}: {words}")
    names = [crop.name for crop in crops]
    height, width = _common_size(crops, size, on_error)
    paths = [path for crop in crops for path in (crop.image, *crop.masks)]
    hashes = cache.content_hashes(paths, cache_dir)
    stored, kept = cache.arrays(
        key=f"lidc|{cache.FORMAT_VERSION}|{size}|{height}|{width}|{names}|{hashes}",
        cache_dir=cache_dir,
        specs={
            "images": ((height, width, 1), np.uint8),
            "labels": ((NUM_RATERS, height, width), np.uint8),
        },
        num=len(crops),
        read=lambda index: _load(crops[index], size=size, fitted=(height, width)),
        what=f"reading {split}",
        on_error="skip" if findings.skips(on_error) else "stop",
    )
    skipped = {crop.name for crop in listed} - {names[index] for index in kept}
    return examples.Examples(
        names=tuple(names[index] for index in kept),
        groups=tuple(crops[index].patient for index in kept),
        skipped=tuple(sorted(skipped)),
        **stored,
    )


def _common_size(
    crops: List[Crop], size: Tuple[int, int], on_error: str
) -> Tuple[int, int]:
    """Returns the size, cut to `size`, that most of the first readable crops have."""
    found: Dict[Tuple[int, int], int] = collections.Counter()
    for crop in crops:
        try:
            found[lidc_arrays.fit(read_grey(crop.image), size).shape] += 1
        except io.DataError:
            is_last = not found and crop is crops[-1]
            if is_last or not findings.skips(on_error):
                raise
        if sum(found.values()) == _NUM_LOOKED_AT:
            break
    return max(found, key=found.get)


def _load(
    crop: Crop, *, size: Tuple[int, int], fitted: Tuple[int, int]
) -> Dict[str, np.ndarray]:
    """Reads a crop with its masks, of a size that is `fitted` when cut to `size`."""
    item, image, masks = examine(crop)
    findings.stop_at(item.problems)
    stored = np.empty(fitted, np.uint8)
    lidc_arrays.store(lidc_arrays.fit(image, size), stored, str(crop.image))
    labels = np.stack([lidc_arrays.fit(mask, size) for mask in masks])
    return {"images": stored[..., None], "labels": labels}


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
