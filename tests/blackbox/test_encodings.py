"""What tells the encoding of ids in maps."""

import pathlib

import numpy as np
import pytest

from car_tf.blackbox import encodings
from car_tf.data import cityscapes, io

TABLES = {
    "train_ids": cityscapes.train_id_table(),
    "label_ids": cityscapes.label_id_table(),
}


@pytest.mark.parametrize(
    "ids, encoding",
    [
        ([0, 13, 10], "train_ids"),
        ([7, 26, 23], "label_ids"),
        ([0, 7, 8], "train_ids"),
        # No road in sight.
        ([2, 8, 10, 11], "train_ids"),
        ([8, 11, 23], "label_ids"),
        # One stray id decides nothing: train ids with 19 for none.
        ([0] * 9 + [1, 2, 8, 10, 13, 19], "train_ids"),
        # Both read them, or neither.
        ([7, 8, 11], None),
        ([100, 101, 102], None),
    ],
)
def test_encodings_are_told_from_the_ids(ids, encoding):
    maps = [np.array([ids + [255]], np.uint8)]
    if encoding is None:
        with pytest.raises(io.DataError, match="set blackbox.encoding to train_ids or"):
            encodings.choose(maps, TABLES)
    else:
        assert encodings.choose(maps, TABLES)[0] == encoding


def test_labels_decide_where_there_are_some():
    maps = [np.array([[7, 8, 11, 255]], np.uint8)]
    for labels, encoding in (
        # Label ids 7, 8 and 11 are road, sidewalk and building: 0, 1 and 2.
        ([[0, 1, 255, 2]], "label_ids"),
        ([[7, 8, 0, 255]], "train_ids"),
    ):
        found, words = encodings.choose(maps, TABLES, [np.array(labels, np.uint8)])
        assert found == encoding
        assert "as train ids 100.0% of the pixels are of a class and" in words
    with pytest.raises(io.DataError, match="cannot be told"):
        nothing = np.full((1, 4), 255, np.uint8)
        encodings.choose(maps, TABLES, [nothing])


def ids_of(counts):
    """Returns `[1, n]` ids, each as often as it is said."""
    return np.repeat(list(counts), list(counts.values()))[None].astype(np.uint8)


# Road, sidewalk, building, vegetation and car, as train ids and as label ids.
STREET = ids_of({0: 40, 1: 10, 2: 30, 8: 15, 13: 5})
# The same without the last two, but with fence; as train ids these are traffic sign,
# vegetation, person and car.
LOW = ids_of({7: 50, 8: 15, 11: 25, 13: 10})
LABEL = TABLES["label_ids"][LOW].astype(np.uint8)


@pytest.mark.parametrize(
    "ids, label, is_refused",
    [
        (LOW, LABEL, True),
        (LOW, None, True),
        # Some of none, which as train ids are poles.
        (np.where(np.arange(100) % 10, LOW, 5), None, True),
        # A poor prediction, and another scene.
        (LOW, ids_of({8: 60, 13: 40}), False),
        (ids_of({8: 90, 11: 10}), None, False),
    ],
)
def test_a_map_that_agrees_in_another_encoding_alone_is_refused(ids, label, is_refused):
    files = {pathlib.Path(f"{name}.npy"): STREET for name in "ab"}
    odd = {pathlib.Path("odd.npy"): ids}
    for sample in (files, {**files, **odd}):  # Asked before, or not.
        how = dict(sample=sample, encoding="train_ids", tables=TABLES)
        common = encodings.Common(**how, is_said=False)
        common.check(pathlib.Path("a.npy"), STREET, None)
        if is_refused:
            words = (
                "odd.npy: wanted train ids, as in other .* like label ids .*as train"
            )
            with pytest.raises(io.DataError, match=words):
                common.check(pathlib.Path("odd.npy"), ids, label)
            common = encodings.Common(**how, is_said=True)
        common.check(pathlib.Path("odd.npy"), ids, label)


def test_whether_255_is_a_class_is_asked_where_no_map_tells():
    table = np.full(256, -1, np.int16)
    table[[0, 1, 255]] = 0, 1, 255
    mask, ids, both = (np.array([values]) for values in ([0, 255], [0, 1], [1, 255]))
    for sample, is_said, is_refused in (
        ([mask], False, True),
        ([mask, ids], False, True),
        ([mask, both], False, False),
        ([mask], True, False),
    ):
        files = {pathlib.Path(f"{i}.npy"): one for i, one in enumerate(sample)}
        how = dict(encoding="class_ids", tables={"class_ids": table}, is_said=is_said)
        common = encodings.Common(files, **how)
        if is_refused:
            words = "0.npy: wanted class ids 0 and 1, got 0 and 255 .*class_map=0,1"
            with pytest.raises(io.DataError, match=words):
                common.check(pathlib.Path("0.npy"), mask, None)
        else:
            common.check(pathlib.Path("0.npy"), mask, None)
