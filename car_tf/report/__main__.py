"""Writes a run's report.html: one file with results, pictures, curves and commands.

    python -m car_tf.report --workdir RUN
    python -m car_tf.report --workdir RUN --compare OTHER --compare scores.json

A finished run has its report already; this writes it anew. --compare takes further run
directories, shown side by side, and scores of any model's samples, as `car_tf.score
--json` writes them.
"""

import importlib
import pathlib
from typing import Sequence

from absl import app, flags

from car_tf.config import cli
from car_tf.report import write
from car_tf.runtime import run_dir

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "Run directory.", required=True)
flags.DEFINE_multi_string(
    "compare", [], "Another run directory, or a file of scores; may be repeated."
)


def main(argv: Sequence[str]) -> int:
    """Writes the report; returns the exit code."""
    if len(argv) > 1 and not FLAGS.compare:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    # `--compare A B` leaves B over.
    compare = [*FLAGS.compare, *argv[1:]]
    workdir = pathlib.Path(FLAGS.workdir).expanduser()
    # Not every run is a segmentation: its configuration's class then has `REPORT`, a
    # module of this package with `sections(workdir)`, which the environment names.
    environment = run_dir.read_json(workdir / "environment.json") or {}
    module, sections = environment.get("report") or "", None
    if module.startswith("car_tf."):
        sections = importlib.import_module(module).sections(workdir)
    print(write.write(workdir, compare, sections))
    return 0


if __name__ == "__main__":
    cli.run(main, errors=run_dir.USER_ERRORS, takes_arguments=True)
