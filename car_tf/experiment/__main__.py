"""Experiments of the paper.

    python -m car_tf.experiment regression --output DIR
    python -m car_tf.experiment table1|table3|table4 --data_dir DIR --output DIR

`regression` trains the ninety runs of the 1-D bimodal regression (CAR, Section 5.1 and
Appendix B.1) together; `python -m tests.benchmarks --rows regression` measures their
speed.

`table1`, `table3` and `table4` train the runs of those tables, all on LIDC, and write
each as Markdown and JSON with the paper's values beside it. They share their runs where
--output is the same. Each row gets --num_seeds runs, from --set train.seed=N on, and
counts all that are finished there. --scale STEPS,WIDTH multiplies the steps and the
channels of the configuration, for a grid in small.

The same command with the same --output goes on where an interrupted one stopped.
"""

import contextlib
import functools
import math
import os
import pathlib
import sys
from typing import Callable, Dict, Sequence, Tuple

from absl import flags, logging

from car_tf import config as config_lib
from car_tf.config import cli
from car_tf.runtime import run_dir

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "output",
    "",
    "Directory of results, new or to be resumed (default runs/<name>; the tables': "
    "runs/lidc_tables).",
)
flags.DEFINE_multi_string(
    "set", [], "Overrides one field, such as stage2.steps=500; may be repeated."
)
flags.DEFINE_string(
    "config",
    "lidc",
    "Configuration that all rows of a table change: a name, or a path.",
)
flags.DEFINE_string(
    "data_dir", "", "Data set of a table; without it, an embedded one is drawn."
)
flags.DEFINE_integer("num_seeds", 3, "Runs that each row gets.", lower_bound=1)
flags.DEFINE_string(
    "scale", "1,1", "STEPS,WIDTH: factors of a table's steps and channels."
)


def _log(line: str) -> None:
    print(line, flush=True)


def regression() -> None:
    """Runs the 1-D regression."""
    for name in ("config", "data_dir", "num_seeds", "scale"):
        if FLAGS[name].present:
            raise config_lib.ConfigError(
                f"--{name}: is for the tables; the regression takes --output and --set"
            )
    config = config_lib.load("regression_grid", FLAGS.set)
    output = FLAGS.output or os.path.join("runs", config.name)
    with contextlib.closing(run_dir.RunDir(output, config)) as workdir:
        # TensorFlow starts here.
        from car_tf.experiment.regression import run as regression_run

        regression_run.run(config, workdir, _log)


def table(name: str) -> None:
    """Runs one of the paper's tables on LIDC."""
    overrides = list(FLAGS.set)
    if FLAGS.data_dir:
        folder = os.path.abspath(os.path.expanduser(FLAGS.data_dir))
        overrides.append(f"data.data_dir={folder}")
    config = config_lib.load(FLAGS.config, overrides)
    is_segmentation = isinstance(config, config_lib.Config)
    if not is_segmentation or config.data.dataset != "lidc":
        raise config_lib.ConfigError(
            f"--config: {name} is a table on LIDC, so wanted data.dataset=lidc, got "
            + (config.data.dataset if is_segmentation else f"{config.name}, on a line")
        )
    steps, width = _scale(FLAGS.scale)
    output = pathlib.Path(FLAGS.output or os.path.join("runs", "lidc_tables"))
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells much in an export.
    from car_tf.experiment import tables  # TensorFlow starts here.

    tables.run(
        name,
        tables.scaled(config, steps, width),
        num_seeds=FLAGS.num_seeds,
        output=output.expanduser().resolve(),
        log=_log,
    )


def _scale(text: str) -> Tuple[float, float]:
    """Reads `STEPS,WIDTH`, two factors above 0."""
    try:
        steps, width = (float(part) for part in text.split(","))
    except ValueError:
        steps = width = 0.0
    if not all(math.isfinite(factor) and factor > 0 for factor in (steps, width)):
        raise config_lib.ConfigError(
            f"--scale: wanted two numbers above 0 such as 0.3,0.5; got {text!r}"
        )
    return steps, width


EXPERIMENTS: Dict[str, Callable[[], None]] = {
    "regression": regression,
    **{name: functools.partial(table, name) for name in ("table1", "table3", "table4")},
}


def main(argv: Sequence[str]) -> int:
    """Runs the experiment that the command line names; returns the exit code."""
    names = ", ".join(sorted(EXPERIMENTS))
    if len(argv) != 2 or argv[1] not in EXPERIMENTS:
        got = " ".join(argv[1:]) or "nothing"
        print(f"error: wanted one experiment of {names}; got {got}", file=sys.stderr)
        return 1
    EXPERIMENTS[argv[1]]()
    return 0


if __name__ == "__main__":
    cli.run(main, errors=run_dir.USER_ERRORS, takes_arguments=True, then=cli.GOES_ON)
