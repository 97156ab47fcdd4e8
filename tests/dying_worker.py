"""Stage 1 in one of several processes, of which one may die, for the test of that.

    python dying_worker.py FOLDER DIES_AT

trains for six steps with a checkpoint after every second one, on the workers that
TF_CONFIG names. All but the chief kill themselves after step DIES_AT; 0 for never.
"""

import os
import signal
import sys
import types

import numpy as np
import tensorflow as tf
import tiny_trainers as tiny

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.runtime import devices, run_dir, workers
from car_tf.train import build, fit

SETTINGS = (
    *("stage1.steps=6", "stage1.batch_size=4", "train.checkpoint_every=2"),
    "train.select_every=2",
)


def batches(config, dataset, *, stage, first_step, num_steps):
    return tiny.batches(num_steps, first_step)


def train(folder, worker):
    """Trains, or goes on; returns F's trained weights."""
    config = fields.override(config_lib.Config(name="tiny"), SETTINGS)
    workdir = run_dir.RunDir(folder, config, writes=worker.is_chief)
    strategy = devices.build_strategy("cpu", worker)
    # Fused batch norm, which one replica has by default, divides variances by n - 1.
    trainer = tiny.stage_1(strategy, synchronized=True)
    build.build_batches = batches
    checkpoint = tf.train.Checkpoint(
        step=trainer.step, net=trainer.calibration_net, optimizer=trainer.optimizer
    )
    fit.fit(
        trainer,
        checkpoint,
        config,
        None,
        stage=1,
        workdir=workdir,
        stop=types.SimpleNamespace(number=None),
        log=print,
    )
    workdir.close()
    return tiny.trained(trainer.calibration_net)


def main(folder, dies_at):
    # Optimising graphs takes longer than running them six times.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    worker = workers.this_worker()
    whole = fit.CheckpointCallback.on_train_batch_end

    def on_train_batch_end(keeper, batch, logs=None):
        if not worker.is_chief and keeper._step() == int(dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        whole(keeper, batch, logs)

    fit.CheckpointCallback.on_train_batch_end = on_train_batch_end
    trained = train(folder, worker)
    if worker.is_chief:
        np.savez(f"{folder}/trained.npz", *trained)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except run_dir.RunError as error:
        sys.exit(f"error: {error}")
