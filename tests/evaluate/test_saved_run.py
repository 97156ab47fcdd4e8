"""What a finished run knows of other data."""

import dataclasses
import types

import numpy as np
import pytest

from car_tf.data import examples
from car_tf.data import load as data_load
from car_tf.evaluate import saved_run


def split(values):
    names = tuple(map(str, values))
    images = np.array(values, np.uint8)[:, None, None, None] * np.ones(
        (1, 4, 4, 3), np.uint8
    )
    return examples.Examples(
        names, names, images, np.zeros((len(values), 1, 4, 4), np.uint8)
    )


@dataclasses.dataclass
class Info:
    title: str = "a"


def data(chosen_by="selection", **splits):
    return data_load.Dataset(Info(), splits, chosen_by, "test", [])


@pytest.mark.parametrize("chosen_by", ["selection", "val"])
def test_images_of_the_training_are_known_by_their_content(tmp_path, chosen_by):
    splits = {"train": split([1, 2, 3]), chosen_by: split([4]), "test": split([5])}
    rec = data(chosen_by, **splits).describe(tmp_path)
    config = types.SimpleNamespace(data=types.SimpleNamespace(cache_dir=str(tmp_path)))
    wd = types.SimpleNamespace(read_json=lambda n: rec)
    assert saved_run._seen(config, wd, data(val=split([2, 9, 4]))) == [
        "1 of the 3 images of val are images that the run was trained on",
        "1 of the 3 images of val are images that the run was selected by",
    ]
    assert saved_run._seen(config, wd, data(val=split([5, 9]))) == []
    wd = types.SimpleNamespace(
        read_json=lambda n: {"splits": {"train": {"names": ["2"]}}}
    )
    assert saved_run._seen(config, wd, data(val=split([2]))) == []
