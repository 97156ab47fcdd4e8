"""The sections of a run's report, each as HTML; empty where the run lacks its files."""

from __future__ import annotations

import dataclasses
import shlex
from typing import List, Sequence, Tuple

from car_tf.report import charts, context, page
from car_tf.report import results as report_results

# Two losses of D, on real and on generated pairs, of a discriminator that guesses.
CHANCE_LOSS = 1.386


def results(run: context.Run, extra: Sequence[report_results.Line]) -> str:
    if run.metrics is None:
        return page.paragraph(
            "There are no results yet: the command at the end goes on with the run."
        )
    metrics = run.metrics
    count = report_results.count_for(metrics)
    mine = report_results.own(f"this run, {report_results.method(run.config)}", metrics)
    lines = [mine, *extra, *report_results.compared(metrics)]
    paper = report_results.quoted(metrics, run.config)
    heads, rows, own = report_results.table_rows(
        [*lines, *paper],
        {
            "compared": "For comparison, on the same images",
            "quoted": "Quoted from the paper, on its own data",
        },
    )
    words = (
        f"The squared generalised energy distance (GED) with {count} samples says how "
        "far the drawn label maps are from the true distribution of them; 0 is perfect."
    )
    body = page.paragraph(words)
    body += page.bars(report_results.bar_items([*lines, *paper]), "GED")
    body += page.paragraph(
        "Filled bars are measured here. Hollow bars are the paper's, on the full data "
        "sets, and tell what to expect there rather than who is better.",
        "lead",
    )
    body += page.table(heads, rows, own=own)
    if len(metrics["by_num_samples"]) > 1:
        body += "<h3>By number of samples</h3>\n"
        body += page.table(*report_results.by_count(metrics))
    if run.other_metrics:
        body += "<h3>Other evaluations of this run</h3>\n"
        heads = ["images", "samples", "noise", *report_results.COLUMNS]
        rows = report_results.evaluations([metrics, *run.other_metrics])
        body += page.table(heads, rows, own=[0])
    return body


def side_by_side(run: context.Run, others: Sequence[context.Run]) -> str:
    if not others:
        return ""
    runs = [run, *others]
    lines = [
        dataclasses.replace(
            report_results.own(other.name, other.metrics),
            kind="own" if other is run else "compared",
        )
        for other in runs
        if other.metrics is not None
    ]
    body = page.bars(report_results.bar_items(lines), "GED")
    heads = ["run", "method", "evaluated on", "GED", "HM-IoU", "ECE of F", "training"]
    rows = []
    for other in runs:
        cells = [report_results.NOTHING] * 4
        if other.metrics is not None:
            scores = report_results.own(other.name, other.metrics).scores
            shown = report_results.shown
            cells = [
                f"{other.metrics['num_images']} of {other.metrics['split']}",
                shown(scores["ged"]),
                shown(scores.get("hm_iou")),
                shown(other.metrics["ece"]),
            ]
        seconds = context.duration(
            context.seconds(other, 1) + context.seconds(other, 2)
        )
        rows.append([other.name, report_results.method(other.config), *cells, seconds])
    body += page.table(heads, rows, own=[0], num_left=3)
    if len({context.data_title(other) for other in runs}) > 1:
        body += page.notes(
            ["These runs are on different data: their scores do not compare."]
        )
    fields = [context.flat(other.config) for other in runs]
    names = list(dict.fromkeys(name for each in fields for name in each))
    rows = [
        [name, *(each.get(name) or report_results.NOTHING for each in fields)]
        for name in names
        if len({each.get(name) for each in fields}) > 1
    ]
    body += "<h3>Where the configurations differ</h3>\n"
    body += page.table(
        ["field", *(other.name for other in runs)], rows, num_left=len(runs) + 1
    )
    return body


_CAPTIONS = {
    "flips": (
        "Every second line goes with the one above it. Classes that switch have a twin "
        "in another colour: read along a row of samples and see whole objects change "
        "their colour at once. The entropy of F is bright where the answer is open."
    ),
    "readers": (
        "One image per row. Compare the samples on the right with the readers on the "
        "left: they should differ in the same places and to the same extent, and the "
        "mean of G should look like F and like the mean of the readers."
    ),
    "entropies": (
        "Pixels drawn one by one from F are noise; a sample of G should be coherent. In "
        "a good run the mean of the samples is as uncertain as F while one sample is "
        "dark: calibrated and sharp at once. Entropies in bits."
    ),
}


def _protocol(run: context.Run) -> str:
    return "readers" if "readers" in (run.metrics or {}) else "flips"


def pictures(run: context.Run, names: Sequence[str], extra: str = "") -> str:
    titles = {
        "samples": "Samples, evenly spread over the split",
        "worst": "The worst by GED",
        "best": "The best by GED",
        "entropies": "Where the uncertainty goes",
    }
    body = ""
    for name in names:
        if run.figure(name).is_file():
            caption = _CAPTIONS.get(name, _CAPTIONS[_protocol(run)])
            if name in ("worst", "best"):
                cases = run.metrics["cases"][name]
                caption = "From top to bottom: " + ", ".join(
                    f"{case['name']} ({case['ged']:.3f})" for case in cases
                )
            body += page.picture(
                run.figure(name),
                title=titles[name],
                caption=caption + extra,
                least_width=900 if _protocol(run) == "readers" else 760,
            )
    return body


def cases(run: context.Run) -> str:
    if not (run.metrics or {}).get("cases"):
        return ""
    words = (
        "The images of the evaluation on which the samples are farthest from and "
        "nearest to the truth, with their GED in brackets."
    )
    shown = pictures(run, ("worst", "best"))
    return page.paragraph(words) + shown if shown else ""


def proposals(run: context.Run) -> str:
    """What the samples are worth to an annotator, once that has been simulated."""
    if run.proposals is None:
        return ""
    found = run.proposals
    heads, *rows = found["table"]
    words = (
        f"Each of {found['num_targets']} annotators of {found['num_images']} images is "
        f"shown {found['num_samples']} samples, and takes the best one whole or mixes "
        f"them: in up to {found['max_regions']} regions, the variant that suits best. "
        "The bars are the mean IoU with what they wanted; a single guess stands for a "
        "segmenter that answers once."
    )
    bars = [
        (row[0], values["iou"], "own" if name == "mixture" else "compared")
        for row, (name, values) in zip(rows, found["methods"].items())
    ]
    body = page.paragraph(words) + page.bars(bars, "IoU")
    return body + page.table(heads, rows)


def calibration(run: context.Run) -> str:
    if run.metrics is None:
        return ""
    body = ""
    if "calibration" in run.metrics:
        names = list(run.metrics["iou_per_class_calibration_net"])
        nets = run.metrics["calibration"]
        both = zip(
            nets["calibration_net"]["classes"], nets["refinement_net"]["classes"]
        )
        items = [
            (
                f"{names[first['original']]} → {names[first['flipped']]}",
                first["true_probability"],
                first["flip_probability"],
                second["flip_probability"],
            )
            for first, second in both
        ]
        body += page.paragraph(
            "How often each class switches to its twin: the true share of images, and "
            "what F and the samples of G say. A calibrated network is on its tick."
        )
        body += page.dots(items, ("truth", "F", "G"))
    reliability = run.metrics["reliability"]
    if any(entry["num_pixels"] for entry in reliability["bins"]):
        ece = reliability["ece"]
        chart = charts.reliability(
            f"Reliability of F: accuracy, ECE {100 * ece:.2f} %", reliability["bins"]
        )
        caption = (
            "Of the pixels that F is, say, 80 % sure of, 80 % should be right: the "
            "blue bars should end on the dashed line. Orange is the gap: above the "
            "line F is not sure enough, below it too sure."
        )
        body += page.charts([(chart, caption)])
    return body


def uncertainty(run: context.Run) -> str:
    if run.metrics is None:
        return ""
    bits = run.metrics["entropy_bits"]
    titles = {
        "probs": "F",
        "sample_mean": "mean of the samples of G",
        "first_probs": "one sample of G",
    }
    rows = [
        [words, f"{bits[name]:.4f}"] for name, words in titles.items() if name in bits
    ]
    body = pictures(run, ("entropies",))
    if rows:
        body += page.table(["mean over the pixels", "bits"], rows)
    difference = run.metrics.get("sample_mean_difference")
    if difference is not None:
        body += page.paragraph(
            "Mean absolute difference between F and the mean of the samples: "
            f"{difference:.4f}. Lcal drives it to zero."
        )
    return body


def training(run: context.Run) -> str:
    def points(stage: int, name: str) -> List[Tuple[float, float]]:
        return [(p["step"], p[name]) for p in run.logs[stage] if name in p]

    panels = [
        (
            charts.lines(
                "Stage 1: cross entropy of F, nats", {"F": points(1, "cross_entropy")}
            ),
            "Falls and flattens; what remains is the ambiguity of the data.",
        ),
        (
            charts.lines(
                "Stage 2: losses, nats",
                {
                    "pixel loss": points(2, "pixel_loss"),
                    "adversarial": points(2, "adversarial"),
                    "discriminator": points(2, "discriminator"),
                },
                level=CHANCE_LOSS,
            ),
            "The pixel loss is Lcal (or Lce) and stays small. A discriminator on the "
            "dashed line, 2 ln 2, tells nothing apart.",
        ),
        (
            charts.lines(
                "Stage 2: share that D gets right",
                {
                    "real": points(2, "real_accuracy"),
                    "generated": points(2, "fake_accuracy"),
                },
                level=0.5,
                limits=(0.0, 1.0),
            ),
            "Both at one half: D guesses. Both at one: G has given in. In between, "
            "they learn from each other.",
        ),
        (
            charts.lines(
                "Stage 2: GED on the selection split",
                {"GED": points(2, "selection_ged")},
            ),
            "The lowest point decides which weights of G are kept.",
        ),
    ]
    panels = [panel for panel in panels if panel[0]]
    return page.charts(panels) if panels else ""


def configuration(run: context.Run) -> str:
    body = page.paragraph(
        "All fields as they were resolved; each can be given by --set."
    )
    for section, content in run.config.items():
        if isinstance(content, dict):
            fields = context.flat({section: content})
            rows = [
                [name, value or report_results.NOTHING]
                for name, value in fields.items()
            ]
            inner = page.table(["field", "value"], rows, num_left=2)
            body += page.details(section, inner)
    return body


def commands(run: context.Run, others: Sequence[context.Run]) -> str:
    environment = run.environment or {}
    lines = []
    revision = environment.get("git_revision")
    if revision:
        lines.append(f"git checkout {revision}")
    if environment.get("command"):
        lines.append(context.command(environment["command"]))
    path = shlex.quote(str(run.path))
    if run.metrics is not None:
        lines.append(f"python -m car_tf.evaluate --workdir {path}")
    if (run.path / "tensorboard").is_dir():
        lines.append(f"tensorboard --logdir {path}/tensorboard")
    compare = "".join(f" --compare {shlex.quote(str(o.path))}" for o in others)
    lines.append(f"python -m car_tf.report --workdir {path}{compare}")
    body = page.code("\n".join(lines))
    if environment.get("git_changes"):
        body += page.notes(
            ["The code had changes that were not committed when this run was begun."]
        )
    rows = [["Python", environment.get("python", report_results.NOTHING)]]
    rows += [
        [name, version or report_results.NOTHING]
        for name, version in environment.get("packages", {}).items()
    ]
    inner = page.table(["package", "version"], rows, num_left=2)
    return body + page.details("packages", inner)
