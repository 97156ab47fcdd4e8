"""The cache of decoded data: what is damaged is found, named and made anew."""

import json
import os

import numpy as np
import pytest

from car_tf.data import cache

NUM = 5


@pytest.fixture
def read_numbers(tmp_path):
    def read(index):
        read.count += 1
        return {"images": np.full((40, 50), index + 1, np.uint8)}

    def cached():
        read.count = 0
        specs = {"images": ((40, 50), np.uint8)}
        arguments = dict(key="k", cache_dir=tmp_path / "cache", specs=specs)
        stored, kept = cache.arrays(num=NUM, read=read, what="reading", **arguments)
        assert kept == tuple(range(NUM))
        np.testing.assert_array_equal(stored["images"][:, 7, 7], 1 + np.arange(NUM))
        return read.count

    return cached


def cut(file, folder):
    os.truncate(folder / file, (folder / file).stat().st_size - 100)


def zero_the_tail(folder):
    cut("images.npy", folder)
    os.truncate(folder / "images.npy", (folder / "images.npy").stat().st_size + 100)


def shorten_the_list(folder):
    content = json.loads((folder / "kept.json").read_text())
    content["kept"] = content["kept"][:-1]
    (folder / "kept.json").write_text(json.dumps(content))


DAMAGES = {
    "an empty list": lambda folder: (folder / "kept.json").write_text(""),
    "a short list": shorten_the_list,
    "an older version": lambda folder: (folder / "kept.json").write_text("[0, 1]"),
    "no list": lambda folder: (folder / "kept.json").unlink(),
    "cut pixels": lambda folder: cut("images.npy", folder),
    "zeroed pixels": zero_the_tail,
    "no pixels": lambda folder: (folder / "images.npy").unlink(),
    "nothing": lambda folder: [file.unlink() for file in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_named_and_made_anew(read_numbers, tmp_path, damage, capsys):
    assert (read_numbers(), read_numbers()) == (NUM, 0)
    (folder,) = (tmp_path / "cache").iterdir()
    damage(folder)
    capsys.readouterr()
    assert (read_numbers(), read_numbers()) == (NUM, 0)
    (line,) = "".join(capsys.readouterr()).split("\n")[:-1]
    assert line == f"the cache {folder} is damaged, or of an older version: made anew"


@pytest.mark.parametrize("content", ["[]", "7", "{", '{"a": 1}'])
def test_damaged_hashes_are_computed_anew(tmp_path, content):
    file = tmp_path / "a"
    file.write_bytes(b"a")
    (tmp_path / "hashes.json").write_text(content)
    (digest,) = cache.content_hashes([file], tmp_path)
    assert digest.startswith("ca978112ca1bbdca")
    assert list(json.loads((tmp_path / "hashes.json").read_text()).values()) == [digest]


def test_a_change_that_hides_its_size_and_time_is_seen(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"a")
    os.utime(file, (1, 1))
    before = cache.content_hashes([file], tmp_path)
    assert cache.content_hashes([file], tmp_path) == before
    file.write_bytes(b"b")
    os.utime(file, (1, 1))
    assert cache.content_hashes([file], tmp_path) != before


def test_an_array_is_read_once_and_then_mapped(tmp_path):
    read = []

    def one(index):
        read.append(index)
        return np.full([2], index, np.uint8)

    for _ in range(2):
        array = cache.array(one, 3, key="k", cache_dir=tmp_path, what="reading")
        assert array.dtype == np.uint8 and array.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert sorted(read) == [0, 1, 2]
