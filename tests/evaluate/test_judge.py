"""The judge of realism: blind where nothing differs, sure where anything does."""

import os

import numpy as np
import pytest
import tensorflow as tf

from car_tf.data import info
from car_tf.evaluate import judge, realism

SIDE, K = 16, 3


def halves(num, seed, values=(1, 2)):
    """Images without content, and maps whose left half is 0 and right half a value."""
    rng = np.random.default_rng(seed)
    maps = np.zeros((num, 2, SIDE, SIDE), np.uint8)
    maps[..., SIDE // 2 :] = rng.choice(values, (num, 2, 1, 1))
    return np.zeros((num, SIDE, SIDE, 1), np.uint8), maps


def judged(of_samples, steps=60, num_train=40, **kwargs):
    arrays = []
    for num, seed in ((num_train, 1), (100, 2)):
        images, labels = halves(num, seed)
        arrays += [images, labels, of_samples(num, seed)]
    return judge.realism(*arrays, num_classes=K, seed=0, steps=steps, **kwargs)


def test_samples_like_labels_leave_the_judge_at_chance():
    result = judged(lambda num, seed: halves(num, seed + 10)[1])
    # 200 labels against 200 samples: the standard deviation is 0.03 at most.
    assert result["auc"] == pytest.approx(0.5, abs=0.1)
    assert result["paired_accuracy"] == pytest.approx(0.5, abs=0.1)
    assert result["steps"] == 60


def test_samples_of_independent_pixels_are_found_out():
    def noisy(num, seed):
        rng = np.random.default_rng(seed)
        return rng.integers(0, K, (num, 2, SIDE, SIDE), np.uint8)

    result = judged(noisy)
    assert result["auc"] > 0.98 and result["paired_accuracy"] > 0.98


def test_what_half_of_the_labels_show_gives_three_quarters():
    result = judged(lambda num, seed: halves(num, seed, values=[1])[1])
    # Half of the labels are as all samples are, the others cannot be samples:
    # 1/2 * 1/2 + 1/2 * 1 = 0.75.
    assert result["auc"] == pytest.approx(0.75, abs=0.08)
    assert result["paired_accuracy"] == pytest.approx(0.75, abs=0.08)


def test_a_bar_shows_how_far_a_judge_is(monkeypatch):
    bars, whole = [], judge.io.progress

    def progress(*words, **kwargs):
        bars.append(whole(*words, **kwargs))
        return bars[-1]

    monkeypatch.setattr(judge.io, "progress", progress)
    judged(lambda num, seed: halves(num, seed)[1], steps=3)
    assert [(bar.n, bar.total) for bar in bars] == [(3, 3)]


def test_what_tensorflow_says_of_the_judge_s_graph_is_dropped(monkeypatch, capfd):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    meaningless = "E remapper failed: INVALID_ARGUMENT: Mutation::Apply error: fanout"
    lines = f"{meaningless}\nE an error\n".encode()
    monkeypatch.setattr(judge, "_train", lambda *_, **__: os.write(2, lines))
    judged(lambda num, seed: halves(num, seed)[1])
    assert capfd.readouterr().err == "E an error\n"


def test_the_same_seed_gives_the_same_judge():
    def other(num, seed):
        return halves(num, seed, values=[0, 1, 2])[1]

    assert judged(other, steps=3) == judged(other, steps=3)


def test_what_is_not_labelled_is_seen_nowhere():
    images, labels = halves(4, 0)
    _, samples = halves(4, 1)
    net = judge._build((SIDE, SIDE, 1), K, 0)
    labels[..., :5, :] = info.IGNORE_LABEL
    other_images, other_samples = images.copy(), samples.copy()
    other_images[:, :5], other_samples[..., :5, :] = 200, 2

    def logits(shown, drawn):
        pairs = tf.constant(np.stack([labels[:, 0], drawn[:, 0]], 1))
        return judge._logits(net, tf.constant(shown), pairs, K).numpy()

    np.testing.assert_allclose(
        logits(images, samples), logits(other_images, other_samples), atol=1e-6
    )
    other_samples[..., 5:, :] = 1
    assert np.abs(logits(images, other_samples) - logits(images, samples)).max() > 1e-3


def test_what_one_rater_does_not_know_is_hidden_from_all():
    images, labels = halves(4, 0)
    net = judge._build((SIDE, SIDE, 1), K, 0)
    maps = np.stack([labels[:, 0], labels[:, 0]], 1)
    maps[:, 1, :5] = info.IGNORE_LABEL
    first, second = (
        judge._logits(net, tf.constant(images), tf.constant(one), K).numpy()
        for one in (maps, maps[:, ::-1])
    )
    np.testing.assert_allclose(first, second, atol=1e-6)
    np.testing.assert_allclose(first[:, 0], first[:, 1], atol=1e-6)


def test_raters_who_labelled_an_image_stand_for_those_who_did_not():
    labels = np.array([[[[1]], [[255]], [[2]], [[255]]], [[[255]]] * 4], np.uint8)
    filled = realism._present(labels, np.asarray)
    assert filled[0, :, 0, 0].tolist() == [1, 1, 2, 2]
    assert filled[1, :, 0, 0].tolist() == [255] * 4


def test_an_image_and_its_maps_are_mirrored_together():
    ramp = np.broadcast_to(np.arange(SIDE, dtype=np.uint8), (1, SIDE, SIDE))
    images, pairs = judge._batch(
        ramp[..., None], ramp[None], 100 + ramp[None], np.random.default_rng(0)
    )
    assert images.shape == (judge.BATCH_SIZE, SIDE, SIDE, 1)
    first = {int(image[0, 0, 0]) for image in images}
    assert first == {0, SIDE - 1}
    for image, (label, sample) in zip(images, pairs):
        np.testing.assert_array_equal(label, image[..., 0])
        np.testing.assert_array_equal(sample, 100 + label)
