"""Checkpoints: damaged ones are passed over, full disks cost none."""

import os
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from car_tf.runtime import checkpoints, run_dir


@pytest.fixture
def manager(tmp_path):
    variable = tf.Variable(0.0)
    checkpoint = tf.train.Checkpoint(v=variable)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path / "c"), max_to_keep=2)
    for step in (1, 2, 3):
        variable.assign(step * np.ones([]))
        manager.save(step)
    variable.assign(-1.0)
    return manager


def data_file(manager, step):
    return manager.directory + f"/ckpt-{step}.data-00000-of-00001"


def restore(manager):
    said = []
    checkpoints.restore_latest(manager.checkpoint, manager, said.append)
    return float(manager.checkpoint.v), said


def test_the_newest_checkpoint_is_restored(manager):
    assert restore(manager) == (3.0, [])


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "no index"])
def test_a_damaged_checkpoint_is_passed_over_aloud(manager, damage):
    path = data_file(manager, 3)
    if damage == "no index":
        os.remove(manager.directory + "/ckpt-3.index")
    elif damage == "missing":
        os.remove(path)
    else:
        size = {"truncated": os.path.getsize(path) // 2, "empty": 0}[damage]
        os.truncate(path, size)
    value, said = restore(manager)
    assert value == 2.0
    (line,) = said
    assert "ckpt-3" in line and "the one before" in line and "\n" not in line
    # The run goes on and writes the same step again.
    manager.checkpoint.v.assign(33.0)
    manager.save(3)
    assert restore(manager) == (33.0, [])


def test_without_a_readable_checkpoint_the_run_stops(manager):
    for step in (2, 3):
        os.truncate(data_file(manager, step), 0)
    with pytest.raises(run_dir.RunError, match=re.escape(manager.directory)):
        restore(manager)


def test_without_any_checkpoint_nothing_happens(tmp_path):
    checkpoint = tf.train.Checkpoint(v=tf.Variable(5.0))
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
    assert restore(manager) == (5.0, [])


@pytest.mark.parametrize("num_lines", [None, 0, 0.5, 1, 2, 3, 4])
def test_a_lost_list_of_checkpoints_is_made_anew(manager, num_lines):
    folder = pathlib.Path(manager.directory)
    kept = folder / "checkpoint"
    if num_lines is None:
        kept.unlink()
    else:
        lines = kept.read_bytes().splitlines(keepends=True)
        assert len(lines) == 6
        rest = lines[int(num_lines)][: int(num_lines % 1 * 50)]
        kept.write_bytes(b"".join(lines[: int(num_lines)]) + rest)
    assert [path[-6:] for path in checkpoints.listed(folder)] == ["ckpt-2", "ckpt-3"]
    again = checkpoints.manager_of(manager.checkpoint, folder)
    assert restore(again) == (3.0, [])
    checkpoints.save(again, 10)
    assert [path[-7:] for path in again.checkpoints] == ["/ckpt-3", "ckpt-10"]
    kept.unlink()
    assert checkpoints.listed(folder)[-1].endswith("ckpt-10")


def test_what_a_killed_save_has_left_is_removed(manager):
    folder = pathlib.Path(manager.directory)
    (folder / "ckpt-4_temp").mkdir()
    (folder / "ckpt-4_temp" / "part-00000-of-00001").write_text("half")
    checkpoints.manager_of(manager.checkpoint, folder)
    assert not (folder / "ckpt-4_temp").exists()


def test_a_folder_that_is_not_there_yet_has_none(tmp_path):
    checkpoint = tf.train.Checkpoint(v=tf.Variable(5.0))
    assert checkpoints.manager_of(checkpoint, tmp_path / "new").checkpoints == []
    assert checkpoints.listed(tmp_path / "new") == []
