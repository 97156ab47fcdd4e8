"""From a configuration to a data set with the outputs of its black box."""

import dataclasses
import types
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from car_tf import config as config_lib
from car_tf.blackbox import base, imitation, inference, kinds, postprocess, precomputed
from car_tf.blackbox import report
from car_tf.blackbox import segmenter as segmenter_lib
from car_tf.data import cache, examples
from car_tf.data import load as data_load

_NUM_COMPARED = 16  # Images by which a model is compared with the labels.


def load(
    config: config_lib.Config,
    only: Sequence[str] = (),
    trained: Mapping[str, Any] = types.MappingProxyType({}),
) -> data_load.Dataset:
    """Reads or draws the data set and adds the black box's outputs; see `read_data`.

    `trained` are the recorded facts of a run whose black box it is; see `known_of`.
    """
    dataset = data_load.read_data(config, only)
    # Decides the errors of an imitation, whichever splits are needed.
    order = ("train", dataset.selection, dataset.evaluation)
    notes, num_classes = list(dataset.notes), dataset.info.num_blackbox_classes
    segmenter, splits = build_blackbox(config, num_classes), {}
    # One folder has one encoding, which the first split tells.
    known = known_of(trained)
    shared = dict(notes=notes, segmenter=segmenter, num_classes=num_classes)
    for name, split in dataset.splits.items():
        index = order.index(name)
        splits[name] = with_blackbox(
            config, split, split_index=index, known=known, **shared
        )
    dataset_info = dataclasses.replace(dataset.info, **known)
    if config.blackbox.kind == "none":
        dataset_info = dataclasses.replace(dataset_info, num_blackbox_classes=0)
    elif next(iter(splits.values())).blackbox.ndim == 4:
        output = {"blackbox_output": base.PROBABILITIES}
        dataset_info = dataclasses.replace(dataset_info, **output)
    return dataclasses.replace(dataset, info=dataset_info, splits=splits, notes=notes)


def draw_unseen(config: config_lib.Config, num: int) -> examples.Examples:
    """Draws images that a run on drawn data was not trained on, and their black box."""
    seed = config.data.drawn_seed + 1
    other = {"data_dir": "", "drawn_seed": seed, "num_drawn": (1, 1, num)}
    dataset = load(config_lib.change(config, data=other))
    return dataset.splits[dataset.evaluation]


def known_of(facts: Mapping[str, Any]) -> Dict[str, str]:
    """Returns what a run's facts, a record of `DatasetInfo`, tell of its black box.

    Old runs lack some: what they lack is told anew.
    """
    fields = ("blackbox_encoding", "blackbox_scores")
    return {name: facts[name] for name in fields if facts.get(name)}


def with_blackbox(
    config: config_lib.Config,
    split: examples.Examples,
    *,
    notes: List[str],
    segmenter: Optional[segmenter_lib.Segmenter],
    num_classes: int,
    known: Dict[str, str],
    split_index: int = 0,
) -> examples.Examples:
    """Adds the black box's output to a split.

    Args:
      notes: to which is added what a user must be told.
      known: what was told of the black box before, see `known_of`; to which is added
        what this split tells.
      num_classes: of the black box, after its `class_map`.
      split_index: decides the errors of an imitation.
    """
    kind = _blackbox_kind(config.blackbox)
    if kind == "none":
        return split
    if kind == "truth":
        return dataclasses.replace(split, blackbox=_truth(split, notes))
    if kind == "imitation":
        words = "the black box is imitated by degrading the true labels "
        _note(notes, words + "(--blackbox takes a real one)")
        # Each split draws its own errors.
        seed = config.data.drawn_seed + split_index
        labels = enumerate(split.labels[:, 0])
        maps = [imitation.imitate(a, seed=seed, index=i) for i, a in labels]
        return dataclasses.replace(split, blackbox=np.stack(maps))
    if segmenter is not None:
        segmenter.scores = known.get("blackbox_scores", "")
        folder = cache.folder(config.data.cache_dir)
        how = dict(size=config.data.size, cache_dir=folder)
        maps = inference.predictions(segmenter, split, **how)
        what = "labels" if maps.ndim == 3 else "probabilities"
        if maps.ndim == 4 and segmenter.scores:
            known["blackbox_scores"] = segmenter.scores
            what = kinds.in_words(segmenter.scores)
        _note(notes, f"black box: {config.blackbox.path} ({what})")
        _note_agreement(split, maps, notes, num_classes)
        return dataclasses.replace(split, blackbox=maps)
    maps = _from_folder(config, split, notes, num_classes, known)
    if split.labels.ndim == 4:  # Of images to predict there are none.
        _note_agreement(split, maps, notes, num_classes)
    return dataclasses.replace(split, blackbox=maps)


def _from_folder(config, split, notes, num_classes, known) -> np.ndarray:
    """Reads predictions on disk; see `with_blackbox`."""
    tables = data_load.id_encodings(config, num_classes)
    encoding = known.get("blackbox_encoding", config.blackbox.encoding)
    maps, told = precomputed.predictions(
        config.blackbox.path,
        split,
        encoding=list(tables)[0] if len(tables) == 1 else encoding,
        tables=tables,
        is_said=config.blackbox.encoding != "auto",
        scores=known.get("blackbox_scores", ""),
        num_classes=num_classes,
        output=config.blackbox.output,
        class_map=config.blackbox.class_map,
        note=lambda text: _note(notes, text),
        size=config.data.size,
        cache_dir=cache.folder(config.data.cache_dir),
    )
    words = told.replace("_", " ")
    _note(notes, f"black box: predictions in {config.blackbox.path}, read as {words}")
    if maps.ndim == 4:
        known["blackbox_scores"] = told
    elif told in tables and len(tables) > 1:
        known["blackbox_encoding"] = told
    return maps


def _truth(split: examples.Examples, notes: List[str]) -> np.ndarray:
    if split.labels.shape[1] > 1:
        raise config_lib.ConfigError(
            "blackbox.kind: truth is the label before its flips, and these data have "
            f"{split.labels.shape[1]} raters: wanted none, or a segmenter"
        )
    _note(notes, "G is conditioned on the true labels before their flips")
    return np.asarray(split.labels[:, 0])


def _blackbox_kind(blackbox: config_lib.BlackBox) -> str:
    if blackbox.kind != "auto":
        return blackbox.kind
    if not blackbox.path:
        return "imitation"
    return "live" if inference.is_model(blackbox.path) else "predictions"


def build_blackbox(
    config: config_lib.Config, num_classes: int
) -> Optional[segmenter_lib.Segmenter]:
    """Finds the segmenter at `blackbox.path`, which is opened when first needed.

    None where no model is run on the images. `num_classes` are the black box's, after
    its `class_map`.
    """
    settings = config.blackbox
    if _blackbox_kind(settings) != "live":
        return None
    class_map = settings.class_map
    if not class_map and settings.encoding == "label_ids":
        table = data_load.id_encodings(config, num_classes)["label_ids"]
        class_map = tuple(table[:34].tolist())
    same = ("output", "channels", "pixel_scale", "signature", "input_name")
    return inference.load(
        settings.path,
        num_classes=num_classes,
        class_map=class_map,
        input_size=settings.input_size if any(settings.input_size) else None,
        **{name: getattr(settings, name) for name in (*same, "output_name")},
    )


def as_trained(config: config_lib.Config, output: str) -> config_lib.Config:
    """Returns a configuration whose black box gives `labels` or `probabilities`.

    What its scores were taken for in training is kept.
    """
    settings = config.blackbox
    if output == base.PROBABILITIES and settings.output in (base.LOGITS, base.SIGMOID):
        return config
    return config_lib.change(config, blackbox={"output": output})


def _note_agreement(
    split: examples.Examples, maps: np.ndarray, notes: List[str], num_classes: int
) -> None:
    """Says once, by some images, how a black box's classes agree with the labels."""
    start = "of the labelled pixels the black box has "
    if any(note.startswith(start) for note in notes):
        return
    chosen = examples.spread(len(split), _NUM_COMPARED)
    predicted = postprocess.hard_labels(maps[chosen])
    labels = split.labels[chosen]
    counts = report.confusion(labels, predicted, num_classes=num_classes)
    words = f"{report.accuracy(counts):.1%} right, by {len(maps[chosen])} images"
    names = [f"class {index}" for index in range(num_classes)]
    notes.append("; ".join([start + words, *report.findings(counts, names)]))


def _note(notes: List[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
