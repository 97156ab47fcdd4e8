"""The 1-D bimodal regression: all runs of a configuration as one program.

Runs of one M are stacked; a stack is as large as the processor's cache likes. All
stacks advance in one `tf.function`, whose executor spreads them over the cores.
"""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any, Callable, Dict, List, Sequence

import numpy as np
import tensorflow as tf

from car_tf import config as config_lib
from car_tf import figures, regression_config, regression_figures, regression_scores
from car_tf import workdir as workdir_lib
from car_tf.data import bimodal, cache
from car_tf.models import stacked_mlp
from car_tf.trainers import regression as trainers

RESULTS_FILE = "results.json"
# Measured on two cores with 512 kB of second-level cache each: stacks of 8000 rows take
# 172 ms of processor time for a step of 45 runs, 1000 rows each; one stack of all 260 ms.
ROWS_PER_STACK = 8000
# Blocks of steps between two looks at the progress bar, Ctrl-C and the losses.
BLOCKS_PER_CALL = 5
# For the final weights of the modes, and for the score of the true distribution.
SAMPLES_PER_POINT = 16
NUM_PERFECT_DRAWS = 20_000


def use_one_thread_per_operation() -> None:
    """Lets the cores share stacks, not operations; call it before TensorFlow's first.

    A step of 45 runs took 172 ms of processor time this way on two cores, 291 ms with
    operations split over them.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)


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
          workdir_lib.RunError: naming the step, the term and the run.
        """
        stacks = self._problem_stacks if stage == 1 else self._run_stacks
        members = self._problems if stage == 1 else self._runs
        for trainer, stack in zip((self.stage1, self.stage2)[stage - 1], stacks):
            for name, values in trainer.last_losses.items():
                for index, value in zip(stack, values.numpy()):
                    if not np.isfinite(value):
                        raise workdir_lib.RunError(
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


def run(
    config: regression_config.Regression,
    workdir: pathlib.Path,
    say: Callable[[str], None] = print,
) -> Dict[str, Any]:
    """Trains all runs of a configuration, or what is left of them.

    Args:
      config: the configuration.
      workdir: directory of checkpoints, results and figures, new or to be resumed.
      say: takes lines for people.

    Returns:
      The results, as written to `results.json`.

    Raises:
      workdir_lib.Stopped: after Ctrl-C or SIGTERM, with everything saved.
      workdir_lib.RunError: the directory holds another configuration, or a loss is not
        finite.
    """
    _claim(workdir, config)
    finished = workdir / RESULTS_FILE
    if finished.exists():
        say(f"finished before: {finished}")
        return json.loads(finished.read_text(encoding="utf-8"))
    say(f"{len(config.runs)} runs on {len(config.problems)} calibration networks")
    program = Program(config)
    with workdir_lib.StopSignal() as stop:
        _train(program, config, workdir, stop, say)
    results = _finish(program, config, workdir)
    say((workdir / "results.md").read_text(encoding="utf-8"))
    say(f"results and figures: {workdir}")
    return results


def _claim(workdir: pathlib.Path, config: regression_config.Regression) -> None:
    """Writes the configuration, or makes sure that the same is there."""
    workdir.mkdir(parents=True, exist_ok=True)
    saved = workdir / "config.json"
    if not saved.exists():
        saved.write_text(config_lib.to_json(config), encoding="utf-8")
    elif json.loads(saved.read_text("utf-8")) != json.loads(config_lib.to_json(config)):
        raise workdir_lib.RunError(
            f"{workdir} holds runs of another configuration ({saved}); resume with the "
            "same, or choose another directory"
        )


def _train(
    program: Program,
    config: regression_config.Regression,
    workdir: pathlib.Path,
    stop: workdir_lib.StopSignal,
    say: Callable[[str], None],
) -> None:
    stage2_begun = tf.Variable(False, trainable=False)
    checkpoint = tf.train.Checkpoint(
        stage1=program.stage1, stage2=program.stage2, stage2_begun=stage2_begun
    )
    manager = tf.train.CheckpointManager(
        checkpoint, str(workdir / "checkpoints"), max_to_keep=2
    )
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        say(f"resuming from {manager.latest_checkpoint}")
    shared = dict(config=config, manager=manager, stop=stop, say=say)
    _advance(program, stage=1, **shared)
    if not stage2_begun.numpy():
        program.begin_stage2()
        stage2_begun.assign(True)
        manager.save()
    _advance(program, stage=2, **shared)


def _advance(
    program: Program,
    *,
    stage: int,
    config: regression_config.Regression,
    manager: tf.train.CheckpointManager,
    stop: workdir_lib.StopSignal,
    say: Callable[[str], None],
) -> None:
    """Trains a stage from its current step to its end."""
    stacks = (program.stage1, program.stage2)[stage - 1]
    advance = (program.advance_stage1, program.advance_stage2)[stage - 1]
    steps = (config.stage1, config.stage2)[stage - 1].steps
    every, step = config.evaluation.every, int(stacks[0].step.numpy())
    if step == steps:
        return
    started, saved = time.monotonic(), step
    with cache.progress(
        total=steps, initial=step, desc=f"stage {stage}", unit="step"
    ) as bar:
        while step < steps:
            num_blocks = min(BLOCKS_PER_CALL, (steps - step) // every)
            advance(tf.constant(num_blocks))
            program.check_finite(stage)
            step += num_blocks * every
            bar.update(num_blocks * every)
            done = step == steps or stop.number is not None
            if done or step - saved >= config.train.checkpoint_every:
                manager.save()
                saved = step
            if stop.number is not None:
                raise workdir_lib.Stopped(
                    f"stopped in stage {stage} after step {step}; the same command goes "
                    "on from there"
                )
    say(f"stage {stage}: {time.monotonic() - started:.0f} s")


def _finish(
    program: Program, config: regression_config.Regression, workdir: pathlib.Path
) -> Dict[str, Any]:
    """Computes and writes results and figures of the trained runs."""
    curves = program.per_run(
        [trainer.log_likelihood.numpy().T for trainer in program.stage2]
    )
    samples = [trainer.sample(SAMPLES_PER_POINT) for trainer in program.stage2]
    upper_weights = program.per_run(
        [
            trainer.source.upper_weight(trainer.points, drawn)
            for trainer, drawn in zip(program.stage2, samples)
        ]
    )
    perfect = program.per_run([_perfect(trainer) for trainer in program.stage2])
    iterations = np.arange(curves.shape[1]) * config.evaluation.every
    results = regression_scores.results(
        config.runs,
        curves=curves,
        iterations=iterations,
        upper_weights=upper_weights,
        perfect=perfect,
    )
    drawn = regression_figures.run_figures(
        config.runs,
        curves=curves,
        iterations=iterations,
        shown=[
            _sampled(program, index, samples)
            for index in _hardest(config.runs).values()
        ],
    )
    figures.save_all(drawn, workdir / "figures")
    _write_curves(workdir / "log_likelihood.csv", config.runs, iterations, curves)
    (workdir / "results.md").write_text(
        regression_scores.to_markdown(results), encoding="utf-8"
    )
    work = workdir / f".{RESULTS_FILE}"
    text = json.dumps(results, indent=2, allow_nan=False) + "\n"
    work.write_text(text, encoding="utf-8")
    os.replace(work, workdir / RESULTS_FILE)  # The mark of a finished job comes last.
    return results


def _perfect(trainer: trainers.RefinementTrainer) -> tf.Tensor:
    """Log-likelihood of draws from the true distribution itself, `[R]`."""
    x, y = trainer.source.batches(0, 1, NUM_PERFECT_DRAWS)
    return trainer.source.log_likelihood(x[:, 0], y[:, 0])


def _hardest(runs: Sequence[regression_config.Run]) -> Dict[float, int]:
    """Calibration weight -> index of its first run of most bias and noise."""

    def hardness(index: int):
        problem = runs[index].problem
        return problem.mode_probability, problem.mode_noise

    weights = sorted({run.calibration_weight for run in runs}, reverse=True)
    return {
        weight: max(
            (i for i, run in enumerate(runs) if run.calibration_weight == weight),
            key=hardness,
        )
        for weight in weights
    }


def _sampled(
    program: Program, index: int, samples: Sequence[tf.Tensor]
) -> regression_figures.SampledRun:
    """Collects what the figure of one run shows; `samples` per stage-2 stack."""
    run, trainer, row, drawn = program.find(index, samples)
    x = np.linspace(0, 1, 201, dtype=np.float32)
    y = np.linspace(-0.75, 0.75, 151, dtype=np.float32)
    shape = [trainer.num_runs, len(x), len(y)]
    logits = trainer.discriminator(
        tf.broadcast_to(x, shape[:2]), tf.broadcast_to(y, shape)
    )
    data = trainer.source.batches(0, 1, trainer.points.shape[1])
    return regression_figures.SampledRun(
        run=run,
        data=tuple(part[row, 0].numpy() for part in data),
        x=trainer.points[row].numpy(),
        mean=trainer.points_mean[row].numpy(),
        samples=drawn[row].numpy(),
        realness=tf.sigmoid(logits[row]).numpy().T,
        extent=(0.0, 1.0, float(y[0]), float(y[-1])),
    )


def _write_curves(path: pathlib.Path, runs, iterations, curves) -> None:
    """Writes a line per evaluation and a column per run."""
    names = [
        f"pi={run.problem.mode_probability:g} sigma={run.problem.mode_noise:g} "
        f"seed={run.problem.seed} lambda={run.calibration_weight:g}"
        for run in runs
    ]
    lines = [",".join(["iteration", *names])]
    for iteration, values in zip(iterations, curves.T):
        lines.append(",".join([str(iteration), *(f"{value:.6g}" for value in values)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
