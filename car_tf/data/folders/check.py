"""The check of a folder: each example, all together, and what training makes of it."""

import collections
import dataclasses
import pathlib
from typing import List, Optional, Sequence, Tuple

import numpy as np

from car_tf import config as config_lib
from car_tf.data import findings, info, io
from car_tf.data.folders import description, examine, files, read
from car_tf.metrics import iou

# How training splits a folder unless it is told otherwise.
_DEFAULTS = config_lib.Data()


def read_one(example: files.Example, told: description.Description) -> findings.Item:
    """Reads an image and its masks as training does, and counts what they hold."""
    item, _, labels = examine.examine(example, told)
    if not labels.size:
        return item
    counts = [np.bincount(label.ravel(), minlength=256) for label in labels]
    return dataclasses.replace(
        item, rater_counts=np.stack(counts), agreement=agreement(labels)
    )


def agreement(labels: np.ndarray) -> Optional[float]:
    """Returns the mean IoU of all pairs of raters; None where there is no pair.

    Of a pair it is the mean over the classes that either has, where both labelled.
    """
    classes = np.setdiff1d(labels, info.IGNORE_LABEL)
    flat = labels.reshape(len(labels), -1)
    ious = iou.pairwise_iou(flat, classes=classes, absent=iou.LEAVE_OUT)
    pairs = ious[np.triu_indices(len(labels), 1)]
    pairs = pairs[~np.isnan(pairs)]
    return float(pairs.mean()) if pairs.size else None


def of_all(
    root: pathlib.Path, items: Sequence[findings.Item]
) -> Tuple[List[findings.Item], findings.Problems, List[str]]:
    """Returns the items in their splits, what is wrong with those, and the plan."""
    told = description.read(root)
    sound = [i for i in items if not findings.Problems(i.problems).has_errors()]
    lines = [f"plan of training ({description.FILE}: {told.title})"]
    problems = findings.Problems()
    try:
        divided, words = files.divide(
            items, seed=_DEFAULTS.split_seed, fraction=_DEFAULTS.selection_fraction
        )
        items = read.with_splits(items, divided)
        items = [items[i] for indices in divided.values() for i in indices]
        numbers = ", ".join(f"{name} {len(n)}" for name, n in divided.items())
        lines.append(f"  splits: {numbers} ({words})")
    except io.DataError as error:
        problems.error("splits", "", root, str(error))
    sizes = collections.Counter(item.size for item in sound)
    for size, num in sizes.most_common(3):
        how = _how(size, told)
        lines.append(f"  {num} images of {findings.by(size)} pixels: {how}")
    if len(sizes) > 3:
        lines.append(f"  and {len(sizes) - 3} more sizes")
    lines += _histogram(sound, told)
    agree = [item.agreement for item in sound if item.agreement is not None]
    if agree:
        lines.append(
            f"  agreement: the mean IoU of two {told.rater_word}s is {np.mean(agree):.3f}"
            " (over the classes that either of them has)"
        )
    lines += _hints(items, told)
    return list(items), problems, lines


def _how(size: Tuple[int, int], told: description.Description) -> str:
    if told.fit == "tiles":
        tiles = np.prod([-(-s // t) for s, t in zip(size, told.size)])
        return f"cut in {tiles} tiles of {findings.by(told.size)}"
    words = {"resize": "resized", "pad": "padded"}[told.fit]
    is_same = size == told.size
    return "taken as they are" if is_same else f"{words} to {findings.by(told.size)}"


def _histogram(
    items: Sequence[findings.Item], told: description.Description
) -> List[str]:
    """Returns the share of pixels of each class, and empty masks, for each rater."""
    counted = [item.rater_counts for item in items if item.rater_counts is not None]
    if not counted:
        return []
    counts = np.array(counted)
    names = [entry.name for entry in told.classes if entry.values]
    lines = [f"  share of labelled pixels in {', '.join(names)}:"]
    for index, rater in enumerate(told.raters):
        own = counts[:, index]
        own = own[own[:, : len(names)].any(1)]
        total = own[:, : len(names)].sum(0)
        shares = ", ".join(f"{share:.2%}" for share in total / max(total.sum(), 1))
        num_empty = int((~own[:, 1 : len(names)].any(1)).sum())
        lines.append(
            f"    {rater.name}: {shares}; {len(own)} masks, {num_empty} of them "
            f"{names[0]} alone"
        )
    seen = counts[:, :, : len(names)].any((0, 1))
    absent = ", ".join(name for name, is_here in zip(names, seen) if not is_here)
    return [*lines, *([f"    no pixel of any mask is {absent}"] if absent else [])]


def _hints(items: Sequence[findings.Item], told: description.Description) -> List[str]:
    """Returns what to convert, or to know, in a sentence each."""
    kinds = {problem.kind for item in items for problem in item.problems}
    lines = []
    if "size of mask" in kinds:
        lines.append("masks of another size: masks_of_other_size=nearest resizes them")
    if "unreadable" in kinds:
        lines.append(
            "unreadable files: save images as PNG or TIFF of 8 bits, masks as PNG with "
            "one value for each class"
        )
    if len(told.raters) == 1 and not told.flips:
        lines.append(description.ONE_RATER)
    if all(item.group.rpartition("/")[2] == item.name for item in items):
        lines.append(
            "no groups are given, so each image is one: where several are of a patient, "
            "slide or video, say so in groups"
        )
    return [f"  hint: {line}" for line in lines]
