"""The 1-D regression: steps against a plain version, runs alone and among others,
resuming, and scores by hand."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from car_tf.config import fields
from car_tf import config as config_lib
from car_tf.experiment.regression import config as regression_config
from car_tf.experiment.regression import run as regression_run
from car_tf.experiment.regression import program as regression_program
from car_tf.experiment.regression import scores as regression_scores
from car_tf.runtime import run_dir, stop_signal
from tests.benchmarks import regression

ROOT = pathlib.Path(__file__).resolve().parents[2]


def small(seeds=(1,), mode_probabilities=(0.6, 0.9), **stage2):
    """Two distributions by default, two values of lambda, small networks."""
    return regression_config.Regression(
        name="small",
        data=regression_config.Bimodal(mode_probabilities, (0.02,)),
        networks=regression_config.Networks(hidden_layers=1, hidden_units=16),
        stage1=regression_config.Stage1(steps=10, batch_size=20),
        stage2=regression_config.Stage2(
            **{"steps": 50, "batch_size": 12, "num_samples": 3, **stage2}
        ),
        train=regression_config.Train(seeds=seeds),
        evaluation=regression_config.Evaluation(every=5, num_points=40),
    )


def trained(config, *, even=True):
    """Trains a program and returns it with its curves in the runs' order."""
    program = regression_program.Program(config, even=even)
    program.advance_stage1(tf.constant(config.stage1.steps // 5))
    program.begin_stage2()
    program.advance_stage2(tf.constant(config.stage2.steps // 5))
    return program, program.per_run(
        [t.log_likelihood.numpy().T for t in program.stage2]
    )


@pytest.fixture(scope="module")
def among():
    """Six runs trained together: two distributions, three seeds cut to both lambdas."""
    return trained(small(seeds=(1, 2, 3)))


def test_the_grid_is_ninety_runs():
    config = config_lib.load(str(ROOT / "configs" / "regression_grid.py"))
    assert (len(config.runs), len(set(config.runs))) == (90, 90)
    assert len(config.problems) == 45
    assert [config.num_samples(run) for run in config.runs] == [10] * 45 + [1] * 45
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
    trainer = regression_program.Program(config).stage2[0]
    plain = regression_program.Program(config).stage2[0]
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
    program = regression_program.Program(small())
    trainer = program.stage1[0]
    x, y = (part[:, 0] for part in trainer.draw())
    error = np.mean((y - trainer.calibration_net(x)) ** 2, axis=1)
    trainer.train_step([x, y])
    # -log N(y; F, 1) = (y - F)^2 / 2 + log(2 pi) / 2 (CAR, Eq. 11).
    expected = error / 2 + 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(
        trainer.last_losses["cross_entropy"], expected, rtol=1e-5
    )
    trainer = program.stage2[0]
    x, y, noise = (part[:, 0] for part in trainer.draw())
    mean = trainer.calibration_net(x)
    samples = trainer.refinement_net(x, mean, noise)
    error = np.mean((np.mean(samples, axis=-1) - mean) ** 2, axis=1)
    trainer.train_step([x, y, noise])
    # KL(N(m, 1) || N(F, 1)) = (m - F)^2 / 2 (CAR, Eq. 17).
    np.testing.assert_allclose(trainer.last_losses["calibration"], error / 2, rtol=1e-5)


def test_a_run_computes_the_same_bits_alone_and_among_others(among):
    program, curves = among
    runs = small(seeds=(1, 2, 3)).runs
    alone = small(seeds=(2,), mode_probabilities=(0.9,))
    lone_program, lone_curves = trained(alone)
    assert np.ptp(curves, axis=1).min() > 0
    for row, run in enumerate(alone.runs):
        index = runs.index(run)
        np.testing.assert_array_equal(lone_curves[row], curves[index])
        values = [t.refinement_net.get_weights() for t in program.stage2]
        lone_values = [t.refinement_net.get_weights() for t in lone_program.stage2]
        for layer in range(len(values[0])):
            ours = program.per_run([value[layer] for value in values])[index]
            its = lone_program.per_run([value[layer] for value in lone_values])[row]
            np.testing.assert_array_equal(ours, its)


def test_runs_differ_from_each_other(among):
    assert len(np.unique(among[1][:, -1])) == 12


def test_pairs_with_and_without_calibration_share_f(among):
    program, _ = among
    weights = program.per_run(
        [t.calibration_net.get_weights()[0] for t in program.stage2]
    )
    np.testing.assert_array_equal(weights[:6], weights[6:])
    assert np.abs(weights[0] - weights[1]).min() > 0


class StopAfter:
    """Stands in for the stop signal: asks to stop at the second look."""

    def __init__(self):
        self._looks = 0

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    @property
    def number(self):
        self._looks += 1
        return 2 if self._looks > 1 else None


@pytest.mark.parametrize("damaged", [False, True])
def test_a_stopped_job_goes_on_and_ends_like_an_uninterrupted_one(
    tmp_path, monkeypatch, among, damaged
):
    config = small(seeds=(1, 2, 3))
    with monkeypatch.context() as patched:
        patched.setattr(stop_signal, "StopSignal", StopAfter)
        with pytest.raises(stop_signal.Stopped, match="stage 2 after step 25"):
            regression_run.run(config, tmp_path, lambda line: None)
    newest = tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))
    if damaged:
        pathlib.Path(f"{newest}.index").write_bytes(b"")
    said = []
    results = regression_run.run(config, tmp_path, said.append)
    assert any(f"{newest} cannot be read" in line for line in said) == damaged
    assert any("resuming" in line for line in said)
    finals = [run["final_log_likelihood"] for run in results["runs"]]
    np.testing.assert_allclose(finals, among[1][:, -1], rtol=1e-6)
    for name in ("overview", "samples_lambda1", "curves_lambda0_runs"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 1000
    lines = (tmp_path / "log_likelihood.csv").read_text().splitlines()
    assert (len(lines), lines[1].count(",")) == (12, 12)
    assert (tmp_path / "results.md").read_text().count("\n") == 2 + 4 + 2
    said.clear()
    assert regression_run.run(config, tmp_path, said.append) == results
    assert said == [f"finished before: {tmp_path / 'results.json'}"]
    with pytest.raises(run_dir.RunError, match="another configuration"):
        regression_run.run(small(), tmp_path, said.append)


def test_a_loss_that_is_not_finite_names_term_and_run():
    program = regression_program.Program(small())
    program.stage2[0].last_losses["adversarial"].assign([0.5, float("nan")])
    with pytest.raises(run_dir.RunError, match="adversarial is nan.*0.9"):
        program.check_finite(2)


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
    config = dataclasses.replace(
        small(mode_probabilities=(0.9,), steps=10, calibration_weights=(1.0,)),
        networks=regression_config.Networks(hidden_layers=1, hidden_units=1),
    )
    # One hidden unit: a network of I inputs takes 2 (I + 1) a row; trained on data,
    # 6 (I + 1) - 2 I. Stage 1: 10 steps x 20 rows x (12 - 2) = 2000.
    # Stage 2, per step: 36 samples x (G: 24 - 6, D: 18) + 12 pairs x (D: 18 - 4, F: 4)
    # + 40 points x 8 / 5 steps = 1296 + 216 + 64 = 1576; 10 steps: 15760.
    assert regression.count_operations(config) == 2000 + 15760


@pytest.mark.parametrize("arguments", [[], ["table9"], ["regression", "--set=a.b=1"]])
def test_wrong_arguments_stop_with_one_line(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "car_tf.experiment", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
