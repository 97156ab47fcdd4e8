"""What was evaluated before, of the same weights, data, options and code.

Judges of realism take most of an evaluation's time, and their verdict does not depend
on how many samples are scored: of drawn data it has a key of its own.
"""

import hashlib
import json
import os
import pathlib
from typing import Any, Dict, List, Optional, Sequence

import car_tf
from car_tf import config as config_lib
from car_tf.data import cache, io
from car_tf.data import load as data_load
from car_tf.runtime import environment, run_dir


def is_drawn(config: config_lib.Config) -> bool:
    """Whether a run's data and its black box are drawn, and thus a matter of code."""
    return not (config.data.data_dir or config.blackbox.path)


def identify(config: config_lib.Config, workdir: run_dir.RunDir, *more: Any) -> str:
    """Returns a SHA-256 of a run's weights, settings, packages and code, and of `more`.

    Empty before there are weights.
    """
    best = workdir.read_json(run_dir.BEST_FILE)
    if best is None:
        return ""
    folder = workdir.path / "checkpoints"
    weights = [workdir.path / best["weights"], workdir.path / run_dir.INITIAL_WEIGHTS]
    calibration = workdir.read_json(run_dir.BEST_CALIBRATION_FILE)
    # Without a selected F, it is that of the last checkpoint.
    last = folder / "stage1" / "ckpt"
    weights.append(workdir.path / calibration["weights"] if calibration else last)
    files = sorted(pathlib.Path(car_tf.__file__).parent.rglob("*.py"))
    for path in weights:
        files += sorted(path.parent.glob(f"{path.name}[.-]*"))
    kernels = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    parts = [config_lib.to_json(config), environment.versions(), kernels, *more]
    parts += [io.file_hash(file) for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def key_of(
    config: config_lib.Config,
    workdir: run_dir.RunDir,
    dataset: Optional[data_load.Dataset] = None,
    *,
    split: str = "",
    num_samples: int = 0,
    noise: str = "",
    absent: str = "",
    samples: Sequence[str] = (),
    places: Sequence[str] = ("", "", ""),
) -> str:
    """Identifies an evaluation, whose options are those of `api.evaluate`.

    Args:
      dataset: the data, which need not have been drawn where `is_drawn`: None.
      places: the other data, their black box and the devices.
    """
    settings = config.evaluation
    split = split or (_reported(workdir) if dataset is None else dataset.evaluation)
    prints: List[str] = []
    if dataset is not None and (any(places[:2]) or not is_drawn(config)):
        folder = cache.folder(config.data.cache_dir)
        names = [split, *(["train"] if needs_training_images(config, split) else [])]
        prints = [cache.fingerprint(dataset.splits[name], folder) for name in names]
    options = [split, num_samples or settings.num_samples, absent or settings.absent]
    options += [noise or settings.noise_sampling, *places, *prints]
    hashes = [[str(name), io.file_hash(pathlib.Path(name))] for name in samples]
    return identify(config, workdir, "evaluation", options, hashes)


def find(workdir: run_dir.RunDir, key: str) -> Optional[Dict[str, Any]]:
    """Returns the metrics of an evaluation whose files are all there, or None."""
    for file in sorted(workdir.path.glob("metrics*.json")) if key else ():
        metrics = run_dir.read_json(file) or {}
        known = metrics.get("evaluated") or {}
        folder = workdir.path / file.stem.replace("metrics", "figures", 1)
        there = all((folder / name).is_file() for name in known.get("figures", ()))
        if known.get("key") == key and there:
            return metrics
    return None


def realism_key(
    config: config_lib.Config, workdir: run_dir.RunDir, split: str, noise: str
) -> str:
    """Identifies what judges of realism say; empty where the data are not drawn."""
    return identify(config, workdir, split, noise) if is_drawn(config) else ""


def find_realism(
    config: config_lib.Config, workdir: run_dir.RunDir, split: str, noise: str
) -> Optional[Dict[str, Any]]:
    """Returns what a run's metrics hold of it, or None; `split` may be empty."""
    key = realism_key(config, workdir, split or _reported(workdir), noise)
    for file in sorted(workdir.path.glob("metrics*.json")) if key else ():
        found = (run_dir.read_json(file) or {}).get("realism") or {}
        if found.get("key") == key:
            return found
    return None


def _reported(workdir: run_dir.RunDir) -> str:
    """Returns the split that a run reports on, as far as it has."""
    return (workdir.read_json("metrics.json") or {}).get("split", "")


def needs_training_images(config: config_lib.Config, split: str) -> bool:
    """Whether judges of realism are trained, to be asked on images they do not know."""
    return bool(config.evaluation.realism_steps) and split != "train"
