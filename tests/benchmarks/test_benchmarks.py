"""The benchmark: how it times, what it counts, that both sides compute the same."""

import json
import os
import platform
import subprocess
import sys

import job
import numpy as np
import pytest
import tensorflow as tf

from car_tf.blackbox import attach
from car_tf.models.keras_api import keras
from tests.benchmarks import (
    full_size,
    growth,
    plan,
    processes,
    report,
    sampling,
    scores,
    timing,
    training,
)


def benchmark(*arguments):
    return job.run(*arguments, module="tests.benchmarks")


def test_sides_take_turns_and_warm_up_does_not_count():
    calls = []

    def side(name, values):
        def measure():
            calls.append(name)
            return values.pop(0)

        return measure

    sides = {"a": side("a", [9.0, 1.0, 5.0, 2.0]), "b": side("b", [9.0, 4.0, 3.0, 8.0])}
    # Warm-up 9; then a: 1, 5, 2 and b: 4, 3, 8, whose medians are 2 and 4.
    assert timing.medians(sides, repeats=3) == {"a": 2.0, "b": 4.0}
    assert calls == ["a", "b"] * 4


def test_the_clock_returns_what_the_timer_says():
    readings = iter([10.0, 12.5])
    assert timing.clock(lambda: None, lambda: next(readings))() == 2.5


def test_a_table_is_aligned_markdown():
    table = report.Table("T", ("M", "ms"), [[7, 12.345], [20, None]], ("Note.",))
    lines = ["T:", "", "| M  | ms   |", "| -- | ---- |"]
    lines += ["| 7  | 12.3 |", "| 20 |      |", "", "Note."]
    assert table.markdown() == "\n".join(lines)
    assert table.to_dict()["rows"] == [{"M": 7, "ms": 12.345}, {"M": 20, "ms": None}]
    with pytest.raises(ValueError, match="wanted 2 cells"):
        report.Table("T", ("M", "ms"), [[1]])
    assert [report.cell(v) for v in (1234.5, 0.00123, "x")] == ["1234", "0.00123", "x"]


def test_multiply_adds_by_hand():
    net, _, _ = sampling.build(num_classes=2, base_channels=1, size=(16, 16))
    # Channels down: 5 -> 1 -> 2 -> 4 -> 8 at 64, 16, 4 and 1 pixels:
    # 9 (64*5*1 + 16*1*2 + 4*2*4 + 1*4*8) = 9 * 416 = 3744.
    # Up halves before enlarging: 8 -> 4 at 1, 4 -> 2 at 4, 2 -> 1 at 16, 1 -> 1 at 64:
    # 9 * 32 once, and 9 (32 + 32 + 64) = 1152 per sample.
    # Skips: 4 -> 4 at 4, 2 -> 2 at 16, 1 -> 1 at 64, 5 -> 1 at 256:
    # 9 (64 + 64 + 64 + 1280) = 13248. Logits: 256 * 1 * 2 = 512 per sample.
    once, each = 3744 + 288 + 13248, 1152 + 512
    counts = sampling.multiply_adds(net, (16, 16), 3)
    assert counts == {"ours": once + 3 * each, "tiled": 3 * (once + each)}
    # A size that is padded to 16 x 32 costs twice as much.
    assert sampling.multiply_adds(net, (15, 17), 3)["ours"] == 2 * counts["ours"]


@pytest.mark.usefixtures("shallow_generators")
def test_both_ways_to_sample_draw_the_same():
    net, image, log_probs = sampling.build(
        num_classes=5, base_channels=4, size=(32, 48)
    )
    kernel = net.logits_layer.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]))
    sides = sampling.sampling_sides(net, image, log_probs, 3)
    ours, tiled = sides["ours"](), sides["tiled"]()
    assert ours.shape == (3, 32, 48)
    assert np.mean(ours == tiled) > 0.999
    assert np.any(ours[0] != ours[1])


def test_the_plain_evaluation_agrees():
    sides = scores.flips_sides((32, 64), 4, 3)
    assert sides["ours"]() == pytest.approx(sides["plain"](), abs=1e-9)


def test_ds_naive_update_is_ours():
    config = training.config_of(training.SMALL, 3)
    rng = np.random.default_rng(0)
    image = tf.constant(rng.normal(size=(2, 32, 32, 3)), tf.float32)
    real = tf.constant(rng.random((2, 1, 32, 32, 24)), tf.float32)
    samples = tf.constant(rng.random((2, 3, 32, 32, 24)), tf.float32)
    after = []
    for naive in (False, True):
        keras.utils.set_random_seed(1)
        trainer = training.build.build_refinement_trainer(
            config, training.random_dataset(config)
        )
        if naive:
            copies = [tf.repeat(value, 3, axis=0) for value in (image, real)]
            flat = tf.reshape(samples, [6, 1, 32, 32, 24])
            training.update_discriminator(trainer, *copies, flat, num=3)
        else:
            trainer.discriminator_step(image, real, samples)
        judge = trainer.discriminator
        after.append([value.numpy() for value in judge.trainable_variables])
    for one, other in zip(*after):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_growth_is_drawn():
    rows = [[1, 2.0, 1.0, 2.0], [10, 4.0, 2.0, 0.4]]
    tables = [
        report.Table("T", (name, "ms", "times", "each"), rows)
        for name in ("samples", "flips")
    ]
    axes = growth.figure(tables).axes
    assert [axis.get_xlabel() for axis in axes] == ["samples", "flips"]
    # Proportional: 2 -> 20 ms; modes: 2 * 2^9 = 1024 ms.
    ends = [line.get_ydata()[-1] for line in axes[1].lines]
    assert ends == [4.0, 20.0, 1024.0]


ROOFS = {"matrix_multiply": 1e9, "convolution": 1e9}


@pytest.mark.usefixtures("shallow_generators")
@pytest.mark.parametrize("row", [sampling.row, training.row_input, growth.row])
def test_a_row_measures(row):
    for table in row(ROOFS, small=True):
        assert table.rows and table.markdown()
        numbers = [cell for line in table.rows for cell in line[1:]]
        assert all(cell > 0 for cell in numbers if isinstance(cell, float))


def test_a_plan_by_hand():
    def convolve(images):
        return tf.nn.conv2d(images, tf.ones([3, 3, 2, 4]), 1, "SAME")

    # 2 images of 5 x 6 pixels, 9 weights of 2 channels for each of 4, times 2.
    images = tf.zeros([2, 5, 6, 2])
    assert plan.count_operations(convolve, images) == 2 * 30 * 9 * 2 * 4 * 2
    # D in 50 of 250 steps: 0.8 * 10 + 0.2 * 60 GFLOP = 20 an image, 16 images.
    stage_2 = plan.table("cityscapes_paper", [1e9, 10e9, 60e9]).rows[2]
    assert stage_2[:4] == [2, 1, pytest.approx(20), pytest.approx(32)]
    # 120,000 steps of 32 ms.
    assert stage_2[4:] == [pytest.approx(500), pytest.approx(120_000 * 0.032 / 3600)]


def test_a_process_of_its_own_measures_memory():
    point = processes.call(processes.memory_of_step, 2, True)
    assert 100 < point["before"] <= point["peak"] < 10_000 and point["seconds"] > 0
    with pytest.raises(RuntimeError, match="Expecting property name"):
        processes.call(json.loads, "{")


def test_a_process_of_its_own_is_told_its_environment(tmp_path):
    name = "TF_ENABLE_ONEDNN_OPTS"
    told = processes.call(os.getenv, name, **{name: "0"})
    assert (told, processes.call(os.getenv, name)) == ("0", os.environ[name])
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nOTHER=1 exec {sys.executable} "$@"\n')
    other.chmod(0o755)
    assert processes.call(os.getenv, "OTHER", python=str(other)) == "1"
    assert processes.version_of(sys.executable).startswith(
        f"Python {platform.python_version()} TensorFlow 2."
    )


def test_scenes_of_full_size_are_read_with_their_probabilities(tmp_path):
    nums = {"train": 4, "val": 2}
    full_size.write_scenes(tmp_path / "data", nums, full_size.SMALL_SIZE)
    dataset = attach.load(full_size.config_of(str(tmp_path), small=True))
    assert [len(split) for split in dataset.splits.values()] == [3, 1, 2]
    for split in dataset.splits.values():
        assert split.blackbox.shape[1:] == (*full_size.SMALL_SIZE, 19)
        np.testing.assert_array_equal(split.blackbox[:].argmax(-1), split.labels[:, 0])


def test_tables_of_full_size_by_hand():
    peaks = {"seconds": 1.0, "work": 2.0, "own": 3.0, "all": 4.0}
    job_of = {"first step": 5.0, "work to first step": 6.0, "step": 8.0}
    parts = {name: peaks for name in ("fill", "evaluate")}
    parts["train"] = {**peaks, **job_of, "work of a step": 9.0}
    parts["feed"] = {"batch": 2.0, "work of a batch": 3.0}
    found = full_size.tables(parts, {"train": 4, "val": 2}, (32, 64))
    assert [row[1:] for row in found[0].rows] == [[1.0, 2.0, 3.0, 4.0]] * 3
    assert found[1].rows == [[5.0, 6.0]]
    # 8 s a step against 2 s a batch; 9 s of processors against 3 s.
    assert [row[1:] for row in found[2].rows] == [
        [2000.0, 8000.0, 4.0],
        [3000.0, 9000.0, 3.0],
    ]


def test_a_row_is_printed_and_written(tmp_path):
    out = tmp_path / "out.json"
    done = benchmark("--small", "--rows=score", f"--json={out}")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("this machine: ") and "GFLOP/s of 3x3 convolution" in first
    assert any("16 samples, 8 modes" in line for line in rest)
    row = json.loads(out.read_text())["rows"]["score"]
    assert row["tables"][0]["rows"][0]["ms"] > 0


def test_wrong_rows_stop_with_one_line_and_without_tensorflow():
    done = benchmark("--rows=samplin")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no row 'samplin'; rows: sampling, step" in done.stderr
    listed = benchmark("--list")
    assert listed.returncode == 0 and "regression" in listed.stdout
    program = (
        "import sys; import tests.benchmarks; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], env=job.environment(), check=True)
