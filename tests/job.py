"""The main job in a process of its own, at the smallest size, for the tests of it.

    python job.py STAGE STEP SIGNAL ARGUMENTS...

runs `python -m car_tf.train ARGUMENTS...`, but sends itself SIGNAL after STEP of STAGE
and neither evaluates nor exports at its end.
"""

import json
import os
import pathlib
import runpy
import socket
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent

TINY = (
    *("data.size=32,64", "data.crop_size=16,16", "data.num_drawn=6,2,2"),
    *("data.selection_fraction=0.3", "calibration_net.channels=3"),
    *("refinement_net.base_channels=2", "refinement_net.noise_dim=3"),
    *("discriminator.base_channels=2", "discriminator.patches=false"),
    *("stage1.steps=5", "stage1.batch_size=2", "stage2.steps=7"),
    *("stage1.select_every=2", "stage1.average_decay=0.5"),
    "stage1.temperature_scaling=true",
    *("stage2.batch_size=2", "stage2.num_samples=2"),
    "stage2.average_decay=0.5",
    *("stage2.discriminator_active=1", "stage2.discriminator_period=3"),
    *("train.checkpoint_every=2", "train.select_every=2"),
    *("evaluation.num_samples=3", "train.num_selection_images=2"),
    "evaluation.realism_steps=0",
)


def settings(*texts):
    """Returns the flags of settings `section.field=value`."""
    return [word for text in texts for word in ("--set", text)]


def environment(**changes):
    """Returns the environment of a process that finds the checkout from anywhere."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **changes}


def cluster(num):
    """TF_CONFIG of each of some workers on this machine, on free ports."""
    sockets = [socket.socket() for _ in range(num)]
    for one in sockets:
        one.bind(("localhost", 0))
    hosts = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        json.dumps(
            {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        )
        for index in range(num)
    ]


def run(*arguments, module="car_tf.train", interrupt=None, **kwargs):
    """Runs an entry point to its end.

    Args:
      *arguments: of the command line.
      module: the entry point.
      interrupt: (stage, step, signal number); see the module's docstring.
      **kwargs: of `subprocess.run`.

    Returns:
      The finished process, its output as text.
    """
    command = ["-m", module]
    if interrupt is not None:
        command = [__file__, *map(str, interrupt)]
    return subprocess.run(
        [sys.executable, *command, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=kwargs.pop("env", environment()),
        **kwargs,
    )


def _interrupted(stage, step, number):
    from car_tf.train import fit
    from car_tf.train import run as train_run

    whole = fit.CheckpointCallback.on_train_batch_end

    def on_train_batch_end(keeper, batch, logs=None):
        if keeper.stage == stage and keeper._step() == step:
            keeper._stop.unsaved = True  # as `whole` does: the step is done
            os.kill(os.getpid(), number)
        whole(keeper, batch, logs)

    fit.CheckpointCallback.on_train_batch_end = on_train_batch_end
    train_run.evaluate_run.evaluate_run = lambda *unused, **unused_too: {}
    train_run.run_export.export_run = lambda *unused, **unused_too: None
    runpy.run_module("car_tf.train", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    stage_and_so_on = [int(word) for word in sys.argv[1:4]]
    del sys.argv[1:4]
    _interrupted(*stage_and_so_on)
