"""Leaves of three raters and four classes through all commands, at the smallest size."""

import json

import job
import leaves
import pytest

from car_tf.app import inputs
from car_tf.predict import predictor
from export import versions

TINY = (
    *("data.crop_size=32,32", "calibration_net.channels=3", "stage1.steps=3"),
    *("stage1.batch_size=2", "stage2.steps=2", "stage2.num_samples=2"),
    *("refinement_net.base_channels=2", "refinement_net.noise_dim=3"),
    *("discriminator.base_channels=2", "train.checkpoint_every=2"),
    *("train.select_every=2", "evaluation.num_samples=3"),
    "evaluation.realism_steps=0",
)


def run(module, *arguments, start=job.run):
    done = start(*arguments, module=module)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder from its files to a finished run."""
    root = leaves.write(tmp_path_factory.mktemp("own") / "leaves")
    run("car_tf.data", "describe", root)
    settings = job.settings(*TINY, f"data.cache_dir={root.parent / 'cache'}")
    workdir = root.parent / "run"
    arguments = ("--data_dir", root, "--workdir", workdir, *settings)
    said = run("car_tf.train", *arguments)
    return root, workdir, said


def test_a_folder_becomes_a_run(trained):
    root, workdir, said = trained
    assert "note: images of 40 x 56 pixels are taken as they are" in said
    config = json.loads((workdir / "config.json").read_text())
    assert config["name"] == "folders" and config["data"]["size"] == [40, 56]
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert 0 <= metrics["ged"] <= 2 and metrics["split"] == "test"
    facts = json.loads((workdir / "data.json").read_text())["facts"]
    assert facts["rater_names"] == list(leaves.RATERS)
    assert (workdir / "report.html").is_file()


def test_its_model_predicts_files(trained):
    root, workdir, _ = trained
    model = predictor.Predictor(versions.latest(workdir / "export" / "folders"))
    labels = model.labels
    assert [entry["name"] for entry in labels["classes"]][0] == "background"
    assert labels["trained_size"] == [40, 56] and labels["image_range"] == []
    content = (root / "images" / "leaf0.png").read_bytes()
    reader = inputs.Reader(model, predictor.Options(num_samples=2))
    opened = reader.read(inputs.Upload("leaf0.png", content))
    samples, _ = model.sample(opened.image, None, num_samples=2, seed=(1, 2))
    assert samples.shape == (2, *leaves.SIZE) and samples.max() < 4


def test_proposals_are_simulated_on_it(trained):
    _, workdir, _ = trained
    counts = ("--num_images", "1", "--num_samples", "2")
    arguments = ("--workdir", workdir, *counts)
    run("car_tf.evaluate.proposals", *arguments, start=job.fork)
    summary = json.loads((workdir / "proposals.json").read_text())
    assert summary["num_images"] == 1 and summary["num_samples"] == 2
