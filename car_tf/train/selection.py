"""Model selection: which weights of G are the best."""

from __future__ import annotations

import pathlib
import shutil
from typing import Dict, Sequence

import tensorflow as tf

from car_tf.evaluate import accumulators, evaluation
from car_tf.models import build as networks
from car_tf.models import sampler
from car_tf.models.keras_api import keras
from car_tf.runtime import checkpoints, devices, run_dir
from car_tf.train import tensorboard


class Selection:
    """Keeps the weights of G with the lowest GED on the selection split."""

    def __init__(self, config, dataset, trainer, workdir, log):
        self._config = config
        self._dataset = dataset
        self._workdir = workdir
        self._log = log
        self._board = tensorboard.Board.of(workdir)
        self._selectable = trainer.selectable
        nets = [trainer.calibration_net, trainer.refinement_net]
        strategy = trainer.distribute_strategy
        if devices.has_workers(strategy):
            # Copies of the chief's own: it evaluates while the others wait for it.
            strategy = None
            nets = [
                networks.build_calibration_net(config, dataset.info),
                networks.build_refinement_net(config, dataset.info),
            ]
            _copy(trainer.calibration_net, nets[0])
        elif trainer.averages:
            with strategy.scope():
                nets[1] = networks.build_refinement_net(config, dataset.info)
        self._trained, self._net = trainer.refinement_net, nets[1]
        self._weights = tf.train.Checkpoint(net=self._net)
        self._model = networks.build_sampler(
            *nets, dataset.info, strategy, config.evaluation.noise_sampling
        )

    def consider(self, step: int) -> Dict[str, float]:
        """Evaluates if it is time; returns what is to be logged."""
        settings = self._config.train
        if step % settings.select_every and step != self._config.stage2.steps:
            return {}
        if self._net is not self._trained:
            _assign(self._net.variables, self._selectable)
        if not self._workdir.writes:
            return {}
        source = self._dataset.splits[self._dataset.selection]
        glimpse = tensorboard.Glimpse(source, self._dataset.info)
        ged = evaluation.mean_ged(
            self._model,
            source,
            self._dataset.info,
            num_samples=min(
                self._config.evaluation.num_samples, accumulators.SAMPLE_COUNTS[0]
            ),
            seed=self._config.evaluation.seed,
            num_images=settings.num_selection_images,
            absent=self._config.evaluation.absent,
            watch=glimpse.add,
        )
        self._board.pictures("selection", step, glimpse.figures())
        best = self._workdir.read_json(run_dir.BEST_FILE)
        better = best is None or best["ged"] is None
        better = better or (ged is not None and ged < best["ged"])
        # A run that was killed between this file and its checkpoint comes here twice.
        if better or best["step"] >= step:
            name = f"checkpoints/best-{step}"
            if best is not None and best["weights"] == name:
                name += "-again"  # Until it is written, the other counts.
            path = self._workdir.path / name
            checkpoints.remove(path)
            try:
                with checkpoints.writing(path):
                    self._weights.write(str(path))
            except run_dir.RunError:
                checkpoints.remove(path)
                raise
            self._workdir.write_json(
                run_dir.BEST_FILE, {"step": step, "ged": ged, "weights": name}
            )
            self._forget(keep=name)
        if ged is None:
            self._log(f"step {step}: no GED is defined on the selection split")
            return {}
        self._log(f"step {step}: GED {ged:.4f} on the selection split")
        return {"selection_ged": ged}

    def _forget(self, keep: str) -> None:
        keep = pathlib.Path(keep).name
        for path in (self._workdir.path / "checkpoints").glob("best-*"):
            if path.is_dir():
                shutil.rmtree(path)  # Of a job that was killed while it wrote.
            elif path.name.split(".")[0] != keep:
                path.unlink()

    def best_sampler(self) -> sampler.Sampler:
        """Returns F and G with the best weights."""
        best = self._workdir.read_json(run_dir.BEST_FILE)
        checkpoints.read_weights(self._weights, self._workdir.path / best["weights"])
        score = "undefined" if best["ged"] is None else f"{best['ged']:.4f}"
        self._log(f"best weights: step {best['step']}, GED {score}")
        return self._model


def _copy(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of a network to another."""
    # A frozen network lists its variables in another order.
    target.trainable = source.trainable
    _assign(target.variables, source.variables)


def _assign(variables: Sequence[tf.Variable], values: Sequence[tf.Variable]) -> None:
    """Copies variables; of values in common, all workers must read together."""
    for variable, value in zip(variables, values):
        variable.assign(value.numpy())
