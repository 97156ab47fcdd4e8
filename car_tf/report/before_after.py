"""What stage 2 has changed: a sentence and a figure."""

from typing import Any, Mapping, Optional, Sequence

import matplotlib.figure

from car_tf.report import figures


def verdict(metrics: Mapping[str, Any]) -> Optional[str]:
    """Says what stage 2 has changed, in a sentence; None where it was not measured."""
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


def _change(before: Optional[float], after: Optional[float]) -> str:
    first, last = (
        "undefined" if value is None else f"{value:.3f}" for value in (before, after)
    )
    return f"from {first} to {last}"


def before_after_figure(
    gallery: Sequence[figures.Shown], num_shown: int = 3
) -> matplotlib.figure.Figure:
    """`num_shown` samples before stage 2 and after it, in pairs of the same noise.

    Beside each image and its first rater.
    """
    titles = ["input", "label"]
    rows = []
    for item in gallery:
        pairs = list(zip(item.before, item.samples))[:num_shown]
        rows.append([item.image, item.labels[0], *(p for pair in pairs for p in pair)])
    for number in range((len(rows[0]) - 2) // 2):
        titles += [f"z {number + 1}, before", f"z {number + 1}, after"]
    return figures._grid(rows, [titles])
