"""Cuts of level sets that are fitted on images which nothing is reported on."""

import json
import types

import numpy as np
import pytest

from car_tf import config as config_lib
from car_tf.data import cityscapes, examples
from car_tf.data.lidc import read as lidc
from car_tf.evaluate import distances, fitted_cuts, run, sampling
from car_tf.metrics import baselines, bootstrap
from car_tf.report import context

FACTS = lidc.dataset_info("four raters")
SIDE = 8


class Blurred:
    """F says too little of everything: a hill whose height is a third of the shares."""

    def __init__(self, source):
        self.source = source

    def sampled(self, index):
        share = self.source.labels[index].mean(axis=0) / 3
        probs = np.stack([1 - share, share], axis=-1).astype(np.float32)
        return sampling.SampledImage(
            index=index,
            samples=np.zeros((1, SIDE, SIDE), np.uint8),
            probs=probs,
            sample_mean=probs,
            first_probs=probs,
        )


def source(num=12):
    """Four raters mark nested rectangles."""
    labels = np.zeros((num, 4, SIDE, SIDE), np.uint8)
    rng = np.random.default_rng(0)
    for image in labels:
        for rater, height in enumerate(np.sort(rng.integers(0, SIDE, 4))):
            image[rater, :height] = 1
    names = tuple(str(i) for i in range(num))
    return examples.Examples(names, names, np.zeros((num, SIDE, SIDE, 1)), labels)


@pytest.fixture
def sampled(monkeypatch):
    seen = []

    def sample(model, source, *, num_samples, seed, indices):
        seen.append(list(indices))
        return (model.sampled(index) for index in indices)

    monkeypatch.setattr(sampling, "sample", sample)
    return seen


def test_the_cuts_of_a_third_are_found(sampled):
    own = source()
    model = Blurred(own)
    cuts = fitted_cuts.fit(model, own, FACTS, num_images=0)
    # A third of the probability has about a third of the odds: a shift by -1.1.
    assert cuts.shift <= -0.75
    geds = {}
    for name, each in (("as F says", baselines.Cuts()), ("fitted", cuts)):
        found = []
        for index in range(len(own)):
            probs = model.sampled(index).probs
            drawn = baselines.level_sets(probs, num_samples=16, cuts=each)
            pairs = distances.label_distances(drawn, own.labels[index], FACTS)
            found.append(pairs.ged().ged)
        geds[name] = np.mean(found)
    assert geds["fitted"] < geds["as F says"] - 0.1
    # Some of the images are enough, and others are not looked at.
    some = fitted_cuts.fit(model, own, FACTS, num_images=6)
    assert isinstance(some, baselines.Cuts)
    assert sampled == [list(range(12)), [0, 2, 4, 6, 8, 10]]


def test_flips_and_more_classes_have_no_level_sets():
    assert (
        fitted_cuts.fit(None, None, cityscapes.dataset_info("x"), num_images=0) is None
    )


def test_they_are_a_baseline_with_their_cuts_beside_it():
    own, cuts = source(4), baselines.Cuts(1.0, -1.0)
    scores = distances.BaselineScores([16], FACTS, seed=0, stratified=False, cuts=cuts)
    for index in range(len(own)):
        scores.add(index, Blurred(own).sampled(index).probs, own.labels[index], None)
    found = scores.to_dict(bootstrap.GroupBootstrap(own.groups))
    assert found["fitted_level_sets"]["cuts"] == {"scale": 1.0, "shift": -1.0}
    assert found["fitted_level_sets"]["ged"] < found["level_sets"]["ged"]
    assert json.dumps(found["fitted_level_sets"]["cuts"])
    assert set(found) <= {*context.BASELINES}


def test_without_the_selection_split_those_of_the_run_are_taken(sampled):
    config, own = config_lib.Config(name="toy"), source()
    dataset = types.SimpleNamespace(splits={}, selection="val", info=FACTS)
    known = {"fitted_level_sets": {"cuts": {"scale": 0.5, "shift": 0.25}}}
    for metrics, wanted in (
        ({"baselines": known}, baselines.Cuts(0.5, 0.25)),
        ({"baselines": {}}, None),
        (None, None),
    ):
        workdir = types.SimpleNamespace(read_json=lambda name: metrics)
        # Nor are they fitted on the images that are reported on.
        for split, splits in (("test", {}), ("val", {"val": own})):
            dataset.splits = splits
            rest = (Blurred(own), workdir, split, "leave_out")
            assert run._cuts(config, dataset, *rest) == wanted
    workdir = types.SimpleNamespace(read_json=None)
    rest = (Blurred(own), workdir, "test", "leave_out")
    assert run._cuts(config, dataset, *rest).shift <= -0.75
