"""Checkpoints: saved so that a failure costs none, restored from the newest sound one."""

import atexit
import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from typing import Callable, Iterator, List, Sequence

import tensorflow as tf

from car_tf.data import io
from car_tf.runtime import run_dir

# What TensorFlow raises on checkpoints that are truncated, missing or of other code.
_UNREADABLE = (
    *(tf.errors.OpError, AssertionError, LookupError, RuntimeError, ValueError),
)
_DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES),
)


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns what TensorFlow and Python raise on full disks and the like into a sentence.

    Raises:
      RunError: something at `path` cannot be written.
    """
    try:
        with run_dir.writing(path):
            yield
    except tf.errors.OpError as error:
        reasons = (os.strerror(number) for number in _DISK_ERRORS)
        found = [reason for reason in reasons if reason in str(error)]
        if not found:
            raise
        raise run_dir.cannot_write(path, found[0]) from error


def listed(folder: pathlib.Path) -> List[str]:
    """Returns the checkpoints of a folder, the newest last.

    TensorFlow keeps a list of them in a file; where that was lost, all that are there
    are listed.
    """
    kept = _kept_list(folder)
    if kept:
        return kept
    found = [path.with_suffix("") for path in folder.glob("ckpt-*.index")]
    return sorted(map(str, found), key=lambda path: int(path.split("-")[-1]))


def _kept_list(folder: pathlib.Path) -> List[str]:
    """Returns what TensorFlow's list holds; nothing if it is not whole."""
    try:
        state = tf.train.get_checkpoint_state(str(folder))
    except ValueError:  # An empty file.
        return []
    if state is None:
        return []
    paths = list(state.all_model_checkpoint_paths)
    is_whole = len(paths) == len(state.all_model_checkpoint_timestamps)
    is_whole = is_whole and paths[-1:] == [state.model_checkpoint_path]
    return paths if is_whole else []


def manager_of(
    checkpoint: tf.train.Checkpoint, folder: pathlib.Path, *, repairs: bool = True
) -> tf.train.CheckpointManager:
    """Returns the manager of a folder's checkpoints, of which it keeps two.

    With `repairs`, which one of several workers makes, a lost list is written anew, and
    what a killed job has left half written is removed.
    """
    if repairs and folder.is_dir():
        for path in folder.glob("ckpt-*_temp"):
            shutil.rmtree(path, ignore_errors=True)
        if not _kept_list(folder):
            with writing(folder):
                _write_list(folder, listed(folder))
    return tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=2)


def _write_list(folder: pathlib.Path, paths: Sequence[str]) -> None:
    """Writes TensorFlow's file `checkpoint`, a protocol buffer as text."""
    names = [pathlib.Path(path).name for path in paths]
    lines = [f'model_checkpoint_path: "{name}"' for name in names[-1:]]
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    for path in paths:
        written = os.path.getmtime(f"{path}.index")
        lines.append(f"all_model_checkpoint_timestamps: {written}")
    if lines:
        io.write_text(folder / "checkpoint", "\n".join(lines) + "\n")
    else:
        (folder / "checkpoint").unlink(missing_ok=True)


def save(manager: tf.train.CheckpointManager, step: int) -> None:
    """Saves a checkpoint, whole or not at all.

    Raises:
      RunError: it cannot be written, such as on a full disk; what was written of it is
        removed, and the checkpoints before it stay.
    """
    folder = pathlib.Path(manager.directory)
    try:
        with writing(folder / f"ckpt-{step}"):
            manager.save(step)
    except run_dir.RunError as error:
        remove(folder / f"ckpt-{step}")
        for path in folder.glob("checkpoint.tmp*"):
            path.unlink()
        kept = manager.latest_checkpoint or "none"
        raise run_dir.RunError(f"{error} (last checkpoint: {kept})") from error


def remove(prefix: pathlib.Path) -> None:
    """Removes all files of a checkpoint, unfinished ones too."""
    for path in prefix.parent.glob(f"{prefix.name}.*"):
        path.unlink()
    shutil.rmtree(prefix.with_name(f"{prefix.name}_temp"), ignore_errors=True)


def elsewhere(checkpoint: tf.train.Checkpoint) -> tf.train.CheckpointManager:
    """Returns a manager of a temporary folder.

    Variables that the workers of a job hold in common are saved by all of them
    together, so that the others write as well what the chief alone keeps.
    """
    folder = tempfile.mkdtemp(prefix="car_tf-worker-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1)


def restore_latest(
    checkpoint: tf.train.Checkpoint,
    manager: tf.train.CheckpointManager,
    log: Callable[[str], None],
) -> None:
    """Restores the newest checkpoint that can be read; an older one is said aloud."""
    for path in reversed(manager.checkpoints):
        try:
            checkpoint.restore(path).assert_existing_objects_matched()
            return
        except _UNREADABLE as error:
            reason = str(error).splitlines()[0]
            log(f"checkpoint {path} cannot be read ({reason}): using the one before")
    if manager.checkpoints:
        raise run_dir.RunError(
            f"no checkpoint in {manager.directory} can be read; remove it to begin again"
        )


def read_weights(checkpoint: tf.train.Checkpoint, path: pathlib.Path) -> None:
    """Reads all of a checkpoint's objects from one file, which may hold more."""
    try:
        checkpoint.read(str(path)).assert_existing_objects_matched().expect_partial()
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0]
        raise run_dir.RunError(f"{path}: cannot be read ({reason})") from error
