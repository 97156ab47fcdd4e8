"""Augmentation for D: the same for all maps of an image, and nothing but what it says."""

import numpy as np
import tensorflow as tf

from car_tf.train import augmentation

B, H, W = 64, 16, 24
SEED = tf.constant([3, 4])


def places():
    """Images whose two channels are a pixel's row and column, from 1."""
    rows, columns = np.meshgrid(np.arange(1, H + 1), np.arange(1, W + 1), indexing="ij")
    both = np.stack([rows, columns], -1).astype(np.float32)
    return tf.constant(np.tile(both, [B, 1, 1, 1]))


def test_a_seed_changes_everything_alike_and_another_differently():
    image = places()
    one = augmentation.augment(image, SEED)
    np.testing.assert_array_equal(one, augmentation.augment(image, SEED))
    assert np.any(one != augmentation.augment(image, SEED + 1))
    # M maps of an image are changed as the image is.
    maps = tf.stack([image, 2 * image, 3 * image], axis=1)
    many = augmentation.augment(maps, SEED)
    assert many.shape == maps.shape
    for index in range(3):
        np.testing.assert_array_equal(many[:, index], (index + 1) * one)


def test_images_are_shifted_mirrored_and_have_a_hole():
    found = augmentation.augment(places(), SEED).numpy()
    mirrored, holes, shifts = [], [], []
    for image in found:
        rows, columns = np.nonzero(image[..., 0])
        row, column = image[rows, columns].T - 1
        # Every pixel that is left comes from one place, by one shift and mirror.
        (down,) = np.unique(rows - row)
        straight, mirror = np.unique(columns - column), np.unique(columns + column)
        assert min(len(straight), len(mirror)) == 1
        mirrored.append(len(mirror) == 1)
        right = mirror[0] - (W - 1) if mirrored[-1] else straight[0]
        assert abs(down) <= H / 8 and abs(right) <= W / 8
        shifts.append((down, right))
        visible = (H - abs(down)) * (W - abs(right))
        holes.append(1 - len(rows) / visible)
    assert 0.3 < np.mean(mirrored) < 0.7
    assert {-2, 2} <= {down for down, _ in shifts}
    assert {-3, 3} <= {right for _, right in shifts}
    # A third of each side, so about a ninth, in seven of ten.
    assert 0.5 < np.mean(np.array(holes) > 0) < 0.9
    assert 0.08 < max(holes) < 0.2


def test_gradients_go_to_the_pixels_that_are_left():
    maps = tf.random.stateless_uniform([B, 2, H, W, 3], [1, 2], 0.5, 1.0)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        changed = augmentation.augment(maps, SEED)
    gradient = tape.gradient(changed, maps).numpy()
    assert set(np.unique(gradient)) == {0.0, 1.0}
    left = np.sort(maps.numpy()[gradient == 1])
    np.testing.assert_array_equal(left, np.sort(changed.numpy()[changed > 0]))
