"""Files: images read with errors that name them, results written whole, progress."""

import collections
import concurrent.futures
import contextlib
import fcntl
import glob
import hashlib
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import tempfile
import threading
import time
import warnings
from typing import (
    IO,
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Sequence,
    Tuple,
    Union,
)

import numpy as np
import tqdm
from PIL import Image

from car_tf.data import pictures

MAX_PIXELS = 64_000_000
# Without those for which Pillow starts other programs, such as EPS.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")

NUM_THREADS = max(2, os.cpu_count() or 2)
# A path from the root, or from a drive or the home folder, and not a part of a word.
_ABSOLUTE = re.compile(r"(?<![\w.:/\\…])(?:[A-Za-z]:|~)?(?:[/\\][^\s/\\'\",=]+)+[/\\]?")
# A folder that was made just now may not be locked yet.
_NEW_SECONDS = 60.0

# NumPy parses an array's header as Python, and before Python 3.12 that fails now and
# then (SystemError) where several threads do so.
_PARSING = threading.Lock()

# Pillow warns of images that `opened` refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class DataError(ValueError):
    """Bad input data; the message names the file, what was wanted and what found."""


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Image.Image]:
    """Opens an image file; its pixels are decoded when they are asked for.

    Raises:
      DataError: missing, no image, of more than `MAX_PIXELS` as its header says, or
        damage that shows in the block.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                words = f"wanted at most {MAX_PIXELS} pixels, got"
                raise DataError(f"{path}: {words} {image.width} x {image.height}")
            yield image
    except FileNotFoundError:
        raise DataError(f"{path}: wanted an image file, found none") from None
    except DataError:
        raise
    except pictures.PictureError as error:
        raise DataError(f"{path}: {error}") from None
    except Image.DecompressionBombError as error:
        words = f"wanted at most {MAX_PIXELS} pixels ({error})"
        raise DataError(f"{path}: {words}") from None
    except Exception as error:  # Pillow raises many types on damaged files.
        raise DataError(f"{path}: not a readable image ({error})") from error


def read_png(
    path: pathlib.Path, *, mode: str, limits: Tuple[float, ...] = ()
) -> Image.Image:
    """Decodes an image file whole: the one reader of pictures and maps.

    Args:
      mode: `RGB` for a picture; `L`, `values` or `colors` for a map of ids, of mask
        values or of colours: see the functions of `pictures`.
      limits: of a picture in grey, whatever its bits: the values that become 0 and 255.

    Raises:
      DataError: missing, truncated, too large, no image, or its values would have to
        be guessed.
    """
    readers = {"RGB": pictures.to_rgb, "L": pictures.to_ids}
    readers.update(values=pictures.to_values, colors=pictures.to_colors)
    with opened(path) as image:
        if limits:
            return pictures.to_grey(image, limits)
        return readers[mode](image)


def resize_antialiased(image: Image.Image, size: tuple) -> np.ndarray:
    """Resizes an image to (height, width) with antialiasing, uint8."""
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def decode_array(content: bytes) -> np.ndarray:
    """Decodes the content of a `.npy` file; safe in threads, unlike `np.load`.

    What is none, or one of Python objects, is a ValueError.
    """
    try:
        with _PARSING:
            return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except ValueError:
        raise
    except Exception as error:  # Of NumPy, tokenize and ast; no memory for the shape.
        raise ValueError(f"not a sound .npy: {error}") from error


def read_ids(path: pathlib.Path) -> np.ndarray:
    """Reads a map of ids at its own size, `[H, W]` uint8."""
    return np.asarray(read_png(path, mode="L"))


def resize_nearest(ids: np.ndarray, size: tuple) -> np.ndarray:
    """Resizes `[H, W]` ids to (height, width) by nearest neighbour."""
    if ids.shape == tuple(size):
        return ids
    image = Image.fromarray(ids).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(image)


def map_ids(
    ids: np.ndarray, table: np.ndarray, *, path: pathlib.Path, wanted: str
) -> np.ndarray:
    """Maps ids through a table `[256]` int16, as uint8; -1 marks what must not occur.

    Raises:
      DataError: such an id; names the file, and the ids that are wanted.
    """
    if ids.size and (ids.min() < 0 or ids.max() > 255):
        bad = int(ids.min() if ids.min() < 0 else ids.max())
        raise DataError(f"{path}: wanted {wanted}, got id {bad}")
    mapped = table[ids]
    if (mapped < 0).any():
        raise DataError(f"{path}: wanted {wanted}, got id {int(ids[mapped < 0][0])}")
    return mapped.astype(np.uint8)


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


@contextlib.contextmanager
def alone(target: pathlib.Path) -> Iterator[None]:
    """Lets processes that are to make `target` into the block one after the other.

    Those of other machines too, where the file system has locks; else all at once.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.lock")
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                break
        os.close(lock)  # Who had it before has removed it.
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


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


@contextlib.contextmanager
def atomic_file(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Yields an open file that becomes `path`, durably, if the block succeeds.

    Raises:
      OSError: it cannot be written; `filename` says which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Other machines that write to the same disk have processes of the same number.
    own = f"{socket.gethostname()}-{os.getpid()}-{threading.get_ident()}"
    work = path.with_name(f".{path.name}.{own}.new")
    try:
        with open(work, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(work, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(work)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            work.unlink()


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what killed processes of this machine left of `atomic_file` in a tree."""
    for path in folder.rglob(f".*.{socket.gethostname()}-*-*.new"):
        process = path.name.split("-")[-2]
        if not pathlib.Path("/proc", process).exists():
            path.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file atomically and durably."""
    with atomic_file(path) as file:
        file.write(text.encode())


def read_json_lines(path: pathlib.Path) -> List[Dict[str, Any]]:
    """Returns the objects of a JSON-lines file, without a last one that was cut off."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            lines.append(json.loads(text))
    return lines


def walk(folder: pathlib.Path, above: Tuple[pathlib.Path, ...] = ()):
    """Yields all files below a folder in order, through links and without macOS' `._*`.

    A link back to one of the real folders `above` is not followed.
    """
    above = (*above, folder.resolve())
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if path.is_dir() and path.resolve() not in above:
            yield from walk(path, above)
        elif path.is_file() and not name.startswith("._"):
            yield path


def file_hash(path: Union[str, pathlib.Path]) -> str:
    """Returns the SHA-256 of a file's content; a DataError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def new_array(path: pathlib.Path, shape: Tuple[int, ...], dtype: type) -> np.memmap:
    """Makes a `.npy` file to be written through memory.

    Its room is taken at once (or an OSError): a disk that fills while a map is written
    to would end the process without a word (SIGBUS).
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
    return array


def progress(
    iterable: Any = None, desc: str = "", unit: str = "it", **more: Any
) -> tqdm.tqdm:
    """Returns a progress bar that does not litter short work or log files.

    It yields what `iterable` does; `more` are other options of tqdm's, such as `total`.
    """
    more = {"delay": 1.0, "mininterval": 0.5, "dynamic_ncols": True, **more}
    return tqdm.tqdm(iterable, desc, unit=unit, **more)


def read_ahead(
    read: Callable, items: Iterable[Any], *, num_ahead: int = 2 * NUM_THREADS
) -> Iterator[Any]:
    """Yields `read(item)` in order, reading in threads a few items ahead of their use.

    No more than `num_ahead` results wait, however slow their user is, so that memory
    does not grow with the number of items.
    """
    remaining = iter(items)
    pool = concurrent.futures.ThreadPoolExecutor(NUM_THREADS)
    try:
        first = itertools.islice(remaining, num_ahead)
        waiting = collections.deque(pool.submit(read, item) for item in first)
        while waiting:
            result = waiting.popleft().result()
            for item in itertools.islice(remaining, 1):
                waiting.append(pool.submit(read, item))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def absolute_paths(words: Sequence[str]) -> List[str]:
    """Returns those of some words that are absolute paths as a whole."""
    return [word for word in words if re.match(r"(?:[A-Za-z]:|~)?[/\\].", word)]


def without_folders(text: str, known: Sequence[str] = ()) -> str:
    """Shortens absolute paths to their last part: what is written may be shown to anyone.

    `known` paths may hold spaces, which nobody could tell from words.
    """
    for path in sorted(known, key=len, reverse=True):
        text = text.replace(path, pathlib.PurePath(path).name)
    return _ABSOLUTE.sub(
        lambda found: re.split(r"[/\\]", found.group().rstrip("/\\"))[-1], text
    )
