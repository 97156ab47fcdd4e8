"""The cache of decoded data: what is damaged is found, named and made anew."""

import concurrent.futures
import json
import os
import threading
import time

import numpy as np
import pytest

from car_tf.data import cache, examples, findings

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
    (folder,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
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


def test_images_are_digested_once(tmp_path, monkeypatch):
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    read = dict(key="k", cache_dir=tmp_path, what="reading")
    mapped = cache.array(lambda index: images[index], 3, **read)
    wanted = tuple(map(findings.digest, images))
    some = examples.rows_of(mapped, [2, 0])
    for _ in range(2):
        assert cache.digests(mapped, tmp_path) == wanted
        assert cache.digests(some, tmp_path) == (wanted[2], wanted[0])
        monkeypatch.setattr(findings, "digest", None)
    with pytest.raises(TypeError):  # What lies in memory is digested anew.
        cache.digests(images, tmp_path)


def test_the_size_of_what_is_large_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "_LARGE", 6)
    for num in (2, 3):
        one = np.zeros([2], np.uint8)
        key = dict(key="k" * num, cache_dir=tmp_path)
        cache.array(lambda index: one, num, **key, what="reading")
    # Two bytes of two images are less than six.
    assert capsys.readouterr().out == f"reading: 0.0 GB in {tmp_path}\n"


def test_two_that_start_together_read_once(tmp_path):
    read, both = [], threading.Barrier(2)

    def one(index):
        read.append(index)
        time.sleep(0.1)
        return np.full([2], index, np.uint8)

    def cached(_):
        both.wait()
        return cache.array(one, 3, key="k", cache_dir=tmp_path, what="reading")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for array in pool.map(cached, range(2)):
            assert array.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert sorted(read) == [0, 1, 2]


def test_an_array_is_read_once_and_then_mapped(tmp_path):
    read = []

    def one(index):
        read.append(index)
        return np.full([2], index, np.uint8)

    for _ in range(2):
        array = cache.array(one, 3, key="k", cache_dir=tmp_path, what="reading")
        assert array.dtype == np.uint8 and array.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert sorted(read) == [0, 1, 2]


def test_what_has_not_changed_is_not_read_again(read_numbers, monkeypatch):
    assert read_numbers() == NUM
    monkeypatch.setattr(cache, "_checksum", None)
    assert read_numbers() == 0


def test_a_fingerprint_is_remembered_by_files_and_rows(tmp_path, monkeypatch):
    def split_of(key):
        def one(index):
            return np.full([2, 3, 1], ord(key) + index, np.uint8)

        array = cache.array(one, 4, key=key, cache_dir=tmp_path, what="reading")
        names = tuple("abcd")
        return examples.Examples(names, names, array, array[..., 0][:, None])

    def computed(split):
        calls.append(split)
        return original(split)

    calls, original = [], examples.Examples.fingerprint
    monkeypatch.setattr(examples.Examples, "fingerprint", computed)
    whole, other = split_of("x"), split_of("y")
    one_image = whole.take([1])
    later = examples.Examples(
        *[one_image.names] * 2, whole.images[2:3], whole.labels[2:3]
    )
    for _ in range(2):
        for split in (whole, other, whole.take([0, 2]), one_image, later):
            assert cache.fingerprint(split, tmp_path) == original(split)
    assert len(calls) == 5
    # What lies in memory may change, so it is read whenever it is asked for.
    in_memory = examples.Examples(*[one_image.names] * 2, *[np.ones([1, 2, 3, 1])] * 2)
    for _ in range(2):
        cache.fingerprint(in_memory, tmp_path)
    assert len(calls) == 7
