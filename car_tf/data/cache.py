"""The cache of decoded data: arrays on disk, keyed by content, written atomically."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import zlib
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

import numpy as np

from car_tf.data import examples, findings, io

FORMAT_VERSION = 2
_KEPT_FILE = "kept.json"
# Bytes of an array from which on its size is said before it is written.
_LARGE = 10**9


def folder(configured: str = "") -> pathlib.Path:
    """Returns the cache folder: as configured, else the user's cache folder."""
    if configured:
        return pathlib.Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "car_tf"


def content_hashes(
    paths: Sequence[pathlib.Path], cache_dir: pathlib.Path
) -> Tuple[str, ...]:
    """Returns each file's SHA-256, remembered by path, size and times of change."""
    keys = [_state(path) for path in paths]
    return remembered(keys, lambda index: io.file_hash(paths[index]), cache_dir)


def fingerprint(split: examples.Examples, cache_dir: pathlib.Path) -> str:
    """Returns a split's fingerprint, remembered where all of it is mapped from files."""
    found = [split.images, split.labels]
    found += [] if split.blackbox is None else [split.blackbox]
    parts = [_mapped(array) for array in found]
    if not all(parts):
        return split.fingerprint()
    key = hashlib.sha256("\n".join([*split.names, *parts]).encode()).hexdigest()
    return remembered([key], lambda index: split.fingerprint(), cache_dir)[0]


def digests(images: Any, cache_dir: pathlib.Path) -> Tuple[str, ...]:
    """Returns each image's `findings.digest`, remembered where they are mapped."""

    def compute(index: int = 0) -> str:
        return " ".join(map(findings.digest, images))

    key = _mapped(images)
    found = remembered([f"digests|{key}"], compute, cache_dir)[0] if key else compute()
    return tuple(found.split())


def _mapped(array: Any) -> str:
    """Identifies an array by file and rows; "" where it does not come from a file."""
    rows = ""
    if isinstance(array, examples.Rows):
        rows = hashlib.sha256(array.indices.tobytes()).hexdigest()
        array = array.array
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return ""
    whole = array
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    start = array.ctypes.data - whole.ctypes.data
    return f"{_state(array.filename)}|{start}|{array.shape}|{array.dtype}|{rows}"


def _state(path: pathlib.Path) -> str:
    """Identifies a file by path, size and times of change; a DataError without one."""
    path = pathlib.Path(path)
    try:
        stat = path.stat()
    except OSError:
        raise io.DataError(f"{path}: wanted a file, found none") from None
    # A program may set the time of the content's change back, but not the other's.
    times = f"{stat.st_mtime_ns}|{stat.st_ctime_ns}"
    return f"{path.resolve()}|{stat.st_size}|{times}"


def remembered(
    keys: Sequence[str], compute: Callable[[int], str], cache_dir: pathlib.Path
) -> Tuple[str, ...]:
    """Returns a text for each key: what `compute(index)` gave when it was first asked."""
    memory_file = cache_dir / "hashes.json"
    memory: Dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(memory_file.read_text(encoding="utf-8")).items()
        memory = {key: value for key, value in known if isinstance(value, str)}
    missing = [index for index, key in enumerate(keys) if key not in memory]
    if missing:
        values = io.read_ahead(compute, missing)
        bar = io.progress(values, "hashing files", "file", total=len(missing))
        memory.update(zip([keys[index] for index in missing], list(bar)))
        with contextlib.suppress(OSError):  # Such as a cache that is for reading alone.
            io.write_text(memory_file, json.dumps(memory))
    return tuple(memory[key] for key in keys)


def arrays(
    *,
    key: str,
    cache_dir: pathlib.Path,
    specs: Dict[str, Optional[Tuple[Tuple[int, ...], type]]],
    num: int,
    read: Callable[[int], Dict[str, np.ndarray]],
    what: str,
    on_error: str = "stop",
) -> Tuple[Dict[str, np.ndarray], Tuple[int, ...]]:
    """Returns memory-mapped arrays of N examples, and the indices of those in them.

    They are read where they are not yet cached. A damaged folder is made anew.

    Args:
      key: identifies content and format, of any length.
      specs: name -> (shape of one example, dtype), or None for those of the first.
      read: index -> arrays of one example; raises `files.DataError`.
      on_error: `stop` raises the first error; `skip` leaves the example out.
    """
    # Examples that a run with `skip` left out must not be missing from one with `stop`.
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    target = cache_dir / f"{name}-{on_error}"
    for _ in range(2):
        if not target.is_dir():
            with io.alone(target):
                if not target.is_dir():  # Another process may have made it meanwhile.
                    _make(target, specs, num, read, what, on_error)
        try:
            return _load(target, specs, num)
        except (OSError, ValueError, LookupError, TypeError) as error:
            damage = error
        io.progress().write(
            f"the cache {target} is damaged, or of an older version: made anew"
        )
        shutil.rmtree(target, ignore_errors=True)
    raise io.DataError(f"{target}: damaged twice ({damage}); is the disk sound?")


def array(
    read: Callable[[int], np.ndarray],
    num: int,
    *,
    key: str,
    cache_dir: pathlib.Path,
    what: str,
) -> np.ndarray:
    """Returns `[num, ...]` of what `read` gives for each index; see `arrays`."""
    stored, _ = arrays(
        key=f"{FORMAT_VERSION}|{key}",
        cache_dir=cache_dir,
        specs={"array": None},
        num=num,
        read=lambda index: {"array": read(index)},
        what=what,
    )
    return stored["array"]


def _make(target, specs, num, read, what, on_error) -> None:
    """Writes a folder of arrays with their checksums, whole or not at all."""
    with io.atomic_folder(target) as work:
        kept = _fill(work, specs, num, read, what, on_error)
        sums = {name: _checksum(work / f"{name}.npy") for name in specs}
        sums["kept"] = zlib.crc32(str(kept).encode())
        content = {"kept": kept, "checksums": sums}
        io.write_text(work / _KEPT_FILE, json.dumps(content))


def _load(target, specs, num) -> Tuple[Dict[str, np.ndarray], Tuple[int, ...]]:
    """Maps what was cached; raises many types where it is not as it was written."""
    content = json.loads((target / _KEPT_FILE).read_text(encoding="utf-8"))
    kept, loaded = content["kept"], {}
    if zlib.crc32(str(kept).encode()) != content["checksums"]["kept"]:
        raise ValueError(f"{_KEPT_FILE} has another checksum")
    files = {name: target / f"{name}.npy" for name in specs}
    # Of gigabytes, so that what has not changed since is not read again.
    keys = [f"crc32|{_state(file)}" for file in files.values()]
    every = list(files.values())
    sums = remembered(keys, lambda i: str(_checksum(every[i])), target.parent)
    for (name, file), found in zip(files.items(), sums):
        spec = specs[name]
        if found != str(content["checksums"][name]):
            raise ValueError(f"{file.name} has another checksum")
        array = np.load(file, mmap_mode="r")
        shape, dtype = spec or (array.shape[1:], array.dtype)
        if array.shape != (num, *shape) or array.dtype != dtype:
            raise ValueError(f"{file.name} holds {array.dtype} {array.shape}")
        loaded[name] = array[: len(kept)]
    return loaded, tuple(kept)


def _checksum(path: pathlib.Path) -> int:
    """Returns the CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            value = zlib.crc32(block, value)
    return value


def _fill(work, specs, num, read, what, on_error) -> list:
    stores: Dict[str, np.ndarray] = {}

    def guarded(index: int):
        try:
            return read(index)
        except io.DataError as error:
            if on_error == "stop":
                raise
            return error

    kept, ahead = [], io.read_ahead(guarded, range(num))
    bar = io.progress(ahead, what, "image", total=num)
    with bar:
        for index, example in enumerate(bar):
            if isinstance(example, io.DataError):
                bar.write(f"left out: {example}")
                continue
            for name, spec in specs.items():
                value = example[name]
                if name not in stores:
                    shape, dtype = spec or (value.shape, value.dtype)
                    file, size = work / f"{name}.npy", num * value.nbytes
                    if size >= _LARGE:
                        bar.write(f"{what}: {size / 1e9:.1f} GB in {work.parent}")
                    stores[name] = io.new_array(file, (num, *shape), dtype)
                stores[name][len(kept)] = value
            kept.append(index)
    for name, store in stores.items():
        store.flush()
        with open(work / f"{name}.npy", "rb") as file:
            os.fsync(file.fileno())
    if not kept:
        raise io.DataError(f"{what}: not one of {num} examples could be read")
    return kept
