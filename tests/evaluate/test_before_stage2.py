"""G before stage 2 beside G after it, and the realism of both."""

import json

import cityscapes_tree
import job
import numpy as np
import pytest
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.config import fields
from car_tf.evaluate import before_stage2, evaluation, realism, sampling, saved_run
from car_tf.runtime import run_dir
from car_tf.train import run as train_run

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
    config = config_lib.load("cityscapes", texts)
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_run.run_export, "export_run", lambda *args, **kwargs: None)
        workdir = run_dir.RunDir(str(folder / "run"), config)
        train_run.run(config, workdir, tf.distribute.get_strategy(), said.append)
        workdir.close()
    return folder / "run", config, attach.load(config), said


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
    names = {"f_argmax", "f_pixels", "gumbel_draws", "before_stage2", "flip_oracle"}
    assert set(metrics["baselines"]) == names
    for scores in metrics["baselines"].values():
        assert scores["num_samples"] == 3 and 0 <= scores["ged"] < 2
    assert 0 <= metrics["g_mean"]["ece"] <= 1
    assert metrics["g_mean"]["entropy"] == metrics["entropy_bits"]["sample_mean"]


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
            part[0, :, 0, 0].tolist() for part in realism._labels(source, facts, 2, 0)
        ]

    assert kept(4) == [[2, 3], [0, 1]]
    assert kept(3) == [[1], [0]]
    assert kept(1) == [[0], []]
