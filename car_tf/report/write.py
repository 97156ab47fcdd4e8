"""The report of a run: a run directory in, one self-contained HTML page out."""

import base64
import pathlib
from typing import Any, Dict, List, Optional, Sequence, Tuple

import jinja2
import markupsafe

from car_tf.data import io
from car_tf.report import before_after, context, figures, paper_tables, tables
from car_tf.runtime import run_dir

REPORT_FILE = "report.html"
TEMPLATES = pathlib.Path(__file__).parent / "templates"
# Anchor, heading and blocks; see `write`.
Section = Tuple[str, str, Sequence[Any]]


def write(
    path: pathlib.Path,
    compare: Sequence[str] = (),
    sections: Optional[Sequence[Section]] = None,
) -> pathlib.Path:
    """Writes `report.html` into a run directory.

    Args:
      compare: further run directories, and files that `car_tf.score --json` wrote.
      sections: (anchor, heading, blocks) to stand in the place of the usual ones. A
        block is a text, or a dict with the keys of one of
        - a table: `heads`, `rows`, and if wanted `own`, rows that stand out, `left`,
          columns of words, and `undefined`, why a cell may be None;
        - facts: `facts`, pairs of name and value;
        - a picture: `picture`, a PNG file, `title` and `caption`;
        - a chart: `chart`, SVG of `figures.svg`, and `caption`.
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


def _saved_scores(path: pathlib.Path) -> tables.Line:
    scores = run_dir.read_json(path)
    if not isinstance(scores, dict) or "ged" not in scores:
        raise run_dir.RunError(
            f"{path}: wanted scores as `car_tf.score --json` writes them"
        )
    return tables.Line(path.stem, context.scores_at(scores, context.count_for(scores)))


def render(
    run: context.Run,
    others: Sequence[context.Run] = (),
    lines: Sequence[tables.Line] = (),
    sections: Optional[Sequence[Section]] = None,
) -> str:
    """Returns a run's report as HTML, with other runs beside it."""
    known = [path for each in (run, *others) for path in context.known_paths(each)]

    def shown(value: Any) -> Any:
        if value is None:
            return "–"
        if isinstance(value, float):
            return f"{round(value, 3) + 0.0:.3f}"  # Not -0.000.
        if isinstance(value, list) and len(value) == 2:  # An interval.
            return " to ".join(map(shown, map(float, value)))
        if isinstance(value, str) and not hasattr(value, "__html__"):
            return io.without_folders(value, known)
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
        found.update(_training(run), compared=tables.side_by_side(run, others))
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


def _evaluated(run: context.Run, extra: Sequence[tables.Line]) -> Dict[str, Any]:
    """Returns what the page shows of a run's evaluation."""
    metrics, columns = run.metrics, context.COLUMNS
    own = context.own_scores(metrics)
    lines = [tables.Line(f"this run, {paper_tables.method(run.config)}", own, "own")]
    lines += extra
    for name, scores in context.baselines(metrics).items():
        lines.append(tables.Line(context.BASELINES.get(name, name), scores))
    paper = paper_tables.quoted(run.config, metrics["num_images"])
    lines += [tables.Line(f"{name} (CAR)", scores, "quoted") for name, scores in paper]
    by_count = metrics["by_num_samples"].items()
    counts = tables.table(
        ["samples", *columns],
        [[n, *map(scores.get, columns.values())] for n, scores in by_count],
        undefined="samples that share their noise are no independent pairs.",
    )
    return dict(
        count=context.count_for(metrics),
        own_scores=own,
        verdict=before_after.changes(metrics),
        scores=tables.score_table(lines),
        differences=tables.table(
            ["less the score of", "GED", "95 % of it", "HM-IoU", "95 % of that"],
            context.differences(metrics),
        ),
        counts=counts,
        evaluations=tables.evaluations([metrics, *run.other_metrics]),
        accuracy=tables.accuracy(run),
        uncertainty=tables.uncertainty(metrics),
        calibration=_calibration_charts(run),
        is_quoted=bool(paper),
    )


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
    whose = {
        "F": metrics["reliability"],
        "the mean of G": metrics.get("g_mean", {}).get("reliability", {"bins": []}),
    }
    for number, (name, reliability) in enumerate(whose.items()):
        if any(entry["num_pixels"] for entry in reliability["bins"]):
            figure = figures.reliability_figure(reliability, name)
            caption = (
                f"Of the pixels that {name} is 80 % sure of, 80 % should be right: bars "
                "should end on the dashed line. Where the gap lies above a bar, it is "
                "too sure."
            )
            charts.append(_chart(figure, f"reliability{number}", caption))
    return charts


def _chart(figure: Any, name: str, caption: str) -> Dict[str, Any]:
    return {"chart": figures.svg(figure, name, caption), "caption": caption}


def _training(run: context.Run) -> Dict[str, Any]:
    """Returns the curves, the times, and whether D ended at chance."""
    captions = {
        "cross_entropy": "Falls and flattens; the rest is the ambiguity of the data.",
        "losses": "The pixel loss is Lcal (or Lce) and stays small. With D on the dashed "
        "line, 2 ln 2, it cannot tell real from generated.",
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
    words = [f"stage {s} {context.duration(time)}" for s, time in times.items() if time]
    return dict(
        curves=curves,
        at_chance=at_chance,
        time=context.duration(sum(times.values())),
        times=", ".join(words),
    )
