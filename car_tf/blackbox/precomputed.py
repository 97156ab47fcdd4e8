"""Black-box predictions that exist as files already."""

from __future__ import annotations

import pathlib
from typing import Dict, List, Sequence, Tuple

import numpy as np

from car_tf.blackbox import base
from car_tf.blackbox import postprocess as maps
from car_tf.data import cache, io, pictures

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


def find(folder: pathlib.Path, names: Sequence[str]) -> Dict[str, pathlib.Path]:
    """Finds the prediction of every image.

    Args:
      folder: where to look.
      names: of the images, such as `ulm_000000_000019`: the path of their predictions
        below the folder, or its last part, which then lies anywhere below.

    Returns:
      name -> file.

    Raises:
      DataError: no folder, or an image without a prediction, or with several; naming it.
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


def _holds_scores(path: pathlib.Path) -> bool:
    """Tells a file of scores `[h, w, K]` from one of class ids."""
    return path.suffix == ".npy" and _read_array(path).ndim == 3


def _check_size(path: pathlib.Path, size: Tuple[int, ...], image_shapes) -> None:
    if tuple(size) not in [tuple(shape) for shape in image_shapes]:
        wanted = " or ".join(f"{h} x {w}" for h, w in dict.fromkeys(image_shapes))
        got = " x ".join(map(str, size))
        raise io.DataError(f"{path}: wanted {wanted} pixels, got {got}")


def read_probs(
    path: pathlib.Path,
    image_shapes: Sequence[Tuple[int, int]],
    *,
    size: Tuple[int, int],
    options: base.Options,
) -> np.ndarray:
    """Reads class probabilities, `[H, W, K]` float16.

    Args:
      path: `.npy` of floats, `[h, w, K]` or with axes of length 1: probabilities, or
        logits, told by whether they sum to one.
      image_shapes: (height, width) pairs that the map may have.
      size: (H, W) to resize to, by area.
      options: the number of classes, and their mapping.

    Raises:
      DataError: unreadable, of another shape or type, or NaN.
    """
    if path.suffix != ".npy":
        raise io.DataError(
            f"{path}: wanted class probabilities as .npy (blackbox.output=probabilities)"
        )
    scores = _read_array(path)
    if scores.dtype.kind != "f" or scores.ndim != 3:
        raise io.DataError(
            f"{path}: wanted floats [h, w, {options.num_own_classes}], got "
            f"{scores.dtype} {list(scores.shape)}"
        )
    _check_size(path, scores.shape[:2], image_shapes)
    kind = maps.kind_of(scores)
    maps.check(scores, kind=kind, path=str(path), options=options)
    probs = maps.finish(scores[None], kind=kind, options=options, size=size)
    return probs[0].numpy().astype(np.float16)


def read_ids(path: pathlib.Path, image_shapes: Sequence[Tuple[int, int]]) -> np.ndarray:
    """Reads a map of ids, `[H, W]` uint8.

    Args:
      path: `.npy` of integers, `[H, W]` or with axes of length 1, or a PNG.
      image_shapes: (height, width) pairs that the map may have.

    Raises:
      DataError: unreadable, of another shape or type, or ids out of 0..255.
    """
    if path.suffix == ".png":
        ids = io.read_ids(path)
    else:
        ids = _read_array(path)
    if ids.dtype.kind not in "iu":
        raise io.DataError(f"{path}: wanted integer class ids, got {ids.dtype}")
    _check_size(path, ids.shape, image_shapes)
    if ids.min() < 0 or ids.max() > 255:
        raise io.DataError(f"{path}: wanted class ids, got {ids.min()} to {ids.max()}")
    return ids.astype(np.uint8)


def detect_encoding(maps: Sequence[np.ndarray], num_train_ids: int) -> str:
    """Tells train ids from label ids by what occurs in a few maps.

    Most street scenes hold road, 0 as a train id and 7 as a label id; and most maps of
    label ids have ids above the train ids' range (sky 23, car 26).
    """
    present = np.unique(np.concatenate([np.unique(ids) for ids in maps]))
    present = present[present != 255]
    if (present >= num_train_ids).any():
        return "label_ids"
    return "label_ids" if 7 in present and 0 not in present else "train_ids"


def predictions(
    folder: str,
    *,
    names: Sequence[str],
    image_files: Sequence[pathlib.Path],
    size: Tuple[int, int],
    encoding: str,
    tables: Dict[str, np.ndarray],
    num_classes: int,
    cache_dir: pathlib.Path,
    output: str = base.LABELS,
    class_map: Sequence[int] = (),
) -> Tuple[np.ndarray, str]:
    """Reads the predictions of a split, from the cache if they were read before.

    Args:
      folder: with one file per image, anywhere below it.
      names: N image names.
      image_files: N image files: a prediction may have its image's size.
      size: working (height, width): a prediction may have it, and is resized to it.
      encoding: `train_ids`, `label_ids`, or `auto` to tell from the ids.
      tables: encoding -> `[256]` int16 to train ids, -1 for ids that must not occur.
      num_classes: train ids.
      cache_dir: the cache folder.
      output: `labels`, `probabilities` for `.npy` files of those, or `auto` to tell
        from the first file.
      class_map: train id of each class in the files, 255 for none; instead of
        `encoding`.

    Returns:
      `[N, H, W]` uint8 train ids or `[N, H, W, K]` float16 probabilities, and what the
      files were read as: the encoding, `class_map` or `probabilities`.

    Raises:
      DataError: missing, unreadable or wrongly sized prediction, class out of range.
    """
    found = find(pathlib.Path(folder).expanduser(), names)
    paths = [found[name] for name in names]

    def shapes_of(index: int) -> Sequence[Tuple[int, int]]:
        if not image_files:
            return [size]
        with io.opened(image_files[index]) as image:
            own = pictures.map_size(image)
            # A map of another size does not tell whether it is turned.
            return [own] if pictures.orientation(image) > 1 else [size, own]

    if output == base.AUTO:
        output = base.PROBABILITIES if _holds_scores(paths[0]) else base.LABELS
    options = base.Options(num_classes, output=output, class_map=tuple(class_map))
    spec = (tuple(size), np.uint8)
    if output == base.PROBABILITIES:
        encoding, spec = "probabilities", ((*size, num_classes), np.float16)
    elif class_map:
        encoding = "class_map"
        table = np.full(256, -1, np.int16)
        table[: len(class_map)] = class_map
    else:
        if encoding == "auto":
            chosen = range(0, len(paths), max(1, len(paths) // 16))
            sample = [read_ids(paths[i], shapes_of(i)) for i in chosen]
            encoding = detect_encoding(sample, num_classes)
        table = tables[encoding]
    wanted = f"{encoding.replace('_', ' ')} of {options.num_own_classes} classes"

    def read_one(index: int) -> Dict[str, np.ndarray]:
        path, shapes = paths[index], shapes_of(index)
        if output == base.PROBABILITIES:
            probs = read_probs(path, shapes, size=tuple(size), options=options)
            return {"blackbox": probs}
        ids = io.map_ids(read_ids(path, shapes), table, path=path, wanted=wanted)
        return {"blackbox": io.resize_nearest(ids, size)}

    hashes = cache.content_hashes(paths, cache_dir)
    settings = f"{size}|{encoding}|{options}|{list(names)}|{hashes}"
    key = f"on_disk|{cache.FORMAT_VERSION}|{settings}"
    stored, _ = cache.arrays(
        key=key,
        cache_dir=cache_dir,
        specs={"blackbox": spec},
        num=len(paths),
        read=read_one,
        what="reading predictions",
    )
    return stored["blackbox"], encoding
