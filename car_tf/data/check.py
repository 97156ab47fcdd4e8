"""Checks a whole data set on disk and reports everything that is wrong with it at once.

The readers stop at the first bad file; this goes on to the end. Errors would stop a
training or falsify its results; warnings are what a user should have looked at.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from car_tf.data import cityscapes, findings, info, io, layouts, splits
from car_tf.data.folders import check as folders_check
from car_tf.data.folders import description, files
from car_tf.data.lidc import arrays as lidc_arrays
from car_tf.data.lidc import folders as lidc_folders
from car_tf.data.lidc import read as lidc

DATASETS = ("cityscapes", "lidc", "folders")

# What reads one example, and their problems as far as file names tell.
Plan = Tuple[List[Callable[[], findings.Item]], List[findings.Problem]]


def check(data_dir: str, dataset: str = "") -> Dict[str, Any]:
    """Reads a whole data set.

    Args:
      data_dir: its folder (or file, of LIDC).
      dataset: one of `DATASETS`; empty to tell by what lies there.

    Returns:
      `dataset`, `data_dir`, `splits` (numbers by split), `problems` and, of a folder,
      `plan`, what training makes of it, as JSON holds them.

    Raises:
      DataError, FileNotFoundError: nothing there that could be checked.
    """
    root = pathlib.Path(data_dir).expanduser()
    dataset = dataset or layouts.dataset_at(root) or "lidc"
    plan = {"cityscapes": _plan_cityscapes, "lidc": _plan_lidc}.get(dataset, _folder)
    jobs, problems = plan(root)
    items = []
    with io.progress(total=len(jobs), desc="checking", unit="image") as bar:
        for item in io.read_ahead(lambda job: job(), jobs):
            items.append(item)
            problems += item.problems
            bar.update()
    told = []
    if dataset == "folders":
        items, more, told = folders_check.of_all(root, items)
        problems += more
    problems += findings.of_all(items, description.known_leakage(root))
    if dataset != "folders":
        problems += findings.odd_sizes(items) if dataset == "lidc" else _labels(items)
    return {
        "dataset": dataset,
        "data_dir": str(root),
        "splits": findings.summaries(items),
        "problems": [dataclasses.asdict(problem) for problem in problems],
        "plan": told,
    }


def _folder(root: pathlib.Path) -> Plan:
    told = description.read(root)
    found, problems = files.find(root, told)
    jobs = [functools.partial(folders_check.read_one, e, told) for e in found]
    return jobs, problems


# Cityscapes' layout


def _plan_cityscapes(root: pathlib.Path) -> Plan:
    if not (root / "leftImg8bit").is_dir():
        raise io.DataError(f"{root}: wanted a folder leftImg8bit, found none")
    jobs, problems = [], []
    for split in ("train", "val"):
        try:
            found = cityscapes.find(root, split)
        except io.DataError as error:
            folder = root / "leftImg8bit" / split
            problems.append(findings.unreadable(split, folder, error, "missing split"))
            found = {}
        images, labels = {path for path, _ in found.values()}, set()
        for name, (image, city) in found.items():
            label = cityscapes.label_file(root, split, city, name)
            labels.add(label)
            if label.is_file():
                job = functools.partial(_read_scene, split, name, city, image, label)
                jobs.append(job)
            else:
                words = f"the label of {image} is missing"
                problems.append(findings.error("missing label", split, label, words))
        for path in sorted((root / "gtFine" / split).glob("*/*_gtFine_labelIds.png")):
            if path not in labels and not path.name.startswith("._"):
                words = "the image of this label is missing"
                problems.append(findings.error("missing image", split, path, words))
        for path in sorted((root / "leftImg8bit" / split).glob("*/*.*")):
            if path not in images and not path.name.startswith("._"):
                words = "not named <city>/<name>_leftImg8bit.png, so it is not read"
                problems.append(findings.warning("other name", split, path, words))
    return jobs, problems


def _read_scene(
    split: str, name: str, city: str, image: pathlib.Path, label: pathlib.Path
) -> findings.Item:
    problems, size, digest, ids = [], None, None, None
    try:
        pixels = np.asarray(cityscapes.read_image(image))
        size, digest = pixels.shape[:2], findings.digest(pixels)
    except io.DataError as error:
        problems.append(findings.unreadable(split, image, error))
    try:
        ids = io.read_ids(label)
    except io.DataError as error:
        problems.append(findings.unreadable(split, label, error))
    counts = np.zeros(256, np.int64)
    if ids is not None:
        counts += np.bincount(ids.ravel(), minlength=256)
        if size not in (None, ids.shape):
            words = f"wanted {findings.by(size)}, as its image, got "
            words += findings.by(ids.shape)
            problems.append(findings.error("size of label", split, label, words))
    table = cityscapes.label_id_table()
    for bad in np.flatnonzero((counts > 0) & (table < 0)):
        words = f"{counts[bad]} pixels of id {bad}, wanted 0 to 33, or 255"
        problems.append(findings.error("unknown id", split, label, words))
    is_empty = ids is not None and not counts[table != info.IGNORE_LABEL].any()
    if is_empty:
        words = "no pixel of any class, so that nothing can be learnt from it"
        problems.append(findings.warning("empty label", split, label, words))
    return findings.Item(
        name=name,
        group=city,
        split=split,
        problems=tuple(problems),
        size=size,
        digest=digest,
        counts=counts,
        num_labels=int(ids is not None),
        num_empty=int(is_empty),
    )


def _labels(items: Sequence[findings.Item]) -> List[findings.Problem]:
    """Splits at whose labels a training would stop."""
    problems = []
    for split in dict.fromkeys(item.split for item in items):
        counts = [i.counts for i in items if i.split == split and i.num_labels]
        words = cityscapes.complaint(np.sum(counts, 0)) if counts else ""
        if words:
            kind = "train ids" if "train ids" in words else "no label"
            problems.append(findings.error(kind, split, "gtFine", words))
    return problems


# LIDC


def _plan_lidc(root: pathlib.Path) -> Plan:
    path = lidc.locate(root)
    if not path.is_dir():
        return _plan_lidc_file(path)
    jobs, problems = [], []
    for split in splits.SPLITS:
        folder = lidc_folders.split_folder(path, split)
        if folder is None:
            words = f"wanted a folder {split}/images, found none"
            problems.append(findings.error("missing split", split, path, words))
            continue
        try:
            more_jobs, more_problems = _plan_crops(folder, split)
        except io.DataError as error:
            problems.append(findings.unreadable(split, folder, error))
            continue
        jobs += more_jobs
        problems += more_problems
    return jobs, problems


def _plan_crops(folder: pathlib.Path, split: str) -> Plan:
    jobs, problems = [], []
    found = lidc_folders.find(folder)
    for path in found.strays:
        words = "there is no image of this mask's name"
        problems.append(findings.error("missing image", split, path, words))
    for kind in ("images", "gt"):
        for path in sorted((folder / kind).glob("[!.]*.[pP][nN][gG]")):
            words = "it lies in no patient's folder, so it is not read"
            problems.append(findings.warning("other place", split, path, words))
    wanted, has_masks = found.wanted, (folder / "gt").is_dir()
    if not has_masks:
        words = "wanted a folder of masks, found none"
        problems.append(findings.error("missing folder", split, folder / "gt", words))
    for (patient, stem), image in found.images.items():
        masks = found.masks[patient, stem]
        for rater in sorted(set(wanted) - set(masks)) if has_masks else ():
            path = folder / "gt" / patient / f"{stem}_l{rater}.png"
            words = "this rater's mask is missing"
            problems.append(findings.error("missing label", split, path, words))
        for rater in sorted(set(masks) - set(wanted)):
            words = f"wanted raters {wanted[0]} to {wanted[-1]} alone"
            problem = findings.error("fifth mask", split, masks[rater], words)
            problems.append(problem)
        paths = [masks[rater] for rater in wanted if rater in masks]
        jobs.append(functools.partial(_read_crop, split, patient, image, paths))
    return jobs, problems


def _read_crop(
    split: str, patient: str, image: pathlib.Path, masks: List[pathlib.Path]
) -> findings.Item:
    problems, pixels, read = [], None, []
    try:
        pixels = lidc_folders.read_grey(image)
    except io.DataError as error:
        problems.append(findings.unreadable(split, image, error))
    for path in masks:
        try:
            mask = lidc_folders.read_grey(path)
        except io.DataError as error:
            problems.append(findings.unreadable(split, path, error))
            continue
        try:
            shape = mask.shape if pixels is None else pixels.shape
            read.append(lidc_arrays.as_mask(mask, shape, str(path)))
        except io.DataError as error:
            problems.append(findings.unreadable(split, path, error, "unusable mask"))
    name = f"{patient}/{image.stem}"
    return _crop(split, name, patient, pixels, read, problems)


def _crop(split, name, group, pixels, masks, problems=()) -> findings.Item:
    problems = list(problems)
    num_empty = sum(not np.any(mask) for mask in masks)
    if num_empty == lidc.NUM_RATERS:
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


def _plan_lidc_file(path: pathlib.Path) -> Plan:
    """A pickle or HDF5 file: of a split, the reader's first error or all its crops."""
    jobs, problems = [], []
    for split in splits.SPLITS:
        try:
            # Larger than any crop, so that nothing is cut off.
            read = lidc.read(path, split, seed=1, size=(1 << 30, 1 << 30))
        except (ValueError, OSError) as error:
            problem = findings.unreadable(split, path, error)
            # What is wrong with all of the file is said once.
            if problem.detail not in {other.detail for other in problems}:
                problems.append(problem)
            continue
        rows = zip(read.names, read.groups, read.images[..., 0], read.labels)
        jobs += [functools.partial(_crop, split, *row) for row in rows]
    return jobs, problems
