"""Large images in tiles: what is cut, what is put together, and that nothing changes."""

import functools

import exported
import numpy as np
import pytest
import stripes
import tensorflow as tf

from car_tf.evaluate import sampling, tiles
from car_tf.models import calibration_net, refinement_net, sampler, segnet
from car_tf.predict import predictor as predict_predictor

SMALL = functools.partial(tiles.cut, max_pixels=0, side=64)
K, KB, Z = 3, 2, 4


@pytest.mark.parametrize("size", [(64, 64), (65, 200), (300, 40)])
def test_tiles_cover_an_image_once(size):
    count = np.zeros(size, int)
    for tile in SMALL(size, 40):
        count[tile.kept] += 1
        seen = np.arange(np.prod(size)).reshape(size)
        np.testing.assert_array_equal(seen[tile.seen][tile.inside], seen[tile.kept])
        assert all(part.start % tiles.STRIDE == 0 for part in tile.seen)
    assert (count == 1).all()


def test_what_a_tile_sees_goes_on_for_the_reach():
    first, last = SMALL((64, 256), 40)[0], SMALL((64, 256), 40)[-1]
    # 40 pixels are two strides.
    assert first.seen == (slice(0, 64), slice(0, 128))
    assert last.seen == (slice(0, 64), slice(128, 256))
    assert last.inside == (slice(0, 64), slice(64, 128))


def test_small_images_and_codes_of_whole_images_stay_whole():
    whole = slice(0, 1024), slice(0, 2048)
    assert [tile.seen for tile in tiles.cut((1024, 2048), 70)] == [whole]
    assert len(tiles.cut((1025, 2048), 70)) == 4
    assert len(tiles.cut((4096, 4096), None)) == 1


def _randomized(net):
    for index, variable in enumerate(net.variables):
        if "variance" not in variable.name:
            variable.assign(tf.random.stateless_normal(variable.shape, [index, 1]))
    return net


def _model(kind):
    if kind == "segnet":
        net = segnet.SegNet(num_classes=K, channels=1, dropout=0.0, skips=True)
        net(tf.zeros([1, 32, 32, 3]))
    else:
        net = calibration_net.BlackBoxCalibrator(num_classes=K, channels=3)
        net(tf.zeros([1, 8, 8, 3]), tf.zeros([1, 8, 8, KB]))
    refiner = refinement_net.RefinementNet(
        num_classes=K, base_channels=2, noise_dim=Z, logits="residual"
    )
    refiner(tf.zeros([1, 16, 16, 3]), tf.zeros([1, 16, 16, K]), tf.zeros([1, 1, Z]))
    return sampler.Sampler(
        calibration_net=_randomized(net),
        refinement_net=_randomized(refiner),
        num_blackbox_classes=0 if kind == "segnet" else KB,
    )


@pytest.mark.parametrize(
    "kind, size", [("blackbox", (72, 330)), ("segnet", (1000, 40))]
)
def test_tiles_give_what_the_whole_image_gives(kind, size):
    model = _model(kind)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, *size, 3)).astype(np.uint8)
    ids = rng.integers(0, KB, (1, *size)).astype(np.uint8)

    def compute(seen):
        crop = (slice(None), *seen)
        blackbox = None if kind == "segnet" else tf.constant(ids[crop])
        seed = tf.constant([[3, 4]])
        return model.sample(tf.constant(image[crop]), blackbox, seed, tf.constant(2))

    whole = compute((slice(0, size[0]), slice(0, size[1])))
    cut = SMALL(size, model.receptive_field)
    assert (cut[0].seen[0].stop, cut[0].seen[1].stop) != size
    parts = tiles.compute(cut, compute, sampling.AXES)
    for name in ("probs", "sample_mean", "first_probs"):
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-3)
    assert np.mean(parts["samples"] != whole["samples"].numpy()) < 1e-3


def _counting(net):
    """Makes a net whose result grows with whatever it sees."""
    for variable in net.variables:
        ones = any(word in variable.name for word in ("kernel", "gamma", "variance"))
        variable.assign(tf.fill(variable.shape, 1.0 if ones else 0.0))
    return net


def _calibrator(kind):
    if kind != "blackbox":
        return segnet.SegNet(
            num_classes=1,
            channels=1,
            dropout=0.0,
            skips=True,
            half_size=kind == "half segnet",
        )
    return calibration_net.BlackBoxCalibrator(num_classes=1, channels=1)


@pytest.mark.parametrize("kind", ["segnet", "half segnet", "blackbox", "G"])
def test_a_network_sees_as_far_as_it_says(kind):
    if kind == "G":
        net = refinement_net.RefinementNet(
            num_classes=1, base_channels=1, noise_dim=1, logits="scratch"
        )
        call = lambda x: net(x, -1e9 * tf.ones_like(x), tf.zeros([1, 1, 1]))[:, 0]
    else:
        net = _calibrator(kind)
        call = lambda x: net(x, tf.zeros_like(x) if kind == "blackbox" else None)
    call(tf.zeros([1, 32, 32, 1]))
    _counting(net)
    call, reached = tf.function(call), []
    middle = -(-net.receptive_field // 32) * 32 + 32
    for row in range(middle, middle + 32):
        image = np.zeros((1, 2 * middle + 32, 32, 1), np.float32)
        image[:, row] = 1.0
        seen = np.nonzero(call(tf.constant(image)).numpy()[0, :, 0, 0])[0]
        reached.append(abs(seen - row).max())
    assert max(reached) == net.receptive_field


@pytest.mark.parametrize("stride", [segnet.STRIDE, refinement_net.STRIDE])
def test_tiles_begin_where_features_do(stride):
    assert tiles.STRIDE % stride == 0 and tiles.SIDE % tiles.STRIDE == 0


def test_a_code_of_the_whole_image_has_no_reach():
    net = refinement_net.RefinementNet(num_classes=K, noise_dim=Z, encoded_noise=True)
    assert net.receptive_field is None


def test_a_split_is_drawn_in_tiles(monkeypatch, two_replicas):
    source = stripes.examples_of(3)
    whole = list(sampling.sample(stripes.KnownSampler(), source, num_samples=2, seed=7))
    cut = functools.partial(tiles.cut, max_pixels=0, side=8)
    monkeypatch.setattr(tiles, "cut", cut)
    for strategy in (None, two_replicas):
        model = stripes.KnownSampler()
        model.strategy = strategy
        parts = list(sampling.sample(model, source, num_samples=2, seed=7))
        for one, other in zip(whole, parts):
            for name in sampling.AXES:
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_prediction_is_made_in_tiles(monkeypatch):
    predictor = predict_predictor.Predictor(exported.version())
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 256, 3)).astype(np.uint8)
    ids = rng.integers(0, 19, (64, 256)).astype(np.uint8)
    draw = functools.partial(predictor.sample, image, ids, num_samples=2, seed=(1, 2))
    samples, bits = draw()
    monkeypatch.setattr(tiles, "cut", SMALL)
    assert len(tiles.cut((64, 256), predictor.labels["reach"])) == 4
    tiled, tiled_bits = draw()
    np.testing.assert_allclose(tiled_bits, bits, atol=1e-4)
    assert tiled.shape == samples.shape and np.mean(tiled != samples) < 1e-3
