"""PHiSeg's `data_lidc.hdf5`, converted to NumPy files by a process of its own.

The HDF5 library reads damaged files for ever, takes any amount of memory, or ends its
process. So another process reads, `convert_hdf5`, within limits.
"""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np

from car_tf.data import cache, examples, io

# By the path of this process, so that nothing is imported from the working directory.
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from car_tf.data.lidc import convert_hdf5
convert_hdf5.main(*sys.argv[2:])
"""
_FORMAT_VERSION = 2
_SECONDS = 5  # Of processor time, before it is known how much there is to read.
_WAIT, _WAIT_PER_BYTE = 120, 1e-6  # Seconds, for slow disks too.


def read(
    path: pathlib.Path, split: str, *, cache_dir: pathlib.Path
) -> examples.Examples:
    """Reads a split: series are its groups, its order is the file's.

    The file holds groups `train`, `val`, `test`, each of `images` `[N, H, W]` (uint8,
    or float in [0, 1] or [-0.5, 0.5]), `labels` `[N, H, W, 4]` or `[N, 4, H, W]`,
    `uids` `[N]`, the series, without which each slice counts as a series of its own.

    Raises:
      FileNotFoundError: there is no such file, or the split is not in it.
      DataError: h5py is not installed, the file is broken, or a series is in two
        splits.
    """
    folder = convert(path, cache_dir)
    series = json.loads((folder / "series.json").read_text(encoding="utf-8"))
    if split not in series:
        found = ", ".join(series) or "none"
        raise FileNotFoundError(f"{path}: wanted split {split}, found {found}")
    images, labels = (
        np.load(folder / f"{split}-{name}.npy", mmap_mode="r")
        for name in ("images", "labels")
    )
    return examples.Examples(
        names=tuple(f"{split}-{index:05d}" for index in range(len(images))),
        groups=tuple(series[split]),
        images=images,
        labels=labels,
    )


def convert(path: pathlib.Path, cache_dir: pathlib.Path) -> pathlib.Path:
    """Converts a file to NumPy files, once; returns their folder (see `convert_hdf5`)."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    (digest,) = cache.content_hashes([path], cache_dir)
    target = cache_dir / f"lidc-{digest[:32]}-{_FORMAT_VERSION}"
    if target.is_dir():
        return target
    try:
        import h5py  # noqa: F401
    except ImportError:
        words = "wanted h5py to read it, found none (pip install h5py)"
        raise io.DataError(f"{path}: {words}") from None
    command = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path)]
    with io.atomic_folder(target) as work:
        try:
            done = subprocess.run(
                [*command, str(path), str(work), str(_SECONDS)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_WAIT + _WAIT_PER_BYTE * path.stat().st_size,
            )
        except subprocess.TimeoutExpired as error:
            words = f"not read after {error.timeout:.0f} s; is it damaged?"
            raise io.DataError(f"{path}: {words}") from None
        if done.returncode < 0:
            reason = signal.strsignal(-done.returncode)
            words = f"the HDF5 library stopped at it ({reason}); is it damaged?"
            raise io.DataError(f"{path}: {words}")
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise io.DataError(f"{path}: {last}")
    return target
