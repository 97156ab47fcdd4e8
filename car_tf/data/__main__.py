"""Describes and checks a data set before anything is trained on it.

    python -m car_tf.data describe DIR
    python -m car_tf.data check DIR
    python -m car_tf.data check DIR --dataset lidc --json report.json

`describe` drafts the `dataset.json` of a folder of images and raters, and asks what it
cannot know. `check` reads every file of a data set and reports all problems at once:
missing pairs, sizes, unknown ids, empty labels, damaged images, duplicates and cities or
patients across splits; of a folder, also what training makes of it. The exit code is 0
without errors (warnings are none) or open questions, 1 with, 2 where there is nothing to
describe or check.
"""

import json
import pathlib
import sys
from typing import Sequence

from absl import app, flags

from car_tf.config import cli
from car_tf.data import check, findings, io
from car_tf.data.folders import describe

_DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "Folder of the data set; of LIDC, a file as well."
)
_FORCE = flags.DEFINE_bool("force", False, "Whether `describe` writes a file anew.")
_DATASET = flags.DEFINE_enum(
    "dataset", "", ["", *check.DATASETS], "Its layout; empty: as found."
)
_JSON = flags.DEFINE_string("json", "", "File to write the whole report to.")


def main(argv: Sequence[str]) -> int:
    """Runs a command; returns the exit code."""
    command, *places = argv[1:] or [""]
    places += [_DATA_DIR.value] if _DATA_DIR.value else []
    if command not in ("check", "describe") or len(places) != 1:
        raise app.UsageError("wanted: python -m car_tf.data describe|check DIR")
    try:
        if command == "describe":
            return _describe(pathlib.Path(places[0]).expanduser())
        report = check.check(places[0], _DATASET.value)
        if _JSON.value:
            text = json.dumps(report, indent=2, allow_nan=False) + "\n"
            io.write_text(pathlib.Path(_JSON.value), text)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(findings.table(report))
    return 1 if findings.num_errors(report) else 0


def _describe(root: pathlib.Path) -> int:
    """Writes a draft and says what it was taken from."""
    path, draft = describe.write(root, _FORCE.value)
    print("\n".join(draft.lines))
    if draft.questions:
        print(f"\nto be answered in {path}, whose `questions` are then to be emptied:")
        print("\n".join(f"  {i}. {q}" for i, q in enumerate(draft.questions, 1)))
    print(f"\nwritten: {path}; next: python -m car_tf.data check {root}")
    return 1 if draft.questions else 0


if __name__ == "__main__":
    cli.run(main, errors=(), takes_arguments=True)
