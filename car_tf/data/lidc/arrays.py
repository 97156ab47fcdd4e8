"""LIDC crops that lie in one pickle, and the checks that all layouts share.

Everything here ends as `images` `[N, H, W, 1]` uint8 grey values and `labels`
`[N, 4, H, W]` uint8 masks of 0 and 1.
"""

import functools
import pathlib
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from car_tf.data import cache, examples, findings, io, splits
from car_tf.data.lidc import pickle_file

NUM_RATERS = 4


def centre_crop(
    array: np.ndarray, size: Tuple[int, int], *, axes: Tuple[int, int] = (-2, -1)
) -> np.ndarray:
    """Returns the central part of an array, of a (height, width), as a view.

    Where the margin is odd, the end loses one pixel more than the start.

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
    """Returns a mask of 0 and 1, or of 0 and 255, as uint8 of 0 and 1.

    `shape` is that of the mask's image; `what` names the mask in messages.

    Raises:
      DataError: another shape or other values.
    """
    if mask.shape != shape:
        raise io.DataError(f"{what}: mask is {mask.shape}, its image {shape}")
    top = mask.max(initial=0)
    if top not in (0, 1, 255) or not ((mask == 0) | (mask == top)).all():
        other = np.setdiff1d(mask, (0, 1 if top <= 1 else 255))[:3].tolist()
        words = f"mask holds {other}, wanted 0 and 1, or 0 and 255, alone"
        raise io.DataError(f"{what}: {words}")
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
    problems = findings.Problems(problems)
    num_empty = sum(not np.any(mask) for mask in masks)
    if num_empty == NUM_RATERS:
        words = "none of the four raters saw a lesion"
        problems.warning("empty label", split, name, words)
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
        words = f"image is {image.shape}, wanted {target.shape} as of others"
        raise io.DataError(f"{what}: {words}")
    target[...] = image


def as_grey(image: np.ndarray, what: str, offset: float = 0.0) -> np.ndarray:
    """Returns grey values, 0 to 255 or floats of [0, 1] less an offset, as uint8."""
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        words = f"grey values are {image.dtype}, wanted uint8 or float"
        raise io.DataError(f"{what}: {words}")
    if not ((image >= -offset) & (image <= 1 - offset)).all():
        raise io.DataError(
            f"{what}: grey values of [{image.min():.3g}, {image.max():.3g}], "
            f"wanted [{0 - offset:g}, {1 - offset:g}]"
        )
    return np.rint((image + offset) * 255).astype(np.uint8)


def read_pickle(
    path: pathlib.Path, split: str, *, seed: int, cache_dir: pathlib.Path
) -> examples.Examples:
    """Reads a split of a `data_lidc.pickle`, by name, split by series with a seed.

    Raises:
      FileNotFoundError: there is no such pickle.
      DataError: it does not hold what it should; the message names the entry.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such pickle")
    (digest,) = cache.content_hashes([path], cache_dir)
    records = _load_records(path, digest)
    names = sorted(records)
    groups = [records[name]["series_uid"] for name in names]
    try:
        divided = splits.split_by_group(groups, seed=seed, fractions=splits.FRACTIONS)
    except ValueError as error:
        raise io.DataError(f"{path}: {error}") from None
    shape, chosen = records[names[0]]["image"].shape, divided[split]
    if len(shape) != 2:
        words = f"image of entry {names[0]!r} is {shape}, wanted (H, W)"
        raise io.DataError(f"{path}: {words}")
    stored, _ = cache.arrays(
        key=f"lidc_pickle|{cache.FORMAT_VERSION}|{digest}",
        cache_dir=cache_dir,
        specs={
            "images": ((*shape, 1), np.uint8),
            "labels": ((NUM_RATERS, *shape), np.uint8),
        },
        num=len(names),
        read=lambda i: _crop(records[names[i]], shape, f"{path}: entry {names[i]!r}"),
        what="converting",
    )
    return examples.Examples(
        names=tuple(names[index] for index in chosen),
        groups=tuple(groups[index] for index in chosen),
        **{name: examples.rows_of(array, chosen) for name, array in stored.items()},
    )


def _crop(record: Dict[str, Any], shape: Tuple[int, ...], what: str) -> Dict[str, Any]:
    """Returns image `[H, W, 1]` and labels `[4, H, W]` of an entry."""
    image = np.empty(shape, np.uint8)
    store(as_grey(record["image"], what), image, what)
    masks = enumerate(map(np.asarray, record["masks"]))
    labels = [as_mask(mask, shape, f"{what}, mask {rater}") for rater, mask in masks]
    return {"images": image[..., None], "labels": np.stack(labels)}


@functools.lru_cache(maxsize=1)
def _load_records(path: pathlib.Path, digest: str) -> Dict[str, Dict[str, Any]]:
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
            words = f"has {len(record['masks'])} masks, wanted four"
            raise io.DataError(f"{path}: entry {name!r} {words}")
    return records
