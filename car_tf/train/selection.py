"""Model selection: which weights of F and of G are the best."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any, Dict, Optional, Sequence

import numpy as np
import tensorflow as tf

from car_tf.evaluate import accumulators, evaluation
from car_tf.models import build as networks
from car_tf.models import sampler
from car_tf.models.keras_api import keras
from car_tf.runtime import checkpoints, devices, run_dir
from car_tf.train import recalibration, tensorboard

# Of F, among which `stage1.temperature_scaling` chooses; neighbours 3.5 % apart.
TEMPERATURES = np.geomspace(0.5, 2.0, 41)


class BestWeights:
    """The weights of a network with the lowest score so far, in the run directory.

    `file` is JSON with the step, the score, by the name `score`, and the name of the
    weights, whose files in the folder of checkpoints begin with `prefix`.
    """

    def __init__(
        self, net: keras.Model, workdir: run_dir.RunDir, *, file, score, prefix
    ):
        self._checkpoint = tf.train.Checkpoint(net=net)
        self._workdir = workdir
        self._file, self._score, self._prefix = file, score, prefix

    def offer(self, step: int, value: Optional[float], **more: Any) -> None:
        """Keeps the network's present weights if no others have a lower score.

        None, a score that is not defined, is worse than any; the file holds `more`. A
        RunError where they cannot be written; those from before stay.
        """
        best = self._workdir.read_json(self._file)
        better = best is None or best[self._score] is None
        better = better or (value is not None and value < best[self._score])
        # A run that was killed between this file and its checkpoint comes here twice.
        if not better and best["step"] < step:
            return
        name = f"checkpoints/{self._prefix}-{step}"
        if best is not None and best["weights"] == name:
            name += "-again"  # Until it is written, the other counts.
        path = self._workdir.path / name
        checkpoints.remove(path)
        try:
            with checkpoints.writing(path):
                self._checkpoint.write(str(path))
        except run_dir.RunError:
            checkpoints.remove(path)
            raise
        record = {"step": step, self._score: value, "weights": name, **more}
        self._workdir.write_json(self._file, record)
        for path in (self._workdir.path / "checkpoints").glob(f"{self._prefix}-*"):
            if path.is_dir():
                shutil.rmtree(path)  # Of a job that was killed while it wrote.
            elif path.name.split(".")[0] != pathlib.Path(name).name:
                path.unlink()

    def read(self) -> Dict[str, Any]:
        """Gives the network the best weights; returns what the file says of them."""
        best = self._workdir.read_json(self._file)
        path = self._workdir.path / best["weights"]
        checkpoints.read_weights(self._checkpoint, path)
        return best


class CalibrationSelection:
    """Keeps the weights of F with the lowest cross entropy on the selection split.

    With `stage1.temperature_scaling` the last layer's weights are divided by the
    temperature that makes it lowest, so that whatever reads them has calibrated logits
    (Guo et al., 2017, On Calibration of Modern Neural Networks, Section 4.2).
    """

    def __init__(self, config, dataset, trainer, workdir, log):
        self._config, self._dataset, self._trainer = config, dataset, trainer
        self._workdir, self._log = workdir, log
        # A copy in float32, to be scaled while the other goes on training.
        self._net = networks.build_calibration_net(config, dataset.info)
        names = dict(score="cross_entropy", prefix="stage1/best")
        names["file"] = run_dir.BEST_CALIBRATION_FILE
        self._best = BestWeights(self._net, workdir, **names)

    def consider(self, step: int, *, is_last: bool = False) -> Dict[str, float]:
        """Evaluates if it is time; returns what is to be logged."""
        settings = self._config.stage1
        every = settings.select_every or settings.steps
        if not is_last and step % every and step != settings.steps:
            return {}
        _assign(self._net.variables, self._trainer.selectable)
        if not self._workdir.writes:
            return {}
        if self._net.recalibration is not None:
            self._net.recalibration.reset()
        scaling = settings.temperature_scaling
        temperatures = TEMPERATURES if scaling else np.ones(1)
        found = self._cross_entropies(temperatures)
        value, temperature = float(found.min()), float(temperatures[found.argmin()])
        for variable in self._net.logits_layer.variables:
            variable.assign(variable / temperature)
        self._best.offer(step, value, temperature=temperature)
        words = f" at temperature {temperature:.3f}" if scaling else ""
        words = f"{value:.5f}{words} on the selection split"
        self._log(f"step {step}: cross entropy {words}")
        return {"selection_cross_entropy": value}

    def _cross_entropies(self, temperatures: np.ndarray) -> np.ndarray:
        return evaluation.cross_entropies(
            self._net,
            self._dataset.splits[self._dataset.selection],
            self._dataset.info,
            temperatures=temperatures,
            num_images=self._config.train.num_selection_images,
        )

    def restore_best(self) -> None:
        """Gives the trainer's F the best weights."""
        if self._workdir.read_json(run_dir.BEST_CALIBRATION_FILE) is None:
            # A callback has ended the stage before F was compared once.
            self.consider(int(self._trainer.step.numpy()), is_last=True)
        best = self._best.read()
        if self._net.recalibration is not None:
            best = self._recalibrated(best)
        _copy(self._net, self._trainer.calibration_net)
        self._log(
            f"best weights of F: step {best['step']}, cross entropy "
            f"{best['cross_entropy']:.5f}, temperature {best['temperature']:.3f}"
        )

    def _recalibrated(self, best: Dict[str, Any]) -> Dict[str, Any]:
        """Recalibrates the best weights, if they are not yet; all workers wait for it."""
        if self._workdir.writes and "recalibrated" not in best:
            source, facts = self._dataset.splits["train"], self._dataset.info
            classes = facts.num_blackbox_classes
            recalibration.fit(self._net, source, classes, log=self._log)
            found = float(self._cross_entropies(np.ones(1))[0])
            self._log(
                f"F recalibrated: cross entropy {found:.5f} on the selection split"
            )
            step, value = best["step"], best["cross_entropy"]
            more = dict(temperature=best["temperature"], recalibrated=found)
            self._best.offer(step, value, **more)
        strategy = self._trainer.distribute_strategy
        if devices.has_workers(strategy):
            devices.gather(strategy, 0)
        return self._best.read()


class Selection:
    """Keeps the weights of G with the lowest GED on the selection split."""

    def __init__(self, config, dataset, trainer, workdir, log):
        self._config, self._dataset = config, dataset
        self._workdir, self._log = workdir, log
        self._board = tensorboard.Board.of(workdir)
        self._selectable, self._step = trainer.selectable, trainer.step
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
        self._best = BestWeights(
            self._net, workdir, file=run_dir.BEST_FILE, score="ged", prefix="best"
        )
        self._model = networks.build_sampler(
            *nets,
            dataset.info,
            strategy,
            config.evaluation.noise_sampling,
            config.stage2.sample_maps,
        )

    def consider(self, step: int, *, is_last: bool = False) -> Dict[str, float]:
        """Evaluates if it is time; returns what is to be logged."""
        settings = self._config.train
        is_last = is_last or step == self._config.stage2.steps
        if step % settings.select_every and not is_last:
            return {}
        if self._net is not self._trained:
            _assign(self._net.variables, self._selectable)
        if not self._workdir.writes:
            return {}
        source = self._dataset.splits[self._dataset.selection]
        glimpse = tensorboard.Glimpse(source, self._dataset.info)
        scoring = self._config.evaluation
        ged = evaluation.mean_ged(
            self._model,
            source,
            self._dataset.info,
            num_samples=min(scoring.num_samples, accumulators.SAMPLE_COUNTS[0]),
            seed=scoring.seed,
            num_images=settings.num_selection_images,
            absent=scoring.absent,
            watch=glimpse.add,
        )
        self._board.pictures("selection", step, glimpse.figures())
        self._best.offer(step, ged)
        if ged is None:
            self._log(f"step {step}: no GED is defined on the selection split")
            return {}
        self._log(f"step {step}: GED {ged:.4f} on the selection split")
        return {"selection_ged": ged}

    def best_sampler(self) -> sampler.Sampler:
        """Returns F and G with the best weights."""
        if self._workdir.read_json(run_dir.BEST_FILE) is None:
            # A callback has ended the stage before G was compared once.
            self.consider(int(self._step.numpy()), is_last=True)
        best = self._best.read()
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
