"""What the clients share: finding images, seeds, and writing what comes back.

No TensorFlow starts here.
"""

import io
import json
import pathlib
import sys
import zlib
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from car_tf.data import io as data_io
from car_tf.data import pictures, sheets

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
MAP_ENDINGS = (".png", ".npy")
# In the names of Cityscapes' labels.
NO_PHOTOGRAPHS = ("_gtFine_", "_gtCoarse_")


class ClientError(data_io.DataError):
    """A request that cannot be made or was refused; the message says why."""


def find_images(
    paths: Sequence[str], output: str = "", endings: Sequence[str] = IMAGE_ENDINGS
) -> Dict[str, pathlib.Path]:
    """Returns name -> image file, sorted: the path below its folder, without the ending.

    Args:
      paths: files, or folders that are searched to the bottom; labels of Cityscapes
        there are no images.
      output: a folder of results: none is looked for there, where it lies in one of
        those folders, nor in a folder with the `statistics.json` of a prediction.
      endings: those of the images that can be read.

    Raises:
      ClientError: no image, or images whose results would share a folder.
    """
    found: Dict[str, pathlib.Path] = {}
    for path in map(pathlib.Path, paths):
        inside = _images_in(path, output) if path.is_dir() else [path]
        root = path if path.is_dir() else path.parent
        for item in inside:
            if item.suffix.lower() not in endings:
                if not path.is_dir():
                    raise ClientError(f"{item}: wanted an image ({', '.join(endings)})")
                continue
            if path.is_dir() and any(part in item.name for part in NO_PHOTOGRAPHS):
                continue
            name = item.relative_to(root).with_suffix("").as_posix()
            if name in found:
                raise ClientError(
                    f"{item}: wanted one image named {name}, found {found[name]} too"
                )
            found[name] = item
    if not found:
        raise ClientError(
            f"{', '.join(map(str, paths))}: wanted images ({', '.join(endings)}), "
            "found none"
        )
    for name, item in found.items():
        for parent in map(str, pathlib.PurePosixPath(name).parents):
            if parent in found:
                raise ClientError(
                    f"{item}: its results would lie inside those of {found[parent]}: "
                    "give them apart"
                )
    return dict(sorted(found.items()))


def _images_in(folder: pathlib.Path, output: str) -> Iterable[pathlib.Path]:
    """Yields the files of a folder that are no results of a prediction."""
    results = pathlib.Path(output).expanduser().resolve() if output else None
    if results is not None and folder.resolve() not in results.parents:
        results = None
    for item in data_io.walk(folder):
        if results is not None and results in item.resolve().parents:
            continue
        if not (item.parent / "statistics.json").is_file():
            yield item


def sentence(text: str) -> str:
    """Returns what a model's check said in an error's text, else its first line."""
    _, mark, said = text.partition("assertion failed: [")
    if not mark:
        return text.split("\n")[0]
    # The sentence may hold brackets; the last one on its line closes the list.
    return said.split("\n")[0].rpartition("]")[0]


def seed_for(seed: int, name: str) -> Tuple[int, int]:
    """Returns an image's seed, which depends on its name and not on its neighbours."""
    return seed, zlib.crc32(name.encode()) & 0x7FFFFFFF


def map_file(folder: Optional[str], name: str) -> Optional[pathlib.Path]:
    """Returns the black box's output for an image: `<name>.png` or `<name>.npy`."""
    if not folder:
        return None
    for ending in MAP_ENDINGS:
        path = pathlib.Path(folder) / f"{name}{ending}"
        if path.is_file():
            return path
    raise ClientError(
        f"{folder}: wanted the black box's {name}.png or .npy, found none"
    )


def read_image(path: pathlib.Path, channels: int) -> np.ndarray:
    """Reads an image, `[H, W, channels]` uint8, refused as by the server where it is
    turned (EXIF), of more than 8 bits, transparent or, of one channel, in colours.
    """
    with data_io.opened(path) as opened:
        if pictures.orientation(opened) > 1:
            raise ClientError(f"{path}: wanted upright images, got EXIF orientation")
    pixels = np.asarray(data_io.read_png(path, mode="RGB"))
    if channels == 1 and (pixels != pixels[..., :1]).any():
        raise ClientError(f"{path}: wanted grey images, got colours")
    return pixels[..., :channels]


def read_map(path: pathlib.Path) -> np.ndarray:
    """Reads class ids `[H, W]` from PNG, or ids or probabilities `[H, W, K]` from .npy."""
    if path.suffix != ".npy":
        return data_io.read_ids(path)
    array = np.load(path, allow_pickle=False)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype.kind not in "iu" or not 0 <= array.min() <= array.max() <= 255:
        raise ClientError(f"{path}: wanted class ids 0 to 255, got {array.dtype}")
    return array.astype(np.uint8)


def read_colors(path: str) -> Optional[np.ndarray]:
    """Returns `[256, 3]` uint8 colours of a `labels.json`, None without a path."""
    if not path:
        return None
    try:
        classes = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["classes"]
        return sheets.color_table({c["id"]: c["color"] for c in classes})
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ClientError(
            f"{path}: wanted labels.json of an export ({error})"
        ) from None


def write_results(
    folder: pathlib.Path,
    samples: np.ndarray,
    entropy_levels: np.ndarray,
    colors: Optional[np.ndarray],
) -> None:
    """Writes PNG files: samples `[M, H, W]` uint8, and F's entropy `[H, W]` uint16.

    With colours `[256, 3]` uint8 the samples are also painted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, sample in enumerate(samples):
        Image.fromarray(sample).save(folder / f"sample_{index:02d}.png")
        if colors is not None:
            painted = Image.fromarray(colors[sample])
            painted.save(folder / f"sample_{index:02d}_color.png")
    Image.fromarray(entropy_levels).save(folder / "entropy.png")


def encode_png(ids: np.ndarray) -> bytes:
    """Encodes `[H, W]` uint8 class ids as a PNG string."""
    stream = io.BytesIO()
    Image.fromarray(ids).save(stream, "PNG")
    return stream.getvalue()


def decode_png(content: bytes) -> np.ndarray:
    """Decodes a PNG string to an array."""
    array = np.asarray(Image.open(io.BytesIO(content)))
    return array if array.dtype == np.uint8 else array.astype(np.uint16)


def run(
    names: Iterable[str], handle: Callable[[str], None], errors: Tuple[type, ...]
) -> int:
    """Handles images under a progress bar; an image that fails does not stop the rest.

    The exit code is 1 where an image failed.
    """
    failed: List[str] = []
    bar = data_io.progress(list(names), unit="image", delay=0.0)
    for name in bar:
        try:
            handle(name)
        except errors as error:
            failed.append(name)
            bar.write(f"error: {name}: {error}", file=sys.stderr)
    if failed:
        print(f"{len(failed)} images failed", file=sys.stderr)
    return 1 if failed else 0
