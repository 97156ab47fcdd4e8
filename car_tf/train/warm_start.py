"""Networks that a run begins with: F, or F and G, of another run (`train.init_from`)."""

from __future__ import annotations

import pathlib
from typing import Any, Callable, Dict, Sequence

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import info
from car_tf.evaluate import saved_run
from car_tf.models import build
from car_tf.models.keras_api import keras
from car_tf.runtime import checkpoints, run_dir

# What was taken, and from where.
RECORD_FILE = "initialized_from.json"
NETWORKS = {"calibration_net": "F", "refinement_net": "G"}


def _weights(config: config_lib.Config) -> Dict[str, pathlib.Path]:
    """Returns network -> its weights in the run that is begun from."""
    source = pathlib.Path(config.train.init_from).expanduser()
    if not (source / "config.json").is_file():
        raise run_dir.RunError(f"--init_from: wanted a run directory, got {source}")
    # Not locked: it may be evaluated meanwhile.
    run = run_dir.RunDir(str(source), config, writes=False)
    weights = {"calibration_net": saved_run.calibration_weights(run)}
    if config.train.init_networks == "both":
        best = run.read_json(run_dir.BEST_FILE)
        if best is None:
            raise run_dir.RunError(f"--init_from: {source}: G has no best weights yet")
        weights["refinement_net"] = source / best["weights"]
    return weights


def _read(net: keras.Model, name: str, path: pathlib.Path) -> None:
    try:
        held = _held(net, path)
        checkpoints.read_weights(tf.train.Checkpoint(net=held), path)
    except run_dir.RunError as error:
        raise run_dir.RunError(
            f"--init_from: wanted weights of the same {NETWORKS[name]}: {error}"
        ) from error


def _held(net: keras.Model, path: pathlib.Path) -> Any:
    """Returns what of a network a file is of: of an F perhaps without recalibration."""
    if getattr(net, "recalibration", None) is None:
        return net
    try:
        names = [name for name, _ in tf.train.list_variables(str(path))]
    except tf.errors.OpError:
        return net  # As it cannot be read.
    if any("/recalibration/" in name for name in names):
        return net
    return tf.train.Checkpoint(**net.trained_parts())


def check(config: config_lib.Config, dataset_info: info.DatasetInfo) -> None:
    """Raises RunError where the weights of `train.init_from` lack or do not fit."""
    builders = {
        "calibration_net": build.build_calibration_net,
        "refinement_net": build.build_refinement_net,
    }
    for name, path in _weights(config).items():
        _read(builders[name](config, dataset_info), name, path)


def start(
    net: keras.Model,
    name: str,
    averages: Sequence[tf.Variable],
    config: config_lib.Config,
    workdir: run_dir.RunDir,
    log: Callable[[str], None],
) -> None:
    """Gives a network of a stage that has not begun the weights of `train.init_from`.

    So begin its `averages`, if there are any. The directory records what was taken, and
    G's weights, to be compared with those after stage 2.
    """
    if not config.train.init_from:
        return
    stage = {"calibration_net": "stage1", "refinement_net": "stage2"}[name]
    if checkpoints.listed(workdir.path / "checkpoints" / stage):
        return
    weights = _weights(config)
    if name not in weights:
        return
    _read(net, name, weights[name])
    for average, variable in zip(averages, net.variables):
        average.assign(variable)
    log(f"{NETWORKS[name]} begins with the weights of {weights[name]}")
    if not workdir.writes:
        return
    record = workdir.read_json(RECORD_FILE) or {"run": config.train.init_from}
    workdir.write_json(RECORD_FILE, {**record, name: weights[name].name})
    if name == "refinement_net":
        path = workdir.path / run_dir.INITIAL_WEIGHTS
        with checkpoints.writing(path):
            tf.train.Checkpoint(net=net).write(str(path))
