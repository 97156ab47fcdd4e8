"""Drafts of `dataset.json`: what they tell of a folder, ask of its owner, or refuse."""

import re

import leaves
import numpy as np
import pytest
from PIL import Image

from car_tf.data import check, io
from car_tf.data.folders import describe, description


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda root: [
                leaves.save(root / f"masks/r{i}/leaf0.png", leaves.draw(0)[1][0])
                for i in range(13)
            ],
            "at most 12 raters, found 16 .*: move the others elsewhere",
        ),
        (
            lambda root: leaves.save(root / "images/leaf0.jpg", leaves.draw(0)[0]),
            "leaf0.png: goes by the same name as leaf0.jpg: leave one of the two",
        ),
        (
            lambda root: leaves.save(
                root / "masks/ben/leaf0.png", leaves.draw(0)[1][0] * np.uint16(999)
            ),
            "leaf0.png: wanted ids 0 to 255, got 0 to 2997: give each class one of",
        ),
    ],
)
def test_a_draft_is_refused_with_what_to_do(root, change, words):
    change(root)
    with pytest.raises(io.DataError, match=words):
        leaves.drafted(root)


def test_16_bits_need_a_range(root):
    for path in (root / "images").iterdir():
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        Image.fromarray(grey).save(path)
    draft = leaves.drafted(root)
    assert "images.range" in draft.questions[0]
    with pytest.raises(io.DataError, match="1 open questions, the first: images.range"):
        leaves.load(root)
    leaves.change(root, questions=[])
    with pytest.raises(io.DataError, match="images.range: wanted two numbers"):
        leaves.load(root)
    images = {"files": "images/{image}", "kind": "grey16", "range": [0, 4080]}
    leaves.change(root, images=images)
    dataset = leaves.load(root)
    grey = np.asarray(Image.fromarray(leaves.draw(0)[0]).convert("L"))
    np.testing.assert_array_equal(leaves.by_name(dataset)["leaf0"][0][..., 0], grey)
    assert dataset.info.image_range == (0, 4080) and dataset.info.image_channels == 1
    # One of 8 bits among them, and a range of other images.
    leaves.save(root / "images" / "leaf0.png", grey)
    words = "leaf0.png: .* 0 to 4080 .*, got .* mode L: save it with the bits and on"
    with pytest.raises(io.DataError, match=words):
        leaves.load(root)
    leaves.change(root, images={**images, "range": [0.0, 1.0]})
    with pytest.raises(io.DataError, match="wanted grey values 0 to 1 .* got [1-9]"):
        leaves.load(root, "data.on_error=stop")
    assert "Some are of 8 bits: save all" in leaves.drafted(root).questions[0]


def test_an_object_black_on_white_is_asked_for(tmp_path):
    for index in range(4):
        picture, labels = leaves.draw(index, (80, 96))
        leaves.save(tmp_path / "images" / f"{index}.png", picture)
        mask = np.where(labels[0] == 3, 0, 255).astype(np.uint8)
        leaves.save(tmp_path / "masks" / "anna" / f"{index}.png", mask)
    draft = leaves.drafted(tmp_path)
    assert "black on white" in draft.questions[0]
    assert description.ONE_RATER in draft.lines
    classes = [
        {"name": "background", "color": [0, 0, 0], "values": [255]},
        {"name": "spot", "color": [255, 0, 0], "values": [0]},
    ]
    leaves.change(tmp_path, classes=classes, questions=[])
    dataset = leaves.load(tmp_path)
    expected = (leaves.draw(0, (80, 96))[1][0] == 3).astype(np.uint8)
    np.testing.assert_array_equal(leaves.by_name(dataset)["0"][1][0], expected)
    assert any("one rater and no class flips" in note for note in dataset.notes)


@pytest.mark.parametrize(
    "values, others, palette, words",
    [
        ([0, 1, 2, 255], 1, None, "255 a class, or are those pixels to be left out"),
        # As PASCAL VOC saves masks.
        ([0, 5, 15, 255], 1, 64 * leaves.PALETTE, "255 a class, or are those pixels"),
        ([0, 64, 128, 255], 1, None, "4 grey values .* is each a class"),
        ([0, 0, 0, 0], 1, None, "masks hold 0 alone"),
        ([0, 0, 0, 1], 255, None, "where 1 and 255 are the same, give one class both"),
        ([0, 1, 1, 1], 2, None, "anna marks with .* ben's: where 1 and 2 are the same"),
    ],
)
def test_what_values_stand_for_is_asked(tmp_path, values, others, palette, words):
    picture, labels = leaves.draw(0)
    mask = np.array(values, np.uint8)[labels[0]]
    leaves.save(tmp_path / "images" / "a.png", picture)
    leaves.save(tmp_path / "masks" / "anna" / "a.png", mask, palette)
    leaves.save(tmp_path / "masks" / "ben" / "a.png", mask * np.uint8(others), palette)
    (question,) = leaves.drafted(tmp_path).questions
    assert re.search(words, question)


def test_numbered_objects_are_asked_for(tmp_path):
    for index in range(3):  # 10, 11 and 12 objects.
        ids = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16) % (11 + index)
        leaves.save(tmp_path / "images" / f"{index}.png", ids)
        leaves.save(tmp_path / "masks" / f"{index}.png", ids)
    assert "do they number objects" in leaves.drafted(tmp_path).questions[0]


def test_few_numbered_objects_are_asked_for(tmp_path):
    for index in range(3):  # 4, 5 and 6 in each image, and none else.
        ids = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16) % (4 + index)
        leaves.save(tmp_path / "images" / f"{index}.png", ids)
        leaves.save(tmp_path / "masks" / f"{index}.png", ids)
    assert "do they number objects" in leaves.drafted(tmp_path).questions[0]
    leaves.save(tmp_path / "masks" / "0.png", ids // 2 * 2)  # Some lack a class.
    assert not leaves.drafted(tmp_path).questions


def test_channels_of_raters_are_asked_for(tmp_path):
    picture, labels = leaves.draw(0)
    leaves.save(tmp_path / "images" / "a.png", picture)
    marked = np.moveaxis(labels > 0, 0, -1) * np.uint8(255)
    leaves.save(tmp_path / "masks" / "a.png", np.ascontiguousarray(marked))
    assert "each channel the mask of a rater" in leaves.drafted(tmp_path).questions[0]
    # Classes in colours of their own, of which one is grey.
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 9, 9]], np.uint8)
    leaves.save(tmp_path / "masks" / "a.png", colors[labels[0]])
    assert not leaves.drafted(tmp_path).questions


def test_classes_are_taken_from_more_masks_than_are_looked_at_as_images(tmp_path):
    for index in range(130):
        ids = np.full((16, 16), index, np.uint8)
        ids[0, 0] = 0
        leaves.save(tmp_path / "images" / f"{index}.png", ids)
        leaves.save(tmp_path / "masks" / f"{index}.png", ids)
    assert len(leaves.drafted(tmp_path).content["classes"]) == 130


def test_palettes_in_another_order_are_told_by_colours(tmp_path):
    root = leaves.write(tmp_path / "leaves")
    path = root / "masks" / "anna" / "leaf4.png"
    leaves.save(path, 3 - leaves.draw(4)[1][0], leaves.PALETTE[::-1])
    classes = [entry["values"][0] for entry in leaves.drafted(root).content["classes"]]
    ids = [classes.index(list(color)) for color in leaves.PALETTE]
    labels = leaves.by_name(leaves.load(root))["leaf4"][1]
    np.testing.assert_array_equal(labels, np.array(ids)[leaves.draw(4)[1]])


def test_images_of_one_name_in_several_folders_are_not_mixed(tmp_path):
    for name in ("p1", "p2"):
        leaves.write(tmp_path / name, num=2)
    with pytest.raises(
        io.DataError, match="one folder, found p1/images.* and p2/images"
    ):
        describe.describe(tmp_path)


def test_files_of_no_image_are_named(tmp_path):
    root = leaves.write(tmp_path / "leaves")
    leaves.save(root / "masks" / "dora" / "seg_leaf0.png", leaves.draw(0)[1][0])
    said = "\n".join(leaves.drafted(root).lines)
    assert (
        "not used: 1 files whose names begin with no image's, such as masks/dora"
        in said
    )


def test_other_formats_are_to_be_converted(tmp_path):
    picture, labels = leaves.draw(0)
    leaves.save(tmp_path / "images" / "a.png", picture)
    leaves.save(tmp_path / "masks" / "a_manual1.gif", labels[0])
    with pytest.raises(io.DataError, match="masks .* found .gif: convert them to PNG"):
        describe.describe(tmp_path)


def test_the_most_frequent_colour_is_the_background(tmp_path):
    picture, labels = leaves.draw(0)
    leaves.save(tmp_path / "images" / "a.png", picture)
    colors = np.array(leaves.PALETTE, np.uint8)[labels[0]]
    leaves.save(tmp_path / "masks" / "a.png", colors)
    classes = leaves.drafted(tmp_path).content["classes"]
    assert classes[0]["name"] == "background"
    assert classes[0]["values"] == [list(leaves.PALETTE[0])]


def test_masks_of_another_size_are_resized_only_if_asked(root):
    path = root / "masks" / "cleo" / "leaf3.png"
    leaves.save(path, leaves.draw(3, (80, 112))[1][2], leaves.PALETTE)
    draft = leaves.drafted(root)
    assert "1 masks have another size" in draft.questions[0]
    leaves.change(root, masks_of_other_size="refuse", questions=[])
    with pytest.raises(
        io.DataError, match="leaf3.png: wanted 40 x 56.*nearest"
    ) as told:
        leaves.load(root)
    report = check.check(str(root))
    (problem,) = report["problems"]
    assert f"{problem['place']}: {problem['detail']}" == str(told.value)
    assert len(leaves.load(root, "data.on_error=skip").splits["train"].skipped) == 1
    leaves.change(root, masks_of_other_size="nearest")
    assert len(leaves.by_name(leaves.load(root))) == 9
