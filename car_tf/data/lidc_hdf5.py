"""PHiSeg's `data_lidc.hdf5`, converted to NumPy files by a process of its own.

The HDF5 library reads damaged files for ever, takes any amount of memory, or ends its
process. So another process reads, with limits:

    python -m car_tf.data.lidc_hdf5 FILE FOLDER SECONDS BYTES
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
from typing import Any, List

import numpy as np

from car_tf.data import cache, files, lidc_arrays, splits

NUM_READERS = lidc_arrays.NUM_READERS
_LISTING = "series.json"
# Of the process that reads: far more than a sound file of the size takes.
_SECONDS, _SECONDS_PER_BYTE = 5, 1e-7
_MEMORY, _MEMORY_PER_BYTE = 4 << 30, 8
# What no compression exceeds: deflate makes of a byte 1032 at most.
_MAX_EXPANSION = 1100


def read(
    path: pathlib.Path, split: str, *, cache_dir: pathlib.Path | None
) -> lidc_arrays.Parts:
    """Reads one split.

    Args:
      path: the file; groups `train`, `val`, `test`, each of `images` `[N, H, W]`
        (uint8, or float in [0, 1] or [-0.5, 0.5]), `labels` `[N, H, W, 4]` or
        `[N, 4, H, W]`, and `uids` `[N]`, the series, without which each slice counts
        as a series of its own.
      split: "train", "val" or "test".
      cache_dir: where the file is converted to once; None reads it each time.

    Returns:
      Images `[N, H, W, 1]`, labels `[N, 4, H, W]`, names and series, as in the file.

    Raises:
      FileNotFoundError: there is no such file, or the split is not in it.
      DataError: h5py is not installed, the file is broken, or a series is in two
        splits.
    """
    with contextlib.ExitStack() as stack:
        if cache_dir is None:
            cache_dir = stack.enter_context(tempfile.TemporaryDirectory())
        folder = convert(path, pathlib.Path(cache_dir))
        series = json.loads((folder / _LISTING).read_text(encoding="utf-8"))
        if split not in series:
            raise FileNotFoundError(
                f"{path}: wanted split {split}, found {', '.join(series) or 'none'}"
            )
        images, labels = (
            np.load(folder / f"{split}-{name}.npy") for name in ("images", "labels")
        )
    names = [f"{split}-{index:05d}" for index in range(len(images))]
    return images, labels, names, series[split]


def convert(path: pathlib.Path, cache_dir: pathlib.Path) -> pathlib.Path:
    """Converts a file to NumPy files, once.

    Args:
      path: the file.
      cache_dir: where the folder is made; its name is a hash of the file's contents.

    Returns:
      The folder: `<split>-images.npy` `[N, H, W, 1]` and `<split>-labels.npy`
      `[N, 4, H, W]`, uint8, of each split, and `series.json` with the series.

    Raises:
      FileNotFoundError: there is no such file.
      DataError: h5py is not installed, or the file cannot be read.
    """
    content = lidc_arrays.file_hash(path)
    target = cache_dir / f"lidc-{content}-{lidc_arrays.FORMAT_VERSION}"
    if target.is_dir():
        return target
    try:
        import h5py  # noqa: F401
    except ImportError:
        raise files.DataError(
            f"{path}: wanted h5py to read it, found none (pip install h5py)"
        ) from None
    size = path.stat().st_size
    limits = (
        int(_SECONDS + _SECONDS_PER_BYTE * size),
        int(_MEMORY + _MEMORY_PER_BYTE * size),
    )
    with cache.atomic_folder(target) as work:
        done = subprocess.run(
            [sys.executable, "-m", __name__, *map(str, (path, work, *limits))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode < 0:
            reason = signal.strsignal(-done.returncode)
            raise files.DataError(
                f"{path}: damaged, the HDF5 library stopped at it ({reason})"
            )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise files.DataError(f"{path}: {last}")
    return target


def _convert_here(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes what `convert` returns, in this process."""
    import h5py

    size = path.stat().st_size
    with h5py.File(path, "r") as file:
        groups = {name: file[name] for name in splits.SPLITS if name in file}
        pixels = sum(int(np.prod(group["images"].shape)) for group in groups.values())
        if pixels > _MAX_EXPANSION * size:
            raise ValueError(f"{pixels} pixels cannot lie in {size} bytes")
        series = {name: _series(group, name) for name, group in groups.items()}
        splits.check_disjoint(series)
        for name, group in groups.items():
            _write_arrays(group, folder, name)
    (folder / _LISTING).write_text(json.dumps(series), encoding="utf-8")


def _series(group: Any, split: str) -> List[str]:
    num = len(group["images"])
    if "uids" not in group:
        return [f"{split}-{index:05d}" for index in range(num)]
    if group["uids"].shape != (num,):
        raise ValueError(
            f"{group.name}/uids are {group['uids'].shape}, wanted ({num},)"
        )
    return [str(uid) for uid in group["uids"][:]]


def _write_arrays(group: Any, folder: pathlib.Path, split: str) -> None:
    images, labels = group["images"], group["labels"]
    if images.ndim < 3 or images.size == 0:
        raise ValueError(f"{group.name}/images are {images.shape}, wanted (N, H, W)")
    num, height, width = images.shape[:3]
    last, second = (num, height, width, NUM_READERS), (num, NUM_READERS, height, width)
    if labels.shape not in (last, second):
        raise ValueError(
            f"{group.name}/labels are {labels.shape}, wanted {last} or {second}"
        )
    blocks = [slice(start, start + 256) for start in range(0, num, 256)]
    lowest = min(images[block].min() for block in blocks)
    offset = 0.5 if images.dtype.kind == "f" and lowest < 0 else 0.0
    shape = (num, height, width, 1)
    grey = cache.new_array(folder / f"{split}-images.npy", shape, np.uint8)
    masks = cache.new_array(folder / f"{split}-labels.npy", second, np.uint8)
    for block in blocks:
        pixels = images[block].reshape(-1, height, width, 1)
        grey[block] = lidc_arrays.as_grey(pixels, f"{group.name}/images", offset)
        found = labels[block]
        if labels.shape == last:
            found = np.moveaxis(found, -1, 1)
        masks[block] = lidc_arrays.as_mask(found, found.shape, f"{group.name}/labels")


def main(path: str, folder: str, seconds: str, memory: str) -> None:
    """Converts within limits on the processor's time and on memory in bytes."""
    # At the first the process is told, and ends with its reason; at the second killed.
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    # No picture of the memory on disk, should the process be ended.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _convert_here(pathlib.Path(path), pathlib.Path(folder))
    except Exception as error:  # h5py raises many types on damaged files.
        sys.exit(" ".join(str(error).split()) or type(error).__name__)


if __name__ == "__main__":
    main(*sys.argv[1:])
