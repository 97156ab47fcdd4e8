"""Experiments of the paper.

    python -m car_tf.experiment regression --output DIR

`regression` trains the ninety runs of the 1-D bimodal regression (CAR, Section 5.1 and
Appendix B.1) together. The same command with the same --output goes on where an
interrupted one stopped; --benchmark measures its speed instead.
"""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Callable, Dict, Sequence

from absl import app, flags

from car_tf import config as config_lib
from car_tf import workdir as workdir_lib

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "output", "", "Directory of results, new or to be resumed (default runs/<name>)."
)
flags.DEFINE_multi_string(
    "set", [], "Overrides one field, such as stage2.steps=500; may be repeated."
)
flags.DEFINE_bool(
    "benchmark", False, "Measures the speed of an experiment instead of running it."
)


def _say(line: str) -> None:
    print(line, flush=True)


def regression() -> None:
    """Runs or measures the 1-D regression."""
    config = config_lib.load("regression_grid", FLAGS.set)
    output = pathlib.Path(FLAGS.output or os.path.join("runs", config.name))
    from car_tf import regression_benchmark, regression_lib  # TensorFlow starts here.

    regression_lib.use_one_thread_per_operation()
    if FLAGS.benchmark:
        regression_benchmark.run(config, _say)
        return
    regression_lib.run(config, output.expanduser().resolve(), _say)


EXPERIMENTS: Dict[str, Callable[[], None]] = {"regression": regression}


def main(argv: Sequence[str]) -> int:
    """Runs the experiment that the command line names; returns the exit code."""
    names = ", ".join(sorted(EXPERIMENTS))
    if len(argv) != 2 or argv[1] not in EXPERIMENTS:
        got = " ".join(argv[1:]) or "nothing"
        print(f"error: wanted one experiment of {names}; got {got}", file=sys.stderr)
        return 1
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        EXPERIMENTS[argv[1]]()
    except workdir_lib.Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except (config_lib.ConfigError, workdir_lib.RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    app.run(main)
