"""LIDC: CT crops with the masks of four readers, from the layouts that users have.

Three layouts are read, told apart by what lies on disk:

- HPU-Net's `lidc_crops`: `<split>/images/<patient>/<name>.png` with
  `<split>/gt/<patient>/<name>_l{0..3}.png` (or 1 to 4), also as
  `lidc_crops_<split>/<split>/...`. The splits are given.
- `data_lidc.pickle`: a dict of {name: {"image", "masks", "series_uid"}}. It has no
  splits; they are drawn by series from a seed.
- PHiSeg's `data_lidc.hdf5`: groups `train`, `val`, `test` of `images` and `labels`.
  The splits are given.

All four masks are always delivered, and images and masks are paired by name. The data
are LIDC-IDRI's (Armato et al., doi 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0).
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
import re
from typing import Dict, List, Optional, Tuple

import numpy as np

from car_tf.data import cache, files, info, lidc_arrays, lidc_hdf5, splits

NUM_READERS = lidc_arrays.NUM_READERS
MASK_NAME = re.compile(r"(?P<stem>.+)_l(?P<reader>\d+)\.png")
_ARRAY_FILES = (".hdf5", ".h5", ".pickle", ".pkl")


@dataclasses.dataclass(frozen=True)
class LidcSplit:
    """The crops of one split, in the order of their names.

    Attributes:
      images: `[N, H, W, 1]` uint8 grey values.
      labels: `[N, 4, H, W]` uint8, the readers' masks: 1 lesion, 0 elsewhere.
      names: N unique names.
      groups: N patients (or series), none of which is in two splits.
      skipped: names that were left out because they could not be read.
    """

    images: np.ndarray
    labels: np.ndarray
    names: List[str]
    groups: List[str]
    skipped: Tuple[str, ...] = ()


def dataset_info(title: str) -> info.DatasetInfo:
    """Returns the facts of LIDC: lesions in grey images, as four readers saw them."""
    return info.DatasetInfo(
        title=title,
        class_names=("background", "lesion"),
        class_colors=((0, 0, 0), (255, 255, 255)),
        image_channels=1,
        num_annotators=NUM_READERS,
        random_crop=False,
    )


def read(
    data_dir: str | os.PathLike[str],
    split: str,
    *,
    seed: int,
    size: Tuple[int, int] = (180, 180),
    cache_dir: str | os.PathLike[str] | None = None,
    on_error: str = "stop",
) -> LidcSplit:
    """Reads one split of whichever layout lies at a place.

    Args:
      data_dir: the folder of the crops, or of the pickle or HDF5 file, or the file.
      split: "train", "val" or "test".
      seed: of the splits where the source has none.
      size: (height, width) in pixels; larger images are cropped to it around their
        centre, smaller ones are delivered whole.
      cache_dir: where what is found is converted to arrays once; None reads
        them each time.
      on_error: `stop`, or `skip` to leave crops out of which a file is missing or
        cannot be read; of folders, with a cache. One file is read whole or not at all.

    Returns:
      The split, in the order of the names.

    Raises:
      FileNotFoundError: nothing readable lies there, or the split, or the mask of a
        reader, is not in it.
      DataError: a file is broken, a mask does not fit its image, or a patient is in
        two splits; the message names it.
    """
    if split not in splits.SPLITS:
        raise ValueError(
            f"split must be one of {', '.join(splits.SPLITS)}, got {split!r}"
        )
    path = locate(pathlib.Path(data_dir))
    if path.is_dir():
        return _read_folders(
            path,
            split,
            size,
            cache_dir and pathlib.Path(cache_dir).expanduser(),
            on_error,
        )
    if path.suffix in (".hdf5", ".h5"):
        images, labels, names, groups = lidc_hdf5.read(
            path, split, cache_dir=cache_dir and pathlib.Path(cache_dir)
        )
    else:
        images, labels, names, groups = lidc_arrays.read_pickle(
            path, split, seed=seed, cache_dir=cache_dir and pathlib.Path(cache_dir)
        )
    images = _fit(images[..., 0], size)[..., None]
    return LidcSplit(images, _fit(labels, size), names, groups)


def locate(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder of crops, the pickle or the HDF5 file at a place."""
    if path.is_file() and path.suffix in _ARRAY_FILES:
        return path
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if any(split_folder(path, split) for split in splits.SPLITS):
        return path
    for name in ("data_lidc.hdf5", "data_lidc.pickle"):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"{path}: no LIDC data; wanted <split>/images and <split>/gt, "
        "lidc_crops_<split>/<split>/images, data_lidc.pickle or data_lidc.hdf5"
    )


def centre_crop(
    array: np.ndarray, size: Tuple[int, int], *, axes: Tuple[int, int] = (-2, -1)
) -> np.ndarray:
    """Returns the central part of an array.

    Args:
      array: of any shape.
      size: (height, width) of the result, at most the array's. Where the margin is
        odd, one pixel more is cut at the end than at the start.
      axes: the axes of height and width.

    Returns:
      A view.

    Raises:
      ValueError: the array is smaller than the crop.
    """
    window = [slice(None)] * array.ndim
    for axis, length in zip(axes, size):
        margin = array.shape[axis] - length
        if margin < 0:
            raise ValueError(f"cannot crop {array.shape} to {size} on axes {axes}")
        window[axis] = slice(margin // 2, margin // 2 + length)
    return array[tuple(window)]


def _fit(array: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Crops the last two axes to a size where they exceed it."""
    height, width = array.shape[-2:]
    return centre_crop(array, (min(height, size[0]), min(width, size[1])))


@dataclasses.dataclass(frozen=True)
class _Crop:
    name: str
    patient: str
    image: pathlib.Path
    masks: List[pathlib.Path]


def split_folder(root: pathlib.Path, split: str) -> Optional[pathlib.Path]:
    for folder in (root / split, root / f"lidc_crops_{split}" / split):
        if (folder / "images").is_dir():
            return folder
    return None


def listing(folder: pathlib.Path) -> Dict[str, List[str]]:
    """Returns names of the PNG files by patient, both in order."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    patients = sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
    )
    return {
        patient: sorted(
            name
            for name in os.listdir(folder / patient)
            if name.endswith(".png") and not name.startswith(".")
        )
        for patient in patients
    }


def _pair_by_name(
    folder: pathlib.Path, on_error: str = "stop"
) -> Tuple[List[_Crop], List[str]]:
    """Returns each image of a split with the files of its four masks.

    Returns:
      The crops, and the names of those left out: with `skip`, where a mask is missing.
    """
    images = listing(folder / "images")
    readers = collections.defaultdict(set)
    for patient, names in listing(folder / "gt").items():
        stems = {name[: -len(".png")] for name in images.get(patient, ())}
        for name in names:
            match = MASK_NAME.fullmatch(name)
            if not match or match["stem"] not in stems:
                if on_error == "skip":
                    continue
                path = folder / "gt" / patient / name
                raise files.DataError(f"{path}: found no image of this mask's name")
            readers[patient, match["stem"]].add(int(match["reader"]))
    first = min((min(found) for found in readers.values()), default=0)
    wanted = range(first, first + NUM_READERS)
    crops, skipped = [], []
    for patient, names in images.items():
        for name in names:
            stem = name[: -len(".png")]
            masks = [folder / "gt" / patient / f"{stem}_l{k}.png" for k in wanted]
            found = readers[patient, stem]
            if on_error == "skip" and found != set(wanted):
                skipped.append(f"{patient}/{stem}")
                continue
            for reader, mask in zip(wanted, masks):
                if reader not in found:
                    raise FileNotFoundError(
                        f"{mask}: no such mask; all four readers' are wanted, empty "
                        "where a reader saw nothing"
                    )
            if len(found) > NUM_READERS:
                raise files.DataError(f"{masks[0]}: one of {len(found)}, wanted four")
            image = folder / "images" / patient / name
            crops.append(_Crop(f"{patient}/{stem}", patient, image, masks))
    if not crops:
        raise FileNotFoundError(
            f"{folder / 'images'}: no <patient>/*.png in it, or none with all masks"
        )
    return crops, skipped


def _read_folders(
    root: pathlib.Path,
    split: str,
    size: Tuple[int, int],
    cache_dir: Optional[pathlib.Path],
    on_error: str,
) -> LidcSplit:
    found = {name: split_folder(root, name) for name in splits.SPLITS}
    folders = {name: folder for name, folder in found.items() if folder}
    try:
        splits.check_disjoint(
            {name: listing(folder / "images") for name, folder in folders.items()}
        )
    except ValueError as error:
        raise files.DataError(f"{root}: {error}") from None
    if split not in folders:
        raise FileNotFoundError(
            f"{root}: wanted split {split}, found {', '.join(folders)}"
        )
    crops, skipped = _pair_by_name(folders[split], on_error)
    names = [crop.name for crop in crops]
    height, width = _fit(_first_readable(crops, on_error), size).shape
    specs = {
        "images": ((height, width, 1), np.uint8),
        "labels": ((NUM_READERS, height, width), np.uint8),
    }
    if cache_dir is None:
        stored = {
            name: np.empty((len(crops), *shape), dtype)
            for name, (shape, dtype) in specs.items()
        }
        kept = range(len(crops))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            examples = pool.map(lambda crop: _load(crop, size, specs), crops)
            for index, example in enumerate(examples):
                for name, array in example.items():
                    stored[name][index] = array
    else:
        paths = [path for crop in crops for path in (crop.image, *crop.masks)]
        hashes = cache.content_hashes(paths, cache_dir)
        key = f"lidc|{cache.FORMAT_VERSION}|{size}|{names}|{hashes}"
        stored, kept = cache.arrays(
            key=hashlib.sha256(key.encode()).hexdigest(),
            cache_dir=cache_dir,
            specs=specs,
            num=len(crops),
            read=lambda index: _load(crops[index], size, specs),
            what=f"reading {split}",
            on_error=on_error,
        )
    skipped += [names[index] for index in sorted(set(range(len(names))) - set(kept))]
    return LidcSplit(
        names=[names[index] for index in kept],
        groups=[crops[index].patient for index in kept],
        skipped=tuple(sorted(skipped)),
        **stored,
    )


def _first_readable(crops: List[_Crop], on_error: str) -> np.ndarray:
    for crop in crops[:-1]:
        try:
            return read_grey(crop.image)
        except files.DataError:
            if on_error == "stop":
                raise
    return read_grey(crops[-1].image)


def _load(
    crop: _Crop, size: Tuple[int, int], specs: Dict[str, tuple]
) -> Dict[str, np.ndarray]:
    """Reads one crop with its masks into arrays of the shapes in `specs`."""
    arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in specs.items()}
    image = read_grey(crop.image)
    lidc_arrays.store(_fit(image, size), arrays["images"][..., 0], str(crop.image))
    for reader, path in enumerate(crop.masks):
        mask = lidc_arrays.as_mask(read_grey(path), image.shape, str(path))
        arrays["labels"][reader] = _fit(mask, size)
    return arrays


def read_grey(path: pathlib.Path) -> np.ndarray:
    """Returns a grey image `[H, W]` uint8; the channels of a colour image are equal."""
    with files.opened(path) as image:
        mode = image.mode
    # Conversion would cut 16-bit grey values off at 255.
    if mode not in ("1", "L", "RGB"):
        raise files.DataError(f"{path}: wanted 8-bit grey values, got mode {mode}")
    pixels = np.asarray(files.read_png(path, mode="RGB" if mode == "RGB" else "L"))
    if mode != "RGB":
        return pixels
    if (pixels != pixels[..., :1]).any():
        raise files.DataError(f"{path}: channels differ, wanted grey or three equal")
    return pixels[..., 0]
