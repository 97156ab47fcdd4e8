"""The 1-D regression's configuration as one program: stacked networks and trainers.

Runs of one M are stacked; a stack is as large as the processor's cache likes. All
stacks advance in one `tf.function`, whose executor spreads them over the cores. The
one place where fields of `regression_config` become arguments.
"""

from __future__ import annotations

from typing import Any, Callable, List, Sequence

import numpy as np
import tensorflow as tf

from car_tf.experiment.regression import config as regression_config
from car_tf.runtime import run_dir
from car_tf.experiment.regression import bimodal
from car_tf.experiment.regression import stacked_mlp
from car_tf.experiment.regression import trainers

# Measured on two cores with 512 kB of second-level cache each: stacks of 8000 rows take
# 172 ms of processor time for a step of 45 runs, 1000 rows each; one stack of all 260 ms.
ROWS_PER_STACK = 8000


class Program:
    """Both stages of all runs of a configuration."""

    def __init__(self, config: regression_config.Regression, *, even: bool = True):
        """Builds networks and trainers.

        Args:
          config: the configuration.
          even: whether a run left over is joined by a copy of itself. In stacks of an
            even number of runs every run computes the same bits in whatever company;
            in odd ones the last elements go through scalar instead of vector code.
        """
        self._config = config
        self._runs, self._problems = config.runs, config.problems
        indices = range(len(self._problems))
        self._problem_stacks = _stacks(indices, config.stage1.batch_size, even)
        self.stage1 = [self._calibration_trainer(s) for s in self._problem_stacks]
        self._run_stacks = []
        for num_samples in sorted({config.num_samples(run) for run in self._runs})[
            ::-1
        ]:
            indices = [
                index
                for index, run in enumerate(self._runs)
                if config.num_samples(run) == num_samples
            ]
            rows = config.stage2.batch_size * num_samples
            self._run_stacks += _stacks(indices, rows, even)
        self.stage2 = [self._refinement_trainer(stack) for stack in self._run_stacks]
        self.advance_stage1 = _together(self.stage1)
        self.advance_stage2 = _together(self.stage2)

    def _network(self, kind: type, problems: Sequence[regression_config.Problem]):
        settings = self._config.networks
        return kind(
            keys=[problem.key(kind.__name__) for problem in problems],
            hidden_layers=settings.hidden_layers,
            hidden_units=settings.hidden_units,
        )

    def _source(self, problems: Sequence[regression_config.Problem], stage: int):
        return bimodal.Bimodal(
            mode_probability=[problem.mode_probability for problem in problems],
            mode_noise=[problem.mode_noise for problem in problems],
            keys=[problem.key(f"data of stage {stage}") for problem in problems],
        )

    def _calibration_trainer(self, stack: Sequence[int]) -> trainers.CalibrationTrainer:
        problems = [self._problems[index] for index in stack]
        return trainers.CalibrationTrainer(
            calibration_net=self._network(stacked_mlp.CalibrationNet, problems),
            source=self._source(problems, stage=1),
            batch_size=self._config.stage1.batch_size,
            steps_per_block=self._config.evaluation.every,
            learning_rate=self._config.stage1.learning_rate,
        )

    def _refinement_trainer(self, stack: Sequence[int]) -> trainers.RefinementTrainer:
        settings, evaluation = self._config.stage2, self._config.evaluation
        runs = [self._runs[index] for index in stack]
        problems = [run.problem for run in runs]
        return trainers.RefinementTrainer(
            calibration_net=self._network(stacked_mlp.CalibrationNet, problems),
            refinement_net=self._network(stacked_mlp.RefinementNet, problems),
            discriminator=self._network(stacked_mlp.Discriminator, problems),
            source=self._source(problems, stage=2),
            noise_keys=[problem.key("noise") for problem in problems],
            evaluation_keys=[problem.key("evaluation") for problem in problems],
            calibration_weight=[run.calibration_weight for run in runs],
            num_samples=self._config.num_samples(runs[0]),
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            num_steps=settings.steps,
            steps_per_block=evaluation.every,
            num_points=evaluation.num_points,
        )

    def begin_stage2(self) -> None:
        """Hands each run its F and records how G does before training."""
        stacked = [trainer.calibration_net.get_weights() for trainer in self.stage1]
        stacked = [np.concatenate(parts) for parts in zip(*stacked)]
        order = [index for stack in self._problem_stacks for index in stack]
        for trainer, stack in zip(self.stage2, self._run_stacks):
            problems = [self._problems.index(self._runs[i].problem) for i in stack]
            rows = [order.index(problem) for problem in problems]
            trainer.take_calibration([weight[rows] for weight in stacked])
            trainer.end_block()

    def per_run(self, values: Sequence[Any]) -> np.ndarray:
        """Puts values of the stage-2 stacks, `[R, ...]` each, in the runs' order."""
        ordered = {}
        for stack, stacked in zip(self._run_stacks, values):
            ordered.update(zip(stack, np.asarray(stacked)))
        return np.stack([ordered[index] for index in range(len(self._runs))])

    def find(self, index: int, values: Sequence[Any]):
        """Finds a run.

        Args:
          index: of the run.
          values: one per stage-2 stack.

        Returns:
          The run, its trainer, its row there, and its stack's value.
        """
        for stack, trainer, value in zip(self._run_stacks, self.stage2, values):
            if index in stack:
                return self._runs[index], trainer, stack.index(index), value
        raise IndexError(f"wanted a run of {len(self._runs)}, got {index}")

    def check_finite(self, stage: int) -> None:
        """Stops a job whose losses are not finite.

        Raises:
          run_dir.RunError: naming the step, the term and the run.
        """
        stacks = self._problem_stacks if stage == 1 else self._run_stacks
        members = self._problems if stage == 1 else self._runs
        for trainer, stack in zip((self.stage1, self.stage2)[stage - 1], stacks):
            for name, values in trainer.last_losses.items():
                for index, value in zip(stack, values.numpy()):
                    if not np.isfinite(value):
                        raise run_dir.RunError(
                            f"stage {stage}, step {int(trainer.step.numpy())}: the loss "
                            f"term {name} is {value} in {members[index]}"
                        )


def _stacks(indices: Sequence[int], rows: int, even: bool) -> List[List[int]]:
    """Divides runs of `rows` rows each into stacks; see `Program`."""
    indices = list(indices)
    if not even:
        return [part.tolist() for part in _parts(np.array(indices), rows)]
    if len(indices) % 2:
        indices.append(indices[-1])
    pairs = np.array(indices).reshape(-1, 2)
    return [part.ravel().tolist() for part in _parts(pairs, rows * 2)]


def _parts(items: np.ndarray, rows: int) -> List[np.ndarray]:
    return np.array_split(items, -(-len(items) * rows // ROWS_PER_STACK))


def _together(stacks: Sequence[Any]) -> Callable[[tf.Tensor], None]:
    """Returns the function that advances all stacks by a number of blocks."""

    @tf.function(
        autograph=False, input_signature=[tf.TensorSpec([], tf.int32, "num_blocks")]
    )
    def advance(num_blocks: tf.Tensor) -> None:
        for trainer in stacks:
            trainer.advance(num_blocks)

    return advance
