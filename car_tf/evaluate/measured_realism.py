"""Realism that was measured before, of the same weights, drawn scenes and code.

Judges take most of an evaluation's time, and their verdict does not depend on how many
samples are scored.
"""

import hashlib
import json
import pathlib
from typing import Any, Dict, Optional

import car_tf
from car_tf import config as config_lib
from car_tf.data import io
from car_tf.evaluate import before_stage2, saved_run
from car_tf.runtime import environment, run_dir


def identify(
    config: config_lib.Config, workdir: run_dir.RunDir, split: str, noise: str
) -> str:
    """Returns a SHA-256 of all that realism depends on; "" where that cannot be known.

    Of data, and of a black box, that lie in folders it cannot: they may have changed.
    """
    best = workdir.read_json(run_dir.BEST_FILE)
    if best is None or config.data.data_dir or config.blackbox.path:
        return ""
    weights = [workdir.path / best["weights"], workdir.path / before_stage2.WEIGHTS]
    if config.calibration_net.kind != "true_distribution":
        weights.append(saved_run.calibration_weights(workdir))
    files = sorted(pathlib.Path(car_tf.__file__).parent.rglob("*.py"))
    for path in weights:
        files += sorted(path.parent.glob(f"{path.name}.*"))
    parts = [config_lib.to_json(config), split, noise, environment.versions()]
    parts += [io.file_hash(file) for file in files]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def find(
    config: config_lib.Config, workdir: run_dir.RunDir, split: str, noise: str
) -> Optional[Dict[str, Any]]:
    """Returns what a run's metrics hold of it, or None; `split` may be empty."""
    split = split or (workdir.read_json("metrics.json") or {}).get("split", "")
    key = identify(config, workdir, split, noise)
    for file in sorted(workdir.path.glob("metrics*.json")) if key else ():
        found = (run_dir.read_json(file) or {}).get("realism") or {}
        if found.get("key") == key:
            return found
    return None
