"""The 1-D bimodal regression: training, scores and figures in one run directory.

Eight problems or so, the runs of a stack, share their tensors; all stacks advance in
one `tf.function`, whose executor spreads them over the cores.
"""

import contextlib
import time
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.data import io
from car_tf.experiment.regression import config as regression_config
from car_tf.experiment.regression import figures, report, trainers
from car_tf.experiment.regression import scores as regression_scores
from car_tf.report import figures as report_figures
from car_tf.report import write
from car_tf.runtime import checkpoints, run_dir, stop_signal

# Measured on two cores with 512 kB of second-level cache each: stacks of 8000 rows take
# 172 ms of processor time for a step of 45 runs, 1000 rows each; one stack of all 260 ms.
ROWS_PER_STACK = 8000
# For the final weights of the modes, and for the score of the true distribution.
SAMPLES_PER_POINT = 16
NUM_PERFECT_DRAWS = 20_000


def use_one_thread_per_operation() -> None:
    """Lets the cores share stacks, not operations, if TensorFlow has not started yet.

    A step of 45 runs took 172 ms of processor time this way on two cores, 291 ms with
    operations split over them.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)


def run(
    config: regression_config.Regression,
    workdir: run_dir.RunDir,
    log: Callable[[str], None] = print,
) -> Dict[str, Any]:
    """Trains what is left of a configuration's runs; returns what `results.json` holds.

    Raises:
      stop_signal.Stopped: after Ctrl-C or SIGTERM, with everything saved.
      run_dir.RunError: a loss is not finite, or a checkpoint cannot be read or written.
    """
    use_one_thread_per_operation()
    workdir.begin(config)
    results = workdir.read_json(regression_scores.RESULTS_FILE)
    if results is not None:
        log(f"finished before: {workdir.path / regression_scores.RESULTS_FILE}")
        return results
    log(f"{len(config.runs)} runs on {len(config.problems)} calibration networks")
    stacks = build(config)
    with stop_signal.StopSignal() as stop:
        _train(stacks, config, workdir, stop, log)
    results = _finish(stacks, config, workdir)
    log(regression_scores.to_markdown(results))
    log(f"results and figures: {workdir.path}")
    log(f"report: {write.write(workdir.path, sections=report.sections(workdir.path))}")
    return results


class Stacks(NamedTuple):
    """The trainers of all runs: of each stack's F; on it, of G and D for each weight."""

    stage1: List[trainers.CalibrationTrainer]
    stage2: List[trainers.RefinementTrainer]
    num_problems: int  # without the copy that makes the last stack even

    def per_run(self, values: Sequence[Any]) -> np.ndarray:
        """Puts values of the trainers of stage 2, `[R, ...]` each, in the runs' order."""
        count = len(self.stage1)
        groups = [values[i : i + count] for i in range(0, len(values), count)]
        return np.concatenate(
            [np.concatenate(group)[: self.num_problems] for group in groups]
        )


def build(config: regression_config.Regression) -> Stacks:
    """Builds networks and trainers of all runs.

    A problem left over is joined by a copy of itself: in stacks of an even number of
    runs every run computes the same bits in whatever company; in odd ones the last
    elements go through scalar instead of vector code.
    """
    problems = config.problems + config.problems[-1:] * (len(config.problems) % 2)
    rows = config.stage2.batch_size * config.stage2.num_samples
    rows = max(rows, config.stage1.batch_size)
    size = 2 * max(1, ROWS_PER_STACK // rows // 2)
    starts = range(0, len(problems), size)
    stacks = [stack(config, problems[first : first + size]) for first in starts]
    stage1, stage2 = zip(*stacks)
    by_weight = [trainer for same_weight in zip(*stage2) for trainer in same_weight]
    return Stacks(list(stage1), by_weight, len(config.problems))


def stack(
    config: regression_config.Regression, problems: Sequence[regression_config.Problem]
) -> Tuple[trainers.CalibrationTrainer, List[trainers.RefinementTrainer]]:
    """Builds trainers: of F, and of G and D per weight of Lcal."""
    calibration = trainers.CalibrationTrainer(config, problems)
    refinement = [
        trainers.RefinementTrainer(
            config, problems, calibration.calibration_net, calibration_weight=weight
        )
        for weight in config.stage2.calibration_weights
    ]
    return calibration, refinement


def block_of(stage: Sequence[Any]) -> Callable[[], Any]:
    """Returns the program that advances all trainers of a stage by a block of steps."""
    return tf.function(lambda: [t.train_block() for t in stage], autograph=False)


def _train(stacks: Stacks, config, workdir, stop, log) -> None:
    """Trains both stages from the last checkpoint to the end."""
    checkpoint = tf.train.Checkpoint(stage1=stacks.stage1, stage2=stacks.stage2)
    manager = checkpoints.manager_of(checkpoint, workdir.path / "checkpoints")
    checkpoints.restore_latest(checkpoint, manager, log)
    every, before = config.evaluation.every, 0
    for number, stage in ((1, stacks.stage1), (2, stacks.stage2)):
        steps = (config.stage1, config.stage2)[number - 1].steps
        step, started = int(stage[0].step.numpy()), time.monotonic()
        if step:
            log(f"stage {number}: resuming after step {step}")
        elif number == 2:
            for trainer in stage:
                trainer.begin()
        advance = block_of(stage)
        counts = dict(total=steps, initial=step)
        with io.progress(None, f"stage {number}", "step", **counts) as bar:
            while step < steps:
                advance()
                check_finite(stage)
                step += every
                bar.update(every)
                asked = stop.number is not None
                is_due = step % config.train.checkpoint_every < every
                if asked or is_due or step == steps:
                    # Checkpoints of both stages are numbered in one sequence.
                    checkpoints.save(manager, before + step)
                if asked:
                    raise stop_signal.Stopped(
                        f"stopped in stage {number} after step {step}; the same "
                        f"command on {workdir.path} goes on from there"
                    )
        log(f"stage {number}: {time.monotonic() - started:.0f} s")
        before += steps


def check_finite(stage: Sequence[Any]) -> None:
    """Raises RunError for a loss that is not finite, naming step, term and problem."""
    for trainer in stage:
        for name, values in trainer.last_losses.items():
            for value, problem in zip(values.numpy(), trainer.source.problems):
                if not np.isfinite(value):
                    raise run_dir.RunError(
                        f"{trainer.name}, step {int(trainer.step.numpy())}: the loss "
                        f"term {name} is {value} in {problem}"
                    )


def _finish(
    stacks: Stacks, config: regression_config.Regression, workdir: run_dir.RunDir
) -> Dict[str, Any]:
    """Computes and writes results and figures of the trained runs."""
    stage2 = stacks.stage2
    samples = [trainer.sample(SAMPLES_PER_POINT) for trainer in stage2]
    curves = stacks.per_run([trainer.log_likelihood.numpy().T for trainer in stage2])
    iterations = np.arange(curves.shape[1]) * config.evaluation.every
    weights = [t.source.upper_weight(t.points, s) for t, s in zip(stage2, samples)]
    # Log-likelihoods of draws from the true distributions themselves.
    true = [trainer.source.batches(0, 1, NUM_PERFECT_DRAWS) for trainer in stage2]
    perfect = [
        trainer.source.log_likelihood(x[:, 0], y[:, 0])
        for trainer, (x, y) in zip(stage2, true)
    ]
    results = regression_scores.results(
        config.runs,
        curves=curves,
        iterations=iterations,
        upper_weights=stacks.per_run(weights),
        perfect=stacks.per_run(perfect),
    )
    # The first problem of most bias and noise is shown.
    hardest = max(config.problems, key=lambda p: (p.mode_probability, p.mode_noise))
    shown = [
        _shown(trainer, drawn, trainer.source.problems.index(hardest))
        for trainer, drawn in zip(stage2, samples)
        if hardest in trainer.source.problems
    ]
    drawn = figures.run_figures(config.runs, curves, iterations, shown)
    report_figures.save_all(drawn.items(), workdir.path / "figures")
    names = [
        f"pi={run.problem.mode_probability:g} sigma={run.problem.mode_noise:g} "
        f"seed={run.problem.seed} lambda={run.calibration_weight:g}"
        for run in config.runs
    ]
    lines = [",".join(["iteration", *names])]
    for iteration, values in zip(iterations, curves.T):
        lines.append(",".join([str(iteration), *(f"{value:.6g}" for value in values)]))
    workdir.write_text("log_likelihood.csv", "\n".join(lines) + "\n")
    workdir.write_text("results.md", regression_scores.to_markdown(results))
    # The mark of a finished job comes last.
    workdir.write_json(regression_scores.RESULTS_FILE, results)
    return results


def _shown(
    trainer: trainers.RefinementTrainer, samples: tf.Tensor, row: int
) -> figures.SampledRun:
    """Collects what the figure of one run shows."""
    x = np.linspace(*figures.EXTENT[:2], 201, dtype=np.float32)
    y = np.linspace(*figures.EXTENT[2:], 151, dtype=np.float32)
    shape = [trainer.num_runs, len(x), len(y)]
    logits = trainer.discriminator(
        tf.broadcast_to(x, shape[:2]), tf.broadcast_to(y, shape)
    )
    data = trainer.source.batches(0, 1, trainer.points.shape[1])
    return figures.SampledRun(
        problem=trainer.source.problems[row],
        calibration_weight=trainer.calibration_weight,
        data=tuple(part[row, 0].numpy() for part in data),
        x=trainer.points[row].numpy(),
        mean=trainer.points_mean[row].numpy(),
        samples=samples[row].numpy(),
        realness=tf.sigmoid(logits[row]).numpy().T,
    )
