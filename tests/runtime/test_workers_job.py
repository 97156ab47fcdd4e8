"""Two processes at a time: a worker that dies, and runs that must agree bit by bit."""

import concurrent.futures
import re
import signal

import dying_worker
import job
import numpy as np
import pytest

from car_tf.runtime import workers
from car_tf.train import build
from tests.runtime import test_devices
from tests.train import test_train_job

# The whole job in two processes takes a minute.
needs_time = pytest.mark.skipif(not test_devices.LONG, reason="CAR_TF_LONG=1 runs it")
SIGKILL = int(signal.SIGKILL)


def together(run, *arguments):
    """Calls a function with each pair of arguments, both at the same time."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(run, *arguments))


def environments():
    return [job.environment(TF_CONFIG=text) for text in job.cluster(2)]


def assert_says_that_it_is_alone(chief, stage):
    assert chief.returncode == 1, chief.stderr[-3000:]
    (line,) = [x for x in chief.stderr.splitlines() if x.startswith("error: ")]
    assert re.search(
        rf"stage {stage}, step \d: another worker has stopped or cannot be reached .*; "
        rf"the same command on all workers goes on from .*/stage{stage}/ckpt-2$",
        line,
    )
    assert "Traceback" not in chief.stderr


def test_a_worker_that_dies_stops_the_stage_and_the_same_command_goes_on(
    tmp_path, monkeypatch
):
    def run(environment, dies_at):
        return job.fork(tmp_path, dies_at, module="dying_worker", env=environment)

    chief, worker = together(run, environments(), [3, 3])
    assert worker.returncode == -SIGKILL
    assert_says_that_it_is_alone(chief, stage=1)
    chief, worker = together(run, environments(), [0, 0])
    assert chief.returncode == worker.returncode == 0, chief.stderr[-3000:]
    assert "for 6 steps, from step 2" in chief.stdout
    folder = tmp_path / "checkpoints" / "stage1"
    assert {path.stem for path in folder.glob("*.index")} == {"ckpt-4", "ckpt-6"}
    # In one process, in a directory of its own.
    monkeypatch.setattr(build, "build_batches", None)
    alone = dying_worker.train(str(tmp_path / "alone"), workers.Worker())
    trained = np.load(tmp_path / "trained.npz")
    assert len(alone) == len(trained.files) > 10
    for index, weight in enumerate(alone):
        np.testing.assert_allclose(trained[f"arr_{index}"], weight, atol=1e-5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return test_train_job.Runs(tmp_path_factory.mktemp("runs"))


@needs_time
def test_a_worker_that_dies_stops_the_whole_job_and_the_same_command_goes_on(runs):
    def run(environment, prepare):
        prepare = [(job.leave_out_evaluation,), *prepare]
        return runs.fork("run", env=environment, prepare=prepare)

    to_the_end, killed = (), ((job.interrupt, 2, 3, SIGKILL),)
    chief, worker = together(run, environments(), [to_the_end, killed])
    assert worker.returncode == -SIGKILL and worker.stdout == ""
    assert_says_that_it_is_alone(chief, stage=2)
    chief, worker = together(run, environments(), [to_the_end] * 2)
    assert chief.returncode == worker.returncode == 0, chief.stderr[-3000:]
    assert "devices: 2 replicas of 2 workers" in chief.stdout
    assert "stage 1: finished before" in chief.stdout
    assert "for 7 steps, from step 2" in chief.stdout and worker.stdout == ""
    assert [line["step"] for line in runs.log("run", 2)] == [2, 4, 6, 7]


@needs_time
def test_deterministic_runs_are_equal_bit_by_bit(runs):
    changes = (
        *("stage1.steps=3", "stage2.steps=4", "train.checkpoint_every=4"),
        *("calibration_net.dropout=0.1", "refinement_net.dropout=0.1"),
        *("train.select_every=4", "train.deterministic=true"),
    )
    names = ["one", "other"]
    prepare = [(job.leave_out_evaluation,)]
    for done in together(
        lambda name: runs.fork(name, *changes, prepare=prepare), names
    ):
        assert done.returncode == 0, done.stderr[-3000:]
    for which in ("stage1", "stage2", "best"):
        one, other = (runs.tensors(name, which) for name in names)
        assert one.keys() == other.keys() and len(one) > 10
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)
