"""Tests of car_tf.data.lidc.read, lidc_arrays and splits on miniatures and on real crops."""

import builtins
import os
import pathlib
import pickle
import shutil
import tracemalloc

import numpy as np
import PIL.Image
import pytest

from car_tf.data import io, splits
from car_tf.data.lidc import arrays as lidc_arrays
from car_tf.data.lidc import folders as lidc_folders
from car_tf.data.lidc import hdf5 as lidc_hdf5
from car_tf.data.lidc import read as lidc

SPLITS = ("train", "val", "test")
SIZE = (9, 7)


def _image(index):
    return np.random.RandomState(index).randint(0, 256, SIZE, dtype=np.uint8)


def _masks(index):
    """Four masks that name their image and their rater: row `rater`, `index` wide."""
    masks = np.zeros((4, *SIZE), np.uint8)
    for rater in range(4):
        masks[rater, rater, : index % SIZE[1]] = 1
    return masks


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(array).save(path)


def _write_crop(folder, patient, stem, index, *, first=0):
    _save(folder / "images" / patient / f"{stem}.png", _image(index))
    for rater, mask in enumerate(_masks(index)):
        path = folder / "gt" / patient / f"{stem}_l{rater + first}.png"
        _save(path, mask * 255)


def _write_folders(root, *, nested=False, first=0):
    """Two patients a split, three crops each; c1, c10, c2 trap sorting by position."""
    index = 0
    for split in SPLITS:
        folder = root / f"lidc_crops_{split}" / split if nested else root / split
        for patient in (f"{split}-B", f"{split}-A"):
            for stem in ("z-1.5_c1", "z-1.5_c10", "z-1.5_c2"):
                index += 1
                _write_crop(folder, patient, stem, index, first=first)
    return root


def _records(num=10, series=5):
    return {
        f"crop{index}": {
            "image": _image(index) / 255.0,
            "masks": list(_masks(index).astype(np.float64)),
            "series_uid": f"1.3.6.{index % series}",
        }
        for index in range(num)
    }


def _write_pickle(path, records):
    path.write_bytes(pickle.dumps(records))
    return path


def _write_hdf5(path, *, readers_last=True, shift=0.5, uids=None):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for start, split in zip((0, 10, 20), SPLITS):
            indices = range(start, start + 3)
            masks = np.stack([_masks(i) for i in indices])
            group = file.create_group(split)
            group["images"] = np.stack([_image(i) / 255.0 - shift for i in indices])
            group["labels"] = np.moveaxis(masks, 1, -1) if readers_last else masks
            if uids is not None:
                group["uids"] = np.asarray(uids[split])
    return path


def _assert_crop(data, position, index):
    np.testing.assert_array_equal(data.images[position, ..., 0], _image(index))
    np.testing.assert_array_equal(data.labels[position], _masks(index))


# ---- Splits


def test_split_by_group_counts_and_order():
    # 20 groups of 2: 12, 4 and 4 groups, hence 24, 8 and 8 examples.
    groups = [f"p{i // 2}" for i in range(40)]
    parts = splits.split_by_group(groups, seed=3, fractions=splits.FRACTIONS)
    assert [len(parts[name]) for name in SPLITS] == [24, 8, 8]
    assert sorted(sum(parts.values(), [])) == list(range(40))
    for indices in parts.values():
        assert indices == sorted(indices)
    splits.check_disjoint({k: [groups[i] for i in v] for k, v in parts.items()})


def test_split_by_group_is_a_function_of_the_seed_alone():
    groups = [f"p{i}" for i in range(30)]
    parts = [
        splits.split_by_group(groups, seed=seed, fractions=splits.FRACTIONS)
        for seed in (0, 0, 1)
    ]
    assert parts[0] == parts[1] != parts[2]
    # Another order of the examples leaves every group in its split.
    back = splits.split_by_group(groups[::-1], seed=0, fractions=splits.FRACTIONS)
    for name in SPLITS:
        assert {groups[i] for i in parts[0][name]} == {
            groups[::-1][i] for i in back[name]
        }


@pytest.mark.parametrize("num", range(3, 12))
def test_split_by_group_gives_every_split_a_group(num):
    groups = [str(i) for i in range(num)]
    parts = splits.split_by_group(groups, seed=num, fractions=splits.FRACTIONS)
    assert min(len(indices) for indices in parts.values()) >= 1
    assert sum(len(indices) for indices in parts.values()) == num


def test_split_by_group_refuses():
    with pytest.raises(ValueError, match="2 patients or series into 3"):
        splits.split_by_group(["a", "b", "b"], seed=0, fractions=splits.FRACTIONS)
    with pytest.raises(ValueError, match="sum to 1"):
        splits.split_by_group(["a", "b"], seed=0, fractions={"x": 0.5, "y": 0.4})


def test_check_disjoint_names_the_patient():
    splits.check_disjoint({"train": ["a", "a"], "val": ["b"], "test": []})
    with pytest.raises(ValueError, match="patient b is in two splits, train and test"):
        splits.check_disjoint({"train": ["a", "b"], "val": ["c"], "test": ["b"]})


# ---- Folders


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_folders_pair_by_name(tmp_path, nested, first):
    root = _write_folders(tmp_path, nested=nested, first=first)
    groups = {}
    for start, split in zip((0, 6, 12), SPLITS):
        data = lidc.read(root, split, seed=0)
        assert data.images.shape == (6, *SIZE, 1) and data.images.dtype == np.uint8
        assert data.labels.shape == (6, 4, *SIZE) and data.labels.dtype == np.uint8
        stems = ["z-1.5_c1", "z-1.5_c10", "z-1.5_c2"]
        assert list(data.names) == [f"{split}-{p}/{s}" for p in "AB" for s in stems]
        assert data.groups == (f"{split}-A",) * 3 + (f"{split}-B",) * 3
        # Patient B was written first: A holds images 4 to 6 of the split.
        for position, index in enumerate((4, 5, 6, 1, 2, 3)):
            _assert_crop(data, position, start + index)
        groups[split] = data.groups
    splits.check_disjoint(groups)


def test_folders_crop_around_the_centre(tmp_path):
    data = lidc.read(_write_folders(tmp_path), "train", seed=0, size=(5, 20))
    # 9 rows to 5: 2 cut above; 7 columns are fewer than 20 and stay.
    np.testing.assert_array_equal(data.images[0, ..., 0], _image(4)[2:7])
    np.testing.assert_array_equal(data.labels[0], _masks(4)[:, 2:7])


def test_centre_crop():
    grid = np.arange(30).reshape(5, 6)
    # Margins 5 - 2 = 3 and 6 - 4 = 2: one row and one column are cut at the start.
    np.testing.assert_array_equal(lidc_arrays.centre_crop(grid, (2, 4)), grid[1:3, 1:5])
    stack = np.zeros((2, 5, 6, 1))
    assert lidc_arrays.centre_crop(stack, (2, 4), axes=(1, 2)).shape == (2, 2, 4, 1)
    with pytest.raises(ValueError, match="cannot crop"):
        lidc_arrays.centre_crop(grid, (6, 6))


def test_grey_png_forms(tmp_path):
    root = _write_folders(tmp_path)
    stem = root / "train" / "images" / "train-A" / "z-1.5_c1.png"
    mask = root / "train" / "gt" / "train-A" / "z-1.5_c1_l2.png"
    _save(stem, np.repeat(_image(4)[..., None], 3, axis=2))
    _save(mask, np.repeat(_masks(4)[2][..., None] * 255, 3, axis=2))
    # A one-bit mask, and one of 0 and 1.
    PIL.Image.fromarray(_masks(4)[1].astype(bool)).save(f"{str(mask)[:-5]}1.png")
    _save(mask.with_name("z-1.5_c1_l3.png"), _masks(4)[3])
    (stem.parent / "._z-1.5_c1.png").write_bytes(b"not an image")
    _assert_crop(lidc.read(root, "train", seed=0), 0, 4)


def _break_remove_mask(image, mask):
    mask.unlink()


def _break_extra_mask(image, mask):
    shutil.copy(mask, mask.with_name("z-1.5_c1_l4.png"))


def _break_stray_mask(image, mask):
    shutil.copy(mask, mask.with_name("z-9_c0_l3.png"))


def _break_mask_size(image, mask):
    _save(mask, np.zeros((7, 9), np.uint8))


def _break_grey_mask(image, mask):
    _save(mask, np.full(SIZE, 128, np.uint8))


def _break_mixed_mask(image, mask):
    _save(mask, np.full(SIZE, 255, np.uint8) - np.eye(*SIZE, dtype=np.uint8) * 254)


def _break_colours(image, mask):
    _save(image, np.stack([_image(1), _image(1), _image(2)], axis=2))


def _break_sixteen_bits(image, mask):
    _save(image, _image(1).astype(np.uint16) * 200)


def _break_truncate(image, mask):
    data = image.read_bytes()
    image.write_bytes(data[: len(data) - 30])


def _break_no_image(image, mask):
    image.write_bytes(b"hello")


def _break_image_size(image, mask):
    for path in mask.parent.glob("z-1.5_c1_l*.png"):
        _save(path, np.zeros((8, 7), np.uint8))
    _save(image, np.zeros((8, 7), np.uint8))


def _break_huge(image, mask):
    PIL.Image.new("1", (8001, 8001)).save(image)


@pytest.mark.parametrize(
    "damage, named",
    [
        (_break_remove_mask, r"z-1\.5_c1_l3\.png: the mask of this rater is missing"),
        (_break_extra_mask, r"z-1\.5_c1_l4\.png: wanted the masks of raters 0 to 3"),
        (_break_stray_mask, r"z-9_c0_l3\.png: there is no image of"),
        (_break_mask_size, r"z-1\.5_c1_l3\.png: mask is \(7, 9\), its image \(9, 7\)"),
        (_break_grey_mask, r"z-1\.5_c1_l3\.png: mask holds \[128\]"),
        (_break_mixed_mask, r"z-1\.5_c1_l3\.png: mask holds \[1\]"),
        (_break_colours, r"z-1\.5_c1\.png: channels differ"),
        (_break_sixteen_bits, r"z-1\.5_c1\.png: wanted 8 bits"),
        (_break_truncate, r"z-1\.5_c1\.png: .*truncated"),
        (_break_no_image, r"z-1\.5_c1\.png: not a readable image"),
        (_break_image_size, r"z-1\.5_c1\.png: image is \(8, 7\), wanted \(9, 7\)"),
        (_break_huge, r"z-1\.5_c1\.png: wanted at most 64000000 pixels"),
    ],
)
def test_bad_folders_are_refused_by_name(tmp_path, damage, named):
    root = _write_folders(tmp_path)
    damage(
        root / "train" / "images" / "train-A" / "z-1.5_c1.png",
        root / "train" / "gt" / "train-A" / "z-1.5_c1_l3.png",
    )
    with pytest.raises((ValueError, FileNotFoundError), match=named):
        lidc.read(root, "train", seed=0)


def test_the_crop_that_is_too_small_is_named_and_skipped_not_the_others(tmp_path):
    root = _write_folders(tmp_path / "crops")
    small = root / "train" / "images" / "train-A" / "z-1.5_c1.png"
    _break_image_size(small, root / "train" / "gt" / "train-A" / "any.png")
    arguments = dict(seed=0, size=(9, 6), cache_dir=tmp_path / "cache")
    with pytest.raises(io.DataError, match=r"z-1\.5_c1\.png: image is \(8, 6\)"):
        lidc.read(root, "train", **arguments)
    got = lidc.read(root, "train", on_error="skip", **arguments)
    assert got.skipped == ("train-A/z-1.5_c1",) and got.images.shape == (5, 9, 6, 1)


def test_a_stray_mask_of_a_reader_0_beside_1_to_4_is_named(tmp_path):
    root = _write_folders(tmp_path, first=1)
    mask = root / "train" / "gt" / "train-B" / "z-1.5_c2_l4.png"
    shutil.copy(mask, mask.with_name("z-1.5_c2_l0.png"))
    named = r"B/z-1\.5_c2_l0\.png: wanted the masks of raters 1 to 4"
    with pytest.raises(io.DataError, match=named):
        lidc.read(root, "train", seed=0)
    got = lidc.read(root, "train", seed=0, on_error="skip")
    assert got.skipped == ("train-B/z-1.5_c2",) and len(got) == 5


def test_two_files_of_one_name_are_refused(tmp_path):
    root = _write_folders(tmp_path)
    mask = root / "train" / "gt" / "train-A" / "z-1.5_c1_l0.png"
    shutil.copy(mask, mask.with_name("z-1.5_c1_l00.png"))
    with pytest.raises(io.DataError, match="goes by the same name as z-1.5_c1_l0"):
        lidc.read(root, "train", seed=0)
    image = root / "val" / "images" / "val-A" / "z-1.5_c1.png"
    shutil.copy(image, image.with_suffix(".PNG"))
    with pytest.raises(io.DataError, match="goes by the same name"):
        lidc.read(root, "val", seed=0)


def test_one_crop_that_is_larger_than_the_others_is_named(tmp_path):
    root = _write_folders(tmp_path / "crops")
    large = root / "train" / "images" / "train-A" / "z-1.5_c1.png"
    _save(large, np.zeros((30, 30), np.uint8))
    for path in (root / "train" / "gt" / "train-A").glob("z-1.5_c1_l*.png"):
        _save(path, np.zeros((30, 30), np.uint8))
    arguments = dict(seed=0, size=(20, 20), cache_dir=tmp_path / "cache")
    named = r"c1\.png: image is \(20, 20\), wanted \(9, 7\) as of others"
    with pytest.raises(io.DataError, match=named):
        lidc.read(root, "train", **arguments)
    got = lidc.read(root, "train", on_error="skip", **arguments)
    assert got.skipped == ("train-A/z-1.5_c1",) and len(got) == 5


def test_endings_in_capitals_are_read(tmp_path):
    root = _write_folders(tmp_path)
    before = lidc.read(root, "train", seed=0)
    for path in (root / "train").rglob("*_c1*.png"):
        path.rename(path.with_suffix(".PNG"))
    after = lidc.read(root, "train", seed=0)
    assert after.names == before.names
    np.testing.assert_array_equal(after.labels, before.labels)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lidc.read(tmp_path / "nowhere", "train", seed=0)
    with pytest.raises(FileNotFoundError, match="no LIDC data"):
        lidc.read(tmp_path, "train", seed=0)
    with pytest.raises(ValueError, match="one of train, val, test, got 'dev'"):
        lidc.read(tmp_path, "dev", seed=0)
    root = _write_folders(tmp_path / "crops")
    shutil.rmtree(root / "val")
    with pytest.raises(io.DataError, match="wanted a folder val/images, found none"):
        lidc.read(root, "val", seed=0)
    shutil.rmtree(root / "test" / "gt")
    with pytest.raises(io.DataError, match="gt: wanted a folder of masks, found none"):
        lidc.read(root, "test", seed=0)


# ---- Pickle


@pytest.mark.parametrize("cached", [False, True])
def test_pickle(tmp_path, cached):
    _write_pickle(tmp_path / "data_lidc.pickle", _records())
    cache_dir = tmp_path / "cache" if cached else None
    seen, groups = [], {}
    for split in SPLITS:
        data = lidc.read(tmp_path, split, seed=1, cache_dir=cache_dir)
        for position, name in enumerate(data.names):
            index = int(name[len("crop") :])
            assert data.groups[position] == f"1.3.6.{index % 5}"
            _assert_crop(data, position, index)
        assert list(data.names) == sorted(data.names)
        seen += data.names
        groups[split] = data.groups
    splits.check_disjoint(groups)
    assert sorted(seen) == sorted(_records())
    # 5 series: 3, 1 and 1.
    assert [len(set(groups[split])) for split in SPLITS] == [3, 1, 1]


def test_pickle_splits_depend_on_the_seed(tmp_path):
    path = _write_pickle(tmp_path / "any.pkl", _records(40, series=20))
    names = [lidc.read(path, "train", seed=seed).names for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_pickle_is_converted_once_and_anew_when_it_changes(tmp_path, monkeypatch):
    path, cache_dir = tmp_path / "data_lidc.pickle", tmp_path / "cache"
    options = dict(seed=0, cache_dir=cache_dir)
    first = lidc.read(_write_pickle(path, _records()), "train", **options)
    assert first.images.shape[1:] == (*SIZE, 1) and first.images.dtype == np.uint8
    assert len(list(cache_dir.glob("*/images.npy"))) == 1
    other = lidc.read(_write_pickle(path, _records(6)), "train", **options)
    assert other.names != first.names
    assert len(list(cache_dir.glob("*/images.npy"))) == 2
    monkeypatch.setattr(lidc_arrays, "as_grey", None)
    assert lidc.read(path, "train", **options).names == other.names


def test_failed_conversion_leaves_nothing(tmp_path):
    records = _records()
    records["crop9"]["masks"][2] = np.full(SIZE, 0.5)
    path = _write_pickle(tmp_path / "data_lidc.pickle", records)
    with pytest.raises(ValueError, match=r"'crop9', mask 2: mask holds \[0.5\]"):
        lidc.read(path, "train", seed=0, cache_dir=tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == ["hashes.json"]


def test_pickle_is_streamed(tmp_path):
    # 40 crops of 128 x 128: 5 arrays of 131 kB each, 26 MB in all.
    records = {
        str(index): {
            "image": np.full((128, 128), index / 100),
            "masks": [np.zeros((128, 128)) for _ in range(4)],
            "series_uid": str(index),
        }
        for index in range(40)
    }
    path = _write_pickle(tmp_path / "data_lidc.pickle", records)
    assert path.stat().st_size > 25e6
    tracemalloc.start()
    lidc.read(path, "train", seed=0, cache_dir=tmp_path / "cache")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6


def _drop(key):
    def damage(record):
        del record[key]

    return damage


def _set(key, value):
    def damage(record):
        record[key] = value

    return damage


@pytest.mark.parametrize(
    "damage, complaint",
    [
        (_drop("image"), "'image' of entry 'crop0' is missing"),
        (_drop("series_uid"), "'series_uid' of entry 'crop0' is missing"),
        (_set("masks", [np.zeros(SIZE)] * 3), "'crop0' has 3 masks, wanted four"),
        (
            _set("masks", [np.zeros((7, 9))] * 4),
            r"mask is \(7, 9\), its image \(9, 7\)",
        ),
        (_set("masks", [np.full(SIZE, 2)] * 4), r"mask 0: mask holds \[2\]"),
        (_set("masks", [np.full(SIZE, np.nan)] * 4), r"mask 0: mask holds \[nan\]"),
        (_set("image", np.full(SIZE, 255.0)), r"grey values of \[255, 255\], wanted"),
        (_set("image", np.full(SIZE, np.nan)), "grey values"),
        (_set("image", np.zeros(SIZE, np.int32)), "grey values are int32"),
        (_set("image", np.zeros((*SIZE, 3))), r"is \(9, 7, 3\), wanted \(H, W\)"),
    ],
)
def test_bad_pickles_are_refused_by_entry(tmp_path, damage, complaint):
    records = _records()
    damage(records["crop0"])
    path = _write_pickle(tmp_path / "data_lidc.pickle", records)
    with pytest.raises(ValueError, match=rf"data_lidc\.pickle: .*{complaint}"):
        for split in SPLITS:
            lidc.read(path, split, seed=0)


class _Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_pickle_with_code_is_refused_not_run(tmp_path):
    target = tmp_path / "ran"
    records = _records()
    records["crop3"]["masks"][0] = _Evil(str(target))
    path = _write_pickle(tmp_path / "data_lidc.pickle", records)
    with pytest.raises(io.DataError, match="mkdir; nothing in it was run"):
        lidc.read(path, "train", seed=0, cache_dir=tmp_path / "cache")
    assert not target.exists()


# ---- HDF5


@pytest.mark.parametrize("readers_last", [True, False])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_hdf5(tmp_path, readers_last, shift):
    uids = {"train": [7, 7, 8], "val": [9, 9, 9], "test": [-1, 10, 11]}
    _write_hdf5(
        tmp_path / "data_lidc.hdf5", readers_last=readers_last, shift=shift, uids=uids
    )
    groups = {}
    for start, split in zip((0, 10, 20), SPLITS):
        data = lidc.read(tmp_path, split, seed=0)
        assert data.names == tuple(f"{split}-{i:05d}" for i in range(3))
        assert data.groups == tuple(str(uid) for uid in uids[split])
        for position in range(3):
            _assert_crop(data, position, start + position)
        groups[split] = data.groups
    splits.check_disjoint(groups)


def test_series_in_words_and_a_split_without_a_dark_pixel(tmp_path):
    uids = {name: [f"{name}.1".encode()] * 3 for name in SPLITS}
    path = _write_hdf5(tmp_path / "data_lidc.hdf5", uids=uids)
    with pytest.importorskip("h5py").File(path, "a") as file:
        file["val/images"][...] = 0.25
    data = lidc.read(path, "val", seed=0)
    assert data.groups == ("val.1",) * 3
    # The other splits lie around 0, so 0.25 is 0.75 of 255, not 0.25 of it.
    assert (data.images == 191).all()


def test_compressed_hdf5_is_converted_once(tmp_path, monkeypatch):
    plain = _write_hdf5(tmp_path / "plain.hdf5")
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a folder" / "data_lidc.hdf5"
    path.parent.mkdir()
    with h5py.File(plain) as source, h5py.File(path, "w") as target:
        for name in SPLITS:
            for part, array in source[name].items():
                target.create_dataset(
                    f"{name}/{part}", data=array[:], compression="gzip"
                )
    cached = dict(seed=0, cache_dir=tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    # A folder that python -m or -c would import from.
    (tmp_path / "h5py.py").write_text("raise SystemExit(3)")
    before = lidc.read("a folder", "train", **cached)
    monkeypatch.setattr(lidc_hdf5, "_PROGRAM", "raise SystemExit(3)")
    for start, split in zip((0, 10, 20), SPLITS):
        data = lidc.read(path, split, **cached)
        for position in range(3):
            _assert_crop(data, position, start + position)
    np.testing.assert_array_equal(
        before.images, lidc.read(path, "train", **cached).images
    )


def test_bad_hdf5_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    uids = {"train": [7, 7, 8], "val": [8, 9, 9], "test": [1, 2, 3]}
    path = _write_hdf5(tmp_path / "data_lidc.hdf5", uids=uids)
    with pytest.raises(ValueError, match=r"hdf5: patient 8 is in two .*train and val"):
        lidc.read(path, "test", seed=0)
    with h5py.File(_write_hdf5(path), "a") as file:
        del file["test"]
    with pytest.raises(FileNotFoundError, match="split test, found train, val"):
        lidc.read(path, "test", seed=0)
    with h5py.File(path, "a") as file:
        labels = file["val/labels"][:]
        del file["val/labels"]
        file["val/labels"] = labels[..., :3]
    with pytest.raises(ValueError, match=r"labels are \(3, 9, 7, 3\), wanted"):
        lidc.read(path, "val", seed=0)
    with h5py.File(path, "a") as file:
        del file["val/images"]
        file["val/images"] = np.zeros((3, 9))
    with pytest.raises(
        ValueError, match=r"val/images are \(3, 9\), wanted \(N, H, W\)"
    ):
        lidc.read(path, "val", seed=0)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"data_lidc\.hdf5"):
        lidc.read(path, "train", seed=0)


def test_hdf5_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "data_lidc.hdf5"
    path.write_bytes(b"")
    imported = builtins.__import__

    def without_h5py(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    with pytest.raises(ValueError, match="pip install h5py"):
        lidc.read(path, "train", seed=0)


# ---- Real crops


def test_real_crops_have_four_readers_and_no_patient_in_two_splits():
    checkout = pathlib.Path(__file__).resolve().parents[3]
    base = os.environ.get("CAR_TF_DATA", checkout.parent / "shared" / "data")
    root = pathlib.Path(base) / "lidc_crops"
    if not root.is_dir():
        pytest.skip(f"no real LIDC crops at {root}")
    groups = {}
    for split, num, num_patients in (("val", 318, 26), ("test", 315, 17)):
        data = lidc.read(root, split, seed=0)
        assert data.images.shape == (num, 180, 180, 1)
        assert data.labels.shape == (num, 4, 180, 180)
        assert len(set(data.groups)) == num_patients
        assert len(set(data.names)) == num and list(data.names) == sorted(data.names)
        # Somebody marked every crop.
        assert data.labels.any(axis=(1, 2, 3)).all()
        groups[split] = data.groups
    # The 10070 files of the training split are listed, not decoded, to save time.
    groups["train"] = [patient for patient, _ in lidc_folders.find(root / "train")[0]]
    assert len(groups["train"]) == 2014 and len(set(groups["train"])) == 124
    splits.check_disjoint(groups)


def test_crops_that_cannot_be_read_are_left_out_on_request(tmp_path):
    root = _write_folders(tmp_path / "crops")
    gt = root / "train" / "gt" / "train-A"
    (gt / "z-1.5_c1_l2.png").unlink()
    (gt / "z-1.5_c10_l0.png").write_bytes(b"no image")
    image = root / "train" / "images" / "train-B" / "z-1.5_c2.png"
    image.write_bytes(image.read_bytes()[:40])
    arguments = dict(seed=1, cache_dir=tmp_path / "cache")
    with pytest.raises((FileNotFoundError, io.DataError), match="c1_l2.png"):
        lidc.read(root, "train", **arguments)
    got = lidc.read(root, "train", on_error="skip", **arguments)
    left = ("train-A/z-1.5_c1", "train-A/z-1.5_c10", "train-B/z-1.5_c2")
    assert got.skipped == left
    kept = ("train-A/z-1.5_c2", "train-B/z-1.5_c1", "train-B/z-1.5_c10")
    assert got.names == kept and got.groups == ("train-A", "train-B", "train-B")
    assert len(got.images) == len(got.labels) == 3
    whole = lidc.read(root, "val", on_error="skip", **arguments)
    assert whole.skipped == () and len(whole.names) == 6
