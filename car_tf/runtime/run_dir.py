"""The run directory: what it holds, and who may write to it."""

import contextlib
import fcntl
import io
import json
import pathlib
import re
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

import numpy as np

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.data import io as data_io
from car_tf.runtime import environment

# The step, score and place of the best weights of G; what each stage logs.
BEST_FILE = "best.json"
BEST_CALIBRATION_FILE = "checkpoints/stage1/best.json"
LOG_FILE = "log.jsonl"
# Of G, in a run that began with the weights of another run.
INITIAL_WEIGHTS = "checkpoints/initial-refinement_net"
# What the screen was told.
TEXT_LOG = "log.txt"
# Stage -> step at which a callback ended it; what a run writes at its end.
ENDED_EARLY_FILE, FINISHED_FILE = "ended_early.json", "finished.json"
# What a finished run holds, or it is made again.
RESULTS = ("metrics.json", "report.html", "export")


class RunError(RuntimeError):
    """A run that cannot start or go on; the message says why and what to do."""


def cannot_write(path: pathlib.Path, reason: Any) -> RunError:
    """Says what cannot be written, why, and that nothing is lost."""
    return RunError(
        f"{path}: cannot be written ({reason}); what was written before is kept, and "
        "the same command goes on from there"
    )


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns what Python raises on full disks and the like into a sentence.

    Raises:
      RunError: a file, or something at `path`, cannot be written.
    """
    try:
        yield
    except OSError as error:
        file = error.filename or path
        raise cannot_write(file, error.strerror or error) from error


def refuse_patterns(flag: str, path: pathlib.Path) -> None:
    """Raises RunError for a path that TensorFlow would not find again."""
    if re.search(r"\\|\[.*\]", str(path)):
        raise RunError(
            f"{flag}: {path}: TensorFlow takes \\ and [ ] in paths for patterns and "
            "would not find its files; choose another directory"
        )


def read_json(path: pathlib.Path) -> Optional[Any]:
    """Returns a JSON file's content, None where there is none; RunError for others."""
    try:
        return json.loads(path.read_text("utf-8")) if path.is_file() else None
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}") from None


# What the user of a command can mend.
USER_ERRORS = (config_lib.ConfigError, data_io.DataError, RunError, OSError)


class RunDir:
    """A run directory, locked against a second run while it is open.

    Of several workers of one job the chief alone `writes`; to the others, who read
    checkpoints, all that writes here does nothing.
    """

    def __init__(self, path: str, config: config_lib.Config, *, writes: bool = True):
        """Opens a directory for a run, new or to be resumed.

        Raises:
          RunError: not writable, in use, or begun with another configuration.
        """
        self.path = pathlib.Path(path).expanduser().resolve()
        refuse_patterns("--workdir", self.path)
        self.writes = writes
        self._noted: List[str] = []
        if not writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "w", encoding="utf-8")
        except OSError as error:
            raise RunError(f"--workdir: cannot write to {self.path}: {error}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"--workdir: another run is writing to {self.path}"
            ) from None
        data_io.remove_leftovers(self.path)
        if self.begun and not self._is_extended(config):
            require_same(self.path, config)

    @property
    def begun(self) -> bool:
        """Whether there is a run in the directory."""
        return (self.path / "config.json").exists()

    def _is_extended(self, config: config_lib.Config) -> bool:
        """Whether a configuration differs from the run's in more steps of stage 2 alone.

        Raises:
          RunError: it does, but the learning rates have fallen to zero.
        """
        saved = saved_config(str(self.path), type(config))
        if not isinstance(config, config_lib.Config):
            return False
        old, new = saved.stage2.steps, config.stage2.steps
        same = config_lib.change(saved, stage2={"steps": new})
        if new <= old or fields.differences(same, config):
            return False
        if config.stage2.decay == "linear":
            raise RunError(
                f"--workdir: {self.path} cannot go on from stage2.steps={old} to {new}, "
                "because with stage2.decay=linear its learning rates fall to zero; begin "
                f"a new run with its networks: --init_from {self.path} --set "
                "train.init_networks=both --set stage1.steps=0"
            )
        return True

    def begin(self, config: config_lib.Config) -> None:
        """Writes down what is run, once it is clear that it can be."""
        if not self.begun:
            # Who writes the report's sections, where it is not a segmentation's.
            report = {"report": getattr(config, "REPORT", None)}
            self.write_json("environment.json", {**environment.describe(), **report})
            self.write_text("config.json", config_lib.to_json(config))
        elif self.writes and self._is_extended(config):
            found = self.read_json("environment.json") or {}
            started = {**environment.describe(), "stage2_steps": config.stage2.steps}
            found.setdefault("extended", []).append(started)
            self.write_json("environment.json", found)
            ended = self.read_json(ENDED_EARLY_FILE) or {}
            ended.pop("stage2", None)
            self.write_json(ENDED_EARLY_FILE, ended)
            self.write_text("config.json", config_lib.to_json(config))

    def finish(self, config: config_lib.Config) -> None:
        """Notes that all is done that the configuration asks for."""
        self.write_json(FINISHED_FILE, {"stage2_steps": config.stage2.steps})

    def finished(self, config: config_lib.Config) -> bool:
        """Whether `finish` was reached, and what the run has made is still there."""
        steps = (self.read_json(FINISHED_FILE) or {}).get("stage2_steps")
        there = all((self.path / name).exists() for name in RESULTS)
        return there and steps == config.stage2.steps

    def other_tensorflow(self) -> str:
        """Says with which TensorFlow the run was begun; "" where it is this one."""
        packages = (self.read_json("environment.json") or {}).get("packages", {})
        new = environment.versions()["tensorflow"]
        old = packages.get("tensorflow", new)
        if old == new:
            return ""
        return (
            f"this run was begun with TensorFlow {old} and goes on with {new}: it ends "
            "near, not at, the weights that either of them would have reached alone"
        )

    def write_text(self, name: str, text: str) -> None:
        """Writes a file of the run atomically."""
        if self.writes:
            self._write(name, text.encode())

    def _write(self, name: str, content: bytes) -> pathlib.Path:
        path = self.path / name
        with writing(path), data_io.atomic_file(path) as file:
            file.write(content)
        return path

    def save_arrays(self, name: str, arrays: Mapping[str, Any]) -> pathlib.Path:
        """Writes arrays as an `.npz`, from whichever worker; returns its path."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{k: np.asarray(v) for k, v in arrays.items()})
        return self._write(name, buffer.getvalue())

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file of the run atomically; NaN is refused."""
        self.write_text(name, json.dumps(content, indent=2, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Optional[Any]:
        """Returns a JSON file's content, or None where there is none."""
        return read_json(self.path / name)

    def append_line(self, name: str, content: Dict[str, Any]) -> None:
        """Appends a line to a JSON-lines file."""
        path = self.path / name
        if self.writes:
            with writing(path), open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(content) + "\n")

    def read_lines(self, name: str, *, last_step: Optional[int] = None) -> List[Dict]:
        """Returns the lines of a JSON-lines file, rewritten without a lost future.

        A run that was killed may have logged steps after the checkpoint from which it
        goes on: lines with a `step` beyond `last_step` are dropped from the file.
        """
        lines = data_io.read_json_lines(self.path / name)
        if last_step is not None:
            lines = [line for line in lines if line["step"] <= last_step]
            self.write_text(name, "".join(json.dumps(line) + "\n" for line in lines))
        return lines

    def logged(self, log: Callable[[str], None]) -> Callable[[str], None]:
        """Returns a `log` that keeps its lines in the run as well."""

        def both(line: str) -> None:
            log(line)
            self.note(line)

        return both

    def note(self, line: str) -> None:
        """Keeps a line for people, with its time; a full disk does not matter."""
        self._noted.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        # A directory in which nothing has begun stays empty.
        if not self.writes or not (self.path / "config.json").exists():
            return
        with contextlib.suppress(OSError):
            with open(self.path / TEXT_LOG, "a", encoding="utf-8") as file:
                file.writelines(self._noted)
        self._noted.clear()

    def close(self) -> None:
        """Lets other runs in; a directory in which nothing has begun is removed."""
        if not self.writes:
            return
        if not (self.path / "config.json").exists():
            (self.path / ".lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.rmdir()
        self._lock.close()


def saved_config(path: str, kind: type = config_lib.Config) -> config_lib.Config:
    """Returns the configuration of an existing run, of a class `kind`.

    Raises:
      RunError: no run there, or one of another kind or version.
    """
    saved = pathlib.Path(path).expanduser() / "config.json"
    if not saved.is_file():
        raise RunError(f"--workdir: wanted a run directory, found no {saved}")
    try:
        return config_lib.from_json(saved.read_text(encoding="utf-8"), kind)
    except config_lib.ConfigError as error:
        raise RunError(f"{saved}: {error}") from error


def require_same(
    path: pathlib.Path, config: config_lib.Config, flag: str = "--workdir"
) -> None:
    """Raises RunError unless the run in a directory has this configuration."""
    changed = fields.differences(saved_config(str(path), type(config)), config)
    if changed:
        goes_on = ""
        if any(line.startswith(("stage1.steps", "stage2.")) for line in changed):
            goes_on = f", which begins with its networks by --init_from {path}"
        raise RunError(
            f"{flag}: {path} holds a run with another configuration "
            f"({'; '.join(changed)}); resume with the same, or choose another directory"
            f"{goes_on}"
        )
