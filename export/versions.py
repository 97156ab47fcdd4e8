"""The folder of a served model: versions that appear whole or not at all. No TensorFlow."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import tempfile
from typing import Iterator, List, Optional

from car_tf.data import io
from car_tf.runtime import run_dir

SAVED_MODEL_FILE = "saved_model.pb"
MODELS_FILE = "models.config"
# A server takes folders with whole numbers for versions and leaves others alone.
_WORK_PREFIX = ".exporting-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ExportError(ValueError):
    """An export that cannot be made or found; the message says what was wanted."""


def check_name(name: str) -> None:
    """Refuses names that could not stand in a server's address."""
    if not _NAME.fullmatch(name):
        raise ExportError(
            f"--name: wanted letters, digits, '_', '-' and '.', got {name!r}"
        )


def servable(name: str) -> str:
    """Returns a name with what `check_name` refuses replaced."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip("_.-") or "car"


def numbers(folder: pathlib.Path) -> List[int]:
    """Returns the versions in a model's folder, in order."""
    if not folder.is_dir():
        return []
    return sorted(
        int(path.name)
        for path in folder.iterdir()
        if path.name.isdecimal() and path.is_dir()
    )


def latest(folder: pathlib.Path) -> Optional[pathlib.Path]:
    """Returns the newest version in a model's folder, None where there is none."""
    found = numbers(folder)
    return folder / str(found[-1]) if found else None


def list_for_server(output: pathlib.Path) -> None:
    """Writes which models a server that has the folder as /models is to serve.

    A file that names them all is kept, with what somebody has changed in it.
    """
    names = [
        item.name
        for item in sorted(output.iterdir())
        if numbers(item) and _NAME.fullmatch(item.name)
    ]
    file = output / MODELS_FILE
    known = file.read_text(encoding="utf-8") if file.is_file() else ""
    if all(f'"{name}"' in known for name in names):
        return
    lines = [
        f'  config {{ name: "{name}" base_path: "/models/{name}" '
        'model_platform: "tensorflow" }\n'
        for name in names
    ]
    io.write_text(file, f"model_config_list {{\n{''.join(lines)}}}\n")


def find(path: str) -> pathlib.Path:
    """Finds a SavedModel: a version, or the newest one of a folder of one model.

    Raises:
      ExportError: no SavedModel, or several models.
    """
    folder = pathlib.Path(path).expanduser()
    if (folder / SAVED_MODEL_FILE).is_file():
        return folder
    newest = latest(folder)
    if newest is not None:
        return newest
    models = [item for item in sorted(folder.glob("*")) if numbers(item)]
    if len(models) > 1:
        names = ", ".join(item.name for item in models)
        raise ExportError(f"{folder}: wanted one model, found {names}: name one")
    if not models:
        raise ExportError(
            f"{folder}: wanted a SavedModel ({SAVED_MODEL_FILE}) or a folder of its "
            "versions, found none"
        )
    return latest(models[0])


def of_run(workdir: str, config_name: str) -> pathlib.Path:
    """Finds the model that a run has exported, or one that was exported into it.

    Raises:
      ExportError: none yet, or several under other names.
    """
    folder = pathlib.Path(workdir).expanduser() / "export"
    own = latest(folder / servable(config_name))
    if own is not None:
        return own
    if not any(numbers(item) for item in folder.glob("*")):
        raise ExportError(
            f"--workdir: {workdir} has no exported model yet; `python -m export "
            f"--workdir {workdir}` makes one of a run whose training is finished"
        )
    return find(str(folder))


def of_flags(workdir: str, saved_model: str) -> pathlib.Path:
    """Finds what one of --workdir and --saved_model names."""
    if bool(workdir) == bool(saved_model):
        raise ExportError("wanted one of --workdir and --saved_model")
    if saved_model:
        return find(saved_model)
    return of_run(workdir, run_dir.saved_config(workdir).name)


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time export into a model's folder, and clears it up.

    What an export left behind that was killed is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in folder.glob(f"{_WORK_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)
        yield


@contextlib.contextmanager
def new_version(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a folder that becomes the next version if the block succeeds.

    Before its one renaming a server finds nothing. Call it inside `locked`.
    """
    number = max(numbers(folder), default=0) + 1
    work = pathlib.Path(tempfile.mkdtemp(prefix=_WORK_PREFIX, dir=folder))
    try:
        # A server runs as another user.
        work.chmod(0o755)
        yield work
        for path in [*work.rglob("*"), work]:  # To survive a loss of power.
            _flush_one(path)
        os.rename(work, folder / str(number))
        _flush_one(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _flush_one(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
