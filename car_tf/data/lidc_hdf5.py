"""PHiSeg's `data_lidc.hdf5`, converted to NumPy files by a process of its own.

The HDF5 library reads damaged files for ever, takes any amount of memory, or ends its
process. So another process reads, `convert_lidc_hdf5`, with limits.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np

from car_tf.data import cache, files, lidc_arrays

_CONVERTER = "car_tf.data.convert_lidc_hdf5"
# Of the process that reads: far more than a sound file of the size takes.
_SECONDS, _SECONDS_PER_BYTE = 5, 1e-7
_MEMORY, _MEMORY_PER_BYTE = 4 << 30, 8


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
        series = json.loads((folder / "series.json").read_text(encoding="utf-8"))
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
            [sys.executable, "-m", _CONVERTER, *map(str, (path, work, *limits))],
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
