"""G before stage 2 beside G after it, and the realism of both."""

import dataclasses
import json

import cityscapes_tree
import job
import numpy as np
import pytest
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.config import fields
from car_tf.data import load as data_load
from car_tf.evaluate import api, before_stage2, evaluation, realism, sampling, saved_run
from car_tf.runtime import run_dir
from car_tf.train import run as train_run
from car_tf.train import tensorboard

pytestmark = pytest.mark.usefixtures("shallow_generators")

# One step that changes nothing of G: it is evaluated as it was before stage 2.
IDLE = ("stage2.steps=1", "stage2.learning_rate=1e-30", "stage2.l2=0")
IDLE += ("stage2.average_decay=0", "evaluation.realism_steps=2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's directory, configuration, data and output; its stage 2 is idle."""
    folder = tmp_path_factory.mktemp("run")
    texts = [*job.TINY, *IDLE, "blackbox.kind=imitation"]
    texts += [f"data.data_dir={cityscapes_tree.write(folder / 'data')}"]
    texts += [f"data.cache_dir={folder / 'cache'}"]
    config = config_lib.load("cityscapes_sampler", texts)
    dataset = attach.load(config)
    names = dataset.splits[dataset.evaluation].names
    said = []
    sample = sampling.sample

    def told(model, source, **drawing):
        if source.names == names and drawing["num_samples"] == 3:
            indices = drawing.get("indices", range(len(source)))
            said.extend(f"drawn: {index}" for index in indices)
        return sample(model, source, **drawing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "sample", told)
        job.leave_out_export(patch.setattr)
        job.train_eagerly(patch.setattr)
        patch.setattr(tensorboard.Glimpse, "figures", lambda glimpse: {})
        workdir = run_dir.RunDir(str(folder / "run"), config)
        train_run.run(config, workdir, tf.distribute.get_strategy(), said.append)
        workdir.close()
    return folder / "run", config, dataset, said


@pytest.fixture(scope="module")
def samplers(run):
    """The run's sampler, and the one before stage 2."""
    path, config, dataset, _ = run
    model = saved_run.load_sampler(config, dataset.info, run_dir.RunDir(path, config))
    return model, before_stage2.initial_sampler(config, dataset.info, model)


def samples_of(model, source):
    drawn = sampling.sample(model, source, num_samples=3, seed=4)
    return np.stack([one.samples for one in drawn])


def test_weights_before_stage_2_are_those_that_it_began_with(run, samplers):
    after, before = samplers
    _, _, dataset, _ = run
    pairs = zip(
        before.refinement_net.trainable_variables,
        after.refinement_net.trainable_variables,
    )
    for first, last in pairs:
        np.testing.assert_allclose(first.numpy(), last.numpy(), atol=1e-20)
    source = dataset.splits[dataset.evaluation]
    np.testing.assert_array_equal(samples_of(before, source), samples_of(after, source))
    # Another seed would have begun with others.
    config = fields.override(run[1], ["train.seed=9"])
    other = before_stage2.initial_sampler(config, dataset.info, after)
    kernels = [m.refinement_net.up_blocks[0].up.kernel for m in (before, other)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_a_run_says_that_its_idle_stage_2_changed_nothing(run):
    path, _, _, said = run
    metrics = json.loads((path / "metrics.json").read_text())
    before = metrics["baselines"]["before_stage2"]
    assert before["ged"] == pytest.approx(metrics["ged"], abs=1e-9)
    judged = metrics["realism"]
    assert judged["auc"] == pytest.approx(judged["before_stage2"]["auc"], abs=0.02)
    assert f"from {metrics['ged']:.3f} to {metrics['ged']:.3f}" in metrics["verdict"]
    assert metrics["verdict"] in said
    assert (path / "figures/before_after.png").stat().st_size > 1000
    # By G and by that before stage 2, for scores and figures alike.
    drawn = [f"drawn: {index}" for index in range(metrics["num_images"])]
    assert [line for line in said if line in drawn] == 2 * drawn
    names = {"f_argmax", "f_pixels", "gumbel_draws", "before_stage2", "flip_oracle"}
    assert set(metrics["baselines"]) == names
    for scores in metrics["baselines"].values():
        assert scores["num_samples"] == 3 and 0 <= scores["ged"] < 2
    assert 0 <= metrics["g_mean"]["ece"] <= 1
    assert metrics["g_mean"]["entropy"] == metrics["entropy_bits"]["sample_mean"]


def test_what_a_job_has_evaluated_is_not_evaluated_again(run):
    said = []
    metrics = api.evaluate(run[0], log=said.append)
    assert said[0].startswith("evaluated before, with the same weights, data and code")
    assert metrics == json.loads((run[0] / "metrics.json").read_text())


def test_another_g_is_not_taken_for_the_one_before(run, samplers):
    after, before = samplers
    _, _, dataset, _ = run
    source = dataset.splits[dataset.evaluation]
    changed = before_stage2.initial_sampler(run[1], dataset.info, after)
    bias = changed.refinement_net.logits_layer.bias
    bias.assign(np.eye(1, bias.shape[0], 10)[0] * 50.0)
    arguments = dict(num_samples=3, seed=4)
    metrics, _ = evaluation.evaluate(
        changed, source, dataset.info, before=before, **arguments
    )
    alone, _ = evaluation.evaluate(before, source, dataset.info, **arguments)
    assert metrics["baselines"]["before_stage2"]["ged"] == pytest.approx(alone["ged"])
    assert abs(metrics["ged"] - alone["ged"]) > 0.01
    assert "before_stage2" not in alone["baselines"]


def test_realism_of_drawn_scenes_from_end_to_end(run, samplers):
    after, before = samplers
    _, _, dataset, _ = run
    said = []
    result = realism.measure(
        after,
        before,
        dataset.splits["train"],
        dataset.splits[dataset.evaluation],
        dataset.info,
        steps=25,
        seed=0,
        log=said.append,
    )
    names = {"labels_against_labels", "f_pixels", "f_argmax", "before_stage2"}
    assert set(result) == names | {"auc", "paired_accuracy", "steps"}
    # F has hardly been trained, and its pixels are noise.
    assert result["f_pixels"]["auc"] > 0.9 and result["f_pixels"]["steps"] == 25
    assert result["labels_against_labels"]["auc"] == pytest.approx(0.5, abs=0.15)
    assert len(said) == 5 and said[0].startswith("realism, labels against labels: AUC")


def test_raters_are_divided_to_be_compared_with_themselves():
    labels = np.arange(4, dtype=np.uint8)[None, :, None, None] * np.ones(
        (2, 1, 3, 3), np.uint8
    )
    facts = type("Facts", (), {"flips": ()})

    def kept(num):
        source = type("Source", (), {"labels": labels[:, :num]})
        return [
            part[0, :, 0, 0].tolist()
            for part in realism._labels(source, facts, 2, 0, np.asarray)
        ]

    assert kept(4) == [[2, 3], [0, 1]]
    assert kept(3) == [[1], [0]]
    assert kept(1) == [[0], []]


# Only what is needed, and other data


def test_only_the_splits_that_are_needed_are_read(run):
    _, config, whole, _ = run
    part = attach.load(config, [""])
    assert list(part.splits) == ["val"]
    # The imitation's errors are those of the split's place among all.
    fingerprints = [one.splits["val"].fingerprint() for one in (whole, part)]
    assert fingerprints[0] == fingerprints[1]
    both = attach.load(config, ["selection", "train"])
    for name in ("train", "selection"):
        assert both.splits[name].fingerprint() == whole.splits[name].fingerprint()
    with pytest.raises(
        config_lib.ConfigError, match="--split: wanted one of train, se"
    ):
        attach.load(config, ["test"])


@pytest.mark.parametrize("name", ["cityscapes", "lidc"])
def test_only_the_scenes_that_are_needed_are_drawn(name):
    texts = ["data.num_drawn=2,1,1", "data.size=32,32", "data.crop_size=32,32"]
    texts = texts if name == "cityscapes" else ["data.num_drawn=2,1,1"]
    config = config_lib.load(name, texts)
    whole, part = data_load.read_data(config), data_load.read_data(config, [""])
    assert list(part.splits) == [whole.evaluation]
    fingerprints = [one.splits[part.evaluation].fingerprint() for one in (whole, part)]
    assert fingerprints[0] == fingerprints[1]


def test_a_run_is_evaluated_on_other_data_and_beside_other_models(run, tmp_path):
    path, config, dataset, _ = run
    other = cityscapes_tree.write(tmp_path / "ulm set", val={"ulm": 2})
    changed = fields.override(config, [f"data.data_dir={other}"])
    labels = attach.load(changed, [""]).splits["val"].labels
    zeros = np.zeros((2, 2, *labels.shape[2:]), np.uint8)
    np.savez(tmp_path / "peer.npz", samples=zeros, labels=labels[:, 0])
    before = (path / "metrics.json").read_text()
    done = job.fork(
        *("--workdir", path, "--data_dir", other, "--num_samples", 2),
        *("--samples", tmp_path / "peer.npz"),
        module="car_tf.evaluate",
        num_levels=1,
        prepare=[(job.leave_out_figures,)],
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((path / "metrics_ulm_set_val_2.json").read_text())
    assert metrics["split"] == "val" and metrics["groups"] == ["ulm", "ulm"]
    # No judge without being asked: its training images are not those of the run.
    assert "realism" not in metrics
    # Zeros are road everywhere: of the five classes that flip, four are missed whole.
    assert metrics["samplers"]["peer"]["ged"] > 0.5
    assert "for comparison, peer: GED2" in done.stdout
    assert (path / "metrics.json").read_text() == before


def test_other_data_must_have_the_runs_classes(run, monkeypatch):
    path, config, dataset, _ = run
    trained = dataclasses.replace(dataset.info, class_names=("sky", "sea"))
    monkeypatch.setattr(saved_run, "data_of", lambda *args: (trained, []))
    workdir = run_dir.RunDir(path, config)
    with pytest.raises(run_dir.RunError, match="classes that .* sky, sea, got road, "):
        saved_run.load_other(config, workdir, [""], data_dir=config.data.data_dir)
