"""The imitated black box: each kind of fault at its stated rate, never 255."""

from __future__ import annotations

import numpy as np
import pytest

from car_tf.blackbox import imitation
from car_tf.data.synthetic import street_scenes


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _dots(cls: int, side: int, background: int = 0) -> np.ndarray:
    """20 x 20 separate squares of one class on [200, 200] of another."""
    label = np.full((200, 200), background, np.uint8)
    for row in range(0, 200, 10):
        for column in range(0, 200, 10):
            label[row : row + side, column : column + side] = cls
    return label


def test_accuracy_on_drawn_scenes_is_a_decent_segmenters():
    accuracies = []
    for index in range(16):
        label = street_scenes.draw_scene(index, seed=3, size=(64, 128))[1]
        labelled = label != 255
        answer = imitation.imitate(label, seed=0, index=index)
        assert answer.dtype == np.uint8 and answer.shape == label.shape
        assert answer.max() < 19
        accuracies.append((answer == label)[labelled].mean())
    assert 0.89 < np.mean(accuracies) < 0.94


def test_is_a_pure_function_of_label_seed_and_index():
    label = street_scenes.draw_scene(0, seed=3, size=(64, 128))[1]
    original = label.copy()
    first = imitation.imitate(label, seed=1, index=5)
    imitation.imitate(label, seed=1, index=6)
    np.testing.assert_array_equal(first, imitation.imitate(label, seed=1, index=5))
    np.testing.assert_array_equal(label, original)
    for other in (dict(seed=1, index=6), dict(seed=2, index=5)):
        assert (imitation.imitate(label, **other) != first).any()


def test_holes_take_the_nearest_class():
    label = np.array([[3, 255, 255, 255, 255, 7]], np.uint8)
    filled = imitation._fill_from_nearest(label, label == 255)
    # Distances to 3 are 1, 2, 3, 4, to 7 they are 4, 3, 2, 1.
    np.testing.assert_array_equal(filled, [[3, 3, 3, 7, 7, 7]])


def test_a_label_without_any_labelled_pixel_gets_known_classes():
    label = np.full((32, 64), 255, np.uint8)
    assert imitation._fill_from_nearest(label, label == 255).max() == 0
    assert imitation.imitate(label, seed=0, index=0).max() < 19


def test_half_of_the_objects_of_the_stated_area_vanish():
    # A person of 12 pixels in 40,000 is 3e-4 of the image: 1 / (1 + 1**2) = 1/2.
    label = np.zeros((200, 200), np.uint8)
    label[:3, :4] = 11
    lost = [imitation._missed(label, _rng(seed))[0, 0] for seed in range(400)]
    # The standard deviation of the mean of 400 draws is 0.5 / 20 = 0.025.
    assert np.mean(lost) == pytest.approx(0.5, abs=0.1)


def test_tiny_objects_vanish_whole_and_large_ones_stay():
    label = _dots(11, 1)  # 2.5e-5 of the image: 1 / (1 + 0.0833**2) = 0.993
    assert imitation._missed(label, _rng())[label == 11].mean() > 0.95
    label = _dots(11, 2)
    missed = imitation._missed(label, _rng())
    blocks = missed.reshape(20, 10, 20, 10)[:, :2, :, :2].transpose(0, 2, 1, 3)
    per_object = blocks.reshape(400, 4)
    assert (per_object.all(1) | ~per_object.any(1)).all()
    assert not missed[label != 11].any()
    large = np.zeros((200, 200), np.uint8)
    large[50:100, 50:100] = 11  # 0.0625: 1 / (1 + 208**2) = 2e-5
    assert not imitation._missed(large, _rng()).any()


def test_objects_are_renamed_whole_at_their_rates():
    label = _dots(12, 4)
    renamed = imitation._confuse_objects(label, _rng(), 19)
    objects = renamed.reshape(20, 10, 20, 10)[:, :4, :, :4].transpose(0, 2, 1, 3)
    objects = objects.reshape(400, 16)
    assert (objects == objects[:, :1]).all()
    # A rider is a person with probability 0.2; the deviation is 0.4 / 20 = 0.02.
    assert (objects[:, 0] == 11).mean() == pytest.approx(0.20, abs=0.08)
    assert set(objects[:, 0]) == {11, 12}
    np.testing.assert_array_equal(renamed[label == 0], 0)


def test_two_confusions_of_a_class_share_the_draws():
    renamed = imitation._confuse_objects(_dots(15, 4), _rng(), 19)[::10, ::10]
    # Bus to truck and bus to car, 0.15 each.
    assert (renamed == 14).mean() == pytest.approx(0.15, abs=0.075)
    assert (renamed == 13).mean() == pytest.approx(0.15, abs=0.075)


def test_classes_that_the_black_box_does_not_know_are_never_named():
    label = np.where(_dots(13, 4) == 13, 13, 8).astype(np.uint8)
    for index in range(20):
        assert imitation.imitate(label, seed=0, index=index, num_classes=14).max() < 14


def test_surfaces_lose_their_stated_fraction_on_average():
    label = np.ones((64, 128), np.uint8)
    results = [imitation._confuse_surfaces(label, _rng(i), 19) for i in range(200)]
    # Sidewalk to road 0.14 and to terrain 0.03, where the later may cover the
    # earlier: road keeps about 0.14 * 0.97 = 0.136. The fraction of one image has
    # a deviation of 0.14, so the mean of 200 has 0.01.
    assert np.mean([r == 0 for r in results]) == pytest.approx(0.136, abs=0.04)
    assert np.mean([r == 9 for r in results]) == pytest.approx(0.03, abs=0.015)


def test_boundaries_move_by_the_stated_length():
    label = np.zeros((128, 256), np.uint8)
    label[:, 128:] = 2
    moved = []
    for seed in range(20):
        shifted = imitation._shift_boundaries(label, _rng(seed))
        moved.append((shifted != label).sum() / 128)
    # Pixels wrong per row are the mean of |dx|, a Gaussian's 0.798 deviations:
    # 0.0034 * 256 / 1.25 * 0.798 = 0.556.
    assert np.mean(moved) == pytest.approx(0.556, rel=0.25)


@pytest.mark.parametrize(
    "label, message",
    [
        (np.zeros((4, 4), np.int32), "wanted a label map .* of uint8"),
        (np.zeros((4, 4, 1), np.uint8), "wanted a label map"),
        (np.full((4, 4), 40, np.uint8), "class ids below 19 or 255, got 40"),
    ],
)
def test_bad_labels_are_refused(label, message):
    with pytest.raises(ValueError, match=message):
        imitation.imitate(label, seed=0, index=0)
