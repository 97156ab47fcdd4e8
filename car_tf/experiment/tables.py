"""The paper's tables on LIDC: which runs they need, those runs, and their results.

All rows are overrides of one configuration, so that a table compares methods at equal
size and training. Runs lie side by side in one folder, named by method and seed, and
the tables share them; the calibration network of a seed is trained once for all.
"""

import gc
import json
import pathlib
import shutil
import statistics
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.data import io
from car_tf.experiment import intervals
from car_tf.models.keras_api import keras
from car_tf.report import paper_tables
from car_tf.report import write as report_write
from car_tf.runtime import run_dir
from car_tf.train import run as train_run

METRICS_FILE = "metrics.json"
DATA_FILE = "data.json"
# Column -> (number of samples, name in the metrics).
COLUMNS = {
    "GED 16": ("16", "ged"),
    "GED 50": ("50", "ged"),
    "GED 100": ("100", "ged"),
    "HM-IoU 16": ("16", "hm_iou"),
    "diversity 16": ("16", "sample_diversity"),
}


def scaled(config: config_lib.Config, steps: float, width: float) -> config_lib.Config:
    """Multiplies the steps of both stages and the channels of all networks."""

    def part(section: str, name: str, factor: float) -> Dict[str, int]:
        value = getattr(getattr(config, section), name)
        return {name: max(1, round(factor * value))}

    return config_lib.change(
        config,
        stage1=part("stage1", "steps", steps),
        stage2=part("stage2", "steps", steps),
        calibration_net=part("calibration_net", "channels", width),
        refinement_net=part("refinement_net", "base_channels", width),
        discriminator=part("discriminator", "base_channels", width),
    )


def run(
    table: str,
    base: config_lib.Config,
    *,
    num_seeds: int,
    output: pathlib.Path,
    log: Callable[[str], None] = print,
) -> Dict[str, Any]:
    """Makes the runs of a table that are not finished yet, and writes the table.

    Args:
      base: the configuration that all rows override.
      num_seeds: runs per row, with the seeds from the configuration's on.
      output: folder of the runs; gets `<table>.md` and `<table>.json` after every run, of
        all finished runs there, so that others can run beside these or be added later.

    Raises:
      run_dir.RunError: a run there has another configuration, or other data.
    """
    rows = paper_tables.TABLES[table]
    seeds = range(base.train.seed, base.train.seed + num_seeds)
    # Seed by seed, so that an interrupted table has all its rows early.
    jobs = [
        (f"{row.method}, seed {seed}", _config(base, row, seed), output / name)
        for seed in seeds
        for row in rows
        if row.key and (name := f"{row.key}-seed{seed}")
    ]
    for _, config, folder in jobs:
        if (folder / "config.json").is_file():
            run_dir.require_same(folder, config, "--output")
    result, text = write(table, base, output)
    for number, (words, config, folder) in enumerate(jobs, 1):
        # Asked here, since another command may have finished it meanwhile.
        if not _is_finished(folder):
            log(f"{table}: run {number} of {len(jobs)}, {words}")
            _train(config, folder, log)
            result, text = write(table, base, output)
    log(text)
    return result


def _config(base: config_lib.Config, row: paper_tables.Row, seed: int):
    return fields.override(base, [*row.overrides, f"train.seed={seed}"])


def _is_finished(folder: pathlib.Path) -> bool:
    # The report is the last that a run writes.
    names = (METRICS_FILE, report_write.REPORT_FILE)
    return all((folder / name).is_file() for name in names)


def _train(
    config: config_lib.Config, folder: pathlib.Path, log: Callable[[str], None]
) -> None:
    workdir = run_dir.RunDir(str(folder), config)
    try:
        _take_data_record(config, workdir)
        _take_calibration_net(config, folder, log)
        train_run.run(config, workdir, log=log)
    finally:
        workdir.close()
        _forget_graphs()


def _forget_graphs() -> None:
    """Frees what a run leaves behind: its graphs, with the data in them."""
    keras.backend.clear_session()
    gc.collect()


def _like(config, folder, sections, names="*-seed*") -> Iterator[pathlib.Path]:
    """Yields the finished runs beside a folder that have the same sections."""
    for other in sorted(folder.parent.glob(names)):
        if other != folder and _is_finished(other):
            try:
                theirs = run_dir.saved_config(str(other))
            except run_dir.RunError:
                continue  # Of another version; it counts in no table.
            if all(getattr(theirs, s) == getattr(config, s) for s in sections):
                yield other


def _take_data_record(config: config_lib.Config, workdir: run_dir.RunDir) -> None:
    """Copies what another run recorded of the data, which a run's start holds it to."""
    if workdir.read_json(DATA_FILE) is not None:
        return
    for other in _like(config, workdir.path, ("data", "blackbox")):
        record = run_dir.read_json(other / DATA_FILE)
        if record is not None:
            workdir.write_json(DATA_FILE, record)
            return


def _take_calibration_net(
    config: config_lib.Config, folder: pathlib.Path, log: Callable[[str], None]
) -> None:
    """Copies stage 1 of a finished run that trained the same F, if there is one."""
    stage = pathlib.Path("checkpoints") / "stage1"
    if (folder / stage).is_dir():
        return
    sections = ("data", "blackbox", "calibration_net", "stage1")
    for other in _like(config, folder, sections, f"*-seed{config.train.seed}"):
        if not (other / stage).is_dir():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        # Last the checkpoints, by which the next start sees that all is there.
        shutil.copy(other / "stage1_log.jsonl", folder)
        with io.atomic_folder(folder / stage) as work:
            shutil.copytree(other / stage, work, dirs_exist_ok=True)
        log(f"stage 1: taken from {other.name}, which trained the same network")
        return


def _finished_runs(
    base: config_lib.Config, row: paper_tables.Row, output: pathlib.Path
) -> Tuple[Dict[int, Dict[str, Any]], List[str]]:
    """Returns the metrics of a row's finished runs by seed, and what does not count."""
    runs, left_out = {}, []
    for folder in sorted(output.glob(f"{row.key}-seed*")) if row.key else ():
        seed = folder.name[len(f"{row.key}-seed") :]
        if not seed.isdecimal() or str(int(seed)) != seed or not _is_finished(folder):
            continue
        try:
            changed = fields.differences(
                run_dir.saved_config(str(folder)), _config(base, row, int(seed))
            )
            metrics = run_dir.read_json(folder / METRICS_FILE)
        except (run_dir.RunError, config_lib.ConfigError) as error:
            changed = [str(error)]
        if changed:
            left_out.append(f"{folder.name} ({'; '.join(changed)})")
        else:
            runs[int(seed)] = metrics
    return dict(sorted(runs.items())), left_out


def write(
    table: str, base: config_lib.Config, output: pathlib.Path
) -> Tuple[Dict[str, Any], str]:
    """Writes a table of the runs that are finished; returns its JSON and Markdown."""
    rows, comparisons, notes, left_out, all_runs = [], {}, set(), [], {}
    for row in paper_tables.TABLES[table]:
        runs = []
        finished, others = _finished_runs(base, row, output)
        left_out += others
        all_runs[row.method] = list(finished.values())
        for seed, metrics in finished.items():
            by_count = metrics["by_num_samples"]
            # None where it drew too few samples.
            values = {
                column: by_count.get(count, {}).get(name)
                for column, (count, name) in COLUMNS.items()
            }
            runs.append({"seed": seed, "values": values})
            notes.add(metrics["data"])
            # Runs of before say readers.
            raters = metrics.get("raters") or metrics["readers"]
            for name, scores in raters["comparisons"].items():
                comparisons.setdefault(name, {})[seed] = scores
        rows.append(
            {
                "method": row.method,
                "runs": runs,
                "summary": _summaries([each["values"] for each in runs]),
                "paper": dict(zip(paper_tables.PAPER_COLUMNS, row.paper)),
            }
        )
    per_image, reference = intervals.Rows(all_runs), paper_tables.LCAL.method
    for row in rows:
        row["intervals"] = per_image.of(row["method"])
        if row["method"] != reference:
            row["difference"] = per_image.differences(row["method"], reference)
    result = {
        "table": table,
        "reference": reference,
        "num_groups": per_image.num_groups,
        "data": sorted(notes),
        "left_out": left_out,
        "rows": rows,
        "comparisons": {
            name: _summaries(list(scores.values()))
            for name, scores in comparisons.items()
        },
    }
    text = markdown(result)
    io.write_text(output / f"{table}.json", json.dumps(result, indent=2) + "\n")
    io.write_text(output / f"{table}.md", text)
    return result, text


def _summaries(
    runs: List[Dict[str, Optional[float]]],
) -> Dict[str, Optional[Dict[str, float]]]:
    """Mean, sample standard deviation and number of runs, per column."""
    summaries: Dict[str, Optional[Dict[str, float]]] = {}
    for column in runs[0] if runs else ():
        values = [run[column] for run in runs if run[column] is not None]
        if not values:
            summaries[column] = None
            continue
        summaries[column] = {
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "num_runs": len(values),
        }
    return summaries


def _shown(
    summary: Optional[Dict[str, float]], interval: Optional[Sequence[float]] = None
) -> str:
    if not summary:
        return paper_tables.NOTHING
    spread = "" if summary["std"] is None else f" ± {summary['std']:.3f}"
    within = "" if interval is None else " [{:.3f}, {:.3f}]".format(*interval)
    return f"{summary['mean']:.3f}{spread}{within}"


def _differences(result: Dict[str, Any]) -> List[str]:
    """Returns what rows differ by from the reference, and over what, as remarks."""
    remarks = []
    for row in result["rows"]:
        changes = [
            f"{column} {change['mean']:+.3f} [{{:.3f}}, {{:.3f}}]".format(
                *change["interval"]
            )
            for column, change in row.get("difference", {}).items()
            if change and change["interval"]
        ]
        if changes:
            start = f"- {row['method']} less {result['reference']}, image by image: "
            remarks.append(f"{start}{', '.join(changes)}.")
    if any(any(row["intervals"].values()) for row in result["rows"]):
        words = f"over {result['num_groups']} groups of images (patients)"
        remarks.append(f"- in brackets: 95 % intervals {words}.")
    return remarks


def markdown(result: Dict[str, Any]) -> str:
    """Returns a table as Markdown, the paper's values beside ours."""
    heads = ["method", "runs", *COLUMNS]
    heads += [f"{column} (CAR)" for column in paper_tables.PAPER_COLUMNS]
    lines = [heads, ["---"] * len(heads)]
    for row in result["rows"]:
        ours = [
            _shown(row["summary"].get(column), row["intervals"].get(column))
            for column in COLUMNS
        ]
        paper = [row["paper"][column] for column in paper_tables.PAPER_COLUMNS]
        runs = str(len(row["runs"])) if row["runs"] else paper_tables.NOTHING
        lines.append([row["method"], runs, *ours, *paper])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    remarks = [
        f"- {name.replace('_', ' ')}: GED 16 {_shown(scores['ged'])}, "
        f"HM-IoU 16 {_shown(scores['hm_iou'])}."
        for name, scores in result["comparisons"].items()
    ]
    remarks += _differences(result)
    remarks += [f"- not counted: {name}." for name in result["left_out"]]
    text = "\n".join([text, "", *remarks] if remarks else [text])
    where = "; ".join(result["data"]) or "no run is finished yet"
    return f"{result['table']}, on {where}\n\n{text}\n"
