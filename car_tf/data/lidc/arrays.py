"""LIDC crops that lie in one pickle, and the checks that all layouts share.

Everything here ends as `images` `[N, H, W, 1]` uint8 grey values and `labels`
`[N, 4, H, W]` uint8 masks of 0 and 1.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from car_tf.data import cache, examples, findings, io, splits
from car_tf.data.lidc import pickle_file

NUM_RATERS = 4
_FORMAT_VERSION = 2


def centre_crop(
    array: np.ndarray, size: Tuple[int, int], *, axes: Tuple[int, int] = (-2, -1)
) -> np.ndarray:
    """Returns the central part of an array.

    Args:
      array: of any shape.
      size: (height, width) of the result, at most the array's. Where the margin is
        odd, one pixel more is cut at the end than at the start.
      axes: the axes of height and width.

    Returns:
      A view.

    Raises:
      ValueError: the array is smaller than the crop.
    """
    window = [slice(None)] * array.ndim
    for axis, length in zip(axes, size):
        margin = array.shape[axis] - length
        if margin < 0:
            raise ValueError(f"cannot crop {array.shape} to {size} on axes {axes}")
        window[axis] = slice(margin // 2, margin // 2 + length)
    return array[tuple(window)]


def fit(array: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Crops the last two axes to a size where they exceed it."""
    height, width = array.shape[-2:]
    return centre_crop(array, (min(height, size[0]), min(width, size[1])))


def as_mask(mask: np.ndarray, shape: Tuple[int, ...], what: str) -> np.ndarray:
    """Returns a mask of 0 and 1, or of 0 and 255, as one of 0 and 1.

    Args:
      mask: of any type.
      shape: that of the mask's image.
      what: names the mask in messages.

    Returns:
      uint8 array of `shape`.

    Raises:
      DataError: another shape or other values.
    """
    if mask.shape != shape:
        raise io.DataError(f"{what}: mask is {mask.shape}, its image {shape}")
    top = mask.max(initial=0)
    if top not in (0, 1, 255) or not ((mask == 0) | (mask == top)).all():
        other = np.setdiff1d(mask, (0, 1 if top <= 1 else 255))[:3].tolist()
        raise io.DataError(
            f"{what}: mask holds {other}, wanted 0 and 1, or 0 and 255, alone"
        )
    return (mask != 0).astype(np.uint8)


def item(
    split: str,
    name: str,
    group: str,
    pixels: Optional[np.ndarray],
    masks: Sequence[np.ndarray],
    problems: Sequence[findings.Problem] = (),
) -> findings.Item:
    """Returns what was found out about a crop that was read."""
    problems = list(problems)
    num_empty = sum(not np.any(mask) for mask in masks)
    if num_empty == NUM_RATERS:
        words = "none of the four raters saw a lesion"
        problems.append(findings.warning("empty label", split, name, words))
    return findings.Item(
        name=name,
        group=group,
        split=split,
        problems=tuple(problems),
        size=None if pixels is None else pixels.shape,
        digest=None if pixels is None else findings.digest(pixels),
        num_labels=len(masks),
        num_empty=num_empty,
    )


def store(image: np.ndarray, target: np.ndarray, what: str) -> None:
    """Writes an image to its place; raises DataError if it has another size."""
    if image.shape != target.shape:
        raise io.DataError(
            f"{what}: image is {image.shape}, wanted {target.shape} as of others"
        )
    target[...] = image


def as_grey(image: np.ndarray, what: str, offset: float = 0.0) -> np.ndarray:
    """Returns grey values, 0 to 255 or floats of [0, 1] less an offset, as uint8."""
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise io.DataError(
            f"{what}: grey values are {image.dtype}, wanted uint8 or float"
        )
    if not ((image >= -offset) & (image <= 1 - offset)).all():
        raise io.DataError(
            f"{what}: grey values of [{image.min():.3g}, {image.max():.3g}], "
            f"wanted [{0 - offset:g}, {1 - offset:g}]"
        )
    return np.rint((image + offset) * 255).astype(np.uint8)


def read_pickle(
    path: pathlib.Path, split: str, *, seed: int, cache_dir: pathlib.Path | None
) -> examples.Examples:
    """Reads one split of a `data_lidc.pickle`, split by series.

    Args:
      path: the pickle.
      split: "train", "val" or "test".
      seed: of the split.
      cache_dir: where the pickle is converted to once; None reads it each time.

    Returns:
      Images `[N, H, W, 1]`, labels `[N, 4, H, W]`, and series as groups, by name.

    Raises:
      DataError: it does not hold what it should; the message names the entry.
    """
    if cache_dir is None:
        records = _load_records(path)
        all_names = sorted(records)
        all_groups = [records[name]["series_uid"] for name in all_names]
    else:
        folder = convert_pickle(path, cache_dir)
        listing = json.loads((folder / "names.json").read_text(encoding="utf-8"))
        all_names, all_groups = listing["names"], listing["groups"]
    try:
        chosen = splits.split_by_group(
            all_groups, seed=seed, fractions=splits.FRACTIONS
        )[split]
    except ValueError as error:
        raise io.DataError(f"{path}: {error}") from None
    names = [all_names[index] for index in chosen]
    if cache_dir is None:
        images, labels = (np.empty(s, np.uint8) for s in _shapes(path, records, names))
        _fill(path, records, names, images, labels)
    else:
        images, labels = (
            examples.rows_of(np.load(folder / name, mmap_mode="r"), chosen)
            for name in ("images.npy", "labels.npy")
        )
    return examples.Examples(
        names=tuple(names),
        groups=tuple(all_groups[index] for index in chosen),
        images=images,
        labels=labels,
    )


def convert_pickle(path: pathlib.Path, cache_dir: pathlib.Path) -> pathlib.Path:
    """Converts a `data_lidc.pickle` to NumPy files, once.

    Args:
      path: the pickle; its arrays are mapped, not read whole, and nothing in it runs.
      cache_dir: where the folder is made; its name is a hash of the pickle's contents.

    Returns:
      The folder: `images.npy` `[N, H, W, 1]` uint8, `labels.npy` `[N, 4, H, W]` uint8
      and `names.json` with the lists `names` and `groups`.

    Raises:
      FileNotFoundError: there is no such pickle.
      DataError: it does not hold what it should; the message names the entry.
    """
    target = converted_folder(path, cache_dir)
    if target.is_dir():
        return target
    records = _load_records(path)
    names = sorted(records)
    groups = [records[name]["series_uid"] for name in names]
    with io.atomic_folder(target) as work:
        shapes = zip(("images.npy", "labels.npy"), _shapes(path, records, names))
        arrays = [io.new_array(work / name, shape, np.uint8) for name, shape in shapes]
        _fill(path, records, names, *arrays)
        for array in arrays:
            array.flush()
        listing = json.dumps({"names": names, "groups": groups})
        (work / "names.json").write_text(listing, encoding="utf-8")
    return target


def converted_folder(path: pathlib.Path, cache_dir: pathlib.Path) -> pathlib.Path:
    """Returns where a file's arrays belong, by its content; made or not.

    The content is hashed once for a path, a size and a time of change.

    Raises:
      FileNotFoundError: there is no such file.
    """
    path, cache_dir = pathlib.Path(path), pathlib.Path(cache_dir)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    (digest,) = cache.content_hashes([path], cache_dir)
    return cache_dir / f"lidc-{digest[:32]}-{_FORMAT_VERSION}"


def _load_records(path: pathlib.Path) -> Dict[str, Dict[str, Any]]:
    """Returns the pickle's entries, each checked to have its three parts."""
    try:
        records = pickle_file.load(path)
    except ValueError as error:
        raise io.DataError(str(error)) from error
    if not isinstance(records, dict) or not records:
        raise io.DataError(f"{path}: wanted a dict of crops by name")
    parts = {"image": np.ndarray, "masks": (list, tuple, np.ndarray), "series_uid": str}
    for name, record in records.items():
        if not isinstance(name, str) or not isinstance(record, dict):
            raise io.DataError(f"{path}: entry {name!r} is not a crop by name")
        for key, kind in parts.items():
            if not isinstance(record.get(key), kind):
                raise io.DataError(
                    f"{path}: {key!r} of entry {name!r} is missing or of type "
                    f"{type(record.get(key)).__name__}"
                )
        if len(record["masks"]) != NUM_RATERS:
            raise io.DataError(
                f"{path}: entry {name!r} has {len(record['masks'])} masks, wanted four"
            )
    return records


def _shapes(path, records, names) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
    shape = records[names[0]]["image"].shape
    if len(shape) != 2:
        raise io.DataError(
            f"{path}: image of entry {names[0]!r} is {shape}, wanted (H, W)"
        )
    return (len(names), *shape, 1), (len(names), NUM_RATERS, *shape)


def _fill(path, records, names, images: np.ndarray, labels: np.ndarray) -> None:
    """Writes the named entries into `[N, H, W, 1]` and `[N, 4, H, W]` arrays."""
    bar = io.progress(iterable=names, desc="converting", unit="crop")
    for index, name in enumerate(bar):
        image, what = records[name]["image"], f"{path}: entry {name!r}"
        store(as_grey(image, what), images[index, ..., 0], what)
        for rater, mask in enumerate(records[name]["masks"]):
            labels[index, rater] = as_mask(
                np.asarray(mask), image.shape, f"{what}, mask {rater}"
            )
