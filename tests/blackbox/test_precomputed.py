"""Predictions that exist as files: finding, decoding, mapping."""

import blackbox_models as models
import numpy as np
import pytest
from PIL import Image

from car_tf.blackbox import base, precomputed
from car_tf.data import cityscapes, io

K = cityscapes.NUM_TRAIN_IDS
SIZE, IMAGE_SIZE = (4, 6), (8, 12)
TABLES = {
    "train_ids": cityscapes.train_id_table(),
    "label_ids": cityscapes.label_id_table(),
}
NAMES = ("ulm_000000_000001", "ulm_000000_000002")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / "images").mkdir(exist_ok=True)
        image = np.zeros((*IMAGE_SIZE, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
    (tmp_path / "predicted" / "ulm").mkdir(parents=True)
    return tmp_path


def read(folder, labels=None, **kwargs):
    settings = dict(encoding="auto", tables=TABLES, num_classes=K, size=SIZE)
    return precomputed.predictions(
        str(folder / "predicted"),
        models.split_of([folder / "images" / f"{name}.png" for name in NAMES], labels),
        cache_dir=folder / "cache",
        **{**settings, **kwargs},
    )


def write(folder, arrays, ending="_prior_preds_trainIds.npy"):
    for name, array in zip(NAMES, arrays):
        path = folder / "predicted" / "ulm" / f"{name}{ending}"
        if ending.endswith(".npy"):
            np.save(path, array)
        else:
            Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.mark.parametrize("ending", ["_prior_preds_trainIds.npy", ".png"])
def test_label_ids_are_told_from_train_ids_in_spite_of_the_name(folder, ending):
    # Road, car and sky: train ids 0, 13 and 10, label ids 7, 26 and 23.
    train = np.array([0, 13, 10, 0, 0, 0] * 4).reshape(SIZE)
    write(folder, [np.array([7, 26, 23, 7, 7, 7] * 4).reshape(SIZE)] * 2, ending)
    maps, encoding = read(folder)
    assert encoding == "label_ids"
    np.testing.assert_array_equal(maps, [train, train])
    write(folder, [train] * 2, ending)
    maps, encoding = read(folder)
    assert encoding == "train_ids"
    np.testing.assert_array_equal(maps, [train, train])


def test_scores_are_told_from_ids(folder):
    ids = np.array([0, 13, 10, 0, 0, 0] * 4).reshape(SIZE)
    write(folder, [ids] * 2)
    maps, encoding = read(folder, output="auto")
    assert (maps.dtype, encoding) == (np.uint8, "train_ids")
    write(folder, np.eye(K, dtype=np.float32)[[ids] * 2])
    maps, encoding = read(folder, output="auto")
    assert (maps.dtype, encoding) == (np.float16, "probabilities")
    np.testing.assert_array_equal(maps.argmax(-1), [ids] * 2)


def test_maps_of_the_images_size_are_resized(folder):
    large = np.arange(4 * 6).reshape(SIZE) % K
    write(folder, [large.repeat(2, 0).repeat(2, 1)[None]] * 2)
    maps, _ = read(folder, encoding="train_ids")
    np.testing.assert_array_equal(maps, [large, large])


def test_class_map_replaces_the_encoding(folder):
    write(folder, [np.array([0, 1, 2] * 8).reshape(SIZE)] * 2)
    maps, encoding = read(folder, class_map=(13, 255, 0))
    assert encoding == "class_map"
    np.testing.assert_array_equal(maps[0], np.array([13, 255, 0] * 8).reshape(SIZE))
    with pytest.raises(io.DataError, match="wanted class map of 2 classes .*got id 2"):
        read(folder, class_map=(13, 255))


@pytest.mark.parametrize("are_logits", [False, True])
def test_probabilities_are_averaged_over_areas(folder, are_logits):
    logits = np.random.default_rng(0).normal(size=(2, *IMAGE_SIZE, K))
    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    write(folder, (logits if are_logits else probs).astype(np.float32), ".npy")
    maps, encoding = read(folder, output="probabilities")
    told = "logits" if are_logits else "probabilities"
    assert encoding == told and maps.dtype == np.float16
    # The mean of 2 x 2 pixels.
    wanted = probs.reshape(2, 4, 2, 6, 2, K).mean((2, 4))
    np.testing.assert_allclose(maps, wanted, atol=1e-3)


@pytest.mark.parametrize(
    "array, kwargs, message",
    [
        (np.zeros((3, 3), int), {}, "wanted 4 x 6 or 8 x 12 pixels, got 3 x 3"),
        (np.zeros(SIZE), {}, "wanted integer class ids, got float64"),
        (
            np.full(SIZE, 19),
            {"encoding": "train_ids", "is_said": True},
            "19 classes .*got id 19",
        ),
        (np.full(SIZE, 300), {}, "wanted class ids, got 300 to 300"),
        (np.zeros(SIZE, int), {"output": "probabilities"}, r"wanted floats \[h, w, 19"),
        (np.full((*SIZE, K), np.nan), {"output": "probabilities"}, "NaN"),
        (np.ones((*SIZE, 20)) / 20, {"output": "probabilities"}, "got 20 scores"),
        (np.eye(K)[np.zeros(SIZE, int)] * 100, {"output": "auto"}, "100 is the sum"),
        (np.full((*SIZE, K), 13.4), {"output": "auto"}, "255 is the sum at each pixel"),
        (np.ones((K, *SIZE)) / K, {"output": "auto"}, r"got float64 \[19, 4, 6\]"),
    ],
)
def test_bad_predictions_are_named(folder, array, kwargs, message):
    write(folder, [array] * 2)
    with pytest.raises(io.DataError, match=message) as caught:
        read(folder, **kwargs)
    assert "ulm_00000" in str(caught.value)


def test_an_array_whose_either_end_may_be_the_classes_is_refused(tmp_path):
    np.save(tmp_path / "cube.npy", np.ones((4, 4, 4)) / 4)
    with pytest.raises(io.DataError, match="cube.npy: .*either end may be the classes"):
        precomputed.read_probs(
            tmp_path / "cube.npy", [(4, 4)], size=None, options=base.Options(4)
        )


def test_of_predictions_with_one_name_that_at_the_image_s_path_is_meant(tmp_path):
    for name in ("a/1.png", "b/1.png", "c/2.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = precomputed.find(tmp_path, ["a/1", "b/1", "x/2"])
    assert found == {
        "a/1": tmp_path / "a/1.png",
        "b/1": tmp_path / "b/1.png",
        "x/2": tmp_path / "c/2.npy",
    }
    with pytest.raises(io.DataError, match="one prediction of 1, .*a/1.*b/1"):
        precomputed.find(tmp_path, ["1"])
    (tmp_path / "1.png").touch()
    assert precomputed.find(tmp_path, ["1"]) == {"1": tmp_path / "1.png"}


def test_a_map_of_another_encoding_than_the_others_is_refused(folder):
    # Road, car and sky: as label ids 0, 13 and 10 are road's none, wall and none.
    train = np.array([0, 13, 10, 0, 0, 0] * 4).reshape(SIZE)
    label = np.array([7, 26, 23, 7, 7, 7] * 4).reshape(SIZE)
    write(folder, [label, train])
    labels = np.stack([train, np.full(SIZE, 255)])[:, None].astype(np.uint8)
    words = "000002.*wanted label ids, as in other .* like train ids .*=label_ids takes"
    for encoding in ("auto", "label_ids"):  # Told now, or by the training.
        with pytest.raises(io.DataError, match=words):
            read(folder, labels, encoding=encoding)
    _, encoding = read(folder, encoding="label_ids", is_said=True)
    assert encoding == "label_ids"


def test_palettes_that_differ_from_map_to_map_are_refused(folder):
    ids = np.array([0, 1, 2, 0, 0, 0] * 4, np.uint8).reshape(SIZE)
    for name, colors in zip(NAMES, ([9, 0, 0, 0, 9, 0, 0, 0, 9], [0, 9, 0, 9, 0, 0])):
        image = Image.fromarray(ids % (len(colors) // 3))
        image.putpalette(colors)
        image.save(folder / "predicted" / f"{name}.png")
    with pytest.raises(
        io.DataError, match="02.png: its palette gives the id 0 another"
    ):
        read(folder, encoding="train_ids")


def test_masks_of_0_and_255_are_no_classes(folder):
    write(folder, [np.zeros(SIZE, np.uint8), np.eye(*SIZE, dtype=np.uint8) * 255])
    table = np.full(256, -1, np.int16)
    table[[0, 1, 255]] = 0, 1, 255
    two = dict(num_classes=2, tables={"class_ids": table}, encoding="class_ids")
    with pytest.raises(io.DataError, match="wanted class ids 0 and 1, got 0 and 255"):
        read(folder, **two)
    for how in (dict(class_map=(0, 1)), dict(is_said=True)):
        assert np.unique(read(folder, **{**two, **how})[0]).tolist() == [0, 255]


def test_void_is_void_in_every_encoding_and_said_how_it_was_told(folder):
    ids = np.array([0, 13, 10, 255, 0, 0] * 4).reshape(SIZE)
    write(folder, [ids] * 2)
    notes = []
    maps, encoding = read(folder, note=notes.append)
    assert encoding == "train_ids" and "told from 2 maps" in notes[0]
    np.testing.assert_array_equal(maps, [ids] * 2)
    np.testing.assert_array_equal(
        read(folder, class_map=range(19))[0], np.stack([ids] * 2)
    )
    # 19 for none is refused with the field that takes it.
    write(folder, [np.where(ids == 255, 19, ids)] * 2)
    with pytest.raises(io.DataError, match="train ids.*id 19|id 19.*class_map"):
        read(folder, labels=np.stack([ids] * 2)[:, None])
    maps, _ = read(folder, class_map=(*range(19), 255))
    np.testing.assert_array_equal(maps, [ids] * 2)


def test_sigmoid_scores_on_disk_are_not_taken_for_logits(folder):
    scores = np.full((2, *SIZE, K), 0.05, np.float32)
    scores[..., 3] = 0.95
    write(folder, scores)
    notes = []
    maps, _ = read(folder, output="auto", note=notes.append)
    # 0.95 of 0.95 + 18 * 0.05.
    np.testing.assert_allclose(maps[..., 3], 0.95 / 1.85, atol=1e-3)
    assert "taken for sigmoid scores" in notes[0]
    maps, _ = read(folder, output="logits")
    # e^0.9 of e^0.9 + 18.
    np.testing.assert_allclose(
        maps[..., 3], np.exp(0.9) / (np.exp(0.9) + 18), atol=1e-3
    )


def test_all_files_of_a_folder_hold_one_kind_of_scores(folder):
    scores = np.zeros((2, *SIZE, K), np.float32)
    scores[0, ..., 3], scores[1, ..., 3] = 0.4, 9
    scores[1] -= 1
    write(folder, scores)
    maps, _ = read(folder, output="auto")
    # From 0 to 1, but no sigmoids: e^0.4 of e^0.4 + 18.
    wanted = np.exp(0.4) / (np.exp(0.4) + 18)
    np.testing.assert_allclose(maps[0, ..., 3], wanted, atol=1e-3)
    scores[0, ..., 3] = 0.9
    write(folder, scores)
    with pytest.raises(io.DataError, match="000001.* like sigmoids, as in no other"):
        read(folder, output="auto")
    scores[0] = 1 / K
    write(folder, scores)
    with pytest.raises(io.DataError, match="000001.*logits, as in other .* like prob"):
        read(folder, output="auto")


def test_scores_of_another_kind_than_in_training_are_refused(folder):
    scores = np.full((2, *SIZE, K), 0.05, np.float32)
    scores[..., 3] = 0.95
    write(folder, scores)
    with pytest.raises(io.DataError, match="wanted logits, as in tra.*like sigmoid"):
        read(folder, output="probabilities", scores="logits")
    # They become probabilities in the same way.
    assert read(folder, output="auto", scores="probabilities")[1] == "sigmoid"
    assert read(folder, output="logits", scores="sigmoid")[1] == "logits"
    write(folder, 9 * (scores - 1))
    with pytest.raises(io.DataError, match="wanted sigmoid.*like logits .*=logits tak"):
        read(folder, output="auto", scores="sigmoid")


def test_missing_and_damaged_predictions_are_named(folder):
    write(folder, [np.zeros(SIZE, int)])
    with pytest.raises(io.DataError, match="prediction of ulm_000000_000002"):
        read(folder)
    path = folder / "predicted" / f"{NAMES[1]}.npy"
    path.write_bytes(b"damaged")
    with pytest.raises(io.DataError, match="000002.npy: not a readable array"):
        read(folder)
