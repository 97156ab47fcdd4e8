"""All commands: `python -m car_tf COMMAND ...`, or `car-tf COMMAND ...`."""

import os
import pathlib
import runpy
import sys

import car_tf
from car_tf.config import cli, fields

# Command -> (module, what it does).
COMMANDS = {
    "train": ("car_tf.train", "trains, evaluates and exports: the main job"),
    "evaluate": ("car_tf.evaluate", "evaluates a finished run again"),
    "predict": ("car_tf.predict", "predicts images with a run or an exported model"),
    "app": ("car_tf.app", "a local page to choose, correct and save proposals on"),
    "report": ("car_tf.report", "writes a run's report.html, beside other runs"),
    "export": ("export", "writes a run's SavedModel for TensorFlow Serving"),
    "score": ("car_tf.score", "scores any model's samples"),
    "proposals": ("car_tf.evaluate.proposals", "what choosing among proposals gains"),
    "data": ("car_tf.data", "checks a data set before training"),
    "blackbox": ("car_tf.blackbox", "checks whether a segmenter is understood"),
    "prepare_lidc": ("car_tf.data.lidc.prepare", "makes crops of LIDC-IDRI's DICOM"),
    "experiment": ("car_tf.experiment", "the paper's tables and 1-D regression"),
    "config": ("car_tf.config", "lists configurations; prints and explains fields"),
    "benchmark": ("tests.benchmarks", "measures speed, from a checkout alone"),
}


def _help(program: str) -> str:
    lines = [f"{name:<14}{what}" for name, (_, what) in COMMANDS.items()]
    return "\n  ".join(
        [f"usage: {program} COMMAND ...\n\ncommands:", *lines]
        + [f"\n{program} COMMAND --help explains one; --version tells the version."]
    )


def main() -> int:
    """Runs the command that the command line names; returns the exit code."""
    called = os.path.basename(sys.argv[0])
    program = "python -m car_tf" if called == "__main__.py" else called
    name, rest = (sys.argv[1] if sys.argv[1:] else "--help"), sys.argv[2:]
    if name in ("--help", "-h", "-help", "help"):
        print(_help(program))
        return 0
    if name in ("--version", "version"):
        print(f"car_tf {car_tf.__version__}")
        return 0
    if name not in COMMANDS:
        found = f"no command {fields.short(name)}; "
        print(f"error: {found}{fields.suggest(name, COMMANDS)}", file=sys.stderr)
        return cli.FAILED
    module, _ = COMMANDS[name]
    if name == "benchmark":
        checkout = pathlib.Path(__file__).resolve().parents[1]
        if not (checkout / "tests" / "benchmarks").is_dir():
            print("error: benchmark: runs from a checkout alone", file=sys.stderr)
            return cli.FAILED
        sys.path.insert(0, str(checkout))
    cli.spelling = (f"python -m {module}", f"{program} {name}")
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
