"""The cache of decoded data: arrays on disk, keyed by content, written atomically."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import fcntl
import glob
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import socket
import tempfile
import time
from typing import Any, Callable, Dict, Iterable, Iterator, Sequence, Tuple

import numpy as np
import tqdm

from car_tf.data import io

FORMAT_VERSION = 1
NUM_THREADS = max(2, os.cpu_count() or 2)
_NUM_AHEAD = 2 * NUM_THREADS
# A folder that was made just now may not be locked yet.
_NEW_SECONDS = 60.0


def folder(configured: str = "") -> pathlib.Path:
    """Returns the cache folder: as configured, else the user's cache folder."""
    if configured:
        return pathlib.Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "car_tf"


@contextlib.contextmanager
def atomic_folder(
    target: pathlib.Path, *, clean: bool = True
) -> Iterator[pathlib.Path]:
    """Yields a new folder that becomes `target` if the block succeeds.

    An interrupted block leaves nothing at `target`; a `target` that another process
    finished meanwhile wins. What a killed process left beside it is removed, unless
    `clean` is false: that lists the parent, which costs much where it holds many.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Other machines, whose locks may not be seen here, clean up for themselves.
    prefix = f".{target.name}.writing-{socket.gethostname()}-"
    if clean:
        for leftover in target.parent.glob(f"{glob.escape(prefix)}*"):
            _remove_if_abandoned(leftover)
    work = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    owned = os.open(work, os.O_RDONLY)
    try:
        _lock(owned)
        yield work
        try:
            os.replace(work, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        os.close(owned)
        shutil.rmtree(work, ignore_errors=True)


def _lock(folder: int) -> bool:
    """Marks an open folder as in use until it is closed; False if it is already."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:  # In use, or a file system without locks.
        return False


def _remove_if_abandoned(work: pathlib.Path) -> None:
    """Removes a folder of `atomic_folder` whose process is gone."""
    try:
        if time.time() - work.stat().st_mtime < _NEW_SECONDS:
            return
        opened = os.open(work, os.O_RDONLY)
    except OSError:
        return
    try:
        if _lock(opened):
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(opened)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(work, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)


def new_array(path: pathlib.Path, shape: Tuple[int, ...], dtype: type) -> np.memmap:
    """Makes a `.npy` file to be written through memory.

    Its room is taken at once: a disk that fills while a map is written to would end the
    process without a word (SIGBUS).

    Raises:
      OSError: not enough room.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
    return array


def content_hashes(
    paths: Sequence[pathlib.Path], cache_dir: pathlib.Path
) -> Tuple[str, ...]:
    """Returns each file's SHA-256, remembered by path, size and time of change."""
    memory_file = cache_dir / "hashes.json"
    try:
        memory: Dict[str, str] = json.loads(memory_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        memory = {}

    def key_of(path: pathlib.Path) -> str:
        try:
            stat = path.stat()
        except OSError:
            raise io.DataError(f"{path}: wanted a file, found none") from None
        return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"

    def digest(path: pathlib.Path) -> str:
        found = hashlib.sha256()
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                found.update(block)
        return found.hexdigest()

    keys = [key_of(path) for path in paths]
    missing = [(k, path) for k, path in zip(keys, paths) if k not in memory]
    if missing:
        bar = progress(total=len(missing), desc="hashing files", unit="file")
        with bar, concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
            for (key, _), value in zip(
                missing, pool.map(digest, [p for _, p in missing])
            ):
                memory[key] = value
                bar.update()
        write_text(memory_file, json.dumps(memory))
    return tuple(memory[key] for key in keys)


def progress(**kwargs) -> tqdm.tqdm:
    """Returns a progress bar that does not litter short work or log files."""
    return tqdm.tqdm(delay=1.0, mininterval=0.5, dynamic_ncols=True, **kwargs)


def read_ahead(
    read: Callable[[Any], Any], items: Iterable[Any], *, num_ahead: int = _NUM_AHEAD
) -> Iterator[Any]:
    """Yields `read(item)` in order, reading in threads a few items ahead of their use.

    No more than `num_ahead` results wait, however slow their user is, so that memory
    does not grow with the number of items.
    """
    remaining = iter(items)
    pool = concurrent.futures.ThreadPoolExecutor(NUM_THREADS)
    try:
        waiting = collections.deque(
            pool.submit(read, item) for item in itertools.islice(remaining, num_ahead)
        )
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(
                pool.submit(read, item) for item in itertools.islice(remaining, 1)
            )
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def arrays(
    *,
    key: str,
    cache_dir: pathlib.Path,
    specs: Dict[str, Tuple[Tuple[int, ...], type]],
    num: int,
    read: Callable[[int], Dict[str, np.ndarray]],
    what: str,
    on_error: str = "stop",
) -> Tuple[Dict[str, np.ndarray], Tuple[int, ...]]:
    """Returns memory-mapped arrays of N examples, reading them if not yet cached.

    Args:
      key: identifies content and format.
      cache_dir: the cache folder.
      specs: name -> (shape of one example, dtype).
      num: N.
      read: index -> arrays of one example; raises `files.DataError`.
      what: for the progress bar.
      on_error: `stop` raises the first error; `skip` leaves the example out.

    Returns:
      The arrays, and the indices of the examples in them.
    """
    # Examples that a run with `skip` left out must not be missing from one with `stop`.
    target = cache_dir / f"{key[:32]}-{on_error}"
    if not target.is_dir():
        with atomic_folder(target) as work:
            kept = _fill(work, specs, num, read, what, on_error)
            (work / "kept.json").write_text(json.dumps(kept), encoding="utf-8")
    kept = json.loads((target / "kept.json").read_text(encoding="utf-8"))
    loaded = {
        name: np.load(target / f"{name}.npy", mmap_mode="r")[: len(kept)]
        for name in specs
    }
    return loaded, tuple(kept)


def _fill(work, specs, num, read, what, on_error) -> list:
    stores = {
        name: new_array(work / f"{name}.npy", (num, *shape), dtype)
        for name, (shape, dtype) in specs.items()
    }

    def guarded(index: int):
        try:
            return read(index)
        except io.DataError as error:
            if on_error == "stop":
                raise
            return error

    kept = []
    bar = progress(total=num, desc=what, unit="image")
    with bar:
        for index, example in enumerate(read_ahead(guarded, range(num))):
            bar.update()
            if isinstance(example, io.DataError):
                bar.write(f"left out: {example}")
                continue
            for name, store in stores.items():
                store[len(kept)] = example[name]
            kept.append(index)
    for store in stores.values():
        store.flush()
    if not kept:
        raise io.DataError(f"{what}: not one of {num} examples could be read")
    return kept
