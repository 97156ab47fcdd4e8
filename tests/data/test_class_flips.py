"""Class flips: whole classes switch, nothing else does, at the stated rates."""

from __future__ import annotations

import numpy as np
import pytest

from car_tf.data import class_flips

FLIPS = class_flips.CITYSCAPES_FLIPS


def test_cityscapes_flips_are_the_papers():
    assert [(flip.original, flip.flipped) for flip in FLIPS] == [
        (1, 19),
        (11, 20),
        (13, 21),
        (8, 22),
        (0, 23),
    ]
    np.testing.assert_allclose(
        [17 * flip.probability for flip in FLIPS], [8, 7, 6, 5, 4]
    )


def test_tables_rename_hit_classes_whole():
    label = np.array([[0, 1, 1], [13, 255, 10]], np.uint8)
    hits = [True, False, True, True, False]  # sidewalk, car, vegetation (absent)
    flipped = class_flips.tables(np.array([hits]), FLIPS)[0][label]
    np.testing.assert_array_equal(flipped, [[0, 19, 19], [21, 255, 10]])
    assert flipped.dtype == np.uint8


def test_fold_undoes_every_mode():
    label = np.arange(20, dtype=np.uint8).reshape(4, 5) % 19
    for mode in range(32):
        hits = [bool(mode >> bit & 1) for bit in range(5)]
        flipped = class_flips.tables(np.array([hits]), FLIPS)[0][label]
        np.testing.assert_array_equal(class_flips.fold(flipped, FLIPS), label)


def test_flip_oracle_folds_then_flips_whole_classes_at_the_true_rates():
    label = np.array([[0, 1, 8], [22, 13, 11], [255, 2, 2]], np.uint8)
    samples = class_flips.flip_oracle(
        label, flips=FLIPS, num_samples=4000, rng=np.random.default_rng(0)
    )
    assert samples.shape == (4000, 3, 3) and samples.dtype == np.uint8
    folded = class_flips.fold(label, FLIPS)
    np.testing.assert_array_equal(
        class_flips.fold(samples, FLIPS), np.broadcast_to(folded, samples.shape)
    )
    # 8 and 22 are one class after folding, so the two pixels always agree.
    np.testing.assert_array_equal(samples[:, 0, 2], samples[:, 1, 0])
    for flip in FLIPS:
        row, column = np.argwhere(folded == flip.original)[0]
        rate = np.mean(samples[:, row, column] == flip.flipped)
        # Three standard deviations of 4000 draws are at most 0.024.
        assert abs(rate - flip.probability) < 0.024


def test_flip_oracle_is_determined_by_its_generator():
    label = np.array([[0, 1, 8, 11, 13]], np.uint8)
    first, second = (
        class_flips.flip_oracle(
            label, flips=FLIPS, num_samples=16, rng=np.random.default_rng(7)
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(original=1, flipped=255, probability=0.5), "flipped .* got 255"),
        (dict(original=-1, flipped=19, probability=0.5), "original .* got -1"),
        (dict(original=1, flipped=1, probability=0.5), "cannot flip to itself"),
        (dict(original=1, flipped=19, probability=1.5), "got 1.5"),
    ],
)
def test_class_flip_checks_its_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        class_flips.ClassFlip(**fields)
