"""The 1-D regression: steps against a plain version, runs alone and among others,
resuming, and scores by hand."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import re

import job
import numpy as np
import pytest
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.experiment.regression import config as regression_config
from car_tf.experiment.regression import run as regression_run
from car_tf.experiment.regression import scores as regression_scores
from car_tf.runtime import run_dir, stop_signal
from tests.benchmarks import regression


def small(seeds=(1,), mode_probabilities=(0.6, 0.9), **stage2):
    """Two distributions by default, two values of lambda, small networks."""
    return regression_config.Regression(
        name="small",
        data=regression_config.Bimodal(
            mode_probabilities=mode_probabilities, mode_noises=(0.02,)
        ),
        networks=regression_config.Networks(hidden_layers=1, hidden_units=16),
        stage1=regression_config.Stage1(steps=10, batch_size=20),
        stage2=regression_config.Stage2(
            **{"steps": 50, "batch_size": 12, "num_samples": 3, **stage2}
        ),
        train=regression_config.Train(seeds=seeds),
        evaluation=regression_config.Evaluation(every=5, num_points=40),
    )


def trained(config):
    """Trains all runs; returns the trainers and the curves in the runs' order."""
    stacks = regression_run.build(config)
    for stage, steps in ((stacks.stage1, 10), (stacks.stage2, 50)):
        for trainer in stage if steps == 50 else ():
            trainer.begin()
        advance = regression_run.block_of(stage)
        for _ in range(steps // config.evaluation.every):
            advance()
    return stacks, stacks.per_run([t.log_likelihood.numpy().T for t in stacks.stage2])


@pytest.fixture(scope="module")
def among():
    """Twelve runs in two stacks: two distributions, three seeds, both lambdas."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(regression_run, "ROWS_PER_STACK", 160)
        yield trained(small(seeds=(1, 2, 3)))


def test_the_grid_is_ninety_runs():
    config = config_lib.load("regression_grid")
    assert (len(config.runs), len(set(config.runs))) == (90, 90)
    assert len(config.problems) == 45
    assert (config.stage1.steps, config.stage1.batch_size) == (1500, 1000)
    assert (config.stage2.steps, config.stage2.batch_size) == (5000, 100)
    keys = {problem.key(word) for problem in config.problems for word in ("a", "b")}
    assert len(keys) == 90


@pytest.mark.parametrize(
    "override",
    [
        "data.mode_probabilities=0.5,1.0",
        "data.mode_noises=0",
        "stage2.steps=1001",
        "stage2.calibration_weights=-1",
        "networks.hidden_units=0",
        "train.seeds=",
        "evaluation.num_points=0",
    ],
)
def test_values_out_of_range_are_refused(override):
    section, field = override.split("=", maxsplit=1)[0].split(".")
    with pytest.raises(config_lib.ConfigError, match=rf"{section}\..*{field}.*wanted"):
        fields.override(small(), [override])


def plain_step(nets, optimizers, data, weight, num_runs):
    """One update of G and of D for each run, in the words of the paper's equations."""
    x, y, noise = data
    means, g_net, d_net = nets[0](x), nets[1], nets[2]
    with tf.GradientTape(persistent=True) as tape:
        samples = g_net(x, means, noise)
        fake, real = d_net(x, samples), d_net(x, y[..., None])
        g_loss = d_loss = 0.0
        for run in range(num_runs):
            chance = tf.sigmoid(fake[run])
            g_loss -= tf.reduce_mean(tf.math.log(chance))
            distance = tf.reduce_mean(samples[run], axis=1) - means[run]
            g_loss += weight * 0.5 * tf.reduce_mean(distance**2)
            d_loss -= tf.reduce_mean(tf.math.log(tf.sigmoid(real[run])))
            d_loss -= tf.reduce_mean(tf.math.log(1 - chance))
    for loss, net, optimizer in zip((g_loss, d_loss), nets[1:], optimizers):
        gradients = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(gradients, net.trainable_variables))


def test_stage_2_makes_the_updates_of_the_plain_losses():
    config = small(learning_rate=1e-2)
    trainer, plain = (regression_run.build(config).stage2[0] for _ in range(2))
    optimizers = [tf.keras.optimizers.Adam(1e-2, epsilon=1e-8) for _ in range(2)]
    nets = (plain.calibration_net, plain.refinement_net, plain.discriminator)
    data = trainer.draw()
    for step in range(5):
        batch = [part[:, step] for part in data]
        trainer.train_step(batch)
        plain_step(nets, optimizers, batch, 1.0, trainer.num_runs)
    for name in ("refinement_net", "discriminator"):
        for ours, its in zip(
            getattr(trainer, name).weights, getattr(plain, name).weights
        ):
            np.testing.assert_allclose(ours, its, atol=2e-5)


def test_losses_of_unit_gaussians_are_half_squared_errors():
    stacks = regression_run.build(small())
    trainer = stacks.stage1[0]
    x, y = (part[:, 0] for part in trainer.draw())
    error = np.mean((y - trainer.calibration_net(x)) ** 2, axis=1)
    trainer.train_step([x, y])
    # -log N(y; F, 1) = (y - F)^2 / 2 + log(2 pi) / 2 (CAR, Eq. 11).
    expected = error / 2 + 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(
        trainer.last_losses["cross_entropy"], expected, rtol=1e-5
    )
    trainer = stacks.stage2[0]
    x, y, noise = (part[:, 0] for part in trainer.draw())
    mean = trainer.calibration_net(x)
    samples = trainer.refinement_net(x, mean, noise)
    error = np.mean((np.mean(samples, axis=-1) - mean) ** 2, axis=1)
    trainer.train_step([x, y, noise])
    # KL(N(m, 1) || N(F, 1)) = (m - F)^2 / 2 (CAR, Eq. 17).
    np.testing.assert_allclose(trainer.last_losses["calibration"], error / 2, rtol=1e-5)


def test_a_run_computes_the_same_bits_alone_and_among_others(among):
    stacks, curves = among
    assert [len(stacks.stage1), len(stacks.stage2)] == [2, 4]
    # None is another, and all have moved.
    assert len(np.unique(curves[:, -1])) == 12 and np.ptp(curves, axis=1).min() > 0
    runs = small(seeds=(1, 2, 3)).runs
    alone = small(seeds=(2,), mode_probabilities=(0.9,))
    lone_stacks, lone_curves = trained(alone)
    rows = [runs.index(run) for run in alone.runs]
    np.testing.assert_array_equal(lone_curves, curves[rows])
    for net in ("calibration_net", "refinement_net", "discriminator"):
        ours, its = (
            zip(*(getattr(t, net).get_weights() for t in found.stage2))
            for found in (stacks, lone_stacks)
        )
        for values, lone_values in zip(ours, its):
            found = stacks.per_run(values)[rows]
            np.testing.assert_array_equal(found, lone_stacks.per_run(lone_values))


class StopAfter:
    """Stands in for the stop signal: asks to stop after the fourth block of steps."""

    def __init__(self):
        self._looks = 0

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    @property
    def number(self):
        self._looks += 1
        return 2 if self._looks > 3 else None


def run_in(path, config, log):
    with contextlib.closing(run_dir.RunDir(str(path), config)) as workdir:
        return regression_run.run(config, workdir, log)


def test_a_stopped_job_goes_on_and_ends_like_an_uninterrupted_one(
    tmp_path, monkeypatch, among
):
    config = small(seeds=(1, 2, 3))
    with monkeypatch.context() as patched:
        patched.setattr(stop_signal, "StopSignal", StopAfter)
        with pytest.raises(stop_signal.Stopped, match="stage 2 after step 10"):
            run_in(tmp_path, config, print)
    lines = []
    results = run_in(tmp_path, config, lines.append)
    assert "stage 2: resuming after step 10" in lines
    finals = [run["final_log_likelihood"] for run in results["runs"]]
    np.testing.assert_array_equal(finals, among[1][:, -1])
    for name in ("overview", "curves_lambda1_average", "curves_lambda0_runs"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 1000
    rows = (tmp_path / "log_likelihood.csv").read_text().splitlines()
    assert (len(rows), rows[1].count(",")) == (12, 12)
    assert (tmp_path / "results.md").read_text().count("\n") == 2 + 4 + 2
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    cells = re.sub(r"\s*<td[^>]*>", "<td>", page)
    assert page.count("<img") == 5 and "<td>0.6</td><td>0.02</td><td>3</td>" in cells
    lines.clear()
    assert run_in(tmp_path, config, lines.append) == results
    assert lines == [f"finished before: {tmp_path / 'results.json'}"]
    with pytest.raises(run_dir.RunError, match="train.seeds"):
        run_in(tmp_path, small(), print)


def test_the_report_is_written_anew_by_its_command(tmp_path):
    with contextlib.closing(run_dir.RunDir(str(tmp_path), small())) as workdir:
        workdir.begin(small())
    done = job.fork("--workdir", tmp_path, module="car_tf.report")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "two right answers" in page and "are not finished" in page


@pytest.mark.parametrize(
    "words",
    [
        ("car_tf.train", "--config=regression", "--workdir"),
        ("car_tf.experiment", "regression", "--output"),
    ],
)
def test_a_directory_in_use_is_refused(tmp_path, words):
    module, *arguments = words
    with open(tmp_path / ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = job.fork(*arguments, tmp_path, module=module)
    assert done.returncode == 1
    error = f"error: --workdir: another run is writing to {tmp_path}"
    assert done.stderr.splitlines()[-1] == error


def test_a_loss_that_is_not_finite_names_term_and_run():
    stage = regression_run.build(small()).stage2
    stage[1].last_losses["adversarial"].assign([0.5, float("nan")])
    words = "stage 2, lambda 0, step 0: .*adversarial is nan.*mode_probability=0.9"
    with pytest.raises(run_dir.RunError, match=words):
        regression_run.check_finite(stage)


def test_iterations_to_90_percent_by_hand():
    iterations = np.arange(5) * 10
    # From -100 to 0: 90 % of the way is -10, first met at the fourth value.
    curve = np.array([-100.0, -50.0, -10.5, -10.0, 0.0])
    assert regression_scores.iterations_to_90_percent(curve, iterations) == 30
    # A curve that overshoots counts when it first passes: 0 to 10, 9 at iteration 10.
    curve = np.array([0.0, 9.0, 12.0, 3.0, 10.0])
    assert regression_scores.iterations_to_90_percent(curve, iterations) == 10
    curve = np.array([0.0, 5.0, 5.0, 5.0, -1.0])
    assert regression_scores.iterations_to_90_percent(curve, iterations) is None


def test_collapse_is_less_than_half_of_a_true_weight():
    # pi = 0.9: the upper mode needs 0.45, the lower one 0.05.
    assert not regression_scores.is_collapsed(0.46, 0.9)
    assert regression_scores.is_collapsed(0.44, 0.9)
    assert not regression_scores.is_collapsed(0.949, 0.9)
    assert regression_scores.is_collapsed(0.951, 0.9)


def test_results_by_hand():
    runs = small(seeds=(1, 2), mode_probabilities=(0.9,)).runs
    results = regression_scores.results(
        runs,
        curves=np.array([[-9.0, 1.0], [-9.0, 3.0], [-9.0, -5.0], [1.0, 0.0]]),
        iterations=np.array([0, 10]),
        upper_weights=np.array([0.88, 0.93, 1.0, 0.2]),
        perfect=np.full(4, 2.0),
    )
    calibrated, plain = results["configurations"]
    # Quartiles of 1 and 3 are 1.5, 2, 2.5; errors are 0.02 and 0.03.
    assert calibrated["final_median"] == 2.0
    assert calibrated["final_quartiles"] == [1.5, 2.5]
    assert calibrated["num_collapsed"] == 0
    assert calibrated["worst_upper_weight_error"] == pytest.approx(0.03)
    assert calibrated["median_iterations_to_90_percent"] == 10
    # Weights 1.0 and 0.2 are both collapsed; the fourth curve fell.
    assert (plain["num_collapsed"], plain["collapsed_fraction"]) == (2, 1.0)
    assert results["runs"][3]["iterations_to_90_percent"] is None
    assert results["pooled"][1]["final_median"] == -2.5
    assert [entry["num_runs"] for entry in results["pooled"]] == [2, 2]
    json.dumps(results, allow_nan=False)
    text = regression_scores.to_markdown(results)
    assert "| 1 | 0.9 | 0.02 | 2 | 2.00 (1.50 to 2.50) | 2.00 | 10 | 0 of 2 |" in text


def test_operations_by_hand():
    config = config_lib.change(
        small(mode_probabilities=(0.9,), steps=10, calibration_weights=(1.0,)),
        networks={"hidden_units": 1},
    )
    # One hidden unit: a network of I inputs takes 2 (I + 1) a row; trained on data,
    # 6 (I + 1) - 2 I. Stage 1: 10 steps x 20 rows x (12 - 2) = 2000.
    # Stage 2, per step: 36 samples x (G: 24 - 6, D: 18) + 12 pairs x (D: 18 - 4, F: 4)
    # + 40 points x 8 / 5 steps = 1296 + 216 + 64 = 1576; 10 steps: 15760.
    assert regression.count_operations(config) == 2000 + 15760


@pytest.mark.parametrize("words", [[], ["table9"], ["regression", "--set=a.b=1"]])
def test_wrong_arguments_stop_with_one_line(words):
    done = job.fork(*words, module="car_tf.experiment")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
