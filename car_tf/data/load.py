"""From a configuration to data: splits with labels and black-box outputs.

With `build`, the one place where configuration fields become arguments.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from car_tf import config as config_lib
from car_tf.blackbox import imitation, inference, precomputed
from car_tf.blackbox import segmenter as segmenter_lib
from car_tf.data import cache, cityscapes, examples, info, io
from car_tf.data.lidc import read as lidc
from car_tf.data import splits
from car_tf.data.synthetic import lidc_crops, street_scenes
from car_tf.data.lidc import arrays as lidc_arrays


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set ready for use.

    Attributes:
      facts: what the rest asks for.
      splits: name -> examples, with their black-box outputs.
      selection: name of the split for model selection.
      evaluation: name of the split that results are reported on.
      notes: what a user must be told, one sentence each.
    """

    facts: info.DatasetInfo
    splits: Dict[str, examples.Examples]
    selection: str
    evaluation: str
    notes: List[str]

    def split_to_report(self, name: str) -> str:
        """Returns the split called `name` (a flag); by default that of the results.

        Raises:
          ConfigError: there is no such split.
        """
        name = name or self.evaluation
        if name not in self.splits:
            raise config_lib.ConfigError(
                f"--split: wanted one of {', '.join(self.splits)}, got {name}"
            )
        return name

    def describe(self) -> Dict[str, Any]:
        """Returns what the run directory records of the data."""
        return {
            "title": self.facts.title,
            "facts": dataclasses.asdict(self.facts),
            "notes": self.notes,
            "splits": {
                name: {
                    "num_images": len(split),
                    "fingerprint": split.fingerprint(),
                    "num_skipped": len(split.skipped),
                    "skipped": list(split.skipped),
                    "names": list(split.names),
                    "groups": list(split.groups),
                }
                for name, split in self.splits.items()
            },
        }


def build_data(config: config_lib.Config) -> Dataset:
    """Reads or draws the data set and adds the black box's outputs."""
    if config.data.dataset == "lidc":
        return _lidc(config)
    if config.data.data_dir:
        dataset = _cityscapes_on_disk(config)
    else:
        dataset = _drawn_street_scenes(config)
    notes = list(dataset.notes)
    segmenter = build_blackbox(config)
    splits, encoding = {}, ""
    for index, (name, split) in enumerate(dataset.splits.items()):
        splits[name], encoding = with_blackbox(
            config, split, notes=notes, segmenter=segmenter, split_index=index
        )
        if encoding:
            # One folder has one encoding, which the first split tells.
            config = config_lib.change(config, blackbox={"encoding": encoding})
    facts = dataclasses.replace(dataset.facts, blackbox_encoding=encoding)
    if config.blackbox.kind == "none":
        facts = dataclasses.replace(facts, num_blackbox_classes=0)
    elif splits[dataset.evaluation].blackbox.ndim == 4:
        facts = dataclasses.replace(facts, blackbox_output="probabilities")
    return dataclasses.replace(dataset, facts=facts, splits=splits, notes=notes)


def draw_unseen(config: config_lib.Config, num: int) -> examples.Examples:
    """Draws images that a run on drawn data was not trained on, and their black box."""
    other = {
        "data_dir": "",
        "drawn_seed": config.data.drawn_seed + 1,
        "num_drawn": (1, 1, num),
    }
    dataset = build_data(config_lib.change(config, data=other))
    return dataset.splits[dataset.evaluation]


def _cityscapes_on_disk(config: config_lib.Config) -> Dataset:
    data = config.data
    read = {
        split: cityscapes.read(
            data.data_dir,
            split,
            size=data.size,
            cache_dir=cache.folder(data.cache_dir),
            on_error=data.on_error,
        )
        for split in ("train", "val")
    }
    training, selection, words = cityscapes.split_training(
        read["train"], fraction=data.selection_fraction, seed=data.split_seed
    )
    return Dataset(
        facts=cityscapes.dataset_info(f"street scenes in {data.data_dir}"),
        splits={"train": training, "selection": selection, "val": read["val"]},
        selection="selection",
        evaluation="val",
        notes=[f"model selection: {words}", *_skipped(read)],
    )


def _drawn_street_scenes(config: config_lib.Config) -> Dataset:
    splits, first = {}, 0
    for name, num in zip(cityscapes.SPLITS, config.data.num_drawn):
        images, labels = street_scenes.draw_scenes(
            num,
            seed=config.data.drawn_seed,
            size=config.data.size,
            first_index=first,
            progress=True,
        )
        splits[name] = examples.Examples(
            names=tuple(f"scene_{first + i:06d}" for i in range(num)),
            groups=tuple(f"scene_{first + i:06d}" for i in range(num)),
            images=images,
            labels=labels[:, None],
        )
        first += num
    return Dataset(
        facts=cityscapes.dataset_info("street scenes drawn by car_tf"),
        splits=splits,
        selection="selection",
        evaluation="val",
        notes=[
            "these are street scenes that car_tf draws itself, not Cityscapes: their "
            "figures say that the method works, not how well it does on photographs "
            "(--data_dir takes real data)"
        ],
    )


def _lidc(config: config_lib.Config) -> Dataset:
    """Reads or draws crops; they are cut at the centre, for training and evaluation."""
    data = config.data
    if data.data_dir:
        title = f"CT crops in {data.data_dir}"
        read = {name: _read_crops(config, name) for name in splits.SPLITS}
        notes = []
    else:
        title, read = "CT-like crops drawn by car_tf", _drawn_crops(config)
        notes = [
            "these are CT-like crops with four imitated readers that car_tf draws "
            "itself, not LIDC: their figures say that the method works and nothing of "
            "real scans (--data_dir takes real data)"
        ]
    return Dataset(
        facts=lidc.dataset_info(title),
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


def _skipped(read: Dict[str, examples.Examples]) -> List[str]:
    """What a user must be told of examples that were left out."""
    return [
        f"{len(split.skipped)} examples of {name} were left out, because a file is "
        "missing, cannot be read or has another size (data.json names them)"
        for name, split in read.items()
        if split.skipped
    ]


def _drawn_crops(config: config_lib.Config) -> Dict[str, examples.Examples]:
    size, drawn, first = config.data.size, {}, 0
    for name, num in zip(splits.SPLITS, config.data.num_drawn):
        images, labels = lidc_crops.draw_crops(
            num,
            seed=config.data.drawn_seed,
            size=max(size),
            first_index=first,
            progress=True,
        )
        names = tuple(f"crop_{first + i:06d}" for i in range(num))
        drawn[name] = examples.Examples(
            names=names,
            groups=names,
            images=lidc_arrays.centre_crop(images, size, axes=(1, 2)),
            labels=lidc_arrays.centre_crop(labels, size),
        )
        first += num
    return drawn


def with_blackbox(
    config: config_lib.Config,
    split: examples.Examples,
    *,
    notes: List[str],
    segmenter: Optional[segmenter_lib.Segmenter],
    split_index: int = 0,
) -> Tuple[examples.Examples, str]:
    """Adds the black box's output to a split.

    Args:
      config: the configuration.
      split: examples without it.
      notes: to which is added what a user must be told.
      segmenter: of `build_blackbox`.
      split_index: decides the errors of an imitation.

    Returns:
      The split, and, of class ids on disk, which ids they are (`blackbox.encoding`).
    """
    kind = _blackbox_kind(config.blackbox)
    if kind == "none":
        return split, ""
    if kind == "truth":
        _note(notes, "G is conditioned on the true labels before their flips")
        blackbox = np.asarray(split.labels[:, 0])
        return dataclasses.replace(split, blackbox=blackbox), ""
    if kind == "imitation":
        _note(
            notes,
            "the black box is imitated by degrading the true labels "
            "(--blackbox takes a real one)",
        )
        # Each split draws its own errors.
        maps = [
            imitation.imitate(
                label[0], seed=config.data.drawn_seed + split_index, index=index
            )
            for index, label in enumerate(split.labels)
        ]
        return dataclasses.replace(split, blackbox=np.stack(maps)), ""
    cache_dir = cache.folder(config.data.cache_dir)
    if not split.image_files:
        raise config_lib.ConfigError(
            "blackbox.path: drawn scenes have no files that a black box could be run "
            "on; give --data_dir as well"
        )
    shared = dict(
        image_files=split.image_files, size=config.data.size, cache_dir=cache_dir
    )
    if segmenter is not None:
        maps = inference.predictions(segmenter, **shared)
        what = "labels" if maps.ndim == 3 else "probabilities"
        _note(notes, f"black box: {config.blackbox.path} ({what})")
        return dataclasses.replace(split, blackbox=maps), ""
    tables = {
        "train_ids": cityscapes.train_id_table(),
        "label_ids": cityscapes.label_id_table(),
    }
    maps, encoding = precomputed.predictions(
        config.blackbox.path,
        names=split.names,
        encoding=config.blackbox.encoding,
        tables=tables,
        num_classes=cityscapes.NUM_TRAIN_IDS,
        output=config.blackbox.output,
        class_map=config.blackbox.class_map,
        **shared,
    )
    words = encoding.replace("_", " ")
    _note(notes, f"black box: predictions in {config.blackbox.path}, read as {words}")
    split = dataclasses.replace(split, blackbox=maps)
    return split, encoding if encoding in tables else ""


def _blackbox_kind(blackbox: config_lib.BlackBox) -> str:
    if blackbox.kind != "auto":
        return blackbox.kind
    if not blackbox.path:
        return "imitation"
    return "live" if inference.is_model(blackbox.path) else "predictions"


def build_blackbox(config: config_lib.Config) -> Optional[segmenter_lib.Segmenter]:
    """Finds the segmenter at `blackbox.path`, which is opened when first needed.

    Returns:
      The segmenter; None where no model is run on the images.
    """
    settings = config.blackbox
    if _blackbox_kind(settings) != "live":
        return None
    class_map = settings.class_map
    if not class_map and settings.encoding == "label_ids":
        class_map = tuple(cityscapes.label_id_table()[:34].tolist())
    return inference.load(
        settings.path,
        num_classes=cityscapes.NUM_TRAIN_IDS,
        output=settings.output,
        class_map=class_map,
        input_size=settings.input_size if any(settings.input_size) else None,
        channels=settings.channels,
        pixel_scale=settings.pixel_scale,
        signature=settings.signature,
        input_name=settings.input_name,
        output_name=settings.output_name,
    )


def _note(notes: List[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
