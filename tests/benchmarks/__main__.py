"""Measures the speed of everything that a user waits for, against naive versions.

    python -m tests.benchmarks [--rows sampling,step] [--json OUT] [--list]

The first line is what this machine reaches at best. Both sides of a ratio take turns in
one process, so that ratios hold on a busy machine; times do not.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
from typing import Any, Dict, Sequence

from absl import flags

from car_tf.config import cli

FLAGS = flags.FLAGS

# Name -> (module, function, what it measures).
ROWS = {
    "sampling": (
        "sampling",
        "row",
        "G against tile-and-run, and against its arithmetic",
    ),
    "step": ("training", "row_step", "the stage-2 step against a naive one"),
    "options": ("training", "row_options", "the step in mixed precision, and with XLA"),
    "kernels": (
        "processes",
        "row_kernels",
        "with oneDNN's kernels and without, in processes",
    ),
    "stacks": (
        "processes",
        "row_stacks",
        "start, sampling and the step with this Python and with --other_python",
    ),
    "input": ("training", "row_input", "the input pipeline against the step"),
    "score": ("scores", "row", "GED and HM-IoU of an image, on one core"),
    "memory": ("processes", "row_memory", "peak memory of the stage-2 step against M"),
    "full_size": (
        "full_size",
        "row",
        "memory, start and input of a data set of Cityscapes' size, 20 GB on disk",
    ),
    "growth": ("growth", "row", "how costs grow with samples, area, classes and flips"),
    "start": ("processes", "row_start", "start-up, and the time to the first step"),
    "plan": ("plan", "row", "the paper's configurations on GPUs, by arithmetic"),
    "regression": ("regression", "row", "the 1-D regression, all runs against one"),
}

flags.DEFINE_list(
    "rows",
    [name for name in ROWS if name not in ("full_size", "stacks")],
    "Rows to measure, separated by commas; by default all but `full_size` and `stacks`.",
)
flags.DEFINE_string("json", "", "File to write the results to.")
flags.DEFINE_string("plot", "", "PNG file for the plot of the row `growth`.")
flags.DEFINE_string(
    "other_python", "", "Python of the other stack, for the row `stacks`."
)
flags.DEFINE_bool("list", False, "Lists the rows and stops.")
flags.DEFINE_bool("small", False, "Tiny sizes: shows that all runs, not how fast.")


def _machine() -> Dict[str, Any]:
    return {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}


def _run(names: Sequence[str]) -> Dict[str, Any]:
    from tests.benchmarks import peaks  # TensorFlow starts here.

    machine, roofs = _machine(), peaks.measure(FLAGS.small)
    print(
        "this machine: "
        f"{2e-9 * roofs['matrix_multiply']:.0f} GFLOP/s of float32 matrix multiply, "
        f"{2e-9 * roofs['convolution']:.0f} GFLOP/s of 3x3 convolution, "
        f"{machine['cores']} cores, load {machine['load']}",
        flush=True,
    )
    results: Dict[str, Any] = {"machine": machine, "multiply_adds_per_second": roofs}
    results["rows"] = {}
    for name in names:
        module, function, _ = ROWS[name]
        measure = getattr(
            importlib.import_module(f"tests.benchmarks.{module}"), function
        )
        options = {
            "growth": {"plot": FLAGS.plot},
            "stacks": {"other_python": FLAGS.other_python},
        }.get(name, {})
        tables = measure(roofs, FLAGS.small, **options)
        load = round(os.getloadavg()[0], 1)
        for table in tables:
            print(f"\n{table.markdown()}", flush=True)
        print(f"\n({name}: load {load} at the end)", flush=True)
        results["rows"][name] = {
            "load": load,
            "tables": [table.to_dict() for table in tables],
        }
    return results


def main() -> int:
    """Measures; returns the exit code."""
    if FLAGS.list:
        for name, (_, _, what) in ROWS.items():
            print(f"{name:12}{what}")
        return 0
    unknown = [name for name in FLAGS.rows if name not in ROWS]
    if unknown:
        raise ValueError(f"--rows: no row {unknown[0]!r}; rows: {', '.join(ROWS)}")
    results = _run(FLAGS.rows)
    if FLAGS.json:
        from car_tf.data import io

        text = json.dumps(results, indent=1, allow_nan=False) + "\n"
        io.write_text(pathlib.Path(FLAGS.json), text)
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(ValueError, OSError))
