"""What stage 2 has changed: a sentence and a figure."""

from typing import Any, Dict, List, Mapping, Optional, Sequence

import matplotlib.figure

from car_tf.report import context, figures


def changes(metrics: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Returns what stage 2 changed: each name, before, after, and a word for it."""
    after = context.own_scores(metrics)
    before = context.baselines(metrics).get("before_stage2", {})
    count, result = context.count_for(metrics), []
    paired = metrics.get("differences", {}).get("before_stage2", {}).get(count, {})
    for key, name, perfect in (
        ("ged", f"GED{count}", 0.0),
        ("hm_iou", "HM-IoU", 1.0),
        ("auc", "realism (judge AUC, 0.5 is perfect)", 0.5),
    ):
        old, new, word = before.get(key), after.get(key), None
        if None not in (old, new):
            change = round(abs(new - perfect), 3) - round(abs(old - perfect), 3)
            word = "no change" if not change else "better" if change < 0 else "worse"
            low, high = (paired.get(key) or {}).get("interval") or (change, change)
            if change and low <= 0 <= high:
                word = "no clear change"
        if new is not None or key == "ged":
            result.append(dict(name=name, before=old, after=new, word=word))
    return result


def verdict(metrics: Mapping[str, Any]) -> Optional[str]:
    """Says what stage 2 has changed, in a sentence; None where it was not measured."""
    if "before_stage2" not in metrics.get("baselines", {}):
        return None
    told = []
    for one in changes(metrics):
        values = one["before"], one["after"]
        shown = ["undefined" if v is None else f"{v:.3f}" for v in values]
        if one["before"] is not None or not told:
            told.append(f"{one['name']} from {' to '.join(shown)}")
    return f"stage 2 changed {', '.join(told)}"


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
