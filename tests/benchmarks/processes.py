"""What needs a process of its own: peak memory of a step, and start-up."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Sequence

from tests.benchmarks import report, timing

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _environment(**changes: str) -> Dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, **changes}


def call(
    function: Callable[..., Dict[str, Any]],
    *arguments,
    python: str = sys.executable,
    **environment: str,
) -> Dict[str, Any]:
    """Calls a function of a module in a new process; returns what it returns.

    Args:
      function: takes and returns what JSON can hold.
      *arguments: of the function.
      python: the interpreter, which has what the function needs.
      **environment: variables of the process.
    """
    program = (
        f"import json, sys; from {function.__module__} import {function.__name__} as f; "
        "print(json.dumps(f(*json.loads(sys.argv[1]))))"
    )
    finished = subprocess.run(
        [python, "-c", program, json.dumps(arguments)],
        env=_environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(
            f"{function.__name__}{arguments}: {finished.stderr.strip()[-500:]}"
        )
    return json.loads(finished.stdout.splitlines()[-1])


def resident_megabytes() -> float:
    """Returns the peak of this process's resident memory so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def memory_of_step(num_samples: int, small: bool) -> Dict[str, Any]:
    """Runs a step of street scenes; returns as `memory_of_crops` does."""
    from tests.benchmarks import training

    sizes = training.SMALL if small else training.Sizes()
    return _memory_of(training.config_of(sizes, num_samples), training.STREETS)


def memory_of_crops(samples_at_once: int, small: bool) -> Dict[str, Any]:
    """Runs the paper's step on CT crops; returns peaks in MB before and after, seconds.

    The seconds are those of a second step, after the one that compiles.
    """
    from tests.benchmarks import training

    return _memory_of(training.crops_config(samples_at_once, small), training.CROPS)


def _memory_of(config, dataset_info) -> Dict[str, Any]:
    from tests.benchmarks import training

    _, both, _ = training.build_steps(config, dataset_info)
    before = resident_megabytes()
    both()
    seconds = timing.clock(both)()
    return {"before": before, "peak": resident_megabytes(), "seconds": seconds}


# What TensorFlow is told of its kernels before it starts.
KERNELS = {
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "with oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"},
}


def seconds_of_kernels(small: bool) -> Dict[str, float]:
    """Returns the seconds of sampling and of stage-2 steps, sizes as in their rows."""
    from tests.benchmarks import sampling, training

    sizes = training.SMALL if small else training.Sizes()
    frozen, both, _ = training.build_steps(training.config_of(sizes, 7))
    _, sampling_sides = sampling.of_row(small)
    sides = {"step": frozen, "step with D": both, "samples": sampling_sides["ours"]}
    return timing.medians(
        {name: timing.clock(side) for name, side in sides.items()},
        repeats=2 if small else 5,
    )


def row_kernels(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `kernels`: TensorFlow with and without oneDNN, processes in turns."""
    del peaks
    sides = {
        name: functools.partial(call, seconds_of_kernels, small, **environment)
        for name, environment in KERNELS.items()
    }
    return [_processes_in_turns(sides, small)]


def seconds_of_stack(small: bool) -> Dict[str, float]:
    """Returns the seconds to the first step of each stage, and `seconds_of_kernels`."""
    starts = _first_steps_of_street_scenes(small)
    told = {f"start: {name}": seconds for name, seconds in starts.items()}
    return {**told, **seconds_of_kernels(small)}


def row_stacks(
    peaks: Dict[str, float], small: bool, *, other_python: str
) -> List[report.Table]:
    """Row `stacks`: this Python and another one in turns, see docs/stacks.md."""
    del peaks
    if not other_python:
        raise ValueError("row stacks: --other_python has to name another Python")
    sides = {
        version_of(python): functools.partial(
            call, seconds_of_stack, small, python=python
        )
        for python in (sys.executable, other_python)
    }
    return [_processes_in_turns(sides, small)]


def version_of(python: str) -> str:
    """Returns a Python's version and that of its TensorFlow, which is not started."""
    program = (
        "import importlib.metadata as m, platform; "
        "print('Python', platform.python_version(), "
        "'TensorFlow', m.version('tensorflow'))"
    )
    return subprocess.check_output([python, "-c", program], text=True).strip()


def _processes_in_turns(
    sides: Dict[str, Callable[[], Dict[str, float]]], small: bool
) -> report.Table:
    rounds = timing.in_turns(sides, repeats=1 if small else 3, warm_up=0)
    columns = list(next(iter(rounds.values()))[0])
    rows = []
    for name, results in rounds.items():
        seconds = [statistics.median(each[key] for each in results) for key in columns]
        rows.append([name, *(1e3 * value for value in seconds)])
    return report.Table(
        "G's samples and stage-2 steps, sizes as in `sampling` and `step`, M = 7",
        ("process", *(f"{name}, ms" for name in columns)),
        rows,
    )


def row_memory(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `memory`: peak of the stage-2 step against M, a process for each."""
    del peaks
    rows = []
    for num_samples in (1, 2) if small else (1, 5, 20, 50):
        point = call(memory_of_step, num_samples, small)
        rows.append([num_samples, point["before"], point["peak"]])
    in_parts = []
    for at_once in (0, 2) if small else (0, 5, 2):
        point = call(memory_of_crops, at_once, small)
        shown = at_once or "all"
        in_parts.append([shown, point["before"], point["peak"], point["seconds"]])
    return [
        report.Table(
            "Peak resident memory of a stage-2 step with D's update, sizes as in `step`",
            ("M", "MB before the step", "MB at the peak"),
            rows,
        ),
        report.Table(
            "The same on CT crops as in the paper: batch 32, 128x128, M = 20",
            ("samples_at_once", "MB before the step", "MB at the peak", "s"),
            in_parts,
        ),
    ]


def seconds_of(arguments: Sequence[str]) -> float:
    """Runs `python` with arguments and returns the seconds it took."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        env=_environment(),
        capture_output=True,
        check=False,
    )
    return time.perf_counter() - started


def first_steps(config_name: str, overrides: Sequence[str]) -> Dict[str, float]:
    """Returns the seconds until TensorFlow, the data and each stage's first step."""
    started = time.perf_counter()
    from car_tf import config as config_lib
    from car_tf.blackbox import attach
    from car_tf.train import build

    marks = {"imports": time.perf_counter()}
    config = config_lib.load(config_name, overrides)
    dataset = attach.load(config)
    marks["data"] = time.perf_counter()
    trainer = build.build_calibration_trainer(config, dataset)
    batches = build.build_batches(config, dataset, stage=1, first_step=0, num_steps=1)
    trainer.fit(batches, steps_per_epoch=1, verbose=0)
    marks["first step of stage 1"] = time.perf_counter()
    trainer = build.build_refinement_trainer(config, dataset, trainer.calibration_net)
    batches = build.build_batches(config, dataset, stage=2, first_step=0, num_steps=1)
    trainer.fit(batches, steps_per_epoch=1, verbose=0)
    marks["first step of stage 2"] = time.perf_counter()
    seconds = {}
    for name, mark in marks.items():
        seconds[name] = mark - started
        started = mark
    return seconds


def _first_steps_of_street_scenes(small: bool) -> Dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["data.num_drawn=8,2,2", f"data.cache_dir={folder}"]
        if small:
            overrides += ["data.size=32,64", "data.crop_size=32,32"]
        return first_steps("cityscapes", overrides)


def row_start(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `start`: what needs no TensorFlow, then the way to the first step."""
    del peaks
    quick = {
        "an empty program": ["-c", "pass"],
        "car_tf.train --help": ["-m", "car_tf.train", "--help"],
        "car_tf.train, unknown configuration": [
            *("-m", "car_tf.train", "--config", "citiscapes")
        ],
        "car_tf.train, unknown field": [
            *("-m", "car_tf.train", "--config", "cityscapes"),
            *("--set", "train.batchsize=1"),
        ],
    }
    seconds = timing.medians(
        {
            name: lambda arguments=arguments: seconds_of(arguments)
            for name, arguments in quick.items()
        },
        repeats=1 if small else 5,
    )
    rows = [[name, value] for name, value in seconds.items()]
    steps = call(_first_steps_of_street_scenes, small)
    rows += [[f"to the first step: {name}", value] for name, value in steps.items()]
    rows.append(["to the first step: in all", sum(steps.values())])
    return [report.Table("Start-up", ("what", "s"), rows)]
