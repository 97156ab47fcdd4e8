"""What ids of classes in maps mean, told from the maps, or refused."""

import pathlib
from typing import Callable, Dict, Optional, Sequence, Tuple

import numpy as np

from car_tf.blackbox import postprocess
from car_tf.data import io
from car_tf.data.folders import examine

# Agreement with the labels by which ids are told: at least, and by more than the other.
_FITS, _CLEARLY = 0.2, 0.1
# Share of pixels that may hold ids of no class, where there are no labels to ask.
_MAX_STRAY = 0.25


def choose(
    maps: Sequence[np.ndarray],
    tables: Dict[str, np.ndarray],
    labels: Optional[Sequence[np.ndarray]] = None,
) -> Tuple[str, str]:
    """Tells which ids maps hold: by the labels, else by which ids have a meaning.

    A single id decides nothing: what counts is how many labelled pixels come out right
    with each table or, where that is few with either, how many pixels hold the id of a
    class. Takes `[H, W]` ids of some images, tables as `precomputed.predictions` does, and their
    `[h, w]` train ids, 255 ignored, if there are labels. Returns the encoding, and the
    evidence in words.

    Raises:
      DataError: neither fits, or both do.
    """
    right, known = {}, {}
    for name, table in tables.items():
        used = np.concatenate([table[ids[ids != 255]] for ids in maps])
        known[name] = float(np.mean((used >= 0) & (used < 255))) if used.size else 0.0
        hits = [np.zeros(0, bool)]
        for ids, label in zip(maps, [] if labels is None else labels):
            resized = table[io.resize_nearest(ids, label.shape)]
            hits.append((resized == label)[label != 255])
        hits = np.concatenate(hits)
        right[name] = float(hits.mean()) if hits.size else 0.0
    is_labelled = hits.size > 0
    evidence = "; ".join(
        f"as {name.replace('_', ' ')} {known[name]:.1%} of the pixels are of a class"
        + f" and {right[name]:.1%} of the labelled ones are right" * is_labelled
        for name in tables
    )
    other, best = sorted(right, key=right.get)
    if right[best] >= _FITS and right[best] - right[other] >= _CLEARLY:
        return best, evidence
    other, best = sorted(known, key=known.get)
    stray, others = 1 - known[best], 1 - known[other]
    if stray <= _MAX_STRAY and others > 4 * stray + 0.01:
        return best, evidence
    raise io.DataError(
        f"which ids the predictions hold cannot be told ({evidence}): set "
        f"blackbox.encoding to {' or '.join(tables)}, or blackbox.class_map"
    )


def told(
    folder: str,
    sample: Sequence[np.ndarray],
    encoding: str,
    tables: Dict[str, np.ndarray],
    labels: Optional[Sequence[np.ndarray]],
    note: Callable[[str], None],
) -> str:
    """Returns what some maps are read as together, told by themselves for `auto`.

    Takes what `choose` does; `note` is told the evidence. A DataError where it decides
    nothing, and for masks of 0 and 255.
    """
    if any(np.count_nonzero((t >= 0) & (t < 255)) == 2 for t in tables.values()):
        postprocess.check_mask(folder, np.concatenate([ids.ravel() for ids in sample]))
    if encoding != "auto":
        return encoding
    try:
        encoding, evidence = choose(sample, tables, labels)
    except io.DataError as error:
        raise io.DataError(f"{folder}: {error}") from error
    note(f"ids of the predictions, told from {len(sample)} maps: {evidence}")
    return encoding


def check_map(
    path: pathlib.Path, ids: np.ndarray, encoding: str, tables: Dict[str, np.ndarray]
) -> None:
    """Refuses a map that clearly looks like one of another encoding than is read."""
    try:
        found, evidence = choose([ids], tables)
    except io.DataError:  # One map may not tell.
        return
    if found != encoding:
        raise io.DataError(
            f"{path}: wanted {encoding.replace('_', ' ')}, as in other maps or in "
            f"training, got what looks like {found.replace('_', ' ')} ({evidence}); "
            f"blackbox.encoding={encoding} takes all for that"
        )


def check_palettes(paths: Sequence[pathlib.Path], maps: Sequence[np.ndarray]) -> None:
    """Refuses maps with palettes in which an id has several colours: numbered anew."""
    colors = {}
    for path, ids in zip(paths, maps):
        found = examine.palette_of(path, ids) if path.suffix == ".png" else {}
        for value, color in found.items():
            known, other = colors.setdefault(value, (color, path))
            if known != color:
                raise io.DataError(
                    f"{path}: its palette gives the id {value} another colour than that of "
                    f"{other.name}, so that ids may differ, too: save the ids as grey"
                )
