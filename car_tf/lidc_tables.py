"""The paper's tables on LIDC: which runs they need, those runs, and their results.

All rows are overrides of one configuration, so that a table compares methods at equal
size and training. Runs lie side by side in one folder, named by method and seed, and
the tables share them; the calibration network of a seed is trained once for all.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import pathlib
import shutil
import statistics
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import keras

from car_tf import config as config_lib
from car_tf import train_lib
from car_tf import workdir as workdir_lib
from car_tf.data import cache

METRICS_FILE = "metrics.json"
# Column -> (number of samples, name in the metrics).
COLUMNS = {
    "GED 16": ("16", "ged"),
    "GED 50": ("50", "ged"),
    "GED 100": ("100", "ged"),
    "HM-IoU 16": ("16", "hm_iou"),
    "diversity 16": ("16", "sample_diversity"),
}
PAPER_COLUMNS = ("GED 16", "GED 50", "GED 100", "HM-IoU 16")
NOTHING = "—"


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
      method: as the paper calls it.
      key: names the runs; empty for results that are quoted alone.
      overrides: what the method changes.
      paper: the paper's values in `PAPER_COLUMNS`.
    """

    method: str
    key: str
    overrides: Tuple[str, ...]
    paper: Tuple[str, ...]


def _calibrated(num_samples: int, *paper: str) -> Row:
    return Row(
        f"cGAN+Lcal ({num_samples})",
        f"lcal-{num_samples}",
        (f"stage2.num_samples={num_samples}",),
        paper,
    )


def _elbo(beta: str, *paper: str) -> Row:
    return Row(
        f"cVAE-GAN (β={beta})",
        f"elbo-{beta}",
        ("stage2.pixel_loss=elbo", f"stage2.kl_weight={beta}"),
        paper,
    )


def _quoted(method: str, *paper: str) -> Row:
    return Row(method, "", (), paper)


_LCE = Row(
    "cGAN+Lce",
    "lce",
    ("stage2.pixel_loss=cross_entropy",),
    ("0.639 ± 0.002", NOTHING, NOTHING, "0.477 ± 0.004"),
)
_LCAL = _calibrated(
    20, "0.264 ± 0.002", "0.248 ± 0.004", "0.243 ± 0.004", "0.592 ± 0.005"
)
_CVAE = Row(
    "cVAE-GAN+Lcal (β=0)",
    "cvae-lcal",
    ("refinement_net.noise=encoded",),
    ("0.272 ± 0.006", "0.252 ± 0.006", "0.246 ± 0.006", "0.593 ± 0.003"),
)
TABLES: Dict[str, Tuple[Row, ...]] = {
    "table1": (
        _quoted(
            "Kohl et al. (2018)", "0.320 ± 0.030", NOTHING, "0.252", "0.500 ± 0.030"
        ),
        _quoted(
            "Kohl et al. (2019)", "0.270 ± 0.010", NOTHING, NOTHING, "0.530 ± 0.010"
        ),
        _quoted("Hu et al. (2019)", NOTHING, "0.267 ± 0.012", NOTHING, NOTHING),
        _quoted("Baumgartner et al. (2019)", NOTHING, NOTHING, "0.224", NOTHING),
        _LCE,
        _LCAL,
    ),
    "table3": (
        _calibrated(
            1, "0.644 ± 0.033", "0.643 ± 0.033", "0.643 ± 0.033", "0.494 ± 0.013"
        ),
        _calibrated(
            5, "0.278 ± 0.000", "0.257 ± 0.002", "0.252 ± 0.001", "0.585 ± 0.003"
        ),
        _calibrated(
            10, "0.277 ± 0.003", "0.257 ± 0.003", "0.250 ± 0.003", "0.589 ± 0.007"
        ),
        _calibrated(
            15, "0.271 ± 0.002", "0.250 ± 0.001", "0.245 ± 0.003", "0.593 ± 0.002"
        ),
        _LCAL,
    ),
    "table4": (
        _LCE,
        _LCAL,
        _elbo("0.1", "0.577 ± 0.095", NOTHING, NOTHING, "0.484 ± 0.006"),
        _elbo("1", "0.596 ± 0.078", NOTHING, NOTHING, "0.474 ± 0.005"),
        _elbo("10", "0.609 ± 0.061", NOTHING, NOTHING, "0.482 ± 0.010"),
        _CVAE,
    ),
}


def scaled(config: config_lib.Config, steps: float, width: float) -> config_lib.Config:
    """Multiplies the steps of both stages and the channels of all networks."""

    def part(section: Any, name: str, factor: float) -> Any:
        value = max(1, round(factor * getattr(section, name)))
        return dataclasses.replace(section, **{name: value})

    return dataclasses.replace(
        config,
        stage1=part(config.stage1, "steps", steps),
        stage2=part(config.stage2, "steps", steps),
        calibration_net=part(config.calibration_net, "channels", width),
        refinement_net=part(config.refinement_net, "base_channels", width),
        discriminator=part(config.discriminator, "base_channels", width),
    )


def run(
    table: str,
    base: config_lib.Config,
    *,
    num_seeds: int,
    output: pathlib.Path,
    say: Callable[[str], None] = print,
) -> Dict[str, Any]:
    """Makes the runs of a table that are not finished yet, and writes the table.

    Args:
      table: of `TABLES`.
      base: the configuration that all rows override.
      num_seeds: runs per row, with the seeds from the configuration's on.
      output: folder of the runs; `<table>.md` and `<table>.json` are written to it
        after every run.
      say: takes lines for people.

    Returns:
      What the JSON file holds.
    """
    rows = TABLES[table]
    seeds = range(base.train.seed, base.train.seed + num_seeds)
    # Seed by seed, so that an interrupted table has all its rows early.
    jobs = [(row, seed) for seed in seeds for row in rows if row.key]
    for number, (row, seed) in enumerate(jobs, 1):
        folder = output / f"{row.key}-seed{seed}"
        if not (folder / METRICS_FILE).is_file():
            say(f"{table}: run {number} of {len(jobs)}, {row.method}, seed {seed}")
            _train(base, row, seed, folder, say)
        write(table, output, seeds)
    result, text = write(table, output, seeds)
    say(text)
    return result


def _train(
    base: config_lib.Config,
    row: Row,
    seed: int,
    folder: pathlib.Path,
    say: Callable[[str], None],
) -> None:
    overrides = [*row.overrides, f"train.seed={seed}"]
    config = config_lib.override(base, overrides)
    _take_calibration_net(config, folder, say)
    workdir = workdir_lib.RunDir(str(folder), config)
    try:
        train_lib.run(config, workdir, say=say)
    finally:
        workdir.close()
        _forget_graphs()


def _forget_graphs() -> None:
    """Frees what a run leaves behind: its graphs, with the data in them."""
    keras.backend.clear_session()
    gc.collect()


def _take_calibration_net(
    config: config_lib.Config, folder: pathlib.Path, say: Callable[[str], None]
) -> None:
    """Copies stage 1 of a finished run that trained the same F, if there is one."""
    stage = pathlib.Path("checkpoints") / "stage1"
    if (folder / stage).is_dir():
        return
    for other in sorted(folder.parent.glob(f"*-seed{config.train.seed}")):
        if not (other / METRICS_FILE).is_file() or not (other / stage).is_dir():
            continue
        theirs = workdir_lib.saved_config(str(other))
        sections = ("data", "blackbox", "calibration_net", "stage1")
        if any(getattr(theirs, name) != getattr(config, name) for name in sections):
            continue
        with cache.atomic_folder(folder / stage) as work:
            shutil.copytree(other / stage, work, dirs_exist_ok=True)
        shutil.copy(other / "stage1_log.jsonl", folder)
        say(f"stage 1: taken from {other.name}, which trained the same network")
        return


def write(
    table: str, output: pathlib.Path, seeds: Sequence[int]
) -> Tuple[Dict[str, Any], str]:
    """Writes a table of the runs that are finished, as JSON and Markdown.

    Args:
      table: of `TABLES`.
      output: folder of the runs and of the files.
      seeds: of the runs that count.

    Returns:
      The JSON file's content and the Markdown text.
    """
    rows, comparisons, notes = [], {}, set()
    for row in TABLES[table]:
        runs = []
        for seed in seeds if row.key else ():
            path = output / f"{row.key}-seed{seed}" / METRICS_FILE
            if path.is_file():
                metrics = json.loads(path.read_text(encoding="utf-8"))
                runs.append({"seed": seed, "values": _values(metrics)})
                notes.add(metrics["data"])
                for name, scores in metrics["readers"]["comparisons"].items():
                    comparisons.setdefault(name, {})[seed] = scores
        rows.append(
            {
                "method": row.method,
                "runs": runs,
                "summary": _summaries([each["values"] for each in runs]),
                "paper": dict(zip(PAPER_COLUMNS, row.paper)),
            }
        )
    result = {
        "table": table,
        "data": sorted(notes),
        "rows": rows,
        "comparisons": {
            name: _summaries(list(scores.values()))
            for name, scores in comparisons.items()
        },
    }
    text = markdown(result)
    cache.write_text(output / f"{table}.json", json.dumps(result, indent=2) + "\n")
    cache.write_text(output / f"{table}.md", text)
    return result, text


def _values(metrics: Dict[str, Any]) -> Dict[str, Optional[float]]:
    """One run's value in every column; None where it drew too few samples."""
    by_count = metrics["by_num_samples"]
    return {
        column: by_count.get(count, {}).get(name)
        for column, (count, name) in COLUMNS.items()
    }


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


def _shown(summary: Optional[Dict[str, float]]) -> str:
    if not summary:
        return NOTHING
    spread = "" if summary["std"] is None else f" ± {summary['std']:.3f}"
    return f"{summary['mean']:.3f}{spread}"


def markdown(result: Dict[str, Any]) -> str:
    """Returns a table as Markdown, the paper's values beside ours.

    Args:
      result: what `write` returns.
    """
    heads = ["method", "runs", *COLUMNS]
    heads += [f"{column} (CAR)" for column in PAPER_COLUMNS]
    lines = [heads, ["---"] * len(heads)]
    for row in result["rows"]:
        ours = [_shown(row["summary"].get(column)) for column in COLUMNS]
        paper = [row["paper"][column] for column in PAPER_COLUMNS]
        runs = str(len(row["runs"])) if row["runs"] else NOTHING
        lines.append([row["method"], runs, *ours, *paper])
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    for name, scores in result["comparisons"].items():
        text += (
            f"\n{'' if text.endswith('.') else chr(10)}"
            f"- {name.replace('_', ' ')}: GED 16 {_shown(scores['ged'])}, "
            f"HM-IoU 16 {_shown(scores['hm_iou'])}."
        )
    where = "; ".join(result["data"]) or "no run is finished yet"
    return f"{result['table']}, on {where}\n\n{text}\n"
