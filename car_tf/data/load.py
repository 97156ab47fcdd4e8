"""From a configuration to a data set: its splits, and what the rest asks of it."""

import dataclasses
import pathlib
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.data import cache, cityscapes, examples, findings, io, requirements, splits
from car_tf.data import info as info_lib
from car_tf.data.folders import description
from car_tf.data.folders import read as folders_read
from car_tf.data.lidc import arrays as lidc_arrays
from car_tf.data.lidc import read as lidc
from car_tf.data.synthetic import lidc_crops, several, street_scenes

DIGEST_LENGTH = 16  # Letters of an image's digest that a run records.


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set ready for use."""

    # What the rest asks for instead of the name of the data set.
    info: info_lib.DatasetInfo
    # Name -> examples, with their black-box outputs.
    splits: Dict[str, examples.Examples]
    selection: str  # name of the split for model selection
    evaluation: str  # name of the split that results are reported on
    notes: List[str]  # what a user must be told, one sentence each

    def describe(self, cache_dir: pathlib.Path) -> Dict[str, Any]:
        """Returns what the run directory records; a cache remembers fingerprints."""
        return {
            "title": self.info.title,
            "facts": dataclasses.asdict(self.info),
            "notes": self.notes,
            "selection": self.selection,
            "splits": {
                name: {
                    "num_images": len(split),
                    "fingerprint": cache.fingerprint(split, cache_dir),
                    "num_skipped": len(split.skipped),
                    "skipped": list(split.skipped),
                    "names": list(split.names),
                    # By which an evaluation on other data knows them again.
                    "digests": [
                        digest[:DIGEST_LENGTH]
                        for digest in cache.digests(split.images, cache_dir)
                    ],
                    "groups": list(split.groups),
                }
                for name, split in self.splits.items()
            },
        }


def id_encodings(config: config_lib.Config, num_classes: int) -> Dict[str, np.ndarray]:
    """Returns name -> table from a black box's ids to classes: 255 none, -1 no id."""
    if config.data.dataset != "cityscapes":
        table = np.full(256, -1, np.int16)
        table[255], table[:num_classes] = 255, np.arange(num_classes)
        return {"class_ids": table}
    train_ids = cityscapes.train_id_table()
    return {"train_ids": train_ids, "label_ids": cityscapes.label_id_table()}


def label_ids(names: Sequence[str]) -> Optional[np.ndarray]:
    """Returns the label id of each class, `[K]` uint8; None of another data set's."""
    return cityscapes.label_ids(names)


def read_data(config: config_lib.Config, only: Sequence[str] = ()) -> Dataset:
    """Reads or draws the splits of the data set, without a black box's outputs.

    `only` are the names of those that are needed, empty for the one that results are
    reported on; without a name all.

    Raises:
      ConfigError: the configuration asks for what the data set lacks.
      DataError: files that are missing or cannot be read.
    """
    requirements.check(config)
    if config.data.dataset == "folders":
        return _folder(config, only)
    if config.data.dataset == "lidc":
        return _lidc(config, only)
    if config.data.data_dir:
        return _cityscapes_on_disk(config, only)
    return _drawn_street_scenes(config, only)


def _needed(
    only: Sequence[str], names: Sequence[str], evaluation: str
) -> Tuple[str, ...]:
    """Returns those of the splits `names` that are asked for; see `read_data`."""
    asked = [name or evaluation for name in only] or names
    for name in asked:
        wanted = f"--split: wanted one of {', '.join(names)}"
        fields.require(name in names, f"{wanted}, got {name}")
    return tuple(name for name in names if name in asked)


def _cityscapes_on_disk(config: config_lib.Config, only: Sequence[str]) -> Dataset:
    data = config.data
    needed = _needed(only, cityscapes.SPLITS, "val")
    read = {
        split: cityscapes.read(
            data.data_dir,
            split,
            size=data.size,
            cache_dir=cache.folder(data.cache_dir),
            on_error=data.on_error,
        )
        for split in ("train", "val")
        if split in needed or (split == "train" and "selection" in needed)
    }
    _stop_at_overlaps(read, data)
    found, notes = dict(read), _skipped(read)
    if "train" in read:
        found["train"], found["selection"], words = cityscapes.split_training(
            read["train"], fraction=data.selection_fraction, seed=data.split_seed
        )
        notes = [f"model selection: {words}", *notes]
    return Dataset(
        info=cityscapes.dataset_info(f"street scenes in {data.data_dir}"),
        splits={name: found[name] for name in needed},
        selection="selection",
        evaluation="val",
        notes=notes,
    )


def _drawn_street_scenes(config: config_lib.Config, only: Sequence[str]) -> Dataset:
    needed, data = _needed(only, cityscapes.SPLITS, "val"), config.data

    def draw(number: int) -> Tuple[np.ndarray, np.ndarray]:
        drawn = street_scenes.draw_scene(number, seed=data.drawn_seed, size=data.size)
        return drawn[0], drawn[1][None]

    return Dataset(
        info=cityscapes.dataset_info("street scenes drawn by car_tf"),
        splits=_drawn(config, cityscapes.SPLITS, needed, draw, "scene"),
        selection="selection",
        evaluation="val",
        notes=[
            "these are street scenes that car_tf draws itself, not Cityscapes: their "
            "figures say that the method works, not how well it does on photographs "
            "(--data_dir takes real data)"
        ],
    )


def _drawn(config, names, needed, draw, what) -> Dict[str, examples.Examples]:
    """Draws those of the splits `names` that are needed."""
    drawn, first = {}, 0
    for name, num in zip(names, config.data.num_drawn):
        numbers, first = range(first, first + num), first + num
        if name in needed:
            own = tuple(f"{what}_{number:06d}" for number in numbers)
            arrays = several.draw(draw, numbers, what)
            drawn[name] = examples.Examples(own, own, *arrays)
    return drawn


def _folder(config: config_lib.Config, only: Sequence[str]) -> Dataset:
    data = config.data
    found = folders_read.read(
        data.data_dir,
        size=data.size,
        seed=data.split_seed,
        fraction=data.selection_fraction,
        cache_dir=cache.folder(data.cache_dir),
        on_error=data.on_error,
    )
    _, selection, evaluation = found.splits
    needed = _needed(only, tuple(found.splits), evaluation)
    for name in needed:
        if not len(found.splits[name]):
            words = f"wanted images of {name}, found test alone"
            raise io.DataError(f"{data.data_dir}: {words}")
    return Dataset(
        info=found.told.facts(),
        splits={name: found.splits[name] for name in needed},
        selection=selection,
        evaluation=evaluation,
        notes=[*found.notes, *_skipped(found.splits)],
    )


def _lidc(config: config_lib.Config, only: Sequence[str]) -> Dataset:
    """Reads or draws crops; they are cut at the centre, for training and evaluation."""
    data, needed = config.data, _needed(only, splits.SPLITS, "test")
    if data.data_dir:
        title = f"CT crops in {data.data_dir}"
        read = {name: _read_crops(config, name) for name in needed}
        _stop_at_overlaps(read, data)
        notes = []
    else:

        def draw(number: int) -> Tuple[np.ndarray, np.ndarray]:
            how, cut = dict(size=max(data.size)), lidc_arrays.centre_crop
            image, masks = lidc_crops.draw_crop(number, seed=data.drawn_seed, **how)
            return cut(image, data.size, axes=(0, 1)), cut(masks, data.size)

        title = "CT-like crops drawn by car_tf"
        read = _drawn(config, splits.SPLITS, needed, draw, "crop")
        notes = [
            "these are CT-like crops with four imitated raters that car_tf draws "
            "itself, not LIDC: their figures say that the method works and nothing of "
            "real scans (--data_dir takes real data)"
        ]
    return Dataset(
        info=lidc.dataset_info(title),
        splits=read,
        selection="val",
        evaluation="test",
        notes=[
            *("model selection: split val, results: split test", *notes),
            *_skipped(read),
        ],
    )


def _read_crops(config: config_lib.Config, name: str) -> examples.Examples:
    data = config.data
    read = lidc.read(
        data.data_dir,
        name,
        seed=data.split_seed,
        size=data.size,
        cache_dir=cache.folder(data.cache_dir),
        on_error=data.on_error,
    )
    if read.images.shape[1:3] != data.size:
        found = " x ".join(str(side) for side in read.images.shape[1:3])
        raise io.DataError(
            f"{data.data_dir}: wanted crops of at least {data.size[0]} x "
            f"{data.size[1]} pixels (data.size), found {found}"
        )
    return read


def _stop_at_overlaps(
    read: Dict[str, examples.Examples], data: config_lib.Data
) -> None:
    """Raises DataError where splits share images, cities or patients."""
    items = [
        findings.Item(name, group, split, digest=digest)
        for split, own in (read.items() if len(read) > 1 else ())
        for name, group, digest in zip(
            own.names,
            own.groups,
            cache.digests(own.images, cache.folder(data.cache_dir)),
        )
    ]
    known = description.known_leakage(pathlib.Path(data.data_dir).expanduser())
    findings.stop_at(findings.of_all(items, known), data.on_error)


def _skipped(read: Dict[str, examples.Examples]) -> List[str]:
    """What a user must be told of examples that were left out."""
    return [
        f"{len(split.skipped)} examples of {name} were left out, because a file is "
        "missing, cannot be read or has another size (data.json names them)"
        for name, split in read.items()
        if split.skipped
    ]
