"""Checks a whole data set on disk and reports everything that is wrong with it at once.

The readers stop at the first bad file; this goes on to the end. Errors would stop a
training or falsify its results; warnings are what a user should have looked at.
"""

import dataclasses
import functools
import pathlib
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np

from car_tf.data import cityscapes, findings, io, layouts, splits
from car_tf.data.folders import check as folders_check
from car_tf.data.folders import description, files
from car_tf.data.lidc import arrays as lidc_arrays
from car_tf.data.lidc import folders as lidc_folders
from car_tf.data.lidc import read as lidc

DATASETS = ("cityscapes", "lidc", "folders")

# What reads one example, and their problems as far as file names tell.
Plan = Tuple[List[Callable[[], findings.Item]], findings.Problems]


def check(data_dir: str, dataset: str = "") -> Dict[str, Any]:
    """Reads a whole data set, of the kind that lies there if `dataset` is empty.

    Returns `dataset`, `data_dir`, `splits` (numbers by split), `problems` and, of a
    folder, `plan`, what training makes of it, as JSON holds them.

    Raises:
      DataError, FileNotFoundError: nothing there that could be checked.
    """
    root = pathlib.Path(data_dir).expanduser()
    dataset = dataset or layouts.known_dataset_at(root)
    plan = {"cityscapes": _plan_cityscapes, "lidc": _plan_lidc}.get(dataset, _folder)
    jobs, problems = plan(root)
    read = io.read_ahead(lambda job: job(), jobs)
    items = list(io.progress(read, "checking", "image", total=len(jobs)))
    problems += [problem for item in items for problem in item.problems]
    told = []
    if dataset == "folders":
        items, more, told = folders_check.of_all(root, items)
        problems += more
    problems += findings.of_all(items, description.known_leakage(root))
    if dataset != "folders":
        is_lidc = dataset == "lidc"
        problems += findings.odd_sizes(items) if is_lidc else _labels(root, items)
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
    return [functools.partial(folders_check.read_one, e, told) for e in found], problems


# Cityscapes' layout


def _plan_cityscapes(root: pathlib.Path) -> Plan:
    if not (root / "leftImg8bit").is_dir():
        raise io.DataError(f"{root}: wanted a folder leftImg8bit, found none")
    jobs, problems = [], findings.Problems()
    for split in ("train", "val"):
        find = functools.partial(cityscapes.find, root, split)
        folder = root / "leftImg8bit" / split
        found = problems.attempt(split, folder, find, "missing split")
        scenes, more = found or ([], [])
        problems += more
        jobs += [functools.partial(_scene, s) for s in scenes if s.label is not None]
    return jobs, problems


def _scene(scene: cityscapes.Scene) -> findings.Item:
    item, image, _ = cityscapes.examine(scene)
    digest = None if image is None else findings.digest(np.asarray(image))
    return dataclasses.replace(item, digest=digest)


def _labels(root: pathlib.Path, items: Sequence[findings.Item]) -> findings.Problems:
    """Splits at whose labels a training would stop."""
    problems = findings.Problems()
    for split in dict.fromkeys(item.split for item in items):
        own = [item for item in items if item.split == split and item.num_labels]
        if own:
            names, counts = [i.name for i in own], np.stack([i.counts for i in own])
            problems += cityscapes.complaints(root, split, names, counts)
    return problems


# LIDC


def _plan_lidc(root: pathlib.Path) -> Plan:
    path = lidc.locate(root)
    if not path.is_dir():
        return _plan_lidc_file(path)
    jobs, problems = [], findings.Problems()
    for split in splits.SPLITS:
        folder = lidc_folders.split_folder(path, split)
        if folder is None:
            words = f"wanted a folder {split}/images, found none"
            problems.error("missing split", split, path, words)
            continue
        plan = functools.partial(lidc_folders.plan, folder, split)
        crops, more = problems.attempt(split, folder, plan) or ([], [])
        jobs += [lambda crop=crop: lidc_folders.examine(crop)[0] for crop in crops]
        problems += more
    return jobs, problems


def _plan_lidc_file(path: pathlib.Path) -> Plan:
    """A pickle or HDF5 file: of a split, the reader's first error or all its crops."""
    jobs, problems = [], findings.Problems()
    for split in splits.SPLITS:
        try:
            # Larger than any crop, so that nothing is cut off.
            read = lidc.read(path, split, seed=1, size=(1 << 30, 1 << 30))
        except (ValueError, OSError) as error:
            problems.unreadable(split, path, error)
            # What is wrong with all of the file is said once.
            if problems[-1].detail in {other.detail for other in problems[:-1]}:
                problems.pop()
            continue
        rows = zip(read.names, read.groups, read.images[..., 0], read.labels)
        jobs += [functools.partial(lidc_arrays.item, split, *row) for row in rows]
    return jobs, problems
