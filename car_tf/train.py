"""The main job: data, both stages, evaluation, figures and an exported SavedModel.

    python -m car_tf.train --config cityscapes
    python -m car_tf.train --config cityscapes --data_dir DIR --blackbox MODEL

Everything lands in one run directory. The same command with the same --workdir goes on
where an interrupted run stopped.
"""

from __future__ import annotations

import os
import sys
from typing import Sequence

from absl import app, flags, logging

from car_tf import config as config_lib
from car_tf import workdir as workdir_lib

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "config", "cityscapes", "Configuration: a name in configs/, or a path."
)
flags.DEFINE_multi_string(
    "set", [], "Overrides one field, such as train.seed=2; may be repeated."
)
flags.DEFINE_string(
    "data_dir", "", "Data set on disk; without it, an embedded one is drawn."
)
flags.DEFINE_string(
    "blackbox",
    "",
    "Segmenter to build on: a model file, or a folder of its predictions.",
)
flags.DEFINE_string(
    "workdir", "", "Run directory, new or to be resumed (default runs/<config>-<time>)."
)


def _resolved() -> config_lib.Config:
    overrides = list(FLAGS.set)
    # Flags give paths as the shell completes them; a resumed run may start elsewhere.
    for field, value in (
        ("data.data_dir", FLAGS.data_dir),
        ("blackbox.path", FLAGS.blackbox),
    ):
        if value:
            overrides.append(f"{field}={os.path.abspath(os.path.expanduser(value))}")
    return config_lib.load(FLAGS.config, overrides)


def main(argv: Sequence[str]) -> int:
    """Runs the job; returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        config = _resolved()
        path = FLAGS.workdir or workdir_lib.default_path(config.name)
        workdir = workdir_lib.RunDir(path, config)
    except (config_lib.ConfigError, workdir_lib.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"run directory: {workdir.path}", flush=True)
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells much while it exports.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from car_tf import train_lib  # TensorFlow starts here, after the cheap checks.
    from car_tf.data import files

    try:
        train_lib.run(config, workdir, say=lambda line: print(line, flush=True))
    except workdir_lib.Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("interrupted; the same command begins again", file=sys.stderr)
        return 130
    except (
        config_lib.ConfigError,
        files.DataError,
        workdir_lib.RunError,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        workdir.close()
    return 0


if __name__ == "__main__":
    app.run(main)
