"""LIDC: CT crops with the masks of four raters, from the layouts that users have.

Three layouts are read, told apart by what lies on disk: HPU-Net's `lidc_crops`
(`folders`), PHiSeg's `data_lidc.hdf5` (`hdf5`), and `data_lidc.pickle` (`arrays`), a dict
of {name: {"image", "masks", "series_uid"}}, whose splits are drawn by series from a seed.
All four masks are always delivered, and images and masks are paired by name. The data
are LIDC-IDRI's (Armato et al., doi 10.7937/K9/TCIA.2015.LO9QL9SX, CC BY 3.0).
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
from typing import Tuple

import numpy as np

from car_tf.data import examples, info, splits
from car_tf.data.lidc import arrays as lidc_arrays
from car_tf.data.lidc import folders as lidc_folders
from car_tf.data.lidc import hdf5 as lidc_hdf5

NUM_RATERS = lidc_arrays.NUM_RATERS
_ARRAY_FILES = (".hdf5", ".h5", ".pickle", ".pkl")


def dataset_info(title: str) -> info.DatasetInfo:
    """Returns the facts of LIDC: lesions in grey images, as four raters saw them."""
    return info.DatasetInfo(
        title=title,
        class_names=("background", "lesion"),
        class_colors=((0, 0, 0), (255, 255, 255)),
        image_channels=1,
        num_raters=NUM_RATERS,
        object_word="lesion",
        num_blackbox_classes=2,
        random_crop=False,
        resizes=False,
    )


def read(
    data_dir: str | os.PathLike[str],
    split: str,
    *,
    seed: int,
    size: Tuple[int, int] = (180, 180),
    cache_dir: str | os.PathLike[str] | None = None,
    on_error: str = "stop",
) -> examples.Examples:
    """Reads one split of whichever layout lies at a place.

    Args:
      data_dir: the folder of the crops, or of the pickle or HDF5 file, or the file.
      split: "train", "val" or "test".
      seed: of the splits where the source has none.
      size: (height, width) in pixels; larger images are cropped to it around their
        centre, smaller ones are delivered whole.
      cache_dir: where all is converted to arrays once; None for a passing folder.
      on_error: `data.on_error`; crops are left out of folders. One file is read whole
        or not at all.

    Returns:
      `images` `[N, H, W, 1]` grey values and `labels` `[N, 4, H, W]`, raters' masks,
      1 lesion and 0 elsewhere, by name; `groups` are patients or series.

    Raises:
      FileNotFoundError: nothing readable lies there, or the split or a mask is missing.
      DataError: a file is broken, a mask does not fit its image, or a patient is in
        two splits; the message names it.
    """
    if split not in splits.SPLITS:
        names = ", ".join(splits.SPLITS)
        raise ValueError(f"split must be one of {names}, got {split!r}")
    if cache_dir is None:
        # Arrays stay mapped when their files are gone.
        with tempfile.TemporaryDirectory() as folder:
            options = dict(seed=seed, size=size, on_error=on_error)
            return read(data_dir, split, cache_dir=folder, **options)
    path = locate(pathlib.Path(data_dir).expanduser())
    folder = pathlib.Path(cache_dir).expanduser()
    if path.is_dir():
        how = dict(size=size, cache_dir=folder, on_error=on_error)
        return lidc_folders.read(path, split, **how)
    if path.suffix in (".hdf5", ".h5"):
        found = lidc_hdf5.read(path, split, cache_dir=folder)
    else:
        found = lidc_arrays.read_pickle(path, split, seed=seed, cache_dir=folder)
    height, width = found.images.shape[1:3]
    if height <= size[0] and width <= size[1]:
        return found  # Mapped from the cache.
    images = lidc_arrays.fit(found.images[..., 0], size)[..., None]
    labels = lidc_arrays.fit(np.asarray(found.labels), size)
    return dataclasses.replace(found, images=images, labels=labels)


def locate(path: pathlib.Path) -> pathlib.Path:
    """Returns the folder of crops, the pickle or the HDF5 file at a place."""
    if path.is_file() and path.suffix in _ARRAY_FILES:
        return path
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if any(lidc_folders.split_folder(path, split) for split in splits.SPLITS):
        return path
    for name in ("data_lidc.hdf5", "data_lidc.pickle"):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"{path}: no LIDC data; wanted <split>/images and <split>/gt, "
        "lidc_crops_<split>/<split>/images, data_lidc.pickle or data_lidc.hdf5"
    )
