"""The check of whole data sets: every problem at once, on miniatures and real data."""

import pickle

import cityscapes_tree as tree
import numpy as np
import pytest
import real_data
from PIL import Image

from car_tf import config as config_lib
from car_tf.config import data_sections
from car_tf.data import check, cityscapes, findings, io
from car_tf.data import load as data_load
from car_tf.data.lidc import read as lidc


def problems(report):
    """(level, kind, split, last part of the place) of all problems, in order."""
    return sorted(
        (p["level"], p["kind"], p["split"], p["place"].rpartition("/")[2])
        for p in report["problems"]
    )


def detail(report, kind):
    (problem,) = [p for p in report["problems"] if p["kind"] == kind]
    return problem["detail"]


# Cityscapes' layout


def test_a_sound_data_set_has_no_problems(tmp_path):
    report = check.check(str(tree.write(tmp_path)))
    assert report["problems"] == [] and report["dataset"] == "cityscapes"
    train = report["splits"]["train"]
    assert train["images"] == train["labels"] == 6 and train["groups"] == 2
    assert train["sizes"] == {"64 x 128": 6} and train["empty_labels"] == 0
    assert findings.num_errors(report) == 0
    assert "errors: 0, warnings: 0" in findings.table(report)


def test_all_problems_of_street_scenes_are_found_at_once(tmp_path):
    tree.write(tmp_path, train={"aachen": 6, "bochum": 2}, val={"bochum": 2})
    label = [tree.label_file(tmp_path, "train", "aachen", i) for i in range(6)]
    image = [tree.image_file(tmp_path, "train", "aachen", i) for i in range(6)]
    label[0].unlink()
    image[1].unlink()
    tree.write_image(label[2], tree.label_ids((32, 64)))
    ids = tree.label_ids()
    ids[:2, :3] = 34
    tree.write_image(label[3], ids)
    image[4].write_bytes(image[4].read_bytes()[:80])
    tree.write_image(label[5], np.full(tree.SIZE, 3, np.uint8))
    (tmp_path / "leftImg8bit/train/aachen/photo.jpg").write_bytes(b"")
    # The same pixels in another file: compressed differently, under another name.
    pixels = Image.open(tree.image_file(tmp_path, "train", "bochum", 1))
    copy = tree.image_file(tmp_path, "val", "bochum", 1)
    pixels.save(copy, compress_level=1)
    report = check.check(str(tmp_path), "cityscapes")
    assert problems(report) == [
        ("error", "duplicate across splits", "val", "bochum_000001_000019"),
        ("error", "leakage", "train and val", "bochum"),
        ("error", "missing image", "train", label[1].name),
        ("error", "missing label", "train", label[0].name),
        ("error", "size of label", "train", label[2].name),
        ("error", "unknown id", "train", label[3].name),
        ("error", "unreadable", "train", image[4].name),
        ("warning", "empty label", "train", label[5].name),
        ("warning", "other name", "train", "photo.jpg"),
    ]
    # Two rows of three pixels.
    assert detail(report, "unknown id") == (
        "6 pixels of id 34, wanted label ids 0 to 33, or 255"
    )
    wanted = "wanted 64 x 128, as its image, got 32 x 64"
    assert detail(report, "size of label") == wanted
    assert detail(report, "leakage") == "2 images in train, 2 images in val"
    text = findings.table(report)
    assert "errors: 7, warnings: 2" in text
    assert f"error: unreadable (1)\n  train  {image[4]}: not a readable" in text


def test_train_ids_under_the_name_of_label_ids_are_seen(tmp_path):
    tree.write(tmp_path)
    for index in range(2):
        ids = np.arange(64 * 128, dtype=np.uint8).reshape(64, 128) % 19
        tree.write_image(tree.label_file(tmp_path, "val", "frankfurt", index), ids)
    report = check.check(str(tmp_path))
    assert problems(report) == [("error", "train ids", "val", "val")]


def test_one_label_of_train_ids_among_label_ids_is_seen(tmp_path):
    tree.write(tmp_path)
    table = cityscapes.label_id_table().astype(np.uint8)
    path = tree.label_file(tmp_path, "train", "bochum", 1)
    tree.write_image(path, table[tree.label_ids()])
    # Road, building and void alone are label ids, too.
    few = np.repeat(np.array([7, 7, 11, 3], np.uint8), 16)[:, None]
    few = np.ascontiguousarray(np.broadcast_to(few, tree.SIZE))
    tree.write_image(tree.label_file(tmp_path, "train", "aachen", 1), few)
    report = check.check(str(tmp_path))
    assert problems(report) == [("error", "train ids", "train", "bochum_000001_000019")]
    stopped_alike(
        tmp_path, "train ids", tmp_path, "data.size=32,64", "data.crop_size=32,32"
    )


def test_a_missing_split_is_a_problem_and_an_empty_folder_an_error(tmp_path):
    report = check.check(str(tree.write(tmp_path / "data", val={})))
    assert problems(report) == [("error", "missing split", "val", "val")]
    with pytest.raises(io.DataError, match="describe DIR.*no data set that is known"):
        check.check(str(tmp_path))
    with pytest.raises(io.DataError, match="absent: no file or folder"):
        check.check(str(tmp_path / "absent"))
    with pytest.raises(io.DataError, match="wanted a folder leftImg8bit"):
        check.check(str(tmp_path), "cityscapes")


def test_long_lists_are_cut_in_the_table_alone(tmp_path):
    tree.write(tmp_path, train={"aachen": 9})
    for index in range(7):
        tree.label_file(tmp_path, "train", "aachen", index).unlink()
    report = check.check(str(tmp_path))
    assert len(report["problems"]) == 7
    text = findings.table(report)
    assert text.count("the label of") == 5 and "and 2 more" in text


# LIDC


def write_crop(root, split, patient, stem, seed, *, size=(8, 6), empty=False):
    grey = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    tree.write_image(root / split / "images" / patient / f"{stem}.png", grey)
    for rater in range(4):
        mask = np.zeros(size, np.uint8)
        mask[rater, :2] = 0 if empty else 255
        tree.write_image(root / split / "gt" / patient / f"{stem}_l{rater}.png", mask)


def write_crops(root, size=(8, 6)):
    for index, split in enumerate(("train", "val", "test")):
        for patient in "AB":
            for stem in range(3):
                seed = 100 * index + 10 * ord(patient) + stem
                name = f"{split}{patient}"
                write_crop(root, split, name, f"c{stem}", seed, size=size)
    return root


@pytest.fixture
def crops(tmp_path):
    return write_crops(tmp_path)


def test_sound_crops_have_no_problems(crops):
    report = check.check(str(crops))
    assert report["problems"] == [] and report["dataset"] == "lidc"
    assert report["splits"]["val"]["labels"] == 4 * 6
    assert report["splits"]["val"]["groups"] == 2


def test_all_problems_of_crops_are_found_at_once(crops):
    gt = crops / "train" / "gt" / "trainA"
    (gt / "c0_l2.png").unlink()
    (gt / "c7_l0.png").write_bytes((gt / "c1_l0.png").read_bytes())
    (gt / "c1_l4.png").write_bytes((gt / "c1_l0.png").read_bytes())
    tree.write_image(gt / "c2_l0.png", np.full((8, 6), 7, np.uint8))
    tree.write_image(gt / "c2_l1.png", np.zeros((6, 8), np.uint8))
    (gt / "c2_l3.png").write_bytes(b"no image")
    write_crop(crops, "val", "valA", "c0", 5, empty=True)
    write_crop(crops, "val", "valA", "c1", 6, size=(9, 6))
    write_crop(crops, "test", "valB", "c9", 7)
    write_crop(crops, "test", "testA", "c1", 10 * ord("B") + 1)
    (crops / "val" / "images" / "loose.PNG").write_bytes(b"")
    report = check.check(str(crops), "lidc")
    assert problems(report) == [
        ("error", "duplicate across splits", "test", "c1"),
        ("error", "fifth mask", "train", "c1_l4.png"),
        ("error", "leakage", "val and test", "valB"),
        ("error", "missing image", "train", "c7_l0.png"),
        ("error", "missing label", "train", "c0_l2.png"),
        ("error", "size of image", "val", "c1"),
        ("error", "unreadable", "train", "c2_l3.png"),
        ("error", "unusable mask", "train", "c2_l0.png"),
        ("error", "unusable mask", "train", "c2_l1.png"),
        ("warning", "empty label", "val", "c0"),
        ("warning", "other place", "val", "loose.PNG"),
    ]
    assert detail(report, "size of image") == "wanted 8 x 6, as most, got 9 x 6"
    assert report["splits"]["val"]["empty_labels"] == 4


def test_a_pickle_is_checked_as_well(tmp_path):
    records = {
        f"crop{index}": {
            "image": np.full((4, 4), index / 10),
            "masks": [np.eye(4)] * 4,
            "series_uid": f"1.{index // 2}",
        }
        for index in range(8)
    }
    records["crop7"]["image"] = records["crop6"]["image"]
    (tmp_path / "data_lidc.pickle").write_bytes(pickle.dumps(records))
    report = check.check(str(tmp_path))
    assert [p[:2] for p in problems(report)] == [("warning", "duplicate")]
    assert sum(split["images"] for split in report["splits"].values()) == 8
    records["crop3"]["masks"] = records["crop3"]["masks"][:3]
    (tmp_path / "data_lidc.pickle").write_bytes(pickle.dumps(records))
    report = check.check(str(tmp_path))
    assert [p[1] for p in problems(report)] == ["unreadable"]
    assert "'crop3' has 3 masks" in report["problems"][0]["detail"]
    # So does a mask of other values.
    records["crop3"]["masks"].append(np.full((4, 4), 2))
    (tmp_path / "data_lidc.pickle").write_bytes(pickle.dumps(records))
    report = check.check(str(tmp_path))
    assert [p[1] for p in problems(report) if p[0] == "error"] == ["unreadable"]


# The same sentence stops a training


SCENES = {
    "missing label": lambda root, image, label: label.unlink(),
    "missing image": lambda root, image, label: image.unlink(),
    "size of label": lambda root, image, label: tree.write_image(
        label, tree.label_ids((32, 64))
    ),
    "unknown id": lambda root, image, label: tree.write_image(
        label, np.full(tree.SIZE, 40, np.uint8)
    ),
    "unreadable": lambda root, image, label: image.write_bytes(b"no image"),
    "leakage": lambda root, image, label: tree.write(
        root, val={"aachen": 0, "frankfurt": 2, "bochum": 1}
    ),
    "duplicate across splits": lambda root, image, label: Image.open(image).save(
        tree.image_file(root, "val", "frankfurt", 0), compress_level=1
    ),
    "train ids": lambda root, image, label: [
        tree.write_image(path, np.full(tree.SIZE, 7, np.uint8))
        for path in (root / "gtFine" / "val").rglob("*.png")
    ],
    "no label": lambda root, image, label: [
        tree.write_image(path, np.full(tree.SIZE, 3, np.uint8))
        for path in (root / "gtFine" / "val").rglob("*.png")
    ],
}


@pytest.mark.parametrize("kind", SCENES)
def test_an_error_in_street_scenes_stops_a_training(tmp_path, kind):
    root = tree.write(tmp_path / "data")
    image = tree.image_file(root, "train", "aachen", 1)
    SCENES[kind](root, image, tree.label_file(root, "train", "aachen", 1))
    stopped_alike(root, kind, tmp_path, "data.size=32,64", "data.crop_size=32,32")


CROPS = {
    "missing label": lambda root, image, mask: mask.unlink(),
    "missing image": lambda root, image, mask: image.unlink(),
    "fifth mask": lambda root, image, mask: mask.with_name("c1_l4.png").write_bytes(
        mask.read_bytes()
    ),
    "unreadable": lambda root, image, mask: mask.write_bytes(b"no image"),
    "unusable mask": lambda root, image, mask: tree.write_image(
        mask, np.full((16, 20), 7, np.uint8)
    ),
    "leakage": lambda root, image, mask: write_crop(
        root, "test", "trainA", "c1", 1, size=(16, 20)
    ),
    "duplicate across splits": lambda root, image, mask: Image.open(image).save(
        root / "test" / "images" / "testA" / "c1.png", compress_level=1
    ),
}


@pytest.mark.parametrize("kind", CROPS)
def test_an_error_in_crops_stops_a_training(tmp_path, kind):
    crops = write_crops(tmp_path / "crops", (16, 20))
    image = crops / "train" / "images" / "trainA" / "c1.png"
    CROPS[kind](crops, image, crops / "train" / "gt" / "trainA" / "c1_l1.png")
    stopped_alike(crops, kind, tmp_path, "data.size=16,16", "data.crop_size=16,16")


def stopped_alike(root, kind, cache, *texts):
    """A training stops with the check's first error, and passes it over by its name."""
    report = check.check(str(root))
    errors = [problem for problem in report["problems"] if problem["level"] == "error"]
    assert {problem["kind"] for problem in errors} == {kind}
    config = config_lib.load(report["dataset"], texts)
    data = {"data_dir": str(root), "cache_dir": str(cache / "cache")}
    config = config_lib.change(config, data=data)
    with pytest.raises(io.DataError) as told:
        data_load.read_data(config)
    first = "{place}: {detail}".format(**errors[0])
    assert str(told.value).startswith(first)
    of_all = kind in data_sections.ERRORS_OF_ALL
    skip = config_lib.change(config, data={"on_error": "skip"})
    if of_all:
        with pytest.raises(io.DataError):
            data_load.read_data(skip)
        skip = config_lib.change(config, data={"on_error": f"skip, {kind}"})
    num = sum(len(split) for split in data_load.read_data(skip).splits.values())
    found = sum(split["images"] for split in report["splits"].values())
    lost = kind in ("fifth mask", "size of label", "unknown id", "unreadable")
    lost |= kind == "unusable mask" or (report["dataset"], kind) == (
        "lidc",
        "missing label",
    )
    assert num == found - lost


def test_known_leakage_is_no_error(tmp_path):
    crops = write_crops(tmp_path / "crops", (16, 20))
    write_crop(crops, "test", "trainA", "c1", 1, size=(16, 20))
    (crops / "dataset.json").write_text('{"known_leakage": ["trainA"]}')
    texts = ["data.size=16,16", "data.crop_size=16,16", f"data.data_dir={crops}"]
    config = config_lib.load("lidc", [*texts, f"data.cache_dir={tmp_path / 'cache'}"])
    assert len(data_load.read_data(config).splits["test"]) == 7


# Real data


def test_camvid_has_a_sequence_in_both_splits_and_no_other_problem():
    report = check.check(str(real_data.folder("camvid")))
    assert problems(report) == [("error", "leakage", "train and val", "camvid0016e5")]
    assert report["splits"]["train"]["images"] == 367


def test_a_reader_takes_what_the_check_finds_sound(crops):
    for split in ("train", "val", "test"):
        assert len(lidc.read(crops, split, seed=1).names) == 6
