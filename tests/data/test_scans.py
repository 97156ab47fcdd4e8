"""Scans through a window: DICOM, NIfTI and 16-bit pictures."""

import sys

import lidc_download
import numpy as np
import pydicom
import pytest
from PIL import Image

from car_tf.data import io, pictures, scans

VALUES = np.arange(-60, 60, dtype=np.int16).reshape(10, 12) * 10


def test_a_window_by_hand():
    values = np.array([[-200, -100, 0, 100, 200]], np.float32)
    # 0 is half way from -100 to 100: 127.5, which is rounded to the even 128.
    seen = np.asarray(pictures.within(values, (-100.0, 100.0)))
    assert seen.tolist() == [[0, 0, 128, 255, 255]]


def test_dicom_slices_have_their_values_and_window(tmp_path):
    path = tmp_path / "no-ending"
    lidc_download.write_slice(path, "1.2", 0.0, VALUES)
    found = scans.read(path)
    # Stored as (v + 1000) // 2, read as 2 s - 1000: even values stay.
    np.testing.assert_array_equal(found.values, VALUES)
    assert (found.window, found.index, found.count) == ((-600.0, 590.0), 0, 1)
    data = pydicom.dcmread(path)
    data.WindowCenter, data.WindowWidth = [40, 900], [400, 1500]
    data.save_as(path)
    assert scans.read(path).window == (-160.0, 240.0)
    # Where low is white, values and window are turned round.
    data.PhotometricInterpretation = "MONOCHROME1"
    data.save_as(path)
    turned = scans.read(path)
    np.testing.assert_array_equal(turned.values, -VALUES)
    assert turned.window == (-240.0, 160.0)


def test_dicom_frames_are_slices(tmp_path):
    path = tmp_path / "a.dcm"
    lidc_download.write_slice(path, "1.2", 0.0, VALUES)
    data = pydicom.dcmread(path)
    data.NumberOfFrames = 3
    data.PixelData = data.PixelData + bytes(len(data.PixelData)) + data.PixelData
    data.save_as(path)
    middle = scans.read(path)
    assert (middle.index, middle.count) == (1, 3)
    assert np.unique(middle.values).tolist() == [-1000]
    np.testing.assert_array_equal(scans.read(path, 2).values, VALUES)
    with pytest.raises(io.DataError, match="slice of 0 to 2, got 3"):
        scans.read(path, 3)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SPL", "AIR"])
def test_nifti_slices_are_shown_as_dicom_s_whatever_their_axes(tmp_path, axes):
    nibabel = pytest.importorskip("nibabel", reason="no nibabel here")
    volume = np.arange(2 * 3 * 4, dtype=np.float32).reshape(4, 3, 2)  # x, y, z of LPS
    volume[0, 0, 1] = np.nan
    lps = nibabel.Nifti1Image(volume, np.diag([-1.0, -1.0, 1.0, 1.0]))
    lps.header["cal_min"], lps.header["cal_max"] = 2, 9
    codes = nibabel.orientations
    turned = lps.as_reoriented(
        codes.ornt_transform(
            codes.io_orientation(lps.affine), codes.axcodes2ornt(tuple(axes))
        )
    )
    nibabel.save(turned, tmp_path / "a.nii.gz")
    for index in (0, 1):
        found = scans.read(tmp_path / "a.nii.gz", index)
        # Rows are y and columns x; what has no value is as the lowest.
        want = volume[:, :, index].T.copy()
        want[np.isnan(want)] = np.nanmin(want)
        np.testing.assert_array_equal(found.values, want)
        assert (found.window, found.count) == ((2.0, 9.0), 2)
    assert scans.read(tmp_path / "a.nii.gz").index == 1


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_pictures_of_16_bits_go_from_their_lowest_to_their_highest_value(
    tmp_path, ending
):
    path = tmp_path / f"a.{ending}"
    values = (VALUES + 600).astype(np.uint16) * 40
    Image.fromarray(values).save(path)
    found = scans.read(path)
    np.testing.assert_array_equal(found.values, values)
    assert found.window == (0.0, 119 * 400.0)
    Image.fromarray(values.astype(np.uint8)).save(path)
    assert scans.read(path) is None
    Image.fromarray(np.full_like(values, 7)).save(path)
    assert scans.read(path).window == (7.0, 8.0)


def test_what_is_no_scan_is_said(tmp_path, monkeypatch):
    volume = tmp_path / "a.nii"
    volume.write_bytes(b"no volume")
    with pytest.raises(io.DataError, match="a.nii: not a readable NIfTI"):
        scans.read(volume)
    (tmp_path / "a.dcm").write_bytes(b"no slice")
    with pytest.raises(io.DataError, match="a.dcm: not a readable DICOM"):
        scans.read(tmp_path / "a.dcm")
    frames = [Image.fromarray(VALUES.astype(np.uint16))] * 2
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(io.DataError, match="got 2 frames"):
        scans.read(tmp_path / "a.tiff")
    for name, package in (("a.nii", "nibabel"), ("a.dcm", "pydicom")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(io.DataError, match=f"found none .pip install {package}"):
            scans.read(tmp_path / name)
