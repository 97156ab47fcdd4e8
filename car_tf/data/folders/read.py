"""Reads a folder of images and raters: problems and arrays of each image, and splits."""

import dataclasses
import pathlib
from typing import Dict, List, Sequence, Tuple

import numpy as np
from PIL import Image

from car_tf.data import cache, examples, findings, info, io, pictures
from car_tf.data.folders import description, examine, files

Size = Tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Folder:
    """A folder as it was read."""

    told: description.Description  # its `dataset.json`
    # Of training, selection and evaluation, in this order.
    splits: Dict[str, examples.Examples]
    notes: List[str]  # what a user must be told, one sentence each


def read(
    data_dir: str,
    *,
    size: Size,
    seed: int,
    fraction: float,
    cache_dir: pathlib.Path,
    on_error: str = "stop",
) -> Folder:
    """Reads all splits, from the cache if they were read before.

    `size` is the (height, width) to work at, `fraction` the selection's where it has no
    split of its own, `on_error` as in `data.on_error`.

    Raises:
      DataError: what `car_tf.data check` calls an error, in the same words.
    """
    root = pathlib.Path(data_dir).expanduser()
    told = description.read(root).model_copy(update={"size": tuple(size)})
    found, problems = files.find(root, told)
    findings.stop_at(problems, on_error)
    labelled = [example for example in found if any(example.masks)]
    stored, kept = _stored(labelled, told, cache_dir, on_error)
    labelled = [labelled[index] for index in kept]
    items = [
        findings.Item(e.name, e.group, e.split, digest=bytes(digest).hex())
        for e, digest in zip(labelled, stored["digests"])
    ]
    try:
        divided, words = files.divide(labelled, seed=seed, fraction=fraction)
    except io.DataError as error:
        raise io.DataError(f"{root}: {error}") from None
    items = with_splits(items, divided)
    problems += findings.of_all(items, told.known_leakage)
    findings.stop_at(problems, on_error)
    skipped = tuple(sorted({e.name for e in found} - {e.name for e in labelled}))
    split = {
        name: dataclasses.replace(
            _examples([labelled[i] for i in indices], indices, stored, told),
            skipped=skipped if name == "train" else (),
        )
        for name, indices in divided.items()
    }
    return Folder(told, split, [*_notes(told, stored), words])


def with_splits(
    items: Sequence[findings.Item], divided: Dict[str, List[int]]
) -> List[findings.Item]:
    """Returns items with the names of the splits that they were divided into."""
    names = {index: name for name, indices in divided.items() for index in indices}
    return [dataclasses.replace(e, split=names[i]) for i, e in enumerate(items)]


def _stored(
    found, told, cache_dir, on_error
) -> Tuple[Dict[str, np.ndarray], Tuple[int, ...]]:
    """Returns arrays of all images, cached, and the indices of those in them."""
    size = told.size
    paths = [p for e in found for p in (e.image, *e.masks) if p is not None]
    hashes = cache.content_hashes(paths, cache_dir)
    lie = [(e.name, [mask is not None for mask in e.masks]) for e in found]
    key = f"folders 2|{cache.FORMAT_VERSION}|{told}|{lie}|{hashes}"
    num_tiles = 1
    if told.fit == "tiles":
        num_tiles = max(_num_tiles(e.image, size, on_error) for e in found)
    channels = told.facts().image_channels

    def read_one(index: int) -> Dict[str, np.ndarray]:
        item, pixels, labels = examine.examine(found[index], told)
        findings.stop_at(item.problems)
        fills = {"images": 0, "labels": info.IGNORE_LABEL}
        arrays = {
            name: np.full(*specs[name][:1], fill, np.uint8)
            for name, fill in fills.items()
        }
        for name, parts in zip(arrays, _fit(pixels, labels, told)):
            arrays[name][: len(parts)] = parts
        return {
            **arrays,
            "digests": np.frombuffer(bytes.fromhex(item.digest), np.uint8),
            "sizes": np.array(item.size, np.int64),
        }

    specs = {
        "images": ((num_tiles, *size, channels), np.uint8),
        "labels": ((num_tiles, len(told.raters), *size), np.uint8),
        "digests": ((32,), np.uint8),
        "sizes": ((2,), np.int64),
    }
    return cache.arrays(
        key=key,
        cache_dir=cache_dir,
        specs=specs,
        num=len(found),
        read=read_one,
        what="reading images and masks",
        on_error="skip" if findings.skips(on_error) else "stop",
    )


# To the working size


def _num_tiles(path: pathlib.Path, size: Size, on_error: str) -> int:
    try:
        with io.opened(path) as image:
            return len(_corners(pictures.upright_size(image), size))
    except io.DataError:
        if not findings.skips(on_error):
            raise
        return 1


def _corners(shape: Sequence[int], size: Size) -> List[Tuple[int, int]]:
    """Returns the upper left corners of the tiles that cover an image."""
    rows, columns = (range(0, s, t) for s, t in zip(shape, size))
    return [(row, column) for row in rows for column in columns]


def _fit(
    pixels: np.ndarray, labels: np.ndarray, told: description.Description
) -> Tuple[List[np.ndarray], List[np.ndarray]]:
    """Returns an image's tiles, one where it is not cut, and their labels."""
    size = told.size
    if told.fit == "resize":
        flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        resized = io.resize_antialiased(Image.fromarray(flat), size)
        ids = [io.resize_nearest(label, size) for label in labels]
        return [resized.reshape(*size, -1)], [np.stack(ids)]
    shape = pixels.shape[:2]
    images, cut = [], []
    for row, column in _corners(shape, size):
        here = slice(row, row + size[0]), slice(column, column + size[1])
        missing = [(0, t - s) for s, t in zip(pixels[here].shape[:2], size)]
        # The edge goes on, and nobody has labelled that.
        images.append(np.pad(pixels[here], [*missing, (0, 0)], "edge"))
        ids, width = labels[(slice(None), *here)], [(0, 0), *missing]
        cut.append(np.pad(ids, width, constant_values=info.IGNORE_LABEL))
    return images, cut


def _examples(chosen, indices, stored, told) -> examples.Examples:
    """Returns a split: of each image all tiles that somebody labelled."""
    num_tiles, size = stored["images"].shape[1], told.size
    rows, names, groups, image_files, places = [], [], [], [], []
    for example, index in zip(chosen, indices):
        own = tuple(int(side) for side in stored["sizes"][index])
        corners = _corners(own, size) if told.fit == "tiles" else [(0, 0)]
        for tile, (row, column) in enumerate(corners):
            if (stored["labels"][index, tile] == info.IGNORE_LABEL).all():
                continue
            rows.append(index * num_tiles + tile)
            is_cut = told.fit == "tiles" and len(corners) > 1
            names.append(example.name + f"_y{row}_x{column}" * is_cut)
            groups.append(example.group)
            image_files.append(example.image)
            corner = None if told.fit == "resize" else (row, column)
            places.append(examples.Place(example.name, own, corner))
    images, labels = (
        examples.rows_of(array.reshape(-1, *array.shape[2:]), rows)
        for array in (stored["images"], stored["labels"])
    )
    # A black box sees files only where an image is one, in 8 bits.
    has_files = told.fit == "resize" and told.images.kind != "grey16"
    return examples.Examples(
        names=tuple(names),
        groups=tuple(groups),
        images=images,
        labels=labels,
        image_files=tuple(image_files) if has_files else (),
        places=() if has_files else tuple(places),
    )


def _notes(told: description.Description, stored: Dict[str, np.ndarray]) -> List[str]:
    """Returns how images came to their size, and what their labels can teach."""
    size = told.size
    sizes = {tuple(int(side) for side in shape) for shape in stored["sizes"]}
    shown = ", ".join(findings.by(shape) for shape in sorted(sizes)[:3])
    shown += f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
    how = {
        "resize": f"resized to {findings.by(size)}",
        "pad": f"padded to {findings.by(size)} at the bottom and right",
        "tiles": f"cut in {stored['images'].shape[1]} tiles of "
        f"{findings.by(size)} at most, side by side, the last ones padded",
    }[told.fit]
    ratios = [height / width for height, width in sizes]
    target = size[0] / size[1]
    if sizes == {tuple(size)}:
        how = "taken as they are"
    elif told.fit == "resize" and any(abs(r / target - 1) > 0.02 for r in ratios):
        how += ", which changes their proportions"
    notes = [f"images of {shown} pixels are {how} (dataset.json)"]
    if len(told.raters) == 1 and not told.flips:
        notes.append(description.ONE_RATER)
    return notes
