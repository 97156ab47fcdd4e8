"""What fits F's recalibration: whole masks, drawn as often as raters draw them."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from car_tf import config as config_lib
from car_tf import losses
from car_tf.data import examples
from car_tf.evaluate import evaluation
from car_tf.metrics import ged
from car_tf.models import build, calibration_net, recalibration, segnet
from car_tf.models.keras_api import keras
from car_tf.runtime import run_dir
from car_tf.train import recalibration as fitting
from car_tf.train import selection, warm_start


def test_the_energy_of_level_sets_by_hand():
    # Masks of 4, 2 and 0 pixels; the pair (4, 2) is at 1 - 2/4, each of them at 1 from
    # the empty one.
    areas = tf.constant([[4.0, 2.0, 0.0]])
    distances = tf.constant([[0.5, 0.25, 1.0]])
    shares = tf.constant([[0.25, 0.5, 0.25]])
    between = 0.25 * 0.5 + 0.5 * 0.25 + 0.25 * 1.0
    within = 2 * (0.25 * 0.5 * 0.5 + 0.25 * 0.25 * 1.0 + 0.5 * 0.25 * 1.0)
    # Of the four pairs of two draws, a draw and itself are two, at distance 0.
    found = losses.level_energy(shares, areas, distances, 2)
    np.testing.assert_allclose(found, [2 * between - within / 2], rtol=1e-6)
    # Two empty masks are equal.
    nothing = losses.level_energy(shares, tf.zeros([1, 3]), distances, 2)
    np.testing.assert_allclose(nothing, [2 * between], rtol=1e-6)


def test_distances_and_energy_are_those_of_the_ged():
    rng = np.random.default_rng(3)
    logit = rng.normal(size=[2, 6, 7]).astype(np.float32) * 4
    logit[1] -= 20  # No level set holds a pixel.
    labels = (rng.random([2, 3, 6, 7]) < 0.4).astype(np.uint8)
    labels[1, 0] = 0  # as one rater's, who saw nothing
    found = fitting.level_distances(tf.constant(logit), labels).numpy()
    areas = recalibration.areas(tf.constant(logit))
    shares = tf.fill([2, len(recalibration.LEVELS)], 1 / len(recalibration.LEVELS))
    many = 10**9
    energies = losses.level_energy(shares, areas, tf.constant(found), many).numpy()
    for i in range(2):
        sets = logit[i] > recalibration.LEVELS[:, None, None]
        wanted = ged.multi_rater_distances(
            sets.astype(np.uint8), labels[i], num_classes=2
        )
        np.testing.assert_allclose(found[i], wanted.cross.mean(-1), atol=1e-6)
        score = 2 * wanted.cross.mean() - wanted.within_samples.mean()
        np.testing.assert_allclose(energies[i], score, atol=1e-5)


def test_hidden_pixels_and_absent_raters_do_not_count():
    logit = tf.constant([[[1.0, 1.0, -9.0, 1.0]]])
    labels = np.array([[[[1, 0, 1, 255]], [[255, 255, 255, 255]]]], np.uint8)
    found = fitting.level_distances(logit, labels).numpy()[0]
    # Two pixels are marked by either, one by both; the last one is hidden.
    low = np.searchsorted(recalibration.LEVELS, 0.0)
    np.testing.assert_allclose(found[low], 1 - 1 / 3, rtol=1e-6)
    labels[:] = 255
    assert (fitting.level_distances(logit, labels).numpy() == 0).all()


class Net(keras.Model):
    """An F whose logit is the image, from -6 to 6."""

    def __init__(self):
        super().__init__()
        self.recalibration = recalibration.Recalibration()

    def call(self, image, blackbox):
        logit = image * 6.0
        return self.recalibration(tf.concat([tf.zeros_like(logit), logit], -1))


def test_whole_masks_become_as_likely_as_raters_draw_them(monkeypatch):
    monkeypatch.setattr(fitting, "NUM_STEPS", 100)
    # F gives every object 1/2. All raters draw the large ones, and none the small ones.
    images = np.zeros([40, 16, 16, 1], np.uint8)
    labels = np.zeros([40, 2, 16, 16], np.uint8)
    images[:20, 2:12, 2:12] = images[20:, 2:5, 2:5] = 128
    labels[:20, :, 2:12, 2:12] = 1
    names = tuple(map(str, range(40)))
    source = examples.Examples(names, names, images, labels)
    net, said = Net(), []
    before = net(tf.constant(images / 127.5 - 1, tf.float32), None).numpy()
    fitting.fit(net, source, 0, log=said.append)
    after = net(tf.constant(images / 127.5 - 1, tf.float32), None).numpy()
    probs = lambda logits: tf.nn.softmax(logits)[:, 3, 3, 1].numpy()
    np.testing.assert_allclose(probs(before), 0.5, atol=0.01)
    assert (probs(after)[:20] > 0.9).all() and (probs(after)[20:] < 0.1).all()
    assert "40 training images" in said[0]
    # Once more it begins anew, and not where it was.
    first = [variable.numpy() for variable in net.variables]
    fitting.fit(net, source, 0, log=said.append)
    for variable, value in zip(net.variables, first):
        np.testing.assert_array_equal(variable, value)


def test_an_f_on_a_black_box_is_recalibrated(monkeypatch):
    net = calibration_net.BlackBoxCalibrator(
        num_classes=2, channels=1, recalibrated=True
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, [3, 8, 8, 1], np.uint8)
    boxes = rng.integers(0, 2, [3, 8, 8], np.uint8)
    names = tuple("abc")
    source = examples.Examples(names, names, images, images[:, None, ..., 0] // 128)
    source = dataclasses.replace(source, blackbox=boxes)
    shown = tf.constant(images / 127.5 - 1, tf.float32), tf.one_hot(boxes, 2)
    plain = net(*shown, training=False).numpy()
    monkeypatch.setattr(fitting, "NUM_STEPS", 3)
    fitting.fit(net, source, 2, log=print)
    assert np.abs(net(*shown).numpy() - plain).max() > 1e-3
    assert net(*shown, training=True).shape == plain.shape
    assert net.receptive_field is None and "blocks" in net.trained_parts()


def _segnet(recalibrated):
    net = segnet.SegNet(num_classes=2, channels=1, recalibrated=recalibrated)
    net(tf.zeros([1, 32, 32, 1]))
    return net


@pytest.mark.parametrize("recalibrated", [False, True])
def test_an_f_may_begin_with_the_weights_of_one_without(tmp_path, recalibrated):
    other, net = _segnet(recalibrated), _segnet(True)
    path = tmp_path / "weights"
    if recalibrated:
        other.recalibration.bias.assign(tf.ones_like(other.recalibration.bias))
    tf.train.Checkpoint(net=other).write(str(path))
    warm_start._read(net, "calibration_net", path)
    np.testing.assert_array_equal(
        net.encoder[0][0].conv.kernel, other.encoder[0][0].conv.kernel
    )
    assert (net.recalibration.bias.numpy() == float(recalibrated)).all()


def test_weights_of_another_f_are_refused(tmp_path):
    path = tmp_path / "weights"
    tf.train.Checkpoint(net=tf.train.Checkpoint(encoder=_segnet(False).encoder)).write(
        str(path)
    )
    with pytest.raises(run_dir.RunError, match="weights of the same F"):
        warm_start._read(_segnet(True), "calibration_net", path)


def test_the_best_weights_are_recalibrated_once(tmp_path, monkeypatch):
    config = config_lib.change(
        config_lib.load("lidc_small"),
        calibration_net={"recalibrated": True},
        stage1={"steps": 4, "select_every": 2},
        train={"checkpoint_every": 2},
    )
    trained, calls = _segnet(True), []

    def fit(net, source, num_blackbox_classes, *, log):
        calls.append(source)
        net.recalibration.bias.assign(tf.fill(net.recalibration.bias.shape, 5.0))

    monkeypatch.setattr(fitting, "fit", fit)
    monkeypatch.setattr(build, "build_calibration_net", lambda *_: _segnet(True))
    found = iter([0.5, 0.3, 0.2])
    score = lambda *_, **__: np.array([next(found)])
    monkeypatch.setattr(evaluation, "cross_entropies", score)
    facts = types.SimpleNamespace(num_classes=2, flips=(), num_blackbox_classes=0)
    splits = {"train": "training images", "val": None}
    dataset = types.SimpleNamespace(info=facts, selection="val", splits=splits)
    trainer = types.SimpleNamespace(
        calibration_net=trained,
        selectable=trained.variables,
        distribute_strategy=tf.distribute.get_strategy(),
    )
    run = run_dir.RunDir(str(tmp_path / "run"), config)
    for _ in range(2):  # The second time as a run that goes on.
        chosen = selection.CalibrationSelection(config, dataset, trainer, run, print)
        if not calls:
            chosen.consider(2)
            chosen.consider(4)
        trained.recalibration.reset()
        chosen.restore_best()
        assert calls == ["training images"]
        assert (trained.recalibration.bias.numpy() == 5.0).all()
    best = run.read_json(run_dir.BEST_CALIBRATION_FILE)
    # Weights are chosen by what they are without it.
    assert (best["cross_entropy"], best["recalibrated"]) == (0.3, 0.2)


def test_two_classes_of_raters_are_recalibrated():
    settings = {"calibration_net": {"recalibrated": True}}
    with pytest.raises(config_lib.ConfigError, match="recalibrated: .*truth itself"):
        config_lib.change(config_lib.load("cityscapes_gt"), **settings)
    settings["calibration_net"]["channels"] = 1
    config = config_lib.change(config_lib.load("lidc_small"), **settings)
    for classes, flips, wanted in ((2, (), True), (3, (), False), (2, ("one",), False)):
        told = types.SimpleNamespace(num_classes=classes, flips=flips)
        assert build.recalibrates(config, told) == wanted
        told.image_channels, told.num_blackbox_classes = 1, 0
        net = build.build_calibration_net(config, told)
        assert (net.recalibration is not None) == wanted
