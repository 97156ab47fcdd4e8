"""Checks a data set before anything is trained on it.

    python -m car_tf.data check --data_dir DIR
    python -m car_tf.data check --data_dir DIR --dataset lidc --json report.json

Reads every file of a data set in Cityscapes' layout or of LIDC crops and reports all
problems at once: missing pairs, sizes, unknown ids, empty labels, damaged images,
duplicates and cities or patients across splits. The exit code is 0 without errors
(warnings are none), 1 with errors, 2 where there is nothing to check.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Sequence

from absl import app, flags

from car_tf.config import cli
from car_tf.data import check, findings, io

_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the data set; of LIDC, a file as well.", required=True
)
_DATASET = flags.DEFINE_enum(
    "dataset", "", ["", *check.DATASETS], "Its layout; empty: as found."
)
_JSON = flags.DEFINE_string("json", "", "File to write the whole report to.")


def main(argv: Sequence[str]) -> int:
    """Runs the check; returns the exit code."""
    if argv[1:] != ["check"]:
        raise app.UsageError("wanted: python -m car_tf.data check --data_dir DIR")
    try:
        report = check.check(_DATA_DIR.value, _DATASET.value)
        if _JSON.value:
            text = json.dumps(report, indent=2, allow_nan=False) + "\n"
            io.write_text(pathlib.Path(_JSON.value), text)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(findings.table(report))
    return 1 if findings.num_errors(report) else 0


if __name__ == "__main__":
    cli.run(main, errors=(), takes_arguments=True)
