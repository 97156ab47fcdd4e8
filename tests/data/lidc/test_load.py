"""LIDC from a configuration: splits, facts, cache, and what is refused."""

import numpy as np
import PIL.Image
import pytest
import real_data

from car_tf import config as config_lib
from car_tf.blackbox import attach, check
from car_tf.data import io, layouts, pipeline, requirements
from car_tf.data import load as data_load
from car_tf.train import build

SPLITS = {"train": 3, "val": 1, "test": 2}  # Patients.
SIDE = 20


def _config(data_dir="", *overrides):
    overrides = [
        "data.size=16,16",
        "data.crop_size=16,16",
        "data.num_drawn=3,1,2",
        f"data.data_dir={data_dir}",
        *overrides,
    ]
    return config_lib.load("lidc", overrides)


def _crop(patient, index):
    """An image and its masks that name themselves."""
    rng = np.random.default_rng([patient, index])
    return rng.integers(0, 256, (SIDE, SIDE), np.uint8), (
        rng.random((4, SIDE, SIDE)) < 0.2
    ).astype(np.uint8)


@pytest.fixture
def crops(tmp_path):
    """A folder of crops, two of each patient."""
    patient = 0
    for split, num in SPLITS.items():
        for _ in range(num):
            patient += 1
            for index in range(2):
                image, masks = _crop(patient, index)
                folder = tmp_path / "crops" / split
                for kind, name, pixels in [("images", f"s{index}", image)] + [
                    ("gt", f"s{index}_l{rater}", 255 * mask)
                    for rater, mask in enumerate(masks)
                ]:
                    path = folder / kind / f"P{patient}" / f"{name}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    PIL.Image.fromarray(pixels).save(path)
    return tmp_path / "crops"


@pytest.fixture
def cache_dir(tmp_path):
    return f"data.cache_dir={tmp_path / 'cache'}"


def test_all_masks_of_the_centre_are_delivered(crops, cache_dir):
    dataset = attach.load(_config(crops, cache_dir))
    train = dataset.splits["train"]
    assert train.names == tuple(f"P{p}/s{i}" for p in (1, 2, 3) for i in (0, 1))
    assert train.groups == tuple(f"P{p}" for p in (1, 2, 3) for _ in (0, 1))
    # (20 - 16) / 2 = 2 pixels are cut off on each side.
    image, masks = _crop(2, 1)
    np.testing.assert_array_equal(train.images[3, ..., 0], image[2:-2, 2:-2])
    np.testing.assert_array_equal(train.labels[3], masks[:, 2:-2, 2:-2])
    assert (dataset.selection, dataset.evaluation) == ("val", "test")
    dataset_info = dataset.info
    assert dataset_info.class_names == ("background", "lesion")
    assert (dataset_info.image_channels, dataset_info.num_raters) == (1, 4)
    assert dataset_info.num_blackbox_classes == 0
    assert not dataset_info.flips and not dataset_info.random_crop


def test_no_patient_is_in_two_splits_and_all_are_recorded(crops, cache_dir, tmp_path):
    splits = attach.load(_config(crops, cache_dir)).describe(tmp_path)["splits"]
    patients = {
        name: {crop.split("/")[0] for crop in split["names"]}
        for name, split in splits.items()
    }
    assert {name: len(found) for name, found in patients.items()} == SPLITS
    assert len(set.union(*patients.values())) == sum(SPLITS.values())


def test_a_second_reading_comes_from_the_cache(crops, cache_dir, monkeypatch):
    config = _config(crops, cache_dir)
    first = attach.load(config)

    def refuse(*unused):
        raise AssertionError("read again")

    monkeypatch.setattr("car_tf.data.lidc.folders._load", refuse)
    second = attach.load(config)
    for name, split in first.splits.items():
        assert split.fingerprint() == second.splits[name].fingerprint()


def test_a_changed_mask_is_read_again(crops, cache_dir):
    config = _config(crops, cache_dir)
    before = attach.load(config).splits["test"].labels[0, 2].copy()
    path = crops / "test" / "gt" / "P5" / "s0_l2.png"
    PIL.Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8)).save(path)
    after = attach.load(config).splits["test"].labels[0, 2]
    assert before.mean() < 1 and after.all()


def test_drawn_crops_say_so_and_do_not_overlap():
    dataset = attach.load(_config())
    assert "drawn by car_tf" in dataset.info.title
    assert any("not LIDC" in note for note in dataset.notes)
    assert [len(split) for split in dataset.splits.values()] == [3, 1, 2]
    names = [name for split in dataset.splits.values() for name in split.names]
    assert len(set(names)) == 6
    images = np.concatenate([split.images for split in dataset.splits.values()])
    assert images.shape == (6, 16, 16, 1)
    assert len(np.unique(images, axis=0)) == 6


def test_training_meets_every_reader_under_every_symmetry(crops, cache_dir):
    one_reader = ("stage1.batch_size=6", "stage1.labels_per_image=1")
    one_reader += ("data.scale_range=1,1", "data.grey_jitter=0")
    config = _config(crops, cache_dir, *one_reader)
    dataset = attach.load(config)
    batches = build.build_batches(config, dataset, stage=1, first_step=0, num_steps=40)
    train, met = dataset.splits["train"], set()
    rows, raters = pipeline.draw(
        np.full(6, 4),
        4,
        batch_size=6,
        seed=config.train.seed * 10 + 1,
        first_step=0,
        num_steps=40,
    )
    for batch, row, rater in zip(batches, rows, raters):
        for image, label, i, r in zip(batch["image"], batch["label"], row, rater):
            seen = [
                (turns, mirrored)
                for turns in range(4)
                for mirrored in (False, True)
                if np.array_equal(image, _turned(train.images[i], turns, mirrored))
                and np.array_equal(label, _turned(train.labels[i, r], turns, mirrored))
            ]
            assert len(seen) == 1
            met.add((int(r), *seen[0]))
    assert len(met) == 4 * 8


def _turned(image, turns, mirrored):
    return np.rot90(image[:, ::-1] if mirrored else image, turns)


@pytest.mark.parametrize(
    "override, words",
    [
        ("data.size=18,18", "wanted data.crop_size"),
    ],
)
def test_what_cannot_be_is_refused(override, words):
    with pytest.raises(config_lib.ConfigError, match=words):
        attach.load(_config("", override))


def test_a_segmenter_is_run_on_crops(crops, cache_dir, tmp_path, monkeypatch, capsys):
    (tmp_path / "box_of_crops.py").write_text(
        "def segment(images):\n    return (images[..., 0] > 127).astype('uint8')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    live = ("blackbox.kind=live", "blackbox.path=box_of_crops:segment")
    kind = "calibration_net.kind=blackbox_calibrator"
    dataset = attach.load(_config(crops, cache_dir, *live, kind))
    assert dataset.info.num_blackbox_classes == 2
    train = dataset.splits["train"]
    np.testing.assert_array_equal(train.blackbox, train.images[..., 0] > 127)
    texts = [cache_dir, "blackbox.path=box_of_crops:segment"]
    texts += ["data.size=16,16", "data.crop_size=16,16"]
    config = layouts.config_to_read(str(crops), texts)
    check.check(config, split="val", sheet_file=str(tmp_path / "sheet.png"))
    out = capsys.readouterr().out
    assert "images of val, compared at 16 x 16:" in out
    assert "pixel accuracy by rater 4: " in out and (tmp_path / "sheet.png").is_file()


def test_a_black_box_kind_is_refused_before_tensorflow_starts():
    network = "calibration_net.kind=blackbox_calibrator"
    with pytest.raises(config_lib.ConfigError, match="only street scenes have an imi"):
        requirements.check(_config("", "blackbox.kind=imitation", network))
    live = ("blackbox.kind=live", "blackbox.path=maps", network)
    with pytest.raises(config_lib.ConfigError, match="give --data_dir as well"):
        requirements.check(_config("", *live))


def test_crops_that_are_too_small_are_refused(crops, cache_dir):
    config = _config(crops, cache_dir, "data.size=24,24", "data.crop_size=24,24")
    with pytest.raises(io.DataError, match="at least 24 x 24 .*found 20 x 20"):
        attach.load(config)


def test_real_crops_keep_their_splits(tmp_path):
    folder = real_data.folder("lidc_crops")
    config = config_lib.load("lidc", [f"data.data_dir={folder}"])
    config = config_lib.change(config, data={"cache_dir": str(tmp_path)})
    test = data_load._read_crops(config, "test")
    assert test.images.shape == (315, 128, 128, 1)
    assert test.labels.shape == (315, 4, 128, 128)
    assert set(np.unique(test.labels)) == {0, 1}
    listed = sorted(path.name for path in (folder / "test" / "images").iterdir())
    assert sorted(set(test.groups)) == listed


def test_crops_left_out_are_counted_and_told(crops, cache_dir, tmp_path):
    path = crops / "train" / "gt" / "P2" / "s1_l3.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(io.DataError, match="s1_l3.png"):
        attach.load(_config(crops, cache_dir))
    dataset = attach.load(_config(crops, cache_dir, "data.on_error=skip"))
    train = dataset.describe(tmp_path)["splits"]["train"]
    assert train["num_skipped"] == 1 and train["skipped"] == ["P2/s1"]
    assert train["num_images"] == 5
    (note,) = [note for note in dataset.notes if "left out" in note]
    assert note.startswith("1 examples of train were left out")
