"""What a run directory holds, read for its report."""

import dataclasses
import pathlib
import shlex
from typing import Any, Dict, List, Mapping, Optional, Sequence

from car_tf.data import io
from car_tf.runtime import run_dir

FIRST_COUNT = "16"
COLUMNS = {
    "GED": "ged",
    "95 % of GED": "ged_interval",
    "GED unbiased": "ged_unbiased",
    "HM-IoU": "hm_iou",
    "95 % of HM-IoU": "hm_iou_interval",
    "diversity": "sample_diversity",
    "judge AUC": "auc",
}
# What a run is compared with, by the names in `metrics.json`.
BASELINES = {
    "before_stage2": "G before stage 2",
    "f_argmax": "F's arg-max as a constant sampler",
    "f_pixels": "independent pixels of F",
    "level_sets": "level sets of F",
    "fitted_level_sets": "level sets of F at cuts fitted on the selection split",
    "gumbel_draws": "F with one Gumbel variable per class",
    "flip_oracle": "flip oracle over F's arg-max",
    "flip_oracle_blackbox": "flip oracle over the black box",
    "flip_oracle_truth": "flip oracle over the true labels",
    "leave_one_out": "all raters but one against that one",
    "raters_sampled": "the raters' own masks, sampled",
    "labels_against_labels": "labels against labels",
}
# Names of evaluations before `baselines`.
_OLD_NAMES = {
    "argmax": "f_argmax",
    "independent": "f_pixels",
    "readers_drawn": "raters_sampled",
    "readers_sampled": "raters_sampled",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds; None for files that are not there (yet)."""

    path: pathlib.Path  # of the directory
    config: Dict[str, Any]  # of `config.json`
    metrics: Optional[Dict[str, Any]]  # of `metrics.json`
    other_metrics: List[Dict[str, Any]]  # of further evaluations, `metrics_*.json`
    environment: Dict[str, Any]  # of `environment.json`; empty where it is not there
    data: Optional[Dict[str, Any]]  # of `data.json`
    proposals: Optional[Dict[str, Any]]  # of `proposals.json`
    logs: Dict[int, List[Dict[str, float]]]  # lines of the logs of stage 1 and stage 2

    @property
    def name(self) -> str:
        """What the run is called beside others."""
        return self.path.name

    @property
    def title(self) -> str:
        """What the run calls its data."""
        found = (self.metrics or {}).get("data") or (self.data or {}).get("title")
        return found or self.config["data"].get("dataset", self.config["name"])

    @property
    def dataset_info(self) -> Dict[str, Any]:
        """Classes, colours and flips; empty where they are not known."""
        data = self.data or {}
        return data.get("dataset_info") or data.get("facts") or {}

    def seconds(self, stage: int) -> float:
        """How long a stage has been trained."""
        return sum(line.get("seconds", 0.0) for line in self.logs[stage])

    def figure(self, name: str) -> Optional[pathlib.Path]:
        """Where a figure lies, if it does."""
        path = self.path / "figures" / f"{name}.png"
        return path if path.is_file() else None


def read(path: pathlib.Path) -> Run:
    """Reads a run directory, finished or not.

    Raises:
      run_dir.RunError: there is no run, or one of its files is not JSON.
    """
    path = path.expanduser().resolve()
    config = run_dir.read_json(path / "config.json")
    if config is None:
        raise run_dir.RunError(
            f"wanted a run directory, found no {path / 'config.json'}"
        )
    return Run(
        path=path,
        config=config,
        metrics=run_dir.read_json(path / "metrics.json"),
        other_metrics=[
            run_dir.read_json(file) for file in sorted(path.glob("metrics_*.json"))
        ],
        environment=run_dir.read_json(path / "environment.json") or {},
        data=run_dir.read_json(path / "data.json"),
        proposals=run_dir.read_json(path / "proposals.json"),
        logs={s: io.read_json_lines(path / f"stage{s}_log.jsonl") for s in (1, 2)},
    )


def count_for(metrics: Mapping[str, Any]) -> str:
    """Returns the number of samples by which runs are compared: 16 where there are."""
    counts = list(metrics.get("by_num_samples", [str(metrics["num_samples"])]))
    return FIRST_COUNT if FIRST_COUNT in counts else counts[-1]


def scores_at(scores: Mapping[str, Any], count: str) -> Mapping[str, Any]:
    """Returns the scores with a number of samples; all there are in older files."""
    return scores.get("by_num_samples", {}).get(count, scores)


def own_scores(metrics: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns a run's scores, `auc` of the judge among them where there is one."""
    realism = metrics.get("realism") or {}
    return {**scores_at(metrics, count_for(metrics)), "auc": realism.get("auc")}


def baselines(metrics: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Returns baseline -> scores, by the names of `BASELINES`, in their order."""
    found: Dict[str, Dict[str, Any]] = {name: {} for name in BASELINES}
    raters = metrics.get("raters") or metrics.get("readers") or {}
    for old, scores in raters.get("comparisons", {}).items():
        found.setdefault(_OLD_NAMES.get(old, old), {}).update(scores)
    # One mask to match has no E d(y, y'): its GED is another quantity.
    found["leave_one_out"].pop("ged", None)
    for source in ("calibration_net", "blackbox", "truth"):
        ged = metrics.get(f"ged_flip_oracle_{source}")
        if ged is not None:
            found[f"flip_oracle_{source}".replace("_calibration_net", "")]["ged"] = ged
    count = count_for(metrics)
    for name, scores in metrics.get("baselines", {}).items():
        found.setdefault(name, {}).update(scores_at(scores, count))
    for name, scores in metrics.get("samplers", {}).items():
        fewer = count not in scores["by_num_samples"]
        name += f" ({scores['num_samples']} samples)" if fewer else ""
        found[name] = dict(scores_at(scores, count))
    for name, scores in (metrics.get("realism") or {}).items():
        if isinstance(scores, dict):
            found.setdefault(name, {}).update(auc=scores.get("auc"))
    return {name: scores for name, scores in found.items() if scores}


def differences(metrics: Mapping[str, Any]) -> List[List[Any]]:
    """Returns rows of paired differences: name, and GED and HM-IoU with intervals."""
    rows, count = [], count_for(metrics)
    for name, by_count in metrics.get("differences", {}).items():
        row: List[Any] = [BASELINES.get(name, name)]
        for score in ("ged", "hm_iou"):
            change = by_count.get(count, {}).get(score) or {}
            row += [change.get("mean"), change.get("interval")]
        if row[2] is not None:
            rows.append(row)
    return rows


def known_paths(run: Run) -> List[str]:
    """Returns the absolute paths that a run's files name as a whole."""
    words = [str(run.path), *flat(run.config).values()]
    words += [word.split("=")[-1] for word in run.environment.get("command", [])]
    return io.absolute_paths(words)


def duration(seconds: float) -> str:
    """Returns a time in words that are short enough for a table."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def flat(config: Dict[str, Any]) -> Dict[str, str]:
    """Returns a configuration's fields by `section.field`, as `--set` takes them."""
    fields = {}
    for section, content in config.items():
        items = content.items() if isinstance(content, dict) else [("", content)]
        for name, value in items:
            if isinstance(value, list):
                value = ",".join(str(item) for item in value)
            fields[f"{section}.{name}".rstrip(".")] = str(value)
    return fields


def command(argv: Sequence[str]) -> str:
    """Returns a recorded `sys.argv` as the command that made it."""
    parts = pathlib.PurePath(argv[0]).with_suffix("").parts
    if "car_tf" in parts:
        start = len(parts) - 1 - parts[::-1].index("car_tf")
        names = [name for name in parts[start:] if name != "__main__"]
        first = f"python -m {'.'.join(names)}"
    else:
        first = shlex.quote(argv[0])
    return " ".join([first, *map(shlex.quote, argv[1:])])


def commands(run: Run, others: Sequence[Run]) -> str:
    """Returns the commands by which a page, and what it shows, were made."""
    recorded, lines = run.environment, []
    if recorded.get("git_revision"):
        lines.append(f"git checkout {recorded['git_revision']}")
    if recorded.get("command"):
        lines.append(command(recorded["command"]))
    path = shlex.quote(str(run.path))
    if run.metrics is not None:
        lines.append(f"python -m car_tf.evaluate --workdir {path}")
    if (run.path / "tensorboard").is_dir():
        lines.append(f"tensorboard --logdir {path}/tensorboard")
    compare = "".join(f" --compare {shlex.quote(str(o.path))}" for o in others)
    lines.append(f"python -m car_tf.report --workdir {path}{compare}")
    return "\n".join(lines)
