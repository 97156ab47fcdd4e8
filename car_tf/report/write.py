"""The report of a run: a run directory in, one self-contained HTML page out."""

from __future__ import annotations

import base64
import dataclasses
import pathlib
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import jinja2
import markupsafe

from car_tf.data import io
from car_tf.report import context, figures, paper_tables
from car_tf.runtime import run_dir

REPORT_FILE = "report.html"
TEMPLATES = pathlib.Path(__file__).parent / "templates"
# Anchor, heading and blocks; see `write`.
Section = Tuple[str, str, Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Line:
    """One sampler's scores, by the names in `metrics.json`.

    `kind` is `own`, `compared` or `quoted`.
    """

    name: str
    scores: Mapping[str, Any]
    kind: str = "compared"


def write(
    path: pathlib.Path,
    compare: Sequence[str] = (),
    sections: Optional[Sequence[Section]] = None,
) -> pathlib.Path:
    """Writes `report.html` into a run directory.

    Args:
      path: the run directory.
      compare: further run directories, and files that `car_tf.score --json` wrote.
      sections: (anchor, heading, blocks) to stand in the place of the usual ones. A
        block is a text, or a dict with the keys of one of
        - a table: `heads`, `rows`, and if wanted `own`, rows that stand out, `left`,
          columns of words, and `undefined`, why a cell may be None;
        - facts: `facts`, pairs of name and value;
        - a picture: `picture`, a PNG file, `title` and `caption`;
        - a chart: `chart`, SVG of `figures.svg`, and `caption`.

    Returns:
      The report's path.

    Raises:
      run_dir.RunError: something cannot be read, or the report not be written.
    """
    run = context.read(pathlib.Path(path))
    others, lines = [], []
    for name in compare:
        other = pathlib.Path(name).expanduser()
        if other.is_file():
            lines.append(_saved_scores(other))
        else:
            others.append(context.read(other))
    target = run.path / REPORT_FILE
    page = render(run, others, lines, sections)
    with run_dir.writing(target):
        io.write_text(target, page)
    return target


def _saved_scores(path: pathlib.Path) -> Line:
    scores = context.read_json(path)
    if not isinstance(scores, dict) or "ged" not in scores:
        raise run_dir.RunError(
            f"{path}: wanted scores as `car_tf.score --json` writes them"
        )
    return Line(path.stem, context.scores_at(scores, context.count_for(scores)))


def render(
    run: context.Run,
    others: Sequence[context.Run] = (),
    lines: Sequence[Line] = (),
    sections: Optional[Sequence[Section]] = None,
) -> str:
    """Returns a run's report as HTML.

    Args:
      run: the run.
      others: runs to show beside it.
      lines: scores of other samplers.
      sections: see `write`.
    """
    known = [path for each in (run, *others) for path in context.known_paths(each)]

    def shown(value: Any) -> Any:
        if value is None:
            return "–"
        if isinstance(value, float):
            return f"{value:.3f}"
        if isinstance(value, list) and len(value) == 2:  # An interval.
            return "{:.3f} to {:.3f}".format(*value)
        if isinstance(value, str) and not hasattr(value, "__html__"):
            return context.without_folders(value, known)
        return value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["png"] = _data_uri
    found: Dict[str, Any] = {"sections": sections}
    if sections is None:
        found.update(_training(run), compared=_side_by_side(run, others))
        if run.metrics is not None:
            found.update(_evaluated(run, lines))
    return environment.get_template("report.html.j2").render(
        run=run,
        metrics=run.metrics or {},
        method=paper_tables.method(run.config),
        fields={
            section: list(context.flat({section: content}).items())
            for section, content in run.config.items()
            if isinstance(content, dict)
        },
        commands=context.commands(run, others),
        **found,
    )


def _data_uri(path: pathlib.Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return markupsafe.Markup(f"data:image/png;base64,{content}")


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], **more) -> Dict:
    """Returns a table as a block, see `write`, without the empty ones of its columns."""
    full = [row for row in rows if len(row) == len(heads)]
    kept = [i for i in range(len(heads)) if any(row[i] is not None for row in full)]
    rows = [[row[i] for i in kept] if row in full else row for row in rows]
    return {"heads": [heads[i] for i in kept], "rows": rows, **more}


def _evaluated(run: context.Run, extra: Sequence[Line]) -> Dict[str, Any]:
    """Returns what the page shows of a run's evaluation."""
    metrics = run.metrics
    lines = [
        Line(
            f"this run, {paper_tables.method(run.config)}",
            context.own_scores(metrics),
            "own",
        ),
        *extra,
        *(
            Line(context.BASELINES.get(n, n), s)
            for n, s in context.baselines(metrics).items()
        ),
    ]
    paper = paper_tables.quoted(run.config, metrics["num_images"])
    lines += [Line(f"{name} (CAR)", scores, "quoted") for name, scores in paper]
    by_count = metrics["by_num_samples"]
    counts = table(
        ["samples", *context.COLUMNS],
        [
            [n, *map(scores.get, context.COLUMNS.values())]
            for n, scores in by_count.items()
        ],
        undefined="samples that share their noise are no independent pairs.",
    )
    return dict(
        count=context.count_for(metrics),
        own_scores=context.own_scores(metrics),
        verdict=_verdict(metrics),
        scores=_score_table(lines),
        differences=table(
            ["less the score of", "GED", "95 % of it", "HM-IoU", "95 % of that"],
            context.differences(metrics),
        ),
        counts=counts,
        evaluations=_evaluations([metrics, *run.other_metrics]),
        accuracy=_accuracy(run),
        uncertainty=_uncertainty(metrics),
        calibration=_calibration_charts(run),
        is_quoted=bool(paper),
    )


def _verdict(metrics: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Returns what stage 2 changed: each name, before, after, and a word for it."""
    after = context.own_scores(metrics)
    before = context.baselines(metrics).get("before_stage2", {})
    ged = f"GED{context.count_for(metrics)}"
    distances = (("ged", ged, 0.0), ("auc", "realism (judge AUC, 0.5 is perfect)", 0.5))
    result = []
    for key, name, perfect in distances:
        old, new = before.get(key), after.get(key)
        word = None
        if None not in (old, new):
            change = round(abs(new - perfect), 3) - round(abs(old - perfect), 3)
            word = "no change" if not change else "better" if change < 0 else "worse"
        if new is not None or key == "ged":
            result.append(dict(name=name, before=old, after=new, word=word))
    return result


def _number(value: Any) -> Optional[float]:
    """Returns the number in a value or in a quotation `mean ± deviation`."""
    return float(value.split()[0]) if isinstance(value, str) else value


def _score_table(lines: Sequence[Line]) -> Dict[str, Any]:
    """Returns a table of samplers, with bars from 0 that show their GED."""
    headings = {
        "compared": "For comparison, on the same images",
        "quoted": "Quoted from the paper, on the same images",
    }
    geds = [_number(line.scores.get("ged")) for line in lines]
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
    return table(
        ["sampler", *context.COLUMNS], rows, own=own, bars=bars, undefined=undefined
    )


def _evaluations(all_metrics: Sequence[Mapping[str, Any]]) -> Optional[Dict]:
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


def _accuracy(run: context.Run) -> Optional[Dict]:
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


def _uncertainty(metrics: Mapping[str, Any]) -> Dict:
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


def _calibration_charts(run: context.Run) -> List[Dict[str, Any]]:
    metrics, charts = run.metrics, []
    if "calibration" in metrics:
        names = list(metrics["iou_per_class_calibration_net"])
        figure = figures.calibration_figure(metrics["calibration"], names)
        caption = (
            "How often each class switches to its twin: the true share of images, and "
            "what F and the samples of G give. Undefined: no pixel of the class is "
            "predicted as itself or as its twin."
        )
        charts.append(_chart(figure, "flips", caption))
    if any(entry["num_pixels"] for entry in metrics["reliability"]["bins"]):
        figure = figures.reliability_figure(metrics["reliability"])
        caption = (
            "Of the pixels that F is 80 % sure of, 80 % should be right: bars should end "
            "on the dashed line. Where the gap lies above a bar, F is too sure."
        )
        charts.append(_chart(figure, "reliability", caption))
    return charts


def _chart(figure: Any, name: str, caption: str) -> Dict[str, Any]:
    return {"chart": figures.svg(figure, name, caption), "caption": caption}


def _training(run: context.Run) -> Dict[str, Any]:
    """Returns the curves, the times, and whether D ended at chance."""
    captions = {
        "cross_entropy": "Falls and flattens; the rest is the ambiguity of the data.",
        "losses": "The pixel loss is Lcal (or Lce) and stays small. With D on the dashed "
        "line, 2 ln 2, it tells nothing apart.",
        "accuracy": "Both at one half: D guesses. Both at one: D separates real from "
        "generated perfectly. In between, they learn from each other.",
        "selection": "The lowest point decides which weights of G are kept.",
    }
    curves = [
        _chart(figure, panel, caption)
        for panel, caption in captions.items()
        for figure in [figures.curves_figure(run.logs, [panel])]
        if figure is not None
    ]
    tail = [line for line in run.logs[2] if "discriminator" in line][-3:]
    at_chance = bool(tail) and all(
        abs(line["discriminator"] - figures.CHANCE_LOSS) < 0.02
        and abs(line["real_accuracy"] + line["fake_accuracy"] - 1) < 0.1
        for line in tail
    )
    times = {stage: run.seconds(stage) for stage in (1, 2)}
    words = ", ".join(
        f"stage {stage} {context.duration(seconds)}"
        for stage, seconds in times.items()
        if seconds
    )
    return dict(
        curves=curves,
        at_chance=at_chance,
        time=context.duration(sum(times.values())),
        times=words,
    )


def _side_by_side(run: context.Run, others: Sequence[context.Run]) -> Optional[Dict]:
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
    return dict(
        scores=table(heads, rows, own=[0], left=3, undefined=undefined),
        same_data=len({other.title for other in runs}) == 1,
        changed={
            "heads": ["field", *(other.name for other in runs)],
            "rows": changed,
            "left": len(runs) + 1,
        },
    )
