"""Full disks: what is said, what is kept, and that the same command goes on.

On a file system of one megabyte where the tests may mount one, else by injected errors.
"""

import errno
import os
import subprocess
import types

import matplotlib.figure
import numpy as np
import pytest
import tensorflow as tf

from car_tf.data import cache
from car_tf.report import context as report_context
from car_tf.report import figures
from car_tf.report import write as report_write
from car_tf.runtime import checkpoints, run_dir
from tests.train import test_fit as test_fitting

job = test_fitting.job


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Leaves no room at all."""
    with open(folder / "filler", "wb") as file:
        with pytest.raises(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))


# Checkpoints


def variable_and_manager(folder):
    variable = tf.Variable(tf.zeros([20_000]))
    checkpoint = tf.train.Checkpoint(v=variable)
    return variable, tf.train.CheckpointManager(checkpoint, str(folder), max_to_keep=2)


def test_a_full_disk_costs_no_checkpoint(small_disk):
    folder = small_disk / "checkpoints"
    variable, manager = variable_and_manager(folder)
    variable.assign(tf.fill([20_000], 3.0))
    checkpoints.save(manager, 3)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fill(small_disk)
    with pytest.raises(run_dir.RunError) as caught:
        checkpoints.save(manager, 6)
    words = str(caught.value)
    assert words.startswith(f"{folder / 'ckpt-6'}: cannot be written (No space left on")
    assert "goes on" in words and words.endswith("ckpt-3)") and "\n" not in words
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # With more room the rerun restores and saves.
    (small_disk / "filler").unlink()
    variable, manager = variable_and_manager(folder)
    checkpoints.restore_latest(manager.checkpoint, manager, pytest.fail)
    assert float(variable[7]) == 3.0
    checkpoints.save(manager, 6)
    assert manager.latest_checkpoint.endswith("ckpt-6")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_stage_whose_checkpoint_cannot_be_written_goes_on(job, monkeypatch, number):
    whole = tf.train.CheckpointManager.save

    def save(manager, step):
        if step != 6:
            return whole(manager, step)
        path = f"{manager.directory}/ckpt-6"
        os.mkdir(f"{path}_temp")
        open(f"{path}.index", "w").close()
        reason = f"{path}; {os.strerror(number)}"
        raise tf.errors.ResourceExhaustedError(None, None, reason)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", save)
    with pytest.raises(run_dir.RunError, match=os.strerror(number)) as caught:
        job.run()
    assert "ckpt-6: cannot be written" in str(caught.value)
    assert job.checkpoints() == ["ckpt-3"]
    monkeypatch.setattr(tf.train.CheckpointManager, "save", whole)
    assert job.run() == test_fitting.expected_weight()
    assert [line["step"] for line in job.log()] == [3, 6, 9, 10]


def test_other_errors_of_tensorflow_are_not_blamed_on_the_disk(tmp_path):
    with pytest.raises(tf.errors.UnavailableError):
        with checkpoints.writing(tmp_path):
            raise tf.errors.UnavailableError(None, None, "Connection reset by peer")


# JSON, logs and figures


def test_files_of_a_run_keep_their_content_on_a_full_disk(small_disk, job):
    run = run_dir.RunDir(str(small_disk / "run"), job.config)
    run.write_json("metrics.json", {"ged": 1})
    fill(small_disk)
    with pytest.raises(run_dir.RunError, match="metrics.json: cannot be written"):
        run.write_json("metrics.json", {"ged": 2, "more": "x" * 9000})
    with pytest.raises(run_dir.RunError, match=r"log: cannot be written \(No space"):
        run.append_line("log", {"step": 1, "more": "x" * 9000})
    assert run.read_json("metrics.json") == {"ged": 1}
    assert not list(run.path.glob(".*.new"))
    (small_disk / "filler").unlink()
    # A line that was cut off is passed over.
    run.append_line("log", {"step": 2})
    assert [line["step"] for line in run.read_lines("log", last_step=2)] == [2]
    run.close()


def test_figures_are_written_whole_or_not_at_all(small_disk):
    drawn = [("samples", matplotlib.figure.Figure())]
    (small_disk / "figures").mkdir()
    fill(small_disk)
    with pytest.raises(run_dir.RunError, match=r"/samples.png: cannot be written"):
        with checkpoints.writing(small_disk / "figures"):
            figures.save_all(drawn, small_disk / "figures")
    assert list((small_disk / "figures").iterdir()) == []


def test_a_report_on_a_full_disk_is_named_and_leaves_the_one_before(
    small_disk, monkeypatch
):
    found = types.SimpleNamespace(path=small_disk)
    monkeypatch.setattr(report_context, "read", lambda path: found)
    monkeypatch.setattr(report_write, "render", lambda *unused: "x" * 9000)
    (small_disk / "report.html").write_text("before")
    fill(small_disk)
    with pytest.raises(run_dir.RunError) as caught:
        report_write.write(small_disk)
    words = str(caught.value)
    assert words.startswith(
        f"{small_disk / 'report.html'}: cannot be written (No space"
    )
    assert "what was written before is kept" in words and "\n" not in words
    assert (small_disk / "report.html").read_text() == "before"


# The cache


def test_a_full_disk_ends_caching_with_an_error_and_not_the_process(small_disk):
    # Written through memory without room, this would be a bus error.
    arguments = dict(
        key="k" * 64,
        cache_dir=small_disk,
        specs={"images": ((100, 1000), np.uint8)},
        read=lambda index: {"images": np.full((100, 1000), index, np.uint8)},
        what="reading",
    )
    with pytest.raises(OSError, match="No space left on device: .*images.npy"):
        cache.arrays(num=20, **arguments)
    assert list(small_disk.iterdir()) == []
    stored, kept = cache.arrays(num=5, **arguments)
    assert kept == (0, 1, 2, 3, 4) and stored["images"][4, 50, 500] == 4
