"""What stage 2 has changed: G before it with the same noise, and a sentence on both."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

import keras
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import info
from car_tf.models import build, sampler


def initial_sampler(
    config: config_lib.Config, dataset_info: info.DatasetInfo, model: sampler.Sampler
) -> sampler.Sampler:
    """Returns a trained sampler with the weights that G had when stage 2 began.

    They are a function of `train.seed`, so that a run need not keep them.

    Args:
      config: of the run.
      dataset_info: of its data set.
      model: the trained sampler, whose F is taken and whose kind of noise.
    """
    keras.utils.set_random_seed(config.train.seed + 1)  # As `train_refinement` does.
    with (model.strategy or tf.distribute.get_strategy()).scope():
        refinement_net = build.build_refinement_net(config, dataset_info)
    return sampler.Sampler(
        calibration_net=model.calibration_net,
        refinement_net=refinement_net,
        num_blackbox_classes=model.num_blackbox_classes,
        strategy=model.strategy,
        stratified=model.stratified,
    )


def verdict(metrics: Mapping[str, Any]) -> Optional[str]:
    """Says what stage 2 has changed, in a sentence.

    Args:
      metrics: of `metrics.json`.

    Returns:
      Such as `stage 2 changed GED16 from 0.174 to 0.171, realism (AUC of a judge,
      0.5 is the best) from 0.980 to 0.750`; None where it was not measured.
    """
    before = metrics.get("baselines", {}).get("before_stage2")
    if before is None:
        return None
    # The smallest number of samples is what the field compares.
    count, scores = list(before["by_num_samples"].items())[0]
    after = metrics["by_num_samples"][count]
    changes = [f"GED{count} {_change(scores['ged'], after['ged'])}"]
    if "hm_iou" in after:
        changes.append(f"HM-IoU {_change(scores['hm_iou'], after['hm_iou'])}")
    judged = metrics.get("realism") or {}
    if "before_stage2" in judged:
        change = _change(judged["before_stage2"]["auc"], judged["auc"])
        changes.append(f"realism (AUC of a fresh judge, 0.5 is the best) {change}")
    return f"stage 2 changed {', '.join(changes)}"


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


def _change(before: Optional[float], after: Optional[float]) -> str:
    first, last = (
        "undefined" if value is None else f"{value:.3f}" for value in (before, after)
    )
    return f"from {first} to {last}"
