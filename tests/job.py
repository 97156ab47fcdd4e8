"""The main job and other commands at the smallest size, for the tests of them.

`run` starts a command as a user does. `fork` has a process that imported TensorFlow
before do the same, which saves that, and can leave out what a test does not look at.
"""

import json
import multiprocessing.forkserver
import os
import pathlib
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from unittest import mock

STARTING = threading.Lock()
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


def run(*arguments, module="car_tf.train", **kwargs):
    """Runs an entry point to its end, in a process of its own.

    Args:
      *arguments: of the command line.
      module: the entry point.
      **kwargs: of `subprocess.run`.

    Returns:
      The finished process, its output as text.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=kwargs.pop("env", environment()),
        **kwargs,
    )


def fork(
    *arguments, module="car_tf.train", cwd=".", env=None, num_levels=4, prepare=()
):
    """Runs an entry point to its end, as `run` does, in a fork.

    Args:
      *arguments, module, cwd, env: as of `run`.
      num_levels: of G; see `shallow`.
      prepare: functions of this module and their arguments, called before.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["preloaded"])
    paths = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests")])
    with STARTING:  # Two threads may start one each.
        env = env or environment()
        with mock.patch.dict(os.environ, PYTHONPATH=paths):
            multiprocessing.forkserver.ensure_running()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        words = [str(word) for word in arguments]
        process = forks.Process(
            target=_enter,
            args=(
                *(words, module, os.path.abspath(cwd), env),
                *(outputs, num_levels, prepare),
            ),
        )
        process.start()
        process.join()
        texts = [pathlib.Path(path).read_text(encoding="utf-8") for path in outputs]
    return subprocess.CompletedProcess(words, process.exitcode, *texts)


def _enter(words, module, cwd, env, outputs, num_levels, prepare):
    import shallow
    import tensorflow as tf

    # As tests/conftest.py does.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = [module, *words]
    for function, *values in prepare:
        function(*values)
    with shallow.generators(num_levels):
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def interrupt(stage, step, number):
    """The job sends itself a signal after a step of a stage."""
    from car_tf.train import fit

    whole = fit.CheckpointCallback.on_train_batch_end

    def on_train_batch_end(keeper, batch, logs=None):
        if keeper.stage == stage and keeper._step() == step:
            keeper._stop.unsaved = True  # as `whole` does: the step is done
            os.kill(os.getpid(), number)
        whole(keeper, batch, logs)

    fit.CheckpointCallback.on_train_batch_end = on_train_batch_end


def train_eagerly(put=setattr):
    """Steps run as they are written: a few take less time than the graph of one.

    `put` may be that of pytest's `monkeypatch`, here and below.
    """
    import tensorflow as tf

    from car_tf.train import fit

    whole = fit.fit

    def eagerly(*arguments, **more):
        tf.config.run_functions_eagerly(True)
        try:
            whole(*arguments, **more)
        finally:
            tf.config.run_functions_eagerly(False)

    put(fit, "fit", eagerly)


def leave_out_evaluation():
    """The job neither evaluates nor shows what it has trained."""
    from car_tf.train import run as train_run

    leave_out_figures()
    leave_out_export()
    train_run.evaluate_run.evaluate_run = lambda *unused, **unused_too: {}


def leave_out_export(put=setattr):
    """The job exports nothing, and its report is empty."""
    from car_tf.train import run as train_run

    put(train_run.run_export, "export_run", lambda *unused, **unused_too: None)
    write = lambda folder: (folder / "report.html").write_text("")
    put(train_run.write, "write", write)


def leave_out_figures(put=setattr):
    """Nothing is drawn."""
    from car_tf.report import before_after, figures
    from car_tf.train import tensorboard

    places = [(before_after, "before_after_figure"), (tensorboard.Glimpse, "figures")]
    for place in [*places, (figures, "run_figures"), (figures, "save_all")]:
        put(*place, lambda *unused, **unused_too: {})
