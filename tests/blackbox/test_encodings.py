"""What tells the encoding of ids in maps."""

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
