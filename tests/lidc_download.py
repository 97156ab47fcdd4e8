"""A small LIDC-IDRI download: DICOM series and the raters' outlines of lesions."""

import sqlite3

import numpy as np
import pydicom

SCHEMA = """
CREATE TABLE scans (id INTEGER PRIMARY KEY, study_instance_uid VARCHAR,
    series_instance_uid VARCHAR, patient_id VARCHAR, slice_thickness FLOAT,
    pixel_spacing FLOAT, contrast_used BOOLEAN, is_from_initial BOOLEAN,
    sorted_dicom_file_names VARCHAR);
CREATE TABLE annotations (id INTEGER PRIMARY KEY, scan_id INTEGER, _nodule_id VARCHAR,
    subtlety INTEGER, "internalStructure" INTEGER, calcification INTEGER,
    sphericity INTEGER, margin INTEGER, lobulation INTEGER, spiculation INTEGER,
    texture INTEGER, malignancy INTEGER);
CREATE TABLE contours (id INTEGER PRIMARY KEY, annotation_id INTEGER,
    inclusion BOOLEAN, image_z_position FLOAT, dicom_file_name VARCHAR, coords VARCHAR);
"""
POSITIONS = (-12.5, -10.0, -7.5, -5.0)
SHAPE = (240, 230)


def frame(top, left, bottom, right):
    """Outline (column, row) along the border of a rectangle of pixels."""
    return (
        [(c, top) for c in range(left, right)]
        + [(right, r) for r in range(top, bottom)]
        + [(c, bottom) for c in range(right, left, -1)]
        + [(left, r) for r in range(bottom, top - 1, -1)]
    )


def pixels(patient, index):
    """Hounsfield units of a slice: air, and a square lesion at rows and columns 100."""
    pixels = np.full(SHAPE, -900, np.int16)
    pixels[100:110, 100 + patient : 110 + patient] = 40 + index
    return pixels


def write_slice(path, series, position, pixels, *, location=None, instance=1):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.dataset.FileDataset(
        str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False
    )
    data.SOPClassUID = meta.MediaStorageSOPClassUID
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID = series
    data.ImagePositionPatient = [-100.0, -100.0, position]
    data.SliceLocation = -position if location is None else location
    data.InstanceNumber = instance
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [0.5, 0.5]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    # Hounsfield units = 2 * stored - 1000.
    data.RescaleSlope, data.RescaleIntercept = 2, -1000
    stored = ((pixels.astype(np.int32) + 1000) // 2).astype(np.int16)
    data.PixelData = stored.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(str(path))


def write_download(root, num_patients=5):
    """Five patients of one series; their files carry random names, as in downloads."""
    for patient in range(num_patients):
        folder = root / f"LIDC-IDRI-{patient:04d}" / "study" / f"series-{patient}"
        for index, position in enumerate(POSITIONS):
            path = folder / f"{(index * 7) % 5}-{index}.dcm"
            # SliceLocation has the other sign throughout, which is fine; in the second
            # slice of each series it is off by 2 mm.
            location = -position + 2 if index == 1 else None
            write_slice(
                path, f"1.2.{patient}", position, pixels(patient, index),
                location=location, instance=index,
            )  # fmt: skip
        (folder / "notes.xml").write_text("not DICOM")
    return root


def write_contours(path, num_patients=5):
    """Patient p: rater 1 outlines the square in all slices, rater 2 a wider one in
    the first slice, both another lesion at row 30 in the third; one outline is at a
    position that the series lacks."""
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    annotation = 0

    def add(scan, marks):
        nonlocal annotation
        annotation += 1
        connection.execute(
            "INSERT INTO annotations (id, scan_id) VALUES (?, ?)", (annotation, scan)
        )
        for position, points, inclusion in marks:
            text = "\n".join(f"{column},{row}" for column, row in points)
            connection.execute(
                "INSERT INTO contours (annotation_id, inclusion, image_z_position, "
                "coords) VALUES (?, ?, ?, ?)",
                (annotation, inclusion, position, text),
            )

    for patient in range(num_patients):
        scan = patient + 1
        connection.execute(
            "INSERT INTO scans (id, series_instance_uid, patient_id) VALUES (?, ?, ?)",
            (scan, f"1.2.{patient}", f"LIDC-IDRI-{patient:04d}"),
        )
        left = 99 + patient
        tight = frame(99, left, 110, left + 11)
        hole = frame(103, left + 3, 105, left + 5)
        wide = frame(97, left, 112, left + 11)
        third = POSITIONS[2]
        add(scan, [(z, tight, 1) for z in POSITIONS] + [(POSITIONS[0], hole, 0)])
        add(scan, [(POSITIONS[0], wide, 1), (99.0, wide, 1)])
        add(scan, [(third, frame(30, 30, 34, 34), 1)])
        add(scan, [(third, frame(31, 31, 34, 34), 1)])
    connection.execute("INSERT INTO scans (id, patient_id) VALUES (99, 'unmarked')")
    connection.commit()
    connection.close()
    return path
