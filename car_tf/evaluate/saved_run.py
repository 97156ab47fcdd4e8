"""What a run directory holds of a finished run: its sampler, and facts of its data."""

import dataclasses
import pathlib
from typing import Any, List, Optional, Sequence, Tuple

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.data import cache, info, layouts
from car_tf.data import load as data_load
from car_tf.models import build, sampler
from car_tf.runtime import checkpoints, run_dir


def data_of(
    config: config_lib.Config, workdir: run_dir.RunDir
) -> Tuple[info.DatasetInfo, Sequence[str]]:
    """Returns facts and notes of a run's data, which need not be here any more."""
    recorded = workdir.read_json("data.json")
    if recorded is not None and "facts" in recorded:
        return info.from_record(recorded["facts"]), recorded["notes"]
    dataset = attach.load(config)
    return dataset.info, dataset.notes


def load_data(
    config: config_lib.Config, workdir: run_dir.RunDir, only: Sequence[str]
) -> data_load.Dataset:
    """Reads those splits of a run's data that are needed, and the run's notes on them.

    `only` is that of `data.load.read_data`.

    Raises:
      run_dir.RunError: they hold other images than in the training.
    """
    recorded = workdir.read_json("data.json") or {}
    dataset = attach.load(config, only, recorded.get("facts", {}))
    require_same_images(workdir, dataset)
    return dataclasses.replace(dataset, notes=recorded.get("notes", dataset.notes))


def load_other(
    config: config_lib.Config,
    workdir: run_dir.RunDir,
    only: Sequence[str],
    *,
    data_dir: str,
    blackbox: str = "",
) -> data_load.Dataset:
    """Reads splits of a data set that a run was not trained on, at the run's size.

    Its black box is the run's, or `blackbox`; `only` as of `data.load.read_data`.

    Raises:
      run_dir.RunError: classes, channels or black box are not those of the run.
    """
    trained, _ = data_of(config, workdir)
    root = pathlib.Path(data_dir).expanduser().resolve()
    kind = layouts.dataset_at(root) or config.data.dataset
    changes = {"data": {"data_dir": str(root), "dataset": kind}}
    facts = dataclasses.asdict(trained)
    if blackbox:  # Tells for itself.
        changes["blackbox"], facts = {"path": blackbox, "kind": "auto"}, {}
    if trained.num_blackbox_classes:
        config = attach.as_trained(config, trained.blackbox_output)
    dataset = attach.load(config_lib.change(config, **changes), only, facts)
    for name, words in (
        ("class_names", "classes"),
        ("image_channels", "channels of images"),
        ("num_blackbox_classes", "classes of the black box"),
        ("blackbox_output", "output of the black box"),
    ):
        wanted, found = getattr(trained, name), getattr(dataset.info, name)
        if wanted != found:
            raise run_dir.RunError(
                f"--data_dir: {data_dir}: wanted the {words} that {workdir.path} was "
                f"trained with, {_words(wanted)}, got {_words(found)}"
            )
    seen = _seen(config, workdir, dataset)
    return dataclasses.replace(dataset, notes=[*dataset.notes, *seen])


def _seen(config, workdir, dataset) -> List[str]:
    """Says which images of other data a run was trained on, as far as it recorded."""
    described = workdir.read_json("data.json") or {"splits": {}}
    recorded, selection = described["splits"], described.get("selection", "selection")
    kept, notes = cache.folder(config.data.cache_dir), []
    for name, split in dataset.splits.items():
        found = [
            d[: data_load.DIGEST_LENGTH] for d in cache.digests(split.images, kept)
        ]
        for use, of in (("trained on", "train"), ("selected by", selection)):
            known = set(recorded.get(of, {}).get("digests", ()))
            num = sum(digest in known for digest in found)
            if num:
                words = f"{num} of the {len(found)} images of {name}"
                notes.append(f"{words} are images that the run was {use}")
    return notes


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def require_same_images(workdir: run_dir.RunDir, dataset: data_load.Dataset) -> None:
    """Raises RunError where the splits hold other images than in the training.

    A data set that has grown is split anew: images of the training may be among those
    that are to be reported on.
    """
    recorded = workdir.read_json("data.json") or {"splits": {}}
    for name, split in dataset.splits.items():
        before = recorded["splits"].get(name, {}).get("names", list(split.names))
        if before != list(split.names):
            other = sorted(set(before) ^ set(split.names)) or ["their order"]
            raise run_dir.RunError(
                f"the {name} split is not the one that {workdir.path} was trained with: "
                f"{len(before)} images then, {len(split.names)} now; {other[0]} differs"
            )


def calibration_weights(workdir: run_dir.RunDir) -> pathlib.Path:
    """Returns the checkpoint of F: the selected one, or else that of the last step."""
    best = workdir.read_json(run_dir.BEST_CALIBRATION_FILE)
    if best is not None:
        return workdir.path / best["weights"]
    found = checkpoints.listed(workdir.path / "checkpoints" / "stage1")
    if not found:
        raise run_dir.RunError(f"{workdir.path}: stage 1 has no checkpoint yet")
    return pathlib.Path(found[-1])


def load_sampler(
    config: config_lib.Config,
    dataset_info: info.DatasetInfo,
    workdir: run_dir.RunDir,
    strategy: Optional[tf.distribute.Strategy] = None,
) -> sampler.Sampler:
    """Builds a finished run's sampler with its best weights, on a strategy's replicas.

    Raises:
      run_dir.RunError: the run has no trained networks yet.
    """
    with (strategy or tf.distribute.get_strategy()).scope():
        calibration_net = build.build_calibration_net(config, dataset_info)
        refinement_net = build.build_refinement_net(config, dataset_info)
    if config.calibration_net.kind != "true_distribution":
        weights = tf.train.Checkpoint(net=calibration_net)
        checkpoints.read_weights(weights, calibration_weights(workdir))
    best = workdir.read_json(run_dir.BEST_FILE)
    if best is None:
        raise run_dir.RunError(f"{workdir.path}: stage 2 has no best weights yet")
    weights = tf.train.Checkpoint(net=refinement_net)
    checkpoints.read_weights(weights, workdir.path / best["weights"])
    return build.build_sampler(
        calibration_net,
        refinement_net,
        dataset_info,
        strategy,
        config.evaluation.noise_sampling,
        config.stage2.sample_maps,
    )
