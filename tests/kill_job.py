"""Kills the whole job at random moments, resumes it each time, and compares the results.

    python tests/kill_job.py [--kills 50] [--per_job 8] [--seed 1]

A job that nothing interrupts tells how long its phases are: start, caching of the data,
both stages with model selection, evaluation, export and report. Then jobs are started,
killed (-9) at a random moment of a random phase, and started again with the same
command, until they have been killed `--per_job` times and run to their end. Weights,
best.json, logs and export must be those of the first job, bit by bit, metrics to
rounding, and nothing half-written may lie about. The exit code tells.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cityscapes_tree as tree
import job
import numpy as np

# Before this folder, which has an `export` of its own.
sys.path.insert(0, str(job.CHECKOUT))
from export import description  # noqa: E402
from tests.train import test_train_job  # noqa: E402

# Each phase begins with a line; caching with the first file in the cache.
PHASES = {
    "start": r"run directory",
    "caching": None,
    "stage 1": r"stage 1: ",
    "stage 2": r"stage 2: ",
    "evaluation": r"evaluation: ",
    "export": r"figures: ",
    "report": r"exported: ",
}
NAMES = list(PHASES)
SETTINGS = ("stage1.steps=11", "stage2.steps=13")
# Optimising graphs takes longer than running them some times.
PROGRAM = """
import runpy
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
runpy.run_module("car_tf.train", run_name="__main__", alter_sys=True)
"""
# The exit code after SIGTERM, which others may send.
STOPPED = 130
HALF_WRITTEN = re.compile(r"\.new$|^\.exporting|_temp$|\.tmp|tempstate")


class Job:
    """One start of the command, and when its phases began."""

    def __init__(self, arguments, cache_dir):
        self._cache_dir = cache_dir
        self.began, self.lines = {}, []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env=job.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._cached = self._num_cached()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            for name, pattern in PHASES.items():
                if pattern and re.match(pattern, line):
                    self.began.setdefault(name, time.monotonic())

    def _num_cached(self):
        return sum(1 for _ in self._cache_dir.glob("**/*"))

    def wait(self, last_phase, seconds):
        """Waits for a phase or a later one, and for some seconds more.

        Returns:
          The phase that the process was in; None if it had ended.
        """
        deadline = None
        while self.process.poll() is None:
            if "caching" not in self.began and self._num_cached() > self._cached:
                self.began["caching"] = time.monotonic()
            if deadline is None and set(NAMES[last_phase:]) & set(self.began):
                deadline = time.monotonic() + seconds
            if deadline is not None and time.monotonic() >= deadline:
                return [name for name in NAMES if name in self.began][-1]
            time.sleep(0.003)
        return None

    def kill(self):
        self.process.send_signal(signal.SIGKILL)

    def end(self):
        self.process.wait()
        self._reader.join()
        return "".join(self.lines)


def durations(began, ended):
    """Seconds of each phase that a job went through."""
    marks = [(name, began[name]) for name in NAMES if name in began]
    ends = [moment for _, moment in marks[1:]] + [ended]
    return {name: end - start for (name, start), end in zip(marks, ends)}


def newest_export(run):
    return max((run / "export").glob("*/[0-9]*"), key=lambda path: int(path.name))


def differences(runs, name):
    """Lines on everything in which a job differs from the one left alone."""
    found = []
    for which in ("stage1", "stage2", "best"):
        expected, got = runs.tensors("whole", which), runs.tensors(name, which)
        keys = [k for k in expected if not np.array_equal(expected[k], got.get(k))]
        if keys or got.keys() != expected.keys():
            found.append(f"{which}: {len(keys)} tensors of {len(expected)} differ")
    for stage in (1, 2):
        if runs.log(name, stage) != runs.log("whole", stage):
            found.append(f"the log of stage {stage} differs")
    whole, run = runs.folder / "whole", runs.folder / name
    for file in ("best.json", "checkpoints/stage1/best.json", "data.json"):
        if json.loads((run / file).read_text()) != json.loads(
            (whole / file).read_text()
        ):
            found.append(f"{file} differs")
    metrics = [json.loads((x / "metrics.json").read_text()) for x in (whole, run)]
    found += list(unequal(*metrics, "metrics.json"))
    hashes = [
        description.read_content_hash(newest_export(path)) for path in (whole, run)
    ]
    if hashes[0] != hashes[1]:
        found.append("the export differs")
    left = [
        str(p.relative_to(run)) for p in run.rglob("*") if HALF_WRITTEN.search(p.name)
    ]
    return found + [f"half-written: {path}" for path in left]


def unequal(one, other, where):
    """Lines on what differs in two JSON values by more than rounding.

    The evaluation's graph is built for one size of batch, or for any if model selection
    went before it in the process, and the two round differently.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        one, other = sorted(one.items()), sorted(other.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) == len(other):
            for index, pair in enumerate(zip(one, other)):
                yield from unequal(*pair, f"{where}/{index}")
            return
    close = isinstance(one, float) and isinstance(other, float)
    close = close and abs(one - other) < 1e-6
    if one != other and not close:
        yield f"{where}: {one} in place of {other}"


def killed_job(runs, name, lengths, rng, num_kills):
    """Kills a job some times and lets it end; returns the phases of the kills."""
    cache_dir = runs.folder / "cache"
    shutil.rmtree(cache_dir)
    cache_dir.mkdir()
    killed, said = [], ""
    # In order, so that a job does not end long before its last kill.
    for phase in sorted(rng.integers(0, len(NAMES), num_kills)):
        one = Job(runs.arguments(name, *SETTINGS), cache_dir)
        found = one.wait(phase, rng.uniform(0, lengths[NAMES[phase]]))
        one.kill()
        output = one.end()
        if one.process.returncode not in (-signal.SIGKILL, 0, STOPPED):
            raise SystemExit(f"{name} failed:\n{output[-3000:]}")
        killed += [found] if one.process.returncode == -signal.SIGKILL else []
        said += output
    while True:
        last = Job(runs.arguments(name, *SETTINGS), cache_dir)
        said += last.end()
        if last.process.returncode != STOPPED:
            break
    if last.process.returncode:
        raise SystemExit(f"{name} cannot be resumed:\n{said[-3000:]}")
    passed_over = len(re.findall("using the one before", said))
    return killed, passed_over


def main(kills, per_job, seed, folder):
    rng = np.random.default_rng(seed)
    runs = test_train_job.Runs(pathlib.Path(folder))
    # Large enough for a second of caching.
    tree.write(runs.data, size=(512, 1024), train={"aachen": 12, "bochum": 12})
    cache_dir = runs.folder / "cache"
    cache_dir.mkdir()
    whole = Job(runs.arguments("whole", *SETTINGS), cache_dir)
    whole.wait(len(NAMES), 0.0)
    output, ended = whole.end(), time.monotonic()
    if whole.process.returncode:
        raise SystemExit(f"the job fails without being killed:\n{output[-3000:]}")
    lengths = durations(whole.began, ended)
    print("seconds:", {name: round(value, 1) for name, value in lengths.items()})
    counts, wrong, number = collections.Counter(), [], 0
    while sum(counts.values()) < kills:
        number += 1
        left = min(per_job, kills - sum(counts.values()))
        killed, passed_over = killed_job(runs, f"job{number}", lengths, rng, left)
        counts.update(killed)
        found = differences(runs, f"job{number}")
        wrong += found
        print(
            f"job {number}: killed in {', '.join(killed)}; {passed_over} checkpoints "
            f"passed over; {'; '.join(found) or 'equal bit by bit'}",
            flush=True,
        )
        shutil.rmtree(runs.folder / f"job{number}")
    phases = ", ".join(f"{name} {counts[name]}" for name in NAMES)
    print(
        f"{sum(counts.values())} kills ({phases}), {number} jobs, {len(wrong)} faults"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--per_job", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(main(settings.kills, settings.per_job, settings.seed, scratch))
