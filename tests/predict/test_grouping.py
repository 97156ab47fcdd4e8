"""Proposals in groups and regions, and label maps in other tools' formats."""

import dataclasses
import json

import app_double
import matplotlib.path
import numpy as np

from car_tf.data import cityscapes
from car_tf.predict import grouping, label_formats

SIZE, LEFT, RIGHT, BOTH = (
    getattr(app_double, name) for name in ("SIZE", "LEFT", "RIGHT", "BOTH")
)


def test_groups_by_hand():
    samples = np.stack([LEFT, LEFT, RIGHT, BOTH])
    # 256 open pixels: left and right differ in all, both in half of them from each.
    np.testing.assert_allclose(
        grouping.differences(samples),
        [[0, 0, 1, 0.5], [0, 0, 1, 0.5], [1, 1, 0, 0.5], [0.5, 0.5, 0.5, 0]],
    )
    found = [(group.members, group.share) for group in grouping.groups(samples)]
    assert found == [([0, 1], 0.5), ([2], 0.25), ([3], 0.25)]
    (same,) = grouping.groups(np.stack([LEFT, LEFT]))
    assert same.members == [0, 1] and same.share == 1.0
    assert len(grouping.groups(LEFT[None])) == 1


def test_regions_have_variants():
    samples = np.stack([LEFT, LEFT, RIGHT, BOTH])
    where = grouping.regions(samples)
    # The right lesion is in two of four maps, which is no majority.
    assert [int(region.sum()) for region in where] == [128, 128]
    left = 0 if where[0][10, 5] else 1
    shares = [group.share for group in grouping.variants(samples, where[left])]
    assert shares == [0.75, 0.25]


def test_the_most_frequent_class_by_hand():
    # 7 twice; 7, 3 and 5 once each, of which the first counts; 0 always.
    samples = np.array([[7, 7, 0], [3, 5, 0], [7, 3, 0]], np.uint8)
    assert grouping.most_frequent(samples).tolist() == [7, 3, 0]
    assert grouping.count(samples, 7).tolist() == [2, 1, 0]
    many = np.ones([300, 2], np.uint8)
    assert grouping.count(many, 1).tolist() == [300, 300]


def test_main_classes_by_hand():
    # 4, 3, 2 and 1 of 10 pixels.
    ids = np.array([3, 3, 3, 3, 0, 0, 0, 1, 1, 2])
    assert grouping.main_classes(ids) == [3, 0]
    assert grouping.main_classes(ids, most=4) == [3, 0, 1]
    assert grouping.main_classes(ids, least=0.5) == [3]


def test_exchanges_by_hand():
    # Of 10 pixels, 4 are 1 for 0, 2 are 1 for 2, 1 is 3 for 0.
    ids = np.array([1, 1, 1, 1, 1, 1, 3, 5, 5, 5])
    other = np.array([0, 0, 0, 0, 2, 2, 0, 5, 5, 5])
    assert grouping.exchanges(ids, other) == [(1, 0), (1, 2)]
    assert grouping.exchanges(ids, other, least=0.5) == [(1, 0)]
    assert grouping.exchanges(ids, other, least=0.1, most=3)[2] == (3, 0)
    assert grouping.exchanges(ids, ids) == []


# Formats


def test_run_lengths_by_hand():
    # Down the columns: 0 1 | 1 0 | 1 1.
    mask = np.array([[0, 1, 1], [1, 0, 1]], bool)
    assert label_formats.run_lengths(mask) == [1, 2, 1, 2]
    assert label_formats.run_lengths(~mask) == [0, 1, 2, 1, 2]


def test_coco_masks_are_the_maps():
    found = json.loads(
        label_formats.to_coco(BOTH, "a.png", app_double.LABELS["classes"])
    )
    lesion = found["annotations"][1]
    assert (lesion["category_id"], lesion["area"]) == (2, 256)
    assert lesion["bbox"] == [4, 8, 24, 16]
    counts = lesion["segmentation"]["counts"]
    flat = np.repeat(np.arange(len(counts)) % 2, counts)
    np.testing.assert_array_equal(flat.reshape(SIZE, SIZE).T, BOTH)


def test_polygons_paint_the_map_again():
    ids = BOTH.copy()
    ids[12:14, 6:8] = 0  # a hole
    ids[0, 31] = 1  # one pixel at the edge
    for height, width in ((SIZE, SIZE), (2 * SIZE, 3 * SIZE)):
        text = label_formats.to_cityscapes(ids, app_double.LABELS, (height, width))
        found = json.loads(text)
        assert (found["imgHeight"], found["imgWidth"]) == (height, width)
        painted = np.full((height, width), 9)
        points = np.stack(np.meshgrid(range(width), range(height)), -1).reshape(-1, 2)
        for item in found["objects"]:
            inside = matplotlib.path.Path(item["polygon"]).contains_points(points)
            painted[inside.reshape(painted.shape)] = item["label"] == "lesion"
        wanted = ids.repeat(height // SIZE, 0).repeat(width // SIZE, 1)
        # Corners are cut, which shows when they are magnified.
        allowed = 0 if height == SIZE else 0.005
        assert (painted != wanted).mean() <= allowed


def test_twins_are_written_as_their_originals_in_few_corners():
    facts = dataclasses.asdict(cityscapes.dataset_info("street scenes"))
    classes = [{"id": i, "name": name} for i, name in enumerate(facts["class_names"])]
    labels = {"classes": classes, "flips": facts["flips"]}
    ids = np.full((20, 20), 10)
    ids[5:15, 5:15] = 21  # the car's twin
    found = json.loads(label_formats.to_cityscapes(ids, labels, (20, 20)))["objects"]
    assert [item["label"] for item in found] == ["sky", "car"]
    assert "attributes" not in found[0]
    assert found[1]["attributes"] == {"class": "car2"}
    # Eight corners of a square whose own corners are cut.
    assert len(found[1]["polygon"]) == 8
    assert label_formats.label_ids(labels)[[10, 13, 21]].tolist() == [23, 26, 26]
    assert label_formats.label_ids(app_double.LABELS) is None
