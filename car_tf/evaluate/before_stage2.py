"""G before stage 2, with the same noise: what every result stands beside."""

import pathlib
from typing import Any, Dict, Mapping, Optional

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import info
from car_tf.models import build, sampler
from car_tf.models.keras_api import keras
from car_tf.runtime import checkpoints, run_dir


def initial_sampler(
    config: config_lib.Config,
    dataset_info: info.DatasetInfo,
    model: sampler.Sampler,
    workdir: Optional[pathlib.Path] = None,
) -> sampler.Sampler:
    """Returns a trained sampler with the weights that G had when stage 2 began.

    They are a function of `train.seed`, so that a run need not keep them, but for those
    of another run (`train.init_from`), which `workdir` holds.
    """
    keras.utils.set_random_seed(config.train.seed + 1)  # As `train_refinement` does.
    with (model.strategy or tf.distribute.get_strategy()).scope():
        refinement_net = build.build_refinement_net(config, dataset_info)
    path = workdir and workdir / run_dir.INITIAL_WEIGHTS
    if path and path.with_name(f"{path.name}.index").is_file():
        checkpoints.read_weights(tf.train.Checkpoint(net=refinement_net), path)
    return sampler.Sampler(
        calibration_net=model.calibration_net,
        refinement_net=refinement_net,
        num_blackbox_classes=model.num_blackbox_classes,
        strategy=model.strategy,
        stratified=model.stratified,
        one_hot=model.one_hot,
    )


def scalars(metrics: Mapping[str, Any]) -> Dict[str, float]:
    """Returns what of `metrics.json` belongs beside the scores in TensorBoard."""
    before = metrics.get("baselines", {}).get("before_stage2", {})
    judged = metrics.get("realism") or {}
    found = {
        "ged_before_stage2": before.get("ged"),
        "hm_iou_before_stage2": before.get("hm_iou"),
        "realism_auc": judged.get("auc"),
        "realism_auc_before_stage2": judged.get("before_stage2", {}).get("auc"),
    }
    return {name: value for name, value in found.items() if value is not None}
