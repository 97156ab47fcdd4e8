"""Reading Cityscapes' layout: ids, sizes, splits, cache, and files that are bad."""

import os
import re

import cityscapes_tree as tree
import numpy as np
import pytest
import real_data
from PIL import Image

from car_tf.data import cityscapes, io

SIZE = (32, 64)


@pytest.fixture
def root(tmp_path):
    return tree.write(tmp_path / "data")


@pytest.fixture
def read(root, tmp_path):
    def read(split="train", *, size=SIZE, on_error="stop", data_dir=root):
        return cityscapes.read(
            str(data_dir),
            split,
            size=size,
            cache_dir=tmp_path / "cache",
            on_error=on_error,
        )

    return read


def fails(path, *words):
    """Expects a DataError of one line with the file's path and all words."""
    parts = "".join(f"(?=.*{re.escape(str(w))})" for w in (path, *words))
    return pytest.raises(io.DataError, match=f"^{parts}[^\n]*$")


# Ids


def test_label_ids_become_train_ids_as_cityscapes_lists_them():
    # From the data set's own table (cityscapesscripts/helpers/labels.py).
    table = cityscapes.label_id_table()
    expected = {
        **{7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9},
        **{23: 10, 24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18},
    }
    for label_id in range(256):
        if label_id in expected:
            assert table[label_id] == expected[label_id]
        elif label_id < 34 or label_id == 255:
            assert table[label_id] == 255
        else:
            assert table[label_id] == -1


def test_facts_agree_with_each_other():
    dataset_info = cityscapes.dataset_info("title")
    assert dataset_info.num_classes == 24 and dataset_info.num_blackbox_classes == 19
    assert len(dataset_info.class_colors) == 24 == len(set(dataset_info.class_colors))
    for flip in dataset_info.flips:
        original = dataset_info.class_names[flip.original]
        assert dataset_info.class_names[flip.flipped] == original + "2"


# Reading


def test_labels_are_mapped_and_images_kept(root, read):
    got = read(size=tree.SIZE)
    assert got.names[0] == "aachen_000000_000019"
    assert got.groups == ("aachen",) * 3 + ("bochum",) * 3
    assert got.labels.shape == (6, 1, *tree.SIZE) and got.labels.dtype == np.uint8
    # The bands of tree.label_ids in train ids, 8 rows each.
    bands = [10, 2, 8, 11, 13, 1, 0, 255]
    np.testing.assert_array_equal(got.labels[0, 0, ::8, 0], bands)
    for index, path in enumerate(got.image_files):
        np.testing.assert_array_equal(got.images[index], np.asarray(Image.open(path)))


def test_images_are_resized_with_antialiasing_and_labels_by_nearest(read):
    got = read()
    original = read(size=tree.SIZE)
    assert got.images.shape == (6, *SIZE, 3)
    # Halved: an antialiased image keeps its mean, and loses the noise of single pixels.
    a, b = got.images.astype(float), original.images.astype(float)
    assert abs(a.mean() - b.mean()) < 0.5
    assert a[:, 2, :, 0].std() < 0.7 * b[:, 4, :, 0].std()
    assert set(np.unique(got.labels)) == set(np.unique(original.labels))


def test_images_and_labels_are_paired_by_name(root, read):
    # In sorted order c1 comes before c10, but with endings after the names it may not.
    for index in (1, 10):
        path = root / "leftImg8bit" / "train" / "c" / f"c{index}_leftImg8bit.png"
        tree.write_image(path, np.full((*tree.SIZE, 3), index, np.uint8))
        path = root / "gtFine" / "train" / "c" / f"c{index}_gtFine_labelIds.png"
        tree.write_image(path, np.full(tree.SIZE, 6 + index, np.uint8))
    got = read()
    for index, train_id in ((1, 0), (10, 255)):
        place = got.names.index(f"c{index}")
        assert np.all(got.images[place] == index)
        assert np.all(got.labels[place] == train_id)


# Splits


def test_the_usual_cities_are_held_out(tmp_path):
    cities = {"aachen": 2, "darmstadt": 1, "monchengladbach": 1, "ulm": 2}
    root = tree.write(tmp_path / "data", train=cities)
    both = cityscapes.read(str(root), "train", size=SIZE, cache_dir=tmp_path / "cache")
    training, selection, words = cityscapes.split_training(both, fraction=0.5, seed=0)
    assert set(training.groups) == {"aachen"}
    assert set(selection.groups) == {"darmstadt", "monchengladbach", "ulm"}
    assert "darmstadt" in words and "4 images" in words
    np.testing.assert_array_equal(selection.images, both.images[2:])


def test_without_them_a_seeded_draw_holds_images_out(read):
    both = read()
    halves = [
        cityscapes.split_training(both, fraction=1 / 3, seed=s) for s in (1, 1, 2)
    ]
    training, selection, words = halves[0]
    assert (len(training), len(selection)) == (4, 2)
    assert set(training.names) | set(selection.names) == set(both.names)
    assert selection.names == halves[1][1].names
    assert "2 of 6 images" in words and "seed 1" in words
    draws = {
        cityscapes.split_training(both, fraction=1 / 3, seed=s)[1].names
        for s in range(9)
    }
    assert len(draws) > 3


def test_with_many_cities_whole_ones_are_held_out(tmp_path):
    root = tree.write(tmp_path / "data", train={f"city{i}": 2 for i in range(10)})
    both = cityscapes.read(str(root), "train", size=SIZE, cache_dir=tmp_path / "cache")
    training, selection, words = cityscapes.split_training(both, fraction=0.2, seed=3)
    assert len(selection) == 4 and len(set(selection.groups)) == 2
    assert not set(training.groups) & set(selection.groups)
    assert "2 of 10 groups" in words


# Cache


def counted(monkeypatch):
    """Counts the images that are decoded."""
    decoded = []
    original = io.read_png

    def read_png(path, *, mode):
        decoded.append(path)
        return original(path, mode=mode)

    monkeypatch.setattr(io, "read_png", read_png)
    return decoded


def test_a_second_reading_decodes_nothing(read, monkeypatch):
    first = read()
    decoded = counted(monkeypatch)
    again = read()
    assert decoded == []
    assert again.names == first.names
    assert again.fingerprint() == first.fingerprint()
    read(size=(16, 32))
    assert len(decoded) == 12


def test_changed_content_is_read_again(root, read, monkeypatch):
    before = read()
    path = tree.label_file(root, "train", "bochum", 1)
    changed = tree.label_ids()
    changed[:, :40] = 7
    tree.write_image(path, changed)
    decoded = counted(monkeypatch)
    after = read()
    assert path in decoded
    assert after.fingerprint() != before.fingerprint()
    assert np.all(after.labels[4, 0, :, :20] == 0)


def test_touched_but_equal_content_is_not_read_again(root, read, monkeypatch):
    read()
    os.utime(tree.label_file(root, "train", "bochum", 1), (1, 1))
    decoded = counted(monkeypatch)
    read()
    assert decoded == []


def test_a_failed_reading_leaves_nothing_in_the_cache(root, read, tmp_path):
    tree.write_image(
        tree.label_file(root, "train", "bochum", 2), np.full(tree.SIZE, 200, np.uint8)
    )
    with pytest.raises(io.DataError):
        read()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["hashes.json"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    target = tmp_path / "k[1]"
    with io.atomic_folder(target) as in_use:
        here = in_use.name.rpartition("-")[0]
        killed, new = (tmp_path / f"{here}-{name}" for name in ("killed", "new"))
        another = tmp_path / ".k[1].writing-elsewhere-killed"
        for path in (killed, another, new):
            path.mkdir()
            (path / "images.npy").touch()
        for path in (killed, another, in_use):
            os.utime(path, (1, 1))
        with io.atomic_folder(target) as work:
            (work / "done").touch()
        assert not killed.exists()
        assert in_use.is_dir() and another.is_dir() and new.is_dir()
    assert [path.name for path in target.iterdir()] == ["done"]


# Bad files


def test_a_truncated_image_is_named(root, read):
    path = tree.image_file(root, "train", "aachen", 1)
    path.write_bytes(path.read_bytes()[:1000])
    with fails(path, "not a readable image"):
        read()


def test_a_truncated_label_is_named(root, read):
    path = tree.label_file(root, "train", "aachen", 1)
    path.write_bytes(path.read_bytes()[:-40])
    with fails(path, "not a readable image"):
        read()


def test_something_else_named_png_is_named(root, read):
    path = tree.image_file(root, "train", "aachen", 1)
    path.write_text("hello")
    with fails(path, "not a readable image"):
        read()


def test_a_label_of_another_size_is_named_with_both_sizes(root, read):
    path = tree.label_file(root, "train", "aachen", 2)
    tree.write_image(path, tree.label_ids((32, 128)))
    with fails(path, "wanted 64 x 128", "got 32 x 128"):
        read()


def test_an_unknown_label_id_is_named(root, read):
    path = tree.label_file(root, "train", "bochum", 0)
    ids = tree.label_ids()
    ids[5, 6] = 200
    tree.write_image(path, ids)
    with fails(path, "label ids 0 to 33", "1 pixels of id 200"):
        read()


def test_a_coloured_label_is_named(root, read):
    path = tree.label_file(root, "train", "bochum", 0)
    tree.write_image(path, np.zeros((*tree.SIZE, 3), np.uint8))
    with fails(path, "one channel", "RGB"):
        read()


def test_a_missing_label_is_named_with_its_image(root, read):
    path = tree.label_file(root, "train", "bochum", 0)
    path.unlink()
    with fails(path, tree.image_file(root, "train", "bochum", 0), "is missing"):
        read()


def test_an_empty_split_is_named(root, read, tmp_path):
    with fails(root / "leftImg8bit" / "test", "found none"):
        read("test")
    with fails(tmp_path / "absent" / "leftImg8bit" / "train"):
        read(data_dir=tmp_path / "absent")


def test_bad_examples_are_left_out_on_request(root, read):
    tree.image_file(root, "train", "aachen", 1).write_text("hello")
    tree.label_file(root, "train", "bochum", 2).unlink()
    got = read(on_error="skip")
    assert got.skipped == ("aachen_000001_000019", "bochum_000002_000019")
    assert len(got) == 4 and not set(got.skipped) & set(got.names)
    assert [p.name.split("_leftImg8bit")[0] for p in got.image_files] == list(got.names)
    # The others did not move.
    np.testing.assert_array_equal(
        got.images[1],
        io.resize_antialiased(Image.open(got.image_files[1]), SIZE),
    )
    # And a run that wants to stop at errors still does.
    with pytest.raises(io.DataError):
        read()


def test_nothing_but_bad_examples_is_an_error_even_so(root, read):
    for city in ("aachen", "bochum"):
        for index in range(3):
            tree.image_file(root, "train", city, index).write_text("hello")
    with pytest.raises(io.DataError, match="not one of 6"):
        read(on_error="skip")
    for path in (root / "gtFine").glob("**/*.png"):
        path.unlink()
    with pytest.raises(io.DataError, match="not one of 0"):
        read(on_error="skip")


# Real data


def test_real_street_scenes_are_read(tmp_path):
    root = real_data.folder("camvid")
    got = cityscapes.read(str(root), "val", size=(64, 128), cache_dir=tmp_path)
    assert len(got) == 101
    assert set(np.unique(got.labels)) <= {*range(19), 255}
    # Road lies at the bottom, sky at the top.
    assert (got.labels[:, 0, -12:] == 0).mean() > 0.4
    assert (got.labels[:, 0, :8] == 10).mean() > 0.2
