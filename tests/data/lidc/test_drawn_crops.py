"""Tests of car_tf.data.synthetic.lidc_crops: what is drawn, and how the raters differ."""

import functools
import itertools

import numpy as np
import pytest

from car_tf.data.synthetic import lidc_crops, several


@pytest.fixture(scope="module")
def crops():
    draw_one = functools.partial(lidc_crops.draw_crop, seed=0)
    return several.draw(draw_one, range(100), "crop")


def _pair_iou(masks):
    """IoU `[N, 6]` of the raters' pairs; 1 where both are empty, 0 where one is."""
    pairs = []
    for a, b in itertools.combinations(range(4), 2):
        both = (masks[:, a] & masks[:, b]).sum((1, 2))
        either = (masks[:, a] | masks[:, b]).sum((1, 2))
        pairs.append(np.where(either, both / np.maximum(either, 1), 1.0))
    return np.stack(pairs, 1)


def test_shapes_types_and_values(crops):
    images, masks = crops
    assert images.shape == (100, 180, 180, 1) and images.dtype == np.uint8
    assert masks.shape == (100, 4, 180, 180) and masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    # Dark lung and bright tissue: no crop is flat.
    assert images.std(axis=(1, 2, 3)).min() > 5


def test_index_and_seed_alone_decide(crops):
    image, masks = lidc_crops.draw_crop(7, seed=0)
    np.testing.assert_array_equal(image, crops[0][7])
    np.testing.assert_array_equal(masks, crops[1][7])
    assert (lidc_crops.draw_crop(7, seed=1)[0] != image).any()
    assert (lidc_crops.draw_crop(8, seed=0)[0] != image).any()


@pytest.mark.parametrize("size", [64, 97, 128])
def test_other_sizes(size):
    image, masks = lidc_crops.draw_crop(0, seed=0, size=size)
    assert image.shape == (size, size, 1) and masks.shape == (4, size, size)
    assert masks.any()


def test_somebody_marks_every_lesion_and_near_the_centre(crops):
    _, masks = crops
    union = masks.any(axis=1)
    assert union.any(axis=(1, 2)).all()
    rows, columns = np.nonzero(union.any(axis=0))
    assert np.hypot(rows - 89.5, columns - 89.5).max() < 80
    centres = [np.argwhere(mask).mean(axis=0) - 89.5 for mask in union]
    assert np.linalg.norm(np.mean(centres, axis=0)) < 3


def test_readers_disagree_as_real_readers_do(crops):
    # On real crops: mean 1 - IoU over all 16 pairs 0.39 (over 6 distinct ones 0.52);
    # 30, 15, 22 and 33 % of the lesions marked by 1, 2, 3 and 4 raters; IoU of two
    # raters who both marked a lesion 0.67. Bounds are 3 standard errors of 100 crops.
    _, masks = crops
    iou = _pair_iou(masks.astype(bool))
    assert 0.32 < (1 - iou).mean() * 12 / 16 < 0.46
    marked = masks.any(axis=(2, 3))
    shares = np.bincount(marked.sum(axis=1), minlength=5) / len(masks)
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], [0.30, 0.15, 0.22, 0.33], atol=0.14)
    both = np.stack(
        [marked[:, a] & marked[:, b] for a, b in itertools.combinations(range(4), 2)], 1
    )
    assert 0.58 < iou[both].mean() < 0.76
    # No rater is the generous or the careful one throughout.
    np.testing.assert_allclose(marked.mean(axis=0), marked.mean(), atol=0.12)


def test_agreement_follows_size(crops):
    # Lesions that all four mark are larger than those that one marks, as on real crops.
    _, masks = crops
    marked = masks.any(axis=(2, 3)).sum(axis=1)
    areas = masks.sum(axis=(1, 2, 3)) / marked
    assert np.median(areas[marked == 4]) > 2 * np.median(areas[marked == 1])


def test_lesions_are_brighter_than_lung(crops):
    images, masks = crops
    agreed = masks.all(axis=1)
    chosen = agreed.any(axis=(1, 2))
    inside = [np.median(i[m]) for i, m in zip(images[chosen, ..., 0], agreed[chosen])]
    lung = np.percentile(images[chosen], 25, axis=(1, 2, 3))
    assert np.mean(np.array(inside) > lung) > 0.95
