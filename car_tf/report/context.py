"""What a run directory holds, read for its report."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shlex
from typing import Any, Dict, List, Optional, Sequence

from car_tf.data import io
from car_tf.runtime import run_dir


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run directory holds; None for files that are not there (yet).

    Attributes:
      path: of the directory.
      name: what it is called beside others.
      config: of `config.json`.
      metrics: of `metrics.json`.
      other_metrics: of further evaluations, `metrics_*.json`.
      environment: of `environment.json`.
      data: of `data.json`.
      proposals: of `proposals.json`.
      logs: lines of the logs of stage 1 and stage 2.
    """

    path: pathlib.Path
    name: str
    config: Dict[str, Any]
    metrics: Optional[Dict[str, Any]]
    other_metrics: List[Dict[str, Any]]
    environment: Optional[Dict[str, Any]]
    data: Optional[Dict[str, Any]]
    proposals: Optional[Dict[str, Any]]
    logs: Dict[int, List[Dict[str, float]]]

    def figure(self, name: str) -> pathlib.Path:
        """Returns where a figure lies, if it does."""
        return self.path / "figures" / f"{name}.png"


def read(path: pathlib.Path) -> Run:
    """Reads a run directory, finished or not.

    Raises:
      run_dir.RunError: there is no run, or one of its files is not JSON.
    """
    path = path.expanduser().resolve()
    config = read_json(path / "config.json")
    if config is None:
        raise run_dir.RunError(
            f"wanted a run directory, found no {path / 'config.json'}"
        )
    return Run(
        path=path,
        name=path.name,
        config=config,
        metrics=read_json(path / "metrics.json"),
        other_metrics=[read_json(file) for file in sorted(path.glob("metrics_*.json"))],
        environment=read_json(path / "environment.json"),
        data=read_json(path / "data.json"),
        proposals=read_json(path / "proposals.json"),
        logs={
            stage: io.read_json_lines(path / f"stage{stage}_log.jsonl")
            for stage in (1, 2)
        },
    )


def read_json(path: pathlib.Path) -> Optional[Dict[str, Any]]:
    """Returns a file's content; None where there is none."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise run_dir.RunError(f"{path} is not JSON: {error}") from None


def data_title(run: Run) -> str:
    """Returns what the run calls its data."""
    found = run.metrics or {}
    title = found.get("data") or (run.data or {}).get("title")
    return title or run.config["data"].get("dataset", run.config["name"])


def without_folders(words: str) -> str:
    """Shortens the paths in a title to their last part."""
    return " ".join(
        pathlib.PurePath(word).name or word if word.startswith("/") else word
        for word in words.split(" ")
    )


def duration(seconds: float) -> str:
    """Returns a time in words that are short enough for a table."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def seconds(run: Run, stage: int) -> float:
    """Returns how long a stage has been trained."""
    return sum(line.get("seconds", 0.0) for line in run.logs[stage])


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
        first = f"python -m {'.'.join(parts[start:])}"
    else:
        first = shlex.quote(argv[0])
    return " ".join([first, *map(shlex.quote, argv[1:])])
