"""Black-box predictions that exist as files already."""

import functools
import pathlib
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from car_tf.blackbox import base, encodings, kinds, postprocess
from car_tf.data import cache, examples, io, pictures

# `*_prior_preds_trainIds.npy` in the wild hold label ids in spite of their name, which
# is why the encoding is told from the ids themselves.
ENDINGS = (
    "_prior_preds_trainIds.npy",
    "_prior_preds.npy",
    "_trainIds.png",
    "_labelIds.png",
    ".npy",
    ".png",
)
_NUM_ASKED = 16
_MAPPED = "class_map"  # What ids are read as that are given classes one by one.


def find(folder: pathlib.Path, names: Sequence[str]) -> Dict[str, pathlib.Path]:
    """Finds the prediction of every image.

    Args:
      names: of the images, such as `ulm_000000_000019`: the path of their predictions
        below the folder, or its last part, which then lies anywhere below.

    Raises:
      DataError: no folder, or an image without a prediction or with several; named.
    """
    if not folder.is_dir():
        raise io.DataError(f"{folder}: wanted a folder of predictions, found none")
    by_path: Dict[str, List[pathlib.Path]] = {}
    for path in io.walk(folder):
        if path.suffix in (".npy", ".png"):
            for key in {path.relative_to(folder).as_posix(), path.name}:
                by_path.setdefault(key, []).append(path)
    found = {}
    for name in names:
        candidates = [
            f"{stem}{ending}"
            for whole in dict.fromkeys([name, pathlib.PurePosixPath(name).name])
            for stem in (whole, f"{whole}_leftImg8bit")
            for ending in ENDINGS
        ]
        hits = next((by_path[c] for c in candidates if c in by_path), [])
        if not hits:
            raise io.DataError(
                f"{folder}: wanted the black box's prediction of {name} "
                f"(such as {name}.png or {name}.npy), found none"
            )
        # One that lies where the name says is meant, whatever else is called so.
        exact = [path for path in hits if path.parent == (folder / name).parent]
        hits = exact or hits
        if len(hits) > 1:
            raise io.DataError(
                f"{folder}: wanted one prediction of {name}, found "
                f"{' and '.join(str(path.relative_to(folder)) for path in hits[:2])}"
            )
        found[name] = hits[0]
    return found


def _read_array(path: pathlib.Path) -> np.ndarray:
    try:
        return np.squeeze(io.decode_array(path.read_bytes()))
    except Exception as error:  # NumPy raises many types on damaged files.
        raise io.DataError(f"{path}: not a readable array ({error})") from error


def _kind(output: str, path: pathlib.Path) -> str:
    """Returns an output; for `auto` what the first file holds: ids or `[h, w, K]`."""
    if output != base.AUTO:
        return output
    is_scores = path.suffix == ".npy" and _read_array(path).ndim == 3
    return base.PROBABILITIES if is_scores else base.LABELS


def _check_size(path: pathlib.Path, size: Tuple[int, ...], image_shapes) -> None:
    if tuple(size) not in [tuple(shape) for shape in image_shapes]:
        wanted = " or ".join(f"{h} x {w}" for h, w in dict.fromkeys(image_shapes))
        got = " x ".join(map(str, size)) or "1"
        raise io.DataError(f"{path}: wanted {wanted} pixels, got {got}")


def read_probs(
    path: pathlib.Path,
    image_shapes: Sequence[Tuple[int, int]],
    *,
    size: Optional[Tuple[int, int]],
    options: base.Options,
    kind: str = "",
) -> np.ndarray:
    """Reads class probabilities, `[H, W, K]` float16, of one of several shapes.

    Of `.npy` of floats, `[h, w, K]` or with axes of length 1: probabilities, logits or
    sigmoid scores; see `kinds.kind_of`. `size`, (H, W), is what they are resized
    to, by area; None for the map's own. `kind` is that of the scores in all files; empty
    to take them for what they look like.

    Raises:
      DataError: unreadable, of another shape, type or kind, or NaN.
    """
    if path.suffix != ".npy":
        raise io.DataError(
            f"{path}: wanted class probabilities as .npy (blackbox.output=probabilities)"
        )
    scores = _read_array(path)
    num_classes, shapes = options.num_own_classes, [tuple(s) for s in image_shapes]
    is_first = scores.shape[:1] == (num_classes,) and scores.shape[1:] in shapes
    if scores.dtype.kind != "f" or scores.ndim != 3 or is_first:
        both = is_first and scores.shape == (*shapes[0], num_classes)
        raise io.DataError(
            f"{path}: wanted floats [h, w, {num_classes}], got "
            f"{scores.dtype} {list(scores.shape)}"
            + ", of which either end may be the classes (ids can be read)" * both
        )
    _check_size(path, scores.shape[:2], image_shapes)
    size, found = size or scores.shape[:2], kinds.kind_of(scores)
    taken = kinds.one_kind(str(path), found, kind or options.kind(found))
    postprocess.check(scores, kind=taken, path=str(path), options=options, known=kind)
    probs = postprocess.finish(scores[None], kind=taken, options=options, size=size)
    return probs[0].numpy().astype(np.float16)


def read_ids(path: pathlib.Path, image_shapes: Sequence[Tuple[int, int]]) -> np.ndarray:
    """Reads a map of ids, `[H, W]` uint8, of one of several shapes.

    Of `.npy` of integers, `[H, W]` or with axes of length 1, or a PNG.

    Raises:
      DataError: unreadable, of another shape or type, or ids out of 0..255.
    """
    ids = io.read_ids(path) if path.suffix == ".png" else _read_array(path)
    if ids.dtype.kind not in "iu":
        raise io.DataError(f"{path}: wanted integer class ids, got {ids.dtype}")
    _check_size(path, ids.shape, image_shapes)
    if ids.min() < 0 or ids.max() > 255:
        raise io.DataError(f"{path}: wanted class ids, got {ids.min()} to {ids.max()}")
    return ids.astype(np.uint8)


def predictions(
    folder: str,
    split: examples.Examples,
    *,
    size: Tuple[int, int],
    encoding: str,
    tables: Dict[str, np.ndarray],
    num_classes: int,
    cache_dir: pathlib.Path,
    is_said: bool = False,
    scores: str = "",
    output: str = base.LABELS,
    class_map: Sequence[int] = (),
    note: Callable[[str], None] = lambda text: None,
) -> Tuple[np.ndarray, str]:
    """Reads the predictions of a split, from the cache if they were read before.

    Args:
      folder: a file per image, of its own or the working size; resized or cut.
      split: N images; by labels `[N, A, h, w]`, if they have some, `auto` is told.
      encoding: `train_ids`, `label_ids`, or `auto`; see `encodings.choose`.
      tables: encoding -> `[256]` int16 to train ids, 255 for none, -1 for no id.
      is_said: whether a user said the encoding; else no map may look like another's.
      scores: the kind of the training's; empty to tell it alone.
      output, class_map: of `base.Options`; `auto` is told from the first file.
      note: is told, in a sentence, by what evidence something was decided.

    Returns:
      `[N, H, W]` uint8 train ids or `[N, H, W, K]` float16 probabilities, and what the
      files were read as: the encoding, `class_map` or the kind of their scores.

    Raises:
      DataError: a file that is missing, unreadable or of another size, or a wrong id.
    """
    paths, size = _paths(folder, split), tuple(size)
    places = split.places or [None] * len(paths)
    shapes_of, labels = functools.partial(_shapes, split, size), _labels_of(split)
    options = base.Options(num_classes, _kind(output, paths[0]), tuple(class_map))
    chosen = range(0, len(paths), max(1, len(paths) // _NUM_ASKED))
    common, kind = None, ""
    if options.prefers_scores:
        kind = _kind_of_all(folder, [paths[i] for i in chosen], options, scores, note)
    else:
        if class_map:
            encoding, tables, is_said = _MAPPED, {_MAPPED: _table_of(class_map)}, True
        maps = {paths[i]: read_ids(paths[i], shapes_of(i)) for i in chosen}
        if encoding == base.AUTO:
            asked = [labels[i] for i in chosen]
            encoding = encodings.told(folder, maps, tables, asked, note)
        common = encodings.Common(maps, encoding, tables, is_said=is_said)
    how = dict(size=size, options=options, kind=kind, common=common)
    hashes, names = cache.content_hashes(paths, cache_dir), split.places or split.names
    stored = cache.array(
        lambda i: _read(paths[i], shapes_of(i), places[i], labels[i], **how),
        len(paths),
        key=f"on_disk|{size}|{encoding}{is_said}|{kind}|{options}|{names}|{hashes}",
        cache_dir=cache_dir,
        what="reading predictions",
    )
    return stored, kind or encoding


def _labels_of(split: examples.Examples) -> List[Optional[np.ndarray]]:
    """Returns the N labels of the first rater, `[h, w]`; None without any."""
    labels = split.labels
    return [labels[i, 0] if labels.ndim == 4 else None for i in range(len(split))]


def _paths(folder: str, split: examples.Examples) -> List[pathlib.Path]:
    names = [place.image for place in split.places] or split.names
    found = find(pathlib.Path(folder).expanduser(), names)
    return [found[name] for name in names]


def _table_of(class_map: Sequence[int]) -> np.ndarray:
    """Returns what ids become, `[256]` int16: 255 is none, -1 what has no class."""
    return np.array([*class_map, *[-1] * (255 - len(class_map)), 255][:256], np.int16)


def _kind_of_all(folder, paths, options: base.Options, trained: str, note) -> str:
    """Tells the kind of all scores; logits after others, or before, are refused."""
    kind = options.output if options.tells_kind else _told_kind(paths, options, trained)
    trained = "" if options.tells_kind else trained
    if trained and kind != trained and base.LOGITS in (kind, trained):
        raise io.DataError(
            f"{folder}: wanted {trained}, as in training, got what looks like {kind} "
            f"(blackbox.output={kind} takes them for that)"
        )
    note(f"the predictions in {folder} are taken for {kinds.in_words(kind)}")
    return kind


def _shapes(
    split: examples.Examples, size: Tuple[int, int], index: int
) -> List[Tuple[int, int]]:
    """Returns the (height, width) pairs that an image's prediction may have."""
    if split.places:
        own = split.places[index].size
        is_cut = any(whole > side for whole, side in zip(own, size))
        return [own] if is_cut and split.places[index].corner else [own, size]
    if not split.image_files:
        return [size]
    with io.opened(split.image_files[index]) as image:
        own = pictures.map_size(image)
        # A map of another size does not tell whether it is turned.
        return [own] if pictures.orientation(image) > 1 else [size, own]


def _told_kind(
    paths: Sequence[pathlib.Path], options: base.Options, trained: str
) -> str:
    """Tells what the scores in files are: one map of logits may lie in [0, 1].

    Refuses what looks like none, unless it is of the kind of the training.
    """
    found = {kind: [] for kind in (base.LOGITS, base.SIGMOID, base.PROBABILITIES)}
    for path in paths:
        scores = _read_array(path) if path.suffix == ".npy" else np.zeros(0)
        is_any = scores.dtype.kind == "f" and scores.ndim == 3
        if is_any and scores.shape[-1] == options.num_own_classes:  # Or refused later.
            kind = kinds.kind_of(scores)
            found[kind].append(kinds.doubt(str(path), scores, kind, is_first=True))
    kind = next((kind for kind in found if found[kind]), base.PROBABILITIES)
    errors = [error for error in found[kind] if error]
    # One map of logits may have no sign.
    num = len(found[kind]) if kind == base.LOGITS else len(found[kind]) // 2 + 1
    if errors and len(errors) >= num and kind != trained:
        raise errors[0]
    return kind


def _read(
    path: pathlib.Path,
    shapes: Sequence[Tuple[int, int]],
    place: Optional[examples.Place],
    label: Optional[np.ndarray],
    *,
    size: Tuple[int, int],
    options: base.Options,
    kind: str,
    common: Optional[encodings.Common],
) -> np.ndarray:
    """Reads one prediction at a size: ids as those of `common`, or probabilities."""
    corner = None if place is None else place.corner
    if common is None:
        own = size if corner is None else None
        probs = read_probs(path, shapes, size=own, options=options, kind=kind)
        return _cut(probs, corner, size)
    wanted = (
        f"{common.encoding.replace('_', ' ')} of {options.num_own_classes} classes or "
        "255 for none (blackbox.class_map takes others)"
    )
    stored = read_ids(path, shapes)
    common.check(path, stored, label)
    ids = io.map_ids(stored, common.table, path=path, wanted=wanted)
    return io.resize_nearest(ids, size) if corner is None else _cut(ids, corner, size)


def _cut(
    whole: np.ndarray, corner: Optional[Tuple[int, int]], size: Tuple[int, int]
) -> np.ndarray:
    """Returns the part of a map that an example shows: the edge goes on, as there."""
    if corner is None:
        return whole
    part = whole[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    missing = [(0, s - n) for s, n in zip(size, part.shape)]
    return np.pad(part, missing + [(0, 0)] * (part.ndim - 2), "edge")
