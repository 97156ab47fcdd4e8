"""The 1-D bimodal regression: training, scores and figures in one directory."""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import Any, Callable, Dict, Sequence

import numpy as np
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.report import figures, write
from car_tf.experiment.regression import config as regression_config
from car_tf.experiment.regression import figures as regression_figures
from car_tf.experiment.regression import program as regression_program
from car_tf.experiment.regression import report as regression_report
from car_tf.experiment.regression import scores as regression_scores
from car_tf.runtime import checkpoints
from car_tf.runtime import environment, run_dir, stop_signal
from car_tf.data import cache
from car_tf.experiment.regression import trainers

RESULTS_FILE = "results.json"
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
      stop_signal.Stopped: after Ctrl-C or SIGTERM, with everything saved.
      run_dir.RunError: the directory holds another configuration, a loss is not
        finite, or a checkpoint cannot be read or written.
    """
    _claim(workdir, config)
    finished = workdir / RESULTS_FILE
    if finished.exists():
        say(f"finished before: {finished}")
        return json.loads(finished.read_text(encoding="utf-8"))
    say(f"{len(config.runs)} runs on {len(config.problems)} calibration networks")
    program = regression_program.Program(config)
    with stop_signal.StopSignal() as stop:
        _train(program, config, workdir, stop, say)
    results = _finish(program, config, workdir)
    say((workdir / "results.md").read_text(encoding="utf-8"))
    say(f"results and figures: {workdir}")
    say(f"report: {write.write(workdir, sections=regression_report.sections(workdir))}")
    return results


def _claim(workdir: pathlib.Path, config: regression_config.Regression) -> None:
    """Writes the configuration, or makes sure that the same is there."""
    run_dir.refuse_patterns("--workdir", workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    saved = workdir / "config.json"
    if not saved.exists():
        record = json.dumps(environment.describe(), indent=2) + "\n"
        (workdir / "environment.json").write_text(record, encoding="utf-8")
        saved.write_text(config_lib.to_json(config), encoding="utf-8")
    elif json.loads(saved.read_text("utf-8")) != json.loads(config_lib.to_json(config)):
        raise run_dir.RunError(
            f"{workdir} holds runs of another configuration ({saved}); resume with the "
            "same, or choose another directory"
        )


def _train(
    program: regression_program.Program,
    config: regression_config.Regression,
    workdir: pathlib.Path,
    stop: stop_signal.StopSignal,
    say: Callable[[str], None],
) -> None:
    checkpoint = tf.train.Checkpoint(stage1=program.stage1, stage2=program.stage2)
    manager = checkpoints.manager_of(checkpoint, workdir / "checkpoints")
    checkpoints.restore_latest(checkpoint, manager, say)
    step1, step2 = (int(stage[0].step) for stage in (program.stage1, program.stage2))
    if step1:
        say(f"resuming after step {step1} of stage 1 and step {step2} of stage 2")
    shared = dict(config=config, manager=manager, stop=stop, say=say)
    _advance(program, stage=1, **shared)
    if not step2:
        program.begin_stage2()
    _advance(program, stage=2, **shared)


def _advance(
    program: regression_program.Program,
    *,
    stage: int,
    config: regression_config.Regression,
    manager: tf.train.CheckpointManager,
    stop: stop_signal.StopSignal,
    say: Callable[[str], None],
) -> None:
    """Trains a stage from its current step to its end."""
    stacks = (program.stage1, program.stage2)[stage - 1]
    advance = (program.advance_stage1, program.advance_stage2)[stage - 1]
    steps = (config.stage1, config.stage2)[stage - 1].steps
    every, step = config.evaluation.every, int(stacks[0].step.numpy())
    # Checkpoints of both stages are numbered in one sequence.
    before = (0, config.stage1.steps)[stage - 1]
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
            asked = stop.number is not None
            if asked or step == steps or step - saved >= config.train.checkpoint_every:
                checkpoints.save(manager, before + step)
                saved = step
            if asked:
                raise stop_signal.Stopped(
                    f"stopped in stage {stage} after step {step}; the same command goes "
                    "on from there"
                )
    say(f"stage {stage}: {time.monotonic() - started:.0f} s")


def _finish(
    program: regression_program.Program,
    config: regression_config.Regression,
    workdir: pathlib.Path,
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
    program: regression_program.Program, index: int, samples: Sequence[tf.Tensor]
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
