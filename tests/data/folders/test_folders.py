"""Folders of images and raters: read as they lie, checked, or refused in a sentence."""

import json

import leaves
import numpy as np
import pytest
from PIL import Image

from car_tf import config as config_lib
from car_tf.data import check, findings, io, layouts
from car_tf.data import load as data_load
from car_tf.data.folders import check as folders_check
from car_tf.data.folders import describe, description, files
from car_tf.evaluate import distances


def test_leaves_are_read_as_they_lie(root):
    dataset = leaves.load(root)
    assert dataset.info.rater_names == leaves.RATERS
    assert dataset.info.class_colors == leaves.PALETTE
    assert dataset.info.num_classes == 4 and not dataset.info.flips
    assert list(dataset.splits) == ["train", "selection", "test"]
    found = leaves.by_name(dataset)
    assert len(found) == 9
    for index in range(9):
        picture, labels = leaves.draw(index)
        if index == 1:
            labels[1] = 255
        np.testing.assert_array_equal(found[f"leaf{index}"][0], picture)
        np.testing.assert_array_equal(found[f"leaf{index}"][1], labels)
    assert any("taken as they are" in note for note in dataset.notes)


def test_a_draft_is_never_written_over(root):
    with pytest.raises(io.DataError, match="--force writes it anew"):
        describe.write(root, force=False)


def test_a_folder_without_a_description_says_how_to_get_one(tmp_path):
    root = leaves.write(tmp_path / "leaves")
    assert layouts.dataset_at(root) == "folders"
    with pytest.raises(io.DataError, match="data describe .* writes a draft"):
        layouts.overrides(config_lib.load("folders"), str(root), "folders")
    with pytest.raises(io.DataError, match="nowhere: wanted a folder, found none"):
        description.read(tmp_path / "nowhere")


def test_the_check_tells_what_training_makes_of_it(root):
    report = check.check(str(root))
    assert report["dataset"] == "folders" and not findings.num_errors(report)
    assert list(report["splits"]) == ["train", "selection", "test"]
    plan = "\n".join(report["plan"])
    assert "splits: train 5, selection 2, test 2" in plan
    assert "ben:" in plan and "8 masks" in plan and "mean IoU of two raters" in plan
    assert "no pixel of" not in plan
    classes = json.loads((root / "dataset.json").read_text())["classes"]
    classes += [{"name": "bark", "color": [1, 1, 1], "values": [9]}]
    leaves.change(root, classes=classes)
    assert "no pixel of any mask is bark" in "\n".join(check.check(str(root))["plan"])
    assert "where several are of a patient" in plan


def test_agreement_is_the_mean_iou_of_pairs():
    labels = np.array([[[0, 0, 1, 1]], [[0, 1, 1, 255]], [[255, 255, 255, 255]]])
    # In the three pixels that both labelled, class 0 has 1 of 2, class 1 has 1 of 2.
    assert folders_check.agreement(labels.astype(np.uint8)) == pytest.approx(0.5)


# Layouts


def test_raters_by_suffix_in_one_folder(tmp_path):
    for index in range(4):
        picture, labels = leaves.draw(index)
        leaves.save(tmp_path / "images" / f"image0{index}L.jpg", picture)
        for ending, label in zip(("1stHO", "2ndHO"), labels):
            name = f"image0{index}L_{ending}.png"
            Image.fromarray(label > 0).save(_made(tmp_path / "masks" / name))
    draft = leaves.drafted(tmp_path)
    assert [r["masks"] for r in draft.content["raters"]] == [
        "masks/{image}_1stHO",
        "masks/{image}_2ndHO",
    ]
    assert [c["values"] for c in draft.content["classes"]] == [[0], [255]]
    split = leaves.load(tmp_path).splits["train"]
    index = int(split.names[0][5:7])
    expected = (leaves.draw(index)[1][:2] > 0).astype(np.uint8)
    np.testing.assert_array_equal(split.labels[0], expected)


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(
    "image, mask",
    [
        ("{split}/images/{name}.png", "{split}/labels/{rater}/{name}.png"),
        ("images/{split}/{name}.png", "masks/{split}/{rater}/{name}.png"),
        ("images/{split}/{name}.png", "masks/{rater}/{split}/{name}.png"),
        ("images/{name}.png", "masks/{rater}/{name}_seg.png"),
        ("images/{name}.png", "masks/{name}/{rater}.png"),
        ("images/{name}/image.png", "masks/{name}/{rater}.png"),
        ("images/{name}.png", "{rater}/Masks/{name}.png"),
        ("images/{name}_0000.png", "masks/{rater}/{name}.png"),
    ],
)
def test_splits_as_folders(tmp_path, image, mask):
    for index, split in enumerate(("train", "train", "val", "test")):
        picture, labels = leaves.draw(index)
        name = dict(split=split, name=f"leaf{index}")
        leaves.save(tmp_path / image.format(**name), picture)
        for rater, label in zip(leaves.RATERS, labels):
            leaves.save(tmp_path / mask.format(rater=rater, **name), label)
    leaves.drafted(tmp_path)
    dataset = leaves.load(tmp_path)
    sizes = [len(split) for split in dataset.splits.values()]
    if "{split}" in image:
        assert sizes == [2, 1, 1] and dataset.evaluation == "test"
    assert sum(sizes) == 4 and dataset.info.rater_names == leaves.RATERS
    np.testing.assert_array_equal(
        leaves.by_name(dataset)["leaf3"][1], leaves.draw(3)[1]
    )


def test_lists_of_splits_are_not_passed_over(root):
    (root / "train.txt").write_text("leaf0")
    assert "is train.txt a list of a split" in leaves.drafted(root).questions[0]


@pytest.mark.parametrize(
    "last, words",
    [
        ("holdout", "train.csv: wanted train, val or test for leaf8, got 'holdout'"),
        ("", "leaf8.png: wanted a split for each image, got none"),
    ],
)
def test_a_column_of_splits_stays_one_with_an_odd_value(root, last, words):
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2 + [last]
    rows = [f"leaf{i},{split}" for i, split in enumerate(splits)]
    (root / "train.csv").write_text("\n".join(["image,part", *rows]))
    assert leaves.drafted(root).content["groups"]["split"] == "part"
    with pytest.raises(io.DataError, match=words):
        leaves.load(root)


def test_a_table_may_not_contradict_folders_of_splits(tmp_path):
    for index, split in enumerate(("train", "val", "test")):
        picture, labels = leaves.draw(index)
        leaves.save(tmp_path / split / "images" / f"leaf{index}.png", picture)
        leaves.save(tmp_path / split / "masks" / f"leaf{index}.png", labels[0])
    rows = ["image,split", "leaf0,train", "leaf1,train", "leaf2,test"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    leaves.drafted(tmp_path)
    with pytest.raises(
        io.DataError, match="leaf1.png: lies in val, but is of train in"
    ):
        leaves.load(tmp_path)


def test_a_table_gives_groups_and_splits(root):
    rows = [f"/photos/leaf{i}.png;tree{i // 3}" for i in range(9)]
    (root / "trees.csv").write_text("\n".join(["file;tree", *rows[:8]]))
    assert "trees.csv names 8 of 9 images in file" in leaves.drafted(root).questions[0]
    (root / "trees.csv").write_text("\n".join(["file;tree", *rows]))
    draft = leaves.drafted(root)
    assert draft.content["groups"]["group"] == "tree" and not draft.questions
    for split in leaves.load(root).splits.values():
        assert len(set(split.groups)) == 1 and len(split) == 3
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 3
    rows = [f"{row};{split}" for row, split in zip(rows, splits)]
    (root / "trees.csv").write_text("\n".join(["file;tree;part", *rows]))
    leaves.drafted(root)
    with pytest.raises(io.DataError, match="tree1: 1 images in train, 2 images in val"):
        leaves.load(root)
    assert "leakage" in {p["kind"] for p in check.check(str(root))["problems"]}
    leaves.change(root, known_leakage=["tree1"])
    assert [len(split) for split in leaves.load(root).splits.values()] == [4, 2, 3]
    assert not findings.num_errors(check.check(str(root)))


@pytest.mark.parametrize(
    "images, rows, words",
    [
        (["a", "b"], ["D:\\scans\\a.png", "/data/b.png"], "01"),
        (["p/a", "q/a"], ["/data/q/a.png", "/data/p/a.png"], "10"),
        (["p/a", "q/a"], ["a"], "00"),  # Two views of one patient.
        (["a"], ["p/a.png", "q/a.png"], "a row for a, found p/a and q/a"),
        (["p/a", "q/a"], ["r/a.png"], "for each of p/a and q/a, found r/a"),
        (["a"], ["ba.png"], "a row for a, found none"),
    ],
)
def test_a_table_may_hold_whole_paths(tmp_path, images, rows, words):
    lines = [f"{row},{index}" for index, row in enumerate(rows)]
    (tmp_path / "t.csv").write_text("\n".join(["image,patient", *lines]))
    told = description.Groups(table="t.csv", group="patient")
    if words.isdigit():
        groups = files._Groups(tmp_path, told, images)
        assert "".join(groups.of(name)[0] for name in images) == words
    else:
        with pytest.raises(io.DataError, match=f"t.csv: wanted .*{words}"):
            files._Groups(tmp_path, told, images)


def test_a_test_split_alone_is_checked_but_not_trained_on(root):
    rows = [f"leaf{i},test" for i in range(9)]
    (root / "splits.csv").write_text("\n".join(["image,split", *rows]))
    leaves.change(root, groups={"table": "splits.csv", "split": "split"})
    report = check.check(str(root))
    assert not findings.num_errors(report) and list(report["splits"]) == ["test"]
    with pytest.raises(io.DataError, match="wanted images of train, found test alone"):
        leaves.load(root)
    config = config_lib.load("folders", [f"data.data_dir={root}"])
    config = config_lib.change(config, data={"cache_dir": str(root.parent / "cache")})
    assert [len(s) for s in data_load.read_data(config, ("",)).splits.values()] == [9]


# Sizes


def test_tiles_cover_an_image_and_hide_what_is_beyond(root):
    leaves.change(root, fit="tiles", size=[32, 32])
    dataset = leaves.load(root)
    found = leaves.by_name(dataset)
    # 40 x 56 is cut in 2 x 2 tiles; leaf1 has 3 planes of which ben's is hidden.
    assert len(found) == 36 and dataset.info.resizes is False
    picture, labels = leaves.draw(2)
    image, label = found["leaf2_y32_x32"]
    np.testing.assert_array_equal(image[:8, :24], picture[32:, 32:])
    np.testing.assert_array_equal(label[:, :8, :24], labels[:, 32:, 32:])
    assert (label[:, 8:] == 255).all() and (label[:, :, 24:] == 255).all()
    groups = [set(split.groups) for split in dataset.splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 9


def test_small_images_are_padded_and_large_ones_refused(root):
    leaves.change(root, fit="pad", size=[64, 64])
    image, label = leaves.by_name(leaves.load(root))["leaf0"]
    assert image.shape == (64, 64, 3) and (label[:, 40:] == 255).all()
    leaves.change(root, size=[32, 32])
    with pytest.raises(io.DataError, match="to be padded, got 40 x 56: enlarge size"):
        leaves.load(root)


def test_crops_of_45_pixels_are_taken(tmp_path):
    root = leaves.write(tmp_path / "leaves", size=(45, 45))
    leaves.drafted(root)
    dataset = leaves.load(root)
    assert dataset.splits["train"].images.shape[1:] == (45, 45, 3)


def test_ten_raters(tmp_path):
    for index in range(4):
        picture, labels = leaves.draw(index)
        leaves.save(tmp_path / "images" / f"{index}.png", picture)
        for rater in range(10):
            path = tmp_path / "masks" / f"r{rater + 1}" / f"{index}.png"
            leaves.save(path, labels[rater % 3])
    raters = [rater["name"] for rater in leaves.drafted(tmp_path).content["raters"]]
    assert raters == [f"r{rater + 1}" for rater in range(10)]
    assert leaves.load(tmp_path).splits["train"].labels.shape[1] == 10


# What is refused


def _same_again(root):
    leaves.save(root / "images" / "leaf9.png", leaves.draw(0)[0])
    leaves.save(root / "masks" / "ben" / "leaf9.png", leaves.draw(0)[1][1])
    splits = ["train"] * 6 + ["test"] * 4
    rows = [f"leaf{i},{split}" for i, split in enumerate(splits)]
    (root / "splits.csv").write_text("\n".join(["image,split", *rows]))
    leaves.change(root, groups={"table": "splits.csv", "split": "split"})


def _turned_mask(root):
    leaves.change(root, masks_of_other_size="nearest")
    leaves.save(root / "masks" / "anna" / "leaf3.png", leaves.draw(3)[1][0].T.copy())


def _other_palette(root):
    path = root / "masks" / "anna" / "leaf4.png"
    leaves.save(path, 3 - leaves.draw(4)[1][0], leaves.PALETTE[::-1])


def _rater_of_no_masks(root):
    dora = {"name": "dora", "masks": "masks/d/{image}"}
    raters = json.loads((root / "dataset.json").read_text())["raters"]
    leaves.change(root, raters=[*raters, dora])


def _two_groups_of_one(root):
    rows = [f"leaf{i},{i}" for i in range(9)] + ["leaf0.png,5"]
    (root / "trees.csv").write_text("\n".join(["image,tree", *rows]))
    leaves.change(root, groups={"table": "trees.csv", "group": "tree"})


def _stray_value(root):
    label = leaves.draw(4)[1][0]
    label[0, :3] = 7
    leaves.save(root / "masks" / "anna" / "leaf4.png", label)


@pytest.mark.parametrize(
    "damage, words",
    [
        (_stray_value, "leaf4.png: 3 pixels have the value 7, which is of no class"),
        (_turned_mask, "leaf3.png: wanted 40 x 56, .* got 56 x 40.* turned as that is"),
        (_other_palette, "leaf4.png: its palette gives the value [03] the colour of"),
        (_rater_of_no_masks, "dataset.json: raters: wanted masks of dora at masks/d/"),
        (_two_groups_of_one, "trees.csv: wanted one tree for leaf0, got 0 and 5"),
        (_same_again, "leaf9: same pixels as leaf0 of (train|selection)"),
        (
            lambda root: (root / "images" / "leaf0.png").unlink(),
            "leaf0.png: there is no image of this mask's name",
        ),
        (
            lambda root: leaves.save(root / "images" / "new.png", leaves.draw(99)[0]),
            "new.png: none of the 3 raters labelled",
        ),
        (
            lambda root: (root / "images" / "leaf2.png").write_bytes(b"no image"),
            "leaf2.png: not a readable image",
        ),
        (
            lambda root: leaves.change(root, groups={"table": "absent.csv"}),
            "absent.csv: wanted a csv file",
        ),
    ],
)
def test_training_stops_with_the_words_of_the_check(root, damage, words):
    damage(root)
    with pytest.raises(io.DataError, match=words) as told:
        leaves.load(root)
    try:
        problems = check.check(str(root))["problems"]
    except io.DataError as error:
        assert str(error) == str(told.value)
    else:
        said = [f"{p['place']}: {p['detail']}" for p in problems]
        assert str(told.value).startswith(tuple(said))


_CLASS = {"name": "a", "color": [0, 0, 0], "values": [0]}


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"classes": 201 * [_CLASS]}, "classes: wanted at most 200, got 201"),
        ({"raterz": []}, "no field raterz; did you mean 'raters'"),
        ({"size": [8, 8]}, "size"),
        ({"fit": "crop"}, "fit: .*'resize', 'pad' or 'tiles'"),
        ({"images": {"files": "images/x"}}, "images.files: wanted a path with {image}"),
        ({"images": {"files": "../{image}"}}, "below the folder"),
        ({"flips": [{"name": "a", "twin": "b", "share": 0.5}]}, "with 3 raters"),
        (
            {
                "classes": [{"name": "a", "color": [0, 0, 0], "values": [0, [1, 1, 1]]}]
                * 2
            },
            "occur twice",
        ),
        ({"ignore": [1]}, "value 1 is of class_1 and of ignore"),
        ({"ignore": ["red"]}, "ignore.* wanted ids 0 to 255, or colours"),
        ({"groups": {"pattern": "x(.)"}}, "groups.pattern: wanted a group in brackets"),
        ({"groups": {"pattern": "(x)?"}}, "groups.pattern: wanted a group in brackets"),
        (
            {"groups": {"pattern": "("}},
            "groups.pattern: '\\(' is no regular expression",
        ),
    ],
)
def test_a_wrong_description_is_refused_by_field(root, fields, words):
    leaves.change(root, **fields)
    with pytest.raises(io.DataError, match=words):
        leaves.load(root)


# Flips, and splits


def test_flips_are_data(root):
    told = json.loads((root / "dataset.json").read_text())
    twin = {"name": "leaf2", "color": [0, 0, 99], "values": []}
    leaves.change(
        root,
        raters=told["raters"][:1],
        classes=[*told["classes"], twin],
        flips=[{"name": "class_1", "twin": "leaf2", "share": 0.4}],
    )
    dataset = leaves.load(root)
    (flip,) = dataset.info.flips
    assert (flip.original, flip.flipped, flip.probability) == (1, 4, 0.4)
    assert dataset.info.num_classes == 5
    assert (
        data_load.read_data(
            config_lib.change(
                config_lib.load("folders"),
                data={"data_dir": str(root), "cache_dir": str(root.parent / "cache")},
            )
        ).info.num_blackbox_classes
        == 4
    )


def test_a_folder_of_train_alone_says_how_splits_are_drawn(tmp_path):
    leaves.write(tmp_path / "leaves" / "train")
    leaves.drafted(tmp_path / "leaves")
    with pytest.raises(io.DataError, match="name for {split} in dataset.json to have"):
        leaves.load(tmp_path / "leaves")
    path = tmp_path / "leaves" / "dataset.json"
    path.write_text(path.read_text().replace("{split}", "train"))
    assert len(leaves.load(tmp_path / "leaves").splits["test"]) > 0


# What its labels are worth, by hand


def test_the_ged_of_an_image_that_two_of_three_labelled(tmp_path):
    half = np.zeros((16, 16), np.uint8)
    half[:, :8] = 1
    for index in range(3):
        leaves.save(
            tmp_path / "images" / f"{index}.png", leaves.draw(index)[0][:16, :16]
        )
        leaves.save(tmp_path / "masks" / "anna" / f"{index}.png", half)
        leaves.save(tmp_path / "masks" / "ben" / f"{index}.png", half * 0 + 1)
    third = np.full((16, 16), 2, np.uint8)
    leaves.save(tmp_path / "images" / "3.png", leaves.draw(3)[0][:16, :16])
    leaves.save(tmp_path / "masks" / "cleo" / "3.png", third)
    leaves.drafted(tmp_path)
    leaves.change(tmp_path, questions=[])  # Cleo has a class of her own.
    dataset = leaves.load(tmp_path)
    _, labels = leaves.by_name(dataset)["0"]
    nothing = np.zeros((1, 16, 16), np.uint8)
    found = distances.label_distances(nothing, labels, dataset.info).ged()
    # 1 - mean IoU over the classes of either map. The sample (all 0) and anna: class 0
    # has 128 of 256, class 1 has 0, so 1 - 0.25 = 0.75; and ben: 1; anna and ben: class
    # 1 has 128 of 256, class 0 has 0, so 0.75. Cleo did not label it.
    # GED = 2 (0.75 + 1) / 2 - 0 - (0 + 0.75 + 0.75 + 0) / 4 = 1.375.
    assert found.ged == pytest.approx(1.375)
