"""Drawing for the images of a split: order, batches and replicas."""

import exported
import numpy as np
import pytest
import stripes
import tensorflow as tf

from car_tf.data import examples
from car_tf.evaluate import sampling


def test_seeds_belong_to_images_and_not_to_batches(monkeypatch):
    source = stripes.examples_of(5)
    for values, sizes in ((2**27, [5]), (2 * 8 * 24 * stripes.K * 2, [2, 2, 1])):
        monkeypatch.setattr(sampling, "MAX_VALUES", values)
        model = stripes.KnownSampler()
        drawn = list(sampling.sample(model, source, num_samples=2, seed=7))
        assert [d.index for d in drawn] == [0, 1, 2, 3, 4]
        assert [len(batch) for batch in model.batches] == sizes
        seeds = [seed for batch in model.batches for seed in batch]
        assert seeds == [[7, index] for index in range(5)]
        # The last batch, which is smaller, needs no graph of its own.
        assert model.compiled_sample.experimental_get_tracing_count() == 1
        assert drawn[0].samples.shape == (2, 8, 24)
        assert drawn[0].probs.shape == (8, 24, stripes.K)


def test_an_image_keeps_no_batch_and_one_drawn_alone_no_copy():
    source, model = stripes.examples_of(3), stripes.KnownSampler()
    for indices, is_copied in (([0, 2], True), ([1], False)):
        for drawn in sampling.sample(
            model, source, num_samples=2, seed=7, indices=indices
        ):
            maps = drawn.samples, drawn.probs, drawn.sample_mean, drawn.first_probs
            assert {value.base is None for value in maps} == {is_copied}
            # What is not copied of the batch is not copied of TensorFlow's memory.
            batches = [value.base for value in maps if value.base is not None]
            assert not any(value.flags.owndata for value in batches)


@pytest.mark.parametrize(
    "num, indices",
    [(0, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4]), (2, [0, 2]), (3, [0, 1, 3]), (1, [0])],
)
def test_fewer_images_are_spread_over_the_split(num, indices):
    assert examples.spread(5, num).tolist() == indices


def test_chosen_images_are_drawn_as_they_are_among_all():
    source, model = stripes.examples_of(5), stripes.KnownSampler()
    every = list(sampling.sample(model, source, num_samples=2, seed=7))
    model.batches.clear()
    chosen = list(sampling.sample(model, source, num_samples=2, seed=7, indices=[4, 1]))
    assert [d.index for d in chosen] == [4, 1]
    assert [s for batch in model.batches for s in batch] == [[7, 4], [7, 1]]
    np.testing.assert_array_equal(chosen[0].samples, every[4].samples)


@pytest.mark.parametrize("num", [1, 2, 5])
def test_replicas_share_the_images(two_replicas, num, monkeypatch):
    # At most two images at a time on each: groups of four, the last one filled up.
    monkeypatch.setattr(sampling, "MAX_VALUES", 2 * 2 * 8 * 24 * stripes.K)
    source, model = stripes.examples_of(num), stripes.KnownSampler()
    source.images[:, :, :, 1] = np.arange(num)[:, None, None]
    one = list(sampling.sample(model, source, num_samples=2, seed=7))
    shared = stripes.KnownSampler()
    shared.strategy = two_replicas
    two = list(sampling.sample(shared, source, num_samples=2, seed=7))
    assert [drawn.index for drawn in two] == list(range(num))
    for drawn, other in zip(one, two):
        np.testing.assert_array_equal(drawn.samples, other.samples)
    batches = {1: [[0], [0]], 2: [[0], [1]], 5: [[0, 1], [2, 3], [4], [4]]}
    seen = [[index for _, index in batch] for batch in shared.batches]
    assert sorted(seen) == batches[num]


def test_real_networks_draw_the_same_on_two_replicas(two_replicas):
    dataset_info = exported.street_facts()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, *exported.SIZE, 3), np.uint8)
    ids = rng.integers(0, 19, (3, *exported.SIZE), np.uint8)
    names = tuple("abc")
    source = examples.Examples(names, names, images, ids[:, None], blackbox=ids)
    found = []
    for strategy in (tf.distribute.get_strategy(), two_replicas):
        with strategy.scope():
            model = exported.build_sampler(exported.config(), dataset_info)
        model.strategy = strategy
        found.append(list(sampling.sample(model, source, num_samples=4, seed=3)))
    for one, two in zip(*found):
        assert (one.samples == two.samples).mean() > 0.999
        np.testing.assert_allclose(one.sample_mean, two.sample_mean, atol=1e-5)
    assert len(np.unique(found[0][0].samples)) > 3
