"""What the process does in which `lidc_hdf5` has PHiSeg's `data_lidc.hdf5` converted.

A folder gets `<split>-images.npy` `[N, H, W, 1]` and `<split>-labels.npy`
`[N, 4, H, W]`, uint8, and `series.json`. What goes wrong is the last line of its
standard error.
"""

import json
import math
import os
import pathlib
import resource
import sys
from typing import Any, List

import numpy as np

from car_tf.data import io, splits
from car_tf.data.lidc import arrays as lidc_arrays

NUM_RATERS = lidc_arrays.NUM_RATERS
# What no compression exceeds: deflate makes of a byte 1032 at most.
_MAX_EXPANSION = 1100
# Several times what a sound file takes.
_SECONDS_PER_BYTE = 5e-8
_MEMORY, _MEMORY_PER_BYTE = 4 << 30, 8


def convert(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the files of the module's docstring; h5py raises many types of errors."""
    import h5py

    size = path.stat().st_size
    with h5py.File(path, "r") as file:
        groups = {name: file[name] for name in splits.SPLITS if name in file}
        arrays = [
            group[name]
            for group in groups.values()
            for name in ("images", "labels", "uids")
            if name != "uids" or name in group
        ]
        for array in arrays:
            if array.external or array.is_virtual or array.file.filename != str(path):
                raise ValueError(f"{array.name} lies in another file")
        pixels = sum(math.prod(group["images"].shape) for group in groups.values())
        if pixels > _MAX_EXPANSION * size:
            raise ValueError(f"{pixels} pixels cannot lie in {size} bytes")
        num_bytes = min(sum(array.nbytes for array in arrays), _MAX_EXPANSION * size)
        used = sum(os.times()[:2])
        _limit(resource.RLIMIT_CPU, used + 5 + _SECONDS_PER_BYTE * num_bytes)
        series = {name: _series(group, name) for name, group in groups.items()}
        splits.check_disjoint(series)
        for group in groups.values():
            shape = group["images"].shape
            if len(shape) < 3 or 0 in shape:
                raise ValueError(f"{group.name}/images are {shape}, wanted (N, H, W)")
        # Where grey values of one split lie around 0, they do in all.
        images = [group["images"] for group in groups.values()]
        floats = [one for one in images if one.dtype.kind == "f"]
        is_negative = any((x[b] < 0).any() for x in floats for b in _blocks(x))
        offset = 0.5 if is_negative else 0.0
        for name, group in groups.items():
            _write_arrays(group, folder, name, offset)
    (folder / "series.json").write_text(json.dumps(series), encoding="utf-8")


def _series(group: Any, split: str) -> List[str]:
    num = len(group["images"])
    if "uids" not in group:
        return [f"{split}-{index:05d}" for index in range(num)]
    if group["uids"].shape != (num,):
        found = group["uids"].shape
        raise ValueError(f"{group.name}/uids are {found}, wanted ({num},)")
    uids = group["uids"][:]
    return [uid.decode() if isinstance(uid, bytes) else str(uid) for uid in uids]


def _blocks(images: Any) -> List[slice]:
    return [slice(start, start + 256) for start in range(0, len(images), 256)]


def _write_arrays(group: Any, folder: pathlib.Path, split: str, offset: float) -> None:
    images, labels = group["images"], group["labels"]
    num, height, width = images.shape[:3]
    last, second = (num, height, width, NUM_RATERS), (num, NUM_RATERS, height, width)
    if labels.shape not in (last, second):
        words = f"labels are {labels.shape}, wanted {last} or {second}"
        raise ValueError(f"{group.name}/{words}")
    shape = (num, height, width, 1)
    grey = io.new_array(folder / f"{split}-images.npy", shape, np.uint8)
    masks = io.new_array(folder / f"{split}-labels.npy", second, np.uint8)
    for block in _blocks(images):
        pixels = images[block].reshape(-1, height, width, 1)
        grey[block] = lidc_arrays.as_grey(pixels, f"{group.name}/images", offset)
        found = labels[block]
        if labels.shape == last:
            found = np.moveaxis(found, -1, 1)
        masks[block] = lidc_arrays.as_mask(found, found.shape, f"{group.name}/labels")


def _limit(kind: int, wanted: float) -> None:
    """Limits this process, which may be under a stricter limit already."""
    _, hard = resource.getrlimit(kind)
    soft = int(wanted) if hard == resource.RLIM_INFINITY else min(int(wanted), hard)
    resource.setrlimit(kind, (soft, hard))


def main(path: str, folder: str, seconds: str) -> None:
    """Converts within limits: `seconds` of processor time until shapes are known."""
    _limit(resource.RLIMIT_CPU, float(seconds))
    _limit(resource.RLIMIT_AS, _MEMORY + _MEMORY_PER_BYTE * os.path.getsize(path))
    _limit(resource.RLIMIT_CORE, 0)  # No picture of the memory, should it crash.
    try:
        convert(pathlib.Path(path), pathlib.Path(folder))
    except Exception as error:
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
