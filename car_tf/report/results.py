"""A run's result beside its baselines and the paper's, as rows for a report."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from car_tf.report import paper_tables

NOTHING = paper_tables.NOTHING
FIRST_COUNT = "16"
# What the numbers of a run are compared with, by the names in `metrics.json`.
ORACLES = {
    "calibration_net": "flip oracle over F's arg-max",
    "blackbox": "flip oracle over the black box",
    "truth": "flip oracle over the true labels",
}
READERS = {
    "argmax": "F's arg-max, always the same",
    "independent": "independent pixels of F",
    "level_sets": "level sets of F",
    "leave_one_out": "three readers against the fourth",
    "readers_drawn": "the readers' own masks, drawn",
}
COLUMNS = {
    "GED": "ged",
    "GED unbiased": "ged_unbiased",
    "HM-IoU": "hm_iou",
    "diversity": "sample_diversity",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """One sampler's scores.

    Attributes:
      name: of the sampler.
      scores: by the names in `metrics.json`.
      kind: `own`, `compared` or `quoted`.
    """

    name: str
    scores: Mapping[str, Any]
    kind: str


def method(config: Mapping[str, Any]) -> str:
    """Names a configuration's method as the paper does.

    Args:
      config: the content of a run's `config.json`.
    """
    stage2 = config["stage2"]
    if stage2["pixel_loss"] == "elbo":
        return f"cVAE-GAN (β={stage2['kl_weight']:g})"
    if stage2["pixel_loss"] == "cross_entropy":
        return "cGAN+Lce"
    if config["refinement_net"].get("noise") == "encoded":
        return "cVAE-GAN+Lcal (β=0)"
    if config["calibration_net"]["kind"] == "true_distribution":
        return "cGAN+Lcal on the true distribution"
    return "cGAN+Lcal"


def count_for(metrics: Mapping[str, Any]) -> str:
    """Returns the number of samples by which runs are compared: 16 where there are."""
    counts = list(metrics["by_num_samples"])
    return FIRST_COUNT if FIRST_COUNT in counts else counts[-1]


def own(name: str, metrics: Mapping[str, Any]) -> Line:
    """Returns a run's scores, or those of a file that `car_tf.score` wrote."""
    if "by_num_samples" not in metrics:
        metrics = {"by_num_samples": {str(metrics["num_samples"]): metrics}}
    return Line(name, metrics["by_num_samples"][count_for(metrics)], "own")


def compared(metrics: Mapping[str, Any]) -> List[Line]:
    """Returns the samplers that a run's evaluation compares it with."""
    lines = [
        Line(words, {"ged": metrics[f"ged_flip_oracle_{name}"]}, "compared")
        for name, words in ORACLES.items()
        if f"ged_flip_oracle_{name}" in metrics
    ]
    readers = dict(metrics.get("readers", {}).get("comparisons", {}))
    if "leave_one_out" in readers:
        # One mask to match has no E d(y, y'): its GED is another quantity.
        readers["leave_one_out"] = {"hm_iou": readers["leave_one_out"]["hm_iou"]}
    lines += [
        Line(words, readers[name], "compared")
        for name, words in READERS.items()
        if name in readers
    ]
    return lines


def quoted(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> List[Line]:
    """Returns the paper's scores under the run's protocol, with 16 samples.

    Of its tables on LIDC that is the first, and the row of the run's own method.
    """
    if "readers" not in metrics:
        return [
            Line(name, {"ged": value}, "quoted")
            for name, value in paper_tables.CITYSCAPES.items()
        ]
    mine = method(config)
    mine = (mine, f"{mine} ({config['stage2']['num_samples']})")
    rows = {row.method: row for row in paper_tables.TABLES["table1"]}
    for table in ("table3", "table4"):
        rows.update(
            {r.method: r for r in paper_tables.TABLES[table] if r.method in mine}
        )
    return [
        Line(name, {"ged": row.paper[0], "hm_iou": row.paper[3]}, "quoted")
        for name, row in rows.items()
        if NOTHING not in (row.paper[0], row.paper[3])
    ]


def shown(value: Any) -> str:
    """Returns a number as text; what is undefined is a dash."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else f"{value:.3f}"


def number(value: Any) -> Optional[float]:
    """Returns the number in a value or in a quotation `mean ± deviation`."""
    if isinstance(value, str):
        head = value.split()[0]
        return None if head == NOTHING else float(head)
    return value


def table_rows(
    lines: Sequence[Line], headings: Mapping[str, str]
) -> Tuple[List[str], List[List[str]], List[int]]:
    """Returns heads, rows and the numbers of own rows, without empty columns.

    Args:
      lines: in order, those of one kind together.
      headings: kind -> heading of its rows, where it has one.
    """
    present = {
        title: name
        for title, name in COLUMNS.items()
        if any(number(line.scores.get(name)) is not None for line in lines)
    }
    rows: List[List[str]] = []
    owned: List[int] = []
    kind = ""
    for line in lines:
        if line.kind != kind and line.kind in headings:
            rows.append([headings[line.kind]])
        kind = line.kind
        if kind == "own":
            owned.append(len(rows))
        values = [shown(line.scores.get(name)) for name in present.values()]
        rows.append([line.name, *values])
    return ["sampler", *present], rows, owned


def bar_items(lines: Sequence[Line]) -> List[Tuple[str, float, str]]:
    """Returns (name, GED, kind) of every line that has one."""
    items = []
    for line in lines:
        value = number(line.scores.get("ged"))
        if value is not None:
            suffix = " (CAR)" if line.kind == "quoted" else ""
            items.append((line.name + suffix, value, line.kind))
    return items


def evaluations(all_metrics: Sequence[Mapping[str, Any]]) -> List[List[str]]:
    """Returns a row for each evaluation of a run: on what, how, and its scores."""
    rows = []
    for metrics in all_metrics:
        noise = metrics.get("noise_sampling", "independent")
        scores = metrics["by_num_samples"][str(metrics["num_samples"])]
        values = [shown(scores.get(name)) for name in COLUMNS.values()]
        where = f"{metrics['num_images']} of {metrics['split']}"
        rows.append([where, str(metrics["num_samples"]), noise, *values])
    return rows


def by_count(metrics: Mapping[str, Any]) -> Tuple[List[str], List[List[str]]]:
    """Returns a table of a run's scores by number of samples."""
    tables: Dict[str, Dict[str, Any]] = metrics["by_num_samples"]
    present = {
        title: name
        for title, name in COLUMNS.items()
        if any(scores.get(name) is not None for scores in tables.values())
    }
    rows = [
        [count, *(shown(scores.get(name)) for name in present.values())]
        for count, scores in tables.items()
    ]
    return ["samples", *present], rows
