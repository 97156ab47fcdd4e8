"""The report of a run: a run directory in, one self-contained HTML page out."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import List, Optional, Sequence, Tuple

from car_tf.report import context, page, results
from car_tf.report import sections as report_sections
from car_tf.runtime import run_dir
from car_tf.data import io

REPORT_FILE = "report.html"


def write(
    path: pathlib.Path,
    compare: Sequence[str] = (),
    sections: Optional[Sequence[page.Section]] = None,
) -> pathlib.Path:
    """Writes `report.html` into a run directory.

    Args:
      path: the run directory.
      compare: further run directories, and files that `car_tf.score --json` wrote.
      sections: (id, title, HTML) each, in the place of those of a segmentation.

    Returns:
      The report's path.

    Raises:
      run_dir.RunError: a run or a file to compare with cannot be read.
    """
    run = context.read(path)
    others, lines = [], []
    for name in compare:
        other = pathlib.Path(name).expanduser()
        if other.is_file():
            lines.append(_saved_scores(other))
        else:
            others.append(context.read(other))
    target = run.path / REPORT_FILE
    io.write_text(target, render(run, others, lines, sections))
    return target


def _saved_scores(path: pathlib.Path) -> results.Line:
    scores = context.read_json(path)
    if not isinstance(scores, dict) or "ged" not in scores:
        raise run_dir.RunError(
            f"{path}: wanted scores as `car_tf.score --json` writes them"
        )
    line = results.own(path.stem, scores)
    return dataclasses.replace(line, kind="compared")


def render(
    run: context.Run,
    others: Sequence[context.Run] = (),
    lines: Sequence[results.Line] = (),
    sections: Optional[Sequence[page.Section]] = None,
) -> str:
    """Returns a run's report as HTML.

    Args:
      run: the run.
      others: runs to show beside it.
      lines: scores of other samplers.
      sections: in the place of those of a segmentation.
    """
    environment = run.environment or {}
    started = environment.get("started")
    shared = dict(
        eyebrow="Run report" + (f" · begun {started}" if started else ""),
        footer=f"Written by car_tf from the files in {run.path}.",
    )
    tail = [
        ("configuration", "Configuration", report_sections.configuration(run)),
        ("repeat", "Repeat it", report_sections.commands(run, others)),
    ]
    if sections is not None:
        name = run.config["name"]
        return page.page(title=name, lead="", sections=[*sections, *tail], **shared)
    samples = report_sections.pictures(run, ("samples",))
    sections = [
        ("summary", "Summary", _summary(run)),
        ("results", "Results", report_sections.results(run, lines)),
        ("beside", "Side by side", report_sections.side_by_side(run, others)),
        ("samples", "Samples", samples),
        ("proposals", "As proposals", report_sections.proposals(run)),
        ("cases", "Worst and best", report_sections.cases(run)),
        ("calibration", "Calibration", report_sections.calibration(run)),
        ("uncertainty", "Uncertainty", report_sections.uncertainty(run)),
        ("training", "Training", report_sections.training(run)),
        *tail,
    ]
    method, data = results.method(run.config), context.data_title(run)
    return page.page(
        title=f"{method}: {context.without_folders(data)}",
        lead=_lead(run),
        sections=[section for section in sections if section[2]],
        **shared,
    )


def _lead(run: context.Run) -> str:
    words = (
        "A calibration network F gives pixelwise probabilities; a refinement network G "
        "draws whole label maps whose mean is tied to them; a discriminator D makes "
        "each look like a label."
    )
    if run.metrics is None:
        words += " This run has not been evaluated yet."
    return words


def _summary(run: context.Run) -> str:
    notes = (run.metrics or run.data or {}).get("notes", [])
    body = page.notes([*_warnings(run), *map(_sentence, notes)])
    if run.metrics is not None:
        body += page.cards(_headlines(run))
    return body + page.definitions(_dataset_info(run))


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:] + ("" if note.endswith((".", "!")) else ".")


def _warnings(run: context.Run) -> List[str]:
    """Returns what went wrong in training, as far as the logs show it."""
    tail = [line for line in run.logs[2] if "discriminator" in line][-3:]
    blind = tail and all(
        abs(line["discriminator"] - report_sections.CHANCE_LOSS) < 0.02
        and abs(line["real_accuracy"] + line["fake_accuracy"] - 1) < 0.1
        for line in tail
    )
    if not blind:
        return []
    return [
        "The discriminator ended at chance: its loss is 2 ln 2 and it is right half "
        "of the time. Nothing but the noise makes these samples coherent."
    ]


def _headlines(run: context.Run) -> List[Tuple[str, str, str]]:
    metrics = run.metrics
    count = results.count_for(metrics)
    scores = metrics["by_num_samples"][count]
    shown, compared = results.shown, results.compared(metrics)
    beside = "lower is better"
    for line in compared[:1]:
        beside += f"; {line.name}: {shown(line.scores['ged'])}"
    cards = [(shown(scores["ged"]), f"GED, {count} samples", beside)]
    if scores.get("hm_iou") is not None:
        words = "higher is better; samples matched one to one with readers"
        cards.append((shown(scores["hm_iou"]), f"HM-IoU, {count} samples", words))
    ece = metrics["ece"]
    shown_ece = results.NOTHING if ece is None else f"{100 * ece:.1f} %"
    cards.append((shown_ece, "calibration error of F", "ECE over ten bins"))
    offsets = metrics.get("calibration", {}).get("refinement_net", {})
    if offsets.get("mean_flip_offset") is not None:
        value = f"{100 * offsets['mean_flip_offset']:.1f} pts"
        words = f"off on average, {100 * offsets['worst_flip_offset']:.1f} at worst"
        cards.append((value, "flip probabilities of G", words))
    times = {stage: context.seconds(run, stage) for stage in (1, 2)}
    words = ", ".join(
        f"stage {stage} {context.duration(seconds)}"
        for stage, seconds in times.items()
        if seconds
    )
    cards.append((context.duration(sum(times.values())), "training", words))
    return cards


def _dataset_info(run: context.Run) -> List[Tuple[str, str]]:
    config, environment = run.config, run.environment or {}
    dataset_info = [
        ("Configuration", config["name"]),
        ("Data", context.data_title(run)),
    ]
    if run.data is not None:
        sizes = ", ".join(
            f"{name} {split['num_images']}"
            for name, split in run.data["splits"].items()
        )
        dataset_info.append(("Images", sizes))
    if run.metrics is not None:
        metrics = run.metrics
        words = f"{metrics['num_images']} images of {metrics['split']}, "
        words += f"{metrics['num_samples']} samples each"
        if metrics["num_undefined_images"]:
            words += f"; GED undefined for {metrics['num_undefined_images']}"
        dataset_info.append(("Evaluated on", words))
    for stage, net in ((1, "F"), (2, "G and D")):
        if stage == 1 and config["calibration_net"]["kind"] == "true_distribution":
            dataset_info.append(("Stage 1", "none: F is the true distribution"))
            continue
        settings = config[f"stage{stage}"]
        words = f"{net}: {settings['steps']} steps of {settings['batch_size']} images"
        if stage == 2:
            words += f", M = {settings['num_samples']} samples each"
        dataset_info.append((f"Stage {stage}", words))
    best = (run.metrics or {}).get("best")
    if best:
        ged = results.shown(best["ged"])
        words = f"step {best['step']}, GED {ged} on the selection split"
        dataset_info.append(("Weights of G from", words))
    dataset_info.append(("Seed", config["train"]["seed"]))
    if environment:
        dataset_info.append(("Machine", environment["machine"]))
    return dataset_info
