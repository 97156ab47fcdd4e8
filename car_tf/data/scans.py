"""Grey values of more than 8 bits, seen through a window: DICOM, NIfTI, 16-bit files."""

import dataclasses
import importlib
import pathlib
from typing import Any, Optional, Tuple

import numpy as np

from car_tf.data import io

NIFTI_ENDINGS = (".nii", ".nii.gz")
# What Pillow calls grey values of more than 8 bits.
_DEEP_MODES = ("I", "F")

# (low, high): the values that become black and white.
Window = Tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Slice:
    """A slice of a scan, or a picture of more than 8 bits."""

    values: np.ndarray  # `[H, W]` float32, all finite
    # That of the file; where it names none, the lowest and highest value.
    window: Window
    index: int = 0  # of the slice
    count: int = 1  # slices of the file


def is_scan(path: pathlib.Path) -> bool:
    """Tells DICOM and NIfTI files from pictures: by name, or by their first bytes."""
    return path.name.lower().endswith(NIFTI_ENDINGS) or is_dicom(path)


def is_dicom(path: pathlib.Path) -> bool:
    """Tells DICOM files by a file's name, or by what stands behind its first 128 bytes."""
    if path.suffix.lower() == ".dcm" and not path.name.startswith("."):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError as error:
        raise io.DataError(f"{path}: cannot be read ({error.strerror})") from error


def read(path: pathlib.Path, index: Optional[int] = None) -> Optional[Slice]:
    """Reads a slice, by default the middle one; None where the file is a picture.

    Raises:
      DataError: damaged, not grey values, or what reads it is not installed.
    """
    if path.name.lower().endswith(NIFTI_ENDINGS):
        return _read_nifti(path, index)
    if is_dicom(path):
        return _read_dicom(path, index)
    with io.opened(path) as image:
        if image.mode.split(";")[0] not in _DEEP_MODES:
            return None
        if getattr(image, "n_frames", 1) > 1:
            raise io.DataError(f"{path}: wanted one image, got {image.n_frames} frames")
        return _slice(np.asarray(image), None, path)


def _slice(
    values: np.ndarray, window: Optional[Window], path: pathlib.Path, *place: int
) -> Slice:
    """Makes a slice; `place` are its index and their count, by default the only one."""
    if values.ndim != 2 or values.dtype.kind not in "iufb":
        found = f"{values.dtype} {list(values.shape)}"
        raise io.DataError(f"{path}: wanted grey values [H, W], got {found}")
    values = values.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        raise io.DataError(f"{path}: no pixel of this slice has a value")
    low, high = float(values[finite].min()), float(values[finite].max())
    # Scanners leave what they did not see without a value.
    values = np.where(finite, values, np.float32(low))
    own = (low, high if high > low else low + 1)
    return Slice(values, window or own, *place)


def _picked(index: Optional[int], count: int, path: pathlib.Path) -> int:
    index = count // 2 if index is None else index
    if not 0 <= index < count:
        raise io.DataError(f"{path}: wanted a slice of 0 to {count - 1}, got {index}")
    return index


def _needed(package: str, path: pathlib.Path) -> Any:
    """Imports what reads a file; a DataError where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        words = f"wanted {package} to read it, found none (pip install {package})"
        raise io.DataError(f"{path}: {words}") from None


def read_file(path: pathlib.Path, **options: Any) -> Any:
    """Reads a DICOM file as pydicom's data set; `options` are those of `dcmread`.

    Raises:
      DataError: it cannot be read, or there is no pydicom.
    """
    pydicom = _needed("pydicom", path)
    try:
        return pydicom.dcmread(path, **options)
    except Exception as error:  # pydicom raises many types on damaged files.
        raise io.DataError(f"{path}: not a readable DICOM file ({error})") from error


def _read_dicom(path: pathlib.Path, index: Optional[int]) -> Slice:
    data = read_file(path)
    try:
        count = int(data.get("NumberOfFrames") or 1)
        num_pixels = count * int(data.Rows) * int(data.Columns)
        if num_pixels > io.MAX_PIXELS:
            raise ValueError(f"{num_pixels} pixels, at most {io.MAX_PIXELS}")
        index = _picked(index, count, path)
        pixels = data.pixel_array
        pixels = pixels[index] if count > 1 else pixels
        slope = float(data.get("RescaleSlope", 1))
        values = pixels * slope + float(data.get("RescaleIntercept", 0))
        window = _dicom_window(data)
        if data.get("PhotometricInterpretation") == "MONOCHROME1":  # Low is white.
            values, window = -values, window and (-window[1], -window[0])
    except io.DataError:
        raise
    except Exception as error:  # pydicom's decoders raise many types.
        raise io.DataError(f"{path}: not a slice of a scan ({error})") from error
    return _slice(values, window, path, index, count)


def _dicom_window(data: Any) -> Optional[Window]:
    """Returns the first window that a DICOM file names, if any."""
    found = [data.get(name) for name in ("WindowCenter", "WindowWidth")]
    if any(value in (None, "") for value in found):
        return None
    center, width = (float(np.atleast_1d(value)[0]) for value in found)
    return (center - width / 2, center + width / 2) if width > 0 else None


def _read_nifti(path: pathlib.Path, index: Optional[int]) -> Slice:
    """Reads an axial slice as DICOM shows it: right is left, and front is above."""
    nibabel = _needed("nibabel", path)
    try:
        volume = nibabel.load(path)
        shape = volume.shape + (1,) * (3 - len(volume.shape))
        if len([side for side in shape[3:] if side > 1]) or min(shape) < 1:
            raise ValueError(f"wanted a volume [X, Y, Z], got {list(volume.shape)}")
        if len(volume.shape) < 3:
            values = np.asarray(volume.dataobj).reshape(shape[:2]).T
            return _slice(values, None, path)
        orientation = nibabel.io_orientation(volume.affine)
        axes = orientation[:, 0].astype(int).tolist()
        axis = axes.index(2)
        index = _picked(index, shape[axis], path)
        if np.prod(shape[:3]) // shape[axis] > io.MAX_PIXELS:
            raise ValueError(f"slices of more than {io.MAX_PIXELS} pixels")
        # Counted from the feet, as LPS does.
        up = orientation[axis, 1] > 0
        where: list = [slice(None)] * 3 + [0] * (len(shape) - 3)
        where[axis] = index if up else shape[axis] - 1 - index
        values = np.asarray(volume.dataobj[tuple(where)])
        x, y = (axes.index(side) for side in (0, 1))
        values = values.T if x < y else values
        # LPS: columns go to the patient's left, rows to the back.
        values = values[::-1] if orientation[y, 1] > 0 else values
        values = values[:, ::-1] if orientation[x, 1] > 0 else values
        low, high = (float(volume.header[name]) for name in ("cal_min", "cal_max"))
    except io.DataError:
        raise
    except Exception as error:  # nibabel raises many types on damaged files.
        raise io.DataError(f"{path}: not a readable NIfTI file ({error})") from error
    return _slice(values, (low, high) if high > low else None, path, index, shape[axis])
