"""Replicas and workers: the same weights on any, and what is refused."""

import json
import os
import re
import subprocess
import sys

import job
import numpy as np
import pytest
import replicas
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.runtime import devices, run_dir, workers

# With D updated in every third step: seven of its updates.
STEPS = 20
LONG = os.environ.get("CAR_TF_LONG", "") == "1"
REPLICAS, WORKERS = ("2xcpu", "4xcpu"), (2, 3)


def start(folder, names, environment):
    """Starts training in a process of its own."""
    return subprocess.Popen(
        [sys.executable, replicas.__file__, str(folder), str(STEPS), *names],
        env=job.environment(TF_CPP_MIN_LOG_LEVEL="3", **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory):
    """Weights after the same steps, by the file's name of `replicas`; "one" is here."""
    folder = tmp_path_factory.mktemp("weights")
    processes = [start(folder, REPLICAS, {})]
    for num in WORKERS:
        configurations = [{"TF_CONFIG": text} for text in job.cluster(num)]
        processes += [start(folder, ["cpu"], one) for one in configurations]
    found = {"one": replicas.trained(tf.distribute.get_strategy(), STEPS)}
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output[-3000:]
    return {**found, **{path.stem: dict(np.load(path)) for path in folder.iterdir()}}


# One and two replicas are compared in `test_trainers` too, workers in
# `test_workers_job`; this takes minutes.
@pytest.mark.skipif(not LONG, reason="CAR_TF_LONG=1 runs it")
@pytest.mark.parametrize(
    "where", [*(f"{name}-1" for name in REPLICAS), *(f"cpu-{num}" for num in WORKERS)]
)
def test_weights_are_the_same_wherever_they_are_trained(everywhere, where):
    one, other = everywhere["one"], everywhere[where]
    assert one["updates_of_d"] == other["updates_of_d"] == 7
    assert one.keys() == other.keys() and len(one) > 30
    largest = max(np.abs(other[name] - one[name]).max() for name in one)
    print(f"{where}: {largest:.1e} at most")
    for name in one:
        # Measured: 2.4e-7 at most, on weights of up to 1.6.
        np.testing.assert_allclose(other[name], one[name], atol=1e-5, err_msg=name)


# Choosing


@pytest.mark.parametrize("text", ["", "cpu", "2xcpu", "16xcpu", "gpu:0", "gpu:0,gpu:3"])
def test_devices_that_can_be_asked_for(text):
    config = fields.override(config_lib.Config(name="x"), [f"train.devices={text}"])
    assert config.train.devices == text


@pytest.mark.parametrize("text", ["tpu", "0xcpu", "cpu:0", "gpu", "gpu:0,cpu", "gpu:x"])
def test_other_devices_are_refused(text):
    with pytest.raises(
        config_lib.ConfigError, match="train.devices: wanted cpu, 2xcpu"
    ):
        fields.override(config_lib.Config(name="x"), [f"train.devices={text}"])


def test_a_resumed_run_may_use_other_devices():
    one = config_lib.Config(name="x")
    other = fields.override(one, ["train.devices=2xcpu", "train.seed=4"])
    assert fields.differences(one, other) == ["train.seed: 1 -> 4"]


def test_gpus_that_are_not_there_are_refused():
    with pytest.raises(run_dir.RunError, match="wanted gpu:63, but TensorFlow sees"):
        devices.build_strategy("gpu:63", workers.Worker())


def test_one_device_needs_no_strategy_of_its_own():
    strategy = devices.build_strategy("cpu", workers.Worker())
    assert strategy is tf.distribute.get_strategy()
    assert devices.describe(strategy, workers.Worker()) == "devices: 1 replica"
    with pytest.raises(run_dir.RunError, match="2xcpu is for one process"):
        devices.build_strategy("2xcpu", workers.Worker(0, 2))


def test_batches_must_divide_over_the_replicas(two_replicas):
    devices.check_batch_size(two_replicas, stage1=4, stage2=2)
    with pytest.raises(run_dir.RunError, match="stage2.batch_size: .* 2, .* got 3"):
        devices.check_batch_size(two_replicas, stage1=4, stage2=3)


def test_xla_is_refused_on_several_replicas(two_replicas):
    devices.check_compilation(two_replicas, False)
    devices.check_compilation(tf.distribute.get_strategy(), True)
    with pytest.raises(run_dir.RunError, match="wanted one device .* 2 replicas"):
        devices.check_compilation(two_replicas, True)


# Workers


def test_without_tf_config_there_is_one_worker():
    assert workers.this_worker({}) == workers.Worker(0, 1)
    assert workers.this_worker({"TF_CONFIG": "{}"}) == workers.Worker(0, 1)


def test_the_first_worker_is_the_chief():
    texts = job.cluster(3)
    found = [workers.this_worker({"TF_CONFIG": text}) for text in texts]
    hosts = tuple(json.loads(texts[0])["cluster"]["worker"])
    assert found == [workers.Worker(index, 3, hosts) for index in range(3)]
    assert [worker.is_chief for worker in found] == [True, False, False]


@pytest.mark.parametrize(
    "text, word",
    [
        ("{", "got '{'"),
        ("[]", "got '[]'"),
        ('{"cluster": {"ps": ["a:1"]}}', "got ps as well"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"index": 1}}', "index 1"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"index": -1}}', "index -1"),
        ('{"cluster": {"worker": ["a"]}, "task": {"index": 0}}', "['a']"),
        ('{"cluster": {"worker": 3}, "task": {"index": 0}}', "got"),
    ],
)
def test_a_wrong_tf_config_is_refused(text, word):
    with pytest.raises(run_dir.RunError) as caught:
        workers.this_worker({"TF_CONFIG": text})
    assert str(caught.value).startswith('TF_CONFIG: wanted {"cluster"')
    assert word in str(caught.value) and "\n" not in str(caught.value)


def test_several_workers_need_a_directory_in_common(tmp_path):
    done = job.run(cwd=tmp_path, env=job.environment(TF_CONFIG=job.cluster(2)[1]))
    assert done.returncode == 1
    assert re.search(
        "^error: --workdir: wanted a directory that all 2", done.stderr, re.M
    )
    assert os.listdir(tmp_path) == []


def test_a_worker_that_is_not_the_chief_writes_nothing(tmp_path):
    config = config_lib.Config(name="x")
    chief = run_dir.RunDir(str(tmp_path / "run"), config)
    chief.begin(config)
    chief.append_line("log", {"step": 1})
    before = {path: path.read_bytes() for path in chief.path.iterdir()}
    worker = run_dir.RunDir(str(tmp_path / "run"), config, writes=False)
    worker.begin(config)
    worker.write_json("metrics.json", {})
    worker.append_line("log", {"step": 2})
    assert worker.read_lines("log", last_step=0) == []
    worker.close()
    assert {path: path.read_bytes() for path in chief.path.iterdir()} == before
    assert workers.this_worker({}).is_chief
    chief.close()
