"""What ids of classes in maps mean, told from the maps, or refused."""

import functools
import pathlib
from typing import Callable, Dict, Optional, Sequence, Tuple

import numpy as np

from car_tf.blackbox import postprocess
from car_tf.data import info, io
from car_tf.data.folders import examine

# Agreement with the labels by which ids are told: at least, and by more than the other.
_FITS, _CLEARLY = 0.2, 0.1
# Share of pixels that may hold ids of no class, where there are no labels to ask.
_MAX_STRAY = 0.25
# Agreement of a single map from which on another encoding is believed, and up to which
# that of all others is not.
_ALIKE, _UNLIKE = 0.5, 0.2


def choose(
    maps: Sequence[np.ndarray],
    tables: Dict[str, np.ndarray],
    labels: Sequence[Optional[np.ndarray]] = (),
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
        for ids, label in zip(maps, labels):
            if label is not None:
                hits.append(_hits(ids, table, label))
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
    sample: Dict[pathlib.Path, np.ndarray],
    tables: Dict[str, np.ndarray],
    labels: Sequence[Optional[np.ndarray]],
    note: Callable[[str], None],
) -> str:
    """Returns what some maps of a folder, by file, are read as together; notes why.

    Takes and raises what `choose` does; `note` is told the evidence.
    """
    try:
        encoding, evidence = choose(list(sample.values()), tables, labels)
    except io.DataError as error:
        raise io.DataError(f"{folder}: {error}") from error
    note(f"ids of the predictions, told from {len(sample)} maps: {evidence}")
    return encoding


class Common:
    """What the maps of a folder have in common, to which each of them is held."""

    def __init__(
        self,
        sample: Dict[pathlib.Path, np.ndarray],
        encoding: str,
        tables: Dict[str, np.ndarray],
        *,
        is_said: bool,
    ):
        """Notes what some maps, by file, have in common.

        `encoding` is what all are read as, one of the `tables`. Unless a user said so
        (`is_said`), no map may look like one of another, nor like a mask of 0 and 255.
        """
        self.encoding, self.table = encoding, tables[encoding]
        self._tables, self._is_said = tables, is_said
        self._colors: Dict[int, Tuple[Tuple[int, ...], pathlib.Path]] = {}
        self._sample = sample
        for path, ids in sample.items():
            self._check_palette(path, ids)

    # Asked for by `check` alone, which maps that are in the cache do not go through.

    @functools.cached_property
    def _has_void(self) -> bool:
        void = info.IGNORE_LABEL
        return any((m == 1).any() and (m == void).any() for m in self._sample.values())

    @functools.cached_property
    def _usual(self) -> Dict[pathlib.Path, np.ndarray]:
        return {path: _shares(ids, self.table) for path, ids in self._sample.items()}

    def check(
        self, path: pathlib.Path, ids: np.ndarray, label: Optional[np.ndarray]
    ) -> None:
        """Refuses a map, `[H, W]` ids, that the others show to be of another use of ids.

        Its palette gives an id another colour; it is a mask of 0 and 255; or it looks
        like one of another encoding. `label`, `[h, w]` train ids, may be missing.
        """
        self._check_palette(path, ids)
        if self._is_said:
            return
        is_class = (self.table >= 0) & (self.table < info.IGNORE_LABEL)
        if np.count_nonzero(is_class) == 2 and not self._has_void:
            postprocess.check_mask(str(path), ids)
        if len(self._tables) > 1:
            self._check_encoding(path, ids, label)

    def _check_palette(self, path: pathlib.Path, ids: np.ndarray) -> None:
        found = examine.palette_of(path, ids) if path.suffix == ".png" else {}
        for value, color in found.items():
            known, other = self._colors.setdefault(value, (color, path))
            if known != color:
                raise io.DataError(
                    f"{path}: its palette gives the id {value} another colour than that of "
                    f"{other.name}, so that ids may differ, too: save the ids as grey"
                )

    def _check_encoding(self, path, ids, label) -> None:
        try:
            found, evidence = choose([ids], self._tables)
        except io.DataError:  # Its ids alone may not tell.
            found = self.encoding
        if found == self.encoding:
            found, evidence = self._alike(path, ids, label)
        if found != self.encoding:
            words = self.encoding.replace("_", " ")
            raise io.DataError(
                f"{path}: wanted {words}, as in other maps or in training, got what "
                f"looks like {found.replace('_', ' ')} ({evidence}); "
                f"blackbox.encoding={self.encoding} takes all for that"
            )

    def _alike(self, path, ids, label) -> Tuple[str, str]:
        """Returns as what a map agrees with its label or, without, with other maps."""
        tables = self._tables.items()
        if label is not None and (label != info.IGNORE_LABEL).any():
            what = "of the labelled pixels are right"
            shares = {k: float(_hits(ids, table, label).mean()) for k, table in tables}
        else:
            what = "of the pixels have the classes of other maps"
            others = [usual for key, usual in self._usual.items() if key != path]
            usual = np.mean(others or [np.zeros(256)], 0)
            shares = {
                name: float(np.minimum(_shares(ids, table), usual).sum())
                for name, table in tables
            }
        best, read = max(shares, key=shares.get), shares[self.encoding]
        is_other = shares[best] >= _ALIKE and read <= _UNLIKE
        parts = [f"as {k.replace('_', ' ')} {v:.1%} {what}" for k, v in shares.items()]
        return best if is_other else self.encoding, "; ".join(parts)


def _hits(ids: np.ndarray, table: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns which labelled pixels are right through a table, `[n]` bool."""
    resized = table[io.resize_nearest(ids, label.shape)]
    return (resized == label)[label != info.IGNORE_LABEL]


def _shares(ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Returns which share of a map's pixels is of each class, `[256]`, none left out."""
    counts = np.bincount(table[ids].ravel() + 1, minlength=257)[1:]
    counts[info.IGNORE_LABEL] = 0
    return counts / ids.size
