"""Evaluation shared over several workers gives what one process gives, or nothing."""

import concurrent.futures
import json
import socket

import exported
import job
import pytest
import stripes
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.evaluate import evaluation, sampling
from car_tf.runtime import gathering, run_dir, workers


def teams(num):
    return [workers.this_worker({"TF_CONFIG": text}) for text in job.cluster(num)]


def evaluate(source, worker, key="", *, flips=True):
    """Evaluates as one of some workers; returns its metrics and its gallery."""
    facts = stripes.FLIP_FACTS if flips else stripes.leaves()[1]
    model = stripes.KnownSampler(facts.num_classes, facts.flips)
    with gathering.Gathering(worker) as team:
        drawing = dict(num_samples=17, seed=0, team=team, key=key)
        return evaluation.evaluate(model, source, facts, **drawing)


@pytest.mark.parametrize("flips", [True, False])
def test_numbers_are_those_of_one_worker(monkeypatch, flips):
    source = stripes.leaves()[0]
    if flips:
        source = stripes.examples_of(7, ignored=[4])
        maps = source.images[..., 0], source.labels[:, 0], source.blackbox
        for index in (1, 2, 3, 5):  # Fewer and fewer of the classes that flip.
            for each in maps:
                each[index, :, : 4 * (index % 4)] = 2
    # One at a time: three of seven for the chief; of two images none for the third.
    monkeypatch.setattr(sampling, "MAX_BATCH", 1)
    alone, gallery = evaluate(source, workers.Worker(), flips=flips)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        chief, *others = pool.map(
            lambda worker: evaluate(source, worker, flips=flips), teams(3)
        )
    assert chief[0] == alone and others == [({}, [])] * 2
    assert not flips or len(set(alone["ged_per_image"])) > 3
    assert [one.index for one in chief[1]] == [one.index for one in gallery]


def test_a_lost_worker_is_named_and_there_are_no_metrics():
    chief, other = teams(2)
    source = stripes.examples_of(3)
    host, port = chief.hosts[0].split(":")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        found = pool.submit(evaluate, source, chief)
        with gathering._connected(host, int(port)) as connection:
            connection.sendall(b"1\n" + b'{"key": "", "results"')  # Half a line.
        with pytest.raises(run_dir.RunError) as caught:
            found.result()
    assert str(caught.value).startswith(f"worker 1 ({other.hosts[1]}) has stopped")


def test_a_worker_that_never_comes_and_a_chief_that_stops_are_named(monkeypatch):
    monkeypatch.setattr(gathering, "_PATIENCE", 0.2)
    chief, other = teams(2)
    with gathering.Gathering(chief) as team:
        with pytest.raises(run_dir.RunError, match=r"worker 1 \(localhost:.* stopped"):
            team.join("", {})
        with gathering.Gathering(other) as lonely:
            team.close()
            with pytest.raises(run_dir.RunError, match=r"the chief \(localhost:\d+\) "):
                lonely.join("", {})
    with pytest.raises(run_dir.RunError, match="cannot reach the chief, localhost"):
        gathering.Gathering(other)
    with socket.create_server(("", int(chief.hosts[0].split(":")[1]))):
        with pytest.raises(run_dir.RunError, match="cannot listen at localhost"):
            gathering.Gathering(chief)


def test_workers_that_evaluate_other_things_are_refused():
    source = stripes.examples_of(3)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = [pool.submit(evaluate, source, w, str(w.index)) for w in teams(2)]
        with pytest.raises(run_dir.RunError, match="worker 1 .* something else than"):
            found[0].result()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two copies of a tiny run, with all that evaluation reads."""
    texts = [*job.TINY, "data.num_drawn=2,2,9", "evaluation.num_samples=17"]
    config = config_lib.load("cityscapes_sampler", texts)
    facts = attach.load(config, [""]).info
    model = exported.build_sampler(config, facts)
    paths = [tmp_path_factory.mktemp(name) for name in ("one", "two")]
    for path in paths:
        workdir = run_dir.RunDir(str(path), config)
        workdir.begin(config)
        for net, file in (
            (model.calibration_net, run_dir.BEST_CALIBRATION_FILE),
            (model.refinement_net, run_dir.BEST_FILE),
        ):
            name = f"checkpoints/{file.replace('/', '-')}"
            tf.train.Checkpoint(net=net).write(str(path / name))
            workdir.write_json(file, {"weights": name, "step": 7, "ged": 0.5})
        workdir.close()
    return paths


@pytest.mark.long
def test_two_processes_write_what_one_writes(finished):
    def run(path, text):
        environment = job.environment(TF_CONFIG=text)
        how = dict(module="car_tf.evaluate", env=environment, num_levels=2)
        return job.fork("--workdir", path, **how)

    one, two = finished
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        done = list(pool.map(run, [one, two, two], ["", *job.cluster(2)]))
    assert [each.returncode for each in done] == [0, 0, 0], [d.stderr for d in done]
    alone, shared = (json.loads((p / "metrics.json").read_text()) for p in (one, two))
    assert alone == shared and alone["num_images"] == 9
    assert (two / "report.html").is_file() and "report: " not in done[2].stdout
    for name in ("samples", "worst", "before_after"):
        pictures = [(p / "figures" / f"{name}.png").read_bytes() for p in finished]
        assert pictures[0] == pictures[1]
