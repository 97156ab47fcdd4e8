"""Tables of a report: of samplers, numbers of samples, classes, and runs side by side."""

import dataclasses
from typing import Any, Dict, Mapping, Optional, Sequence

from car_tf.report import context, paper_tables


@dataclasses.dataclass(frozen=True)
class Line:
    """One sampler's scores by the names in `metrics.json`: own, compared or quoted."""

    name: str
    scores: Mapping[str, Any]
    kind: str = "compared"


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], **more) -> Dict:
    """Returns a table as a block, see `write`, without the empty ones of its columns."""
    full = [row for row in rows if len(row) == len(heads)]
    kept = [i for i in range(len(heads)) if any(row[i] is not None for row in full)]
    rows = [[row[i] for i in kept] if row in full else row for row in rows]
    return {"heads": [heads[i] for i in kept], "rows": rows, **more}


def score_table(lines: Sequence[Line]) -> Dict[str, Any]:
    """Returns a table of samplers, with bars from 0 that show their GED."""
    headings = {
        "compared": "For comparison, on the same images",
        "quoted": "Quoted from the paper, on the same images",
    }
    geds = [line.scores.get("ged") for line in lines]
    # In a quotation, `mean ± deviation`.
    geds = [float(ged.split()[0]) if isinstance(ged, str) else ged for ged in geds]
    longest = max([ged for ged in geds if ged is not None] + [1e-9])
    rows, bars, own, kind = [], [], [], "own"
    for line, ged in zip(lines, geds):
        if line.kind != kind:
            kind = line.kind
            rows.append([headings.get(kind, "")])
            bars.append(None)
        if kind == "own":
            own.append(len(rows))
        rows.append([line.name, *map(line.scores.get, context.COLUMNS.values())])
        bars.append(None if ged is None else round(100 * max(ged, 0) / longest, 1))
    undefined = (
        "this was not measured, or needs what is not there: HM-IoU several raters, the "
        "unbiased GED samples that are independent of each other, an interval the images "
        "of two groups or more."
    )
    heads = ["sampler", *context.COLUMNS]
    return table(heads, rows, own=own, bars=bars, undefined=undefined)


def evaluations(all_metrics: Sequence[Mapping[str, Any]]) -> Optional[Dict]:
    """Returns a row for each evaluation of a run, where there are several."""
    if len(all_metrics) < 2:
        return None
    rows = []
    for metrics in all_metrics:
        scores = context.scores_at(metrics, str(metrics["num_samples"]))
        where = f"{metrics['num_images']} of {metrics['split']}"
        own = all_metrics[0].get("data")
        where += "" if metrics.get("data", own) == own else f" of {metrics['data']}"
        noise = metrics.get("noise_sampling", "independent")
        values = map(scores.get, context.COLUMNS.values())
        rows.append([where, metrics["num_samples"], noise, *values])
    heads = ["images", "samples", "noise", *context.COLUMNS]
    return table(heads, rows, own=[0], undefined="it was not measured.")


def accuracy(run: context.Run) -> Optional[Dict]:
    """Returns IoU of black box, F and G: all classes, but for those of flips."""
    nets = {"blackbox": "black box", "calibration_net": "F"}
    nets["refinement_net"] = "mode of G"
    nets = {n: t for n, t in nets.items() if f"miou_{n}" in run.metrics}
    if not nets:
        return None
    names = run.dataset_info.get("class_names", [])
    flipped = {names[flip["flipped"]] for flip in run.dataset_info.get("flips", [])}
    per_class = [run.metrics[f"iou_per_class_{net}"] for net in nets]
    rows = [
        [title, *(run.metrics[f"{key}_{net}"] for net in nets)]
        for key, title in (("miou", "mIoU"), ("pixel_accuracy", "pixel accuracy"))
    ]
    rows += [
        [name, *(values[name] for values in per_class)]
        for name in per_class[0]
        if name not in flipped
    ]
    undefined = "neither label nor prediction has this class in the evaluated images."
    heads = ["IoU", *nets.values()]
    return {"heads": heads, "rows": rows, "own": [0, 1], "undefined": undefined}


def uncertainty(metrics: Mapping[str, Any]) -> Dict:
    bits = metrics.get("entropy_bits", {})
    mean = metrics.get("g_mean", {})
    rows = [
        ["F", bits.get("probs"), metrics["ece"]],
        ["mean of the samples of G", bits.get("sample_mean"), mean.get("ece")],
        ["one sample of G", bits.get("first_probs"), None],
    ]
    undefined = (
        "no pixel of the evaluated images is labelled, or it was not measured; of one "
        "sample, which claims no probabilities, there is no ECE."
    )
    return table(["", "entropy, bits", "ECE"], rows, undefined=undefined)


def side_by_side(run: context.Run, others: Sequence[context.Run]) -> Optional[Dict]:
    if not others:
        return None
    runs, rows = [run, *others], []
    for other in runs:
        metrics = other.metrics
        scores = {} if metrics is None else context.own_scores(metrics)
        where = metrics and f"{metrics['num_images']} of {metrics['split']}"
        values = [scores.get(name) for name in ("ged", "hm_iou", "auc")]
        time = context.duration(other.seconds(1) + other.seconds(2))
        first = [other.name, paper_tables.method(other.config), where]
        rows.append([*first, *values, metrics and metrics["ece"], time])
    heads = ["run", "method", "evaluated on", "GED", "HM-IoU", "judge AUC"]
    heads += ["ECE of F", "training"]
    undefined = "the run was not evaluated, or not with this score."
    fields = [context.flat(other.config) for other in runs]
    names = list(dict.fromkeys(name for each in fields for name in each))
    changed = [
        [name, *(each.get(name) or None for each in fields)]
        for name in names
        if len({each.get(name) for each in fields}) > 1
    ]
    heads_of_changed = ["field", *(other.name for other in runs)]
    return dict(
        scores=table(heads, rows, own=[0], left=3, undefined=undefined),
        same_data=len({other.title for other in runs}) == 1,
        changed={"heads": heads_of_changed, "rows": changed, "left": len(runs) + 1},
    )
