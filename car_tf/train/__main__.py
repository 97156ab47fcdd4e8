"""The main job: data, both stages, evaluation, figures and an exported SavedModel.

    python -m car_tf.train --config cityscapes
    python -m car_tf.train --config cityscapes --data_dir DIR --blackbox MODEL

Everything lands in one run directory. The same command with the same --workdir goes on
where an interrupted run stopped.
"""

from __future__ import annotations

import importlib
import os
import pathlib

from absl import flags, logging

from car_tf import config as config_lib
from car_tf.config import cli, data_sections
from car_tf.data import layouts, requirements
from car_tf.runtime import run_dir, workers

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "config",
    "cityscapes",
    f"Configuration: {', '.join(config_lib.available())}, the path of a Python file, or "
    "of the config.json of a run.",
)
flags.DEFINE_multi_string(
    "set",
    [],
    "Overrides one field, such as train.seed=2; may be repeated. `python -m "
    "car_tf.config NAME` prints all fields of a configuration and what they mean.",
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


def _resolved() -> config_lib.Job:
    given, overrides = FLAGS.config, list(FLAGS.set)
    if FLAGS.data_dir and not FLAGS["config"].present:
        data_dir = pathlib.Path(FLAGS.data_dir).expanduser()
        is_folder = layouts.dataset_at(data_dir) == "folders"
        given = "folders" if is_folder else given
    for flag, field, value in (
        ("--data_dir", "data.data_dir", FLAGS.data_dir),
        ("--blackbox", "blackbox.path", FLAGS.blackbox),
    ):
        if not value:
            continue
        unchanged = config_lib.load(given)
        if not isinstance(unchanged, config_lib.Config):
            raise config_lib.ConfigError(f"{flag}: {unchanged.name} draws its own data")
        # A run may be resumed from elsewhere; what is no path, such as
        # package.module:function, stays as it is.
        path = os.path.abspath(os.path.expanduser(value))
        value = value if ":" in value and not os.path.exists(path) else path
        overrides.append(f"{field}={value}")
    # What a user sets comes last.
    config = config_lib.load(given, [*_asked_by_inputs(given), *overrides])
    # A run that was begun goes on.
    saved = os.path.join(os.path.expanduser(FLAGS.workdir), "config.json")
    begun = FLAGS.workdir and os.path.exists(saved)
    if isinstance(config, config_lib.Config) and not begun:
        _require_inputs(config)
    return config


def _asked_by_inputs(name: str) -> list:
    """Returns `section.field=value` texts that the data and a black box ask for."""
    config = config_lib.load(name)
    if not isinstance(config, config_lib.Config):
        return []
    asked = layouts.overrides(config, FLAGS.data_dir) if FLAGS.data_dir else []
    if FLAGS.blackbox and config.blackbox.kind == "none":
        asked += ["blackbox.kind=auto", "calibration_net.kind=blackbox_calibrator"]
    return asked


def _require_inputs(config: config_lib.Config) -> None:
    """Raises ConfigError where what a new run starts from is not there."""
    data_dir, segmenter = config.data.data_dir, config.blackbox.path
    if data_dir and not os.path.exists(os.path.expanduser(data_dir)):
        raise config_lib.ConfigError(f"--data_dir: no file or folder {data_dir}")
    is_read = config.blackbox.kind in ("auto", "live", "predictions")
    if is_read and segmenter and not data_sections.is_segmenter_here(segmenter):
        raise config_lib.ConfigError(
            f"--blackbox: no file or folder {segmenter}, and no package.module:function"
        )
    _require_blackbox(config)
    requirements.check(config)


def _require_blackbox(config: config_lib.Config) -> None:
    """Raises ConfigError where files on disk need a black box and none is given."""
    blackbox = config.blackbox
    if config.data.data_dir and blackbox.kind == "auto" and not blackbox.path:
        raise config_lib.ConfigError(
            f"--blackbox: wanted a segmenter for the images in {config.data.data_dir}, "
            "or a folder of its predictions, got none (--set "
            "blackbox.kind=imitation degrades the labels to stand for one)"
        )


def main() -> int:
    """Runs the job; returns the exit code."""
    config = _resolved()
    path = FLAGS.workdir or run_dir.default_path(config.name)
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells much in an export.
    try:
        _run(config, path)
    except KeyboardInterrupt as stop:
        if stop.args:
            raise
        goes_on = f"interrupted; the same command with --workdir {path} goes on"
        raise KeyboardInterrupt(goes_on) from None
    return 0


def _log(line: str) -> None:
    print(line, flush=True)


def _run(config: config_lib.Job, path: str) -> None:
    worker = workers.this_worker()
    if worker.num_workers > 1 and not isinstance(config, config_lib.Config):
        raise run_dir.RunError(f"TF_CONFIG: {config.name} trains in one process")
    if worker.num_workers > 1 and not FLAGS.workdir:
        raise run_dir.RunError(
            f"--workdir: wanted a directory that all {worker.num_workers} workers of "
            "TF_CONFIG share, got none"
        )
    workdir = run_dir.RunDir(path, config, writes=worker.is_chief)
    log = _log if worker.is_chief else lambda line: None
    try:
        log(f"run directory: {workdir.path}")
        if worker.num_workers > 1:
            log(f"waiting for {worker.num_workers} workers")
        # TensorFlow starts here, after the cheap checks.
        importlib.import_module(config.JOB).run(config, workdir, log=log)
    finally:
        workdir.close()


if __name__ == "__main__":
    cli.run(main, errors=run_dir.USER_ERRORS)
