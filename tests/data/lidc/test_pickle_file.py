"""Tests of car_tf.data.lidc.pickle_file against the standard library's unpickler."""

import datetime
import os
import pickle
import tracemalloc

import numpy as np
import pytest

from car_tf.data.lidc import pickle_file

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def _dump(path, value, protocol=pickle.DEFAULT_PROTOCOL):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def _assert_equal(a, b):
    if isinstance(b, dict):
        assert list(a) == list(b)
        for key in b:
            _assert_equal(a[key], b[key])
    elif isinstance(b, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for item, wanted in zip(a, b):
            _assert_equal(item, wanted)
    elif isinstance(b, np.ndarray):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b and type(a) is type(b)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_and_arrays_equal_the_standard_unpicklers(tmp_path, protocol):
    grid = np.arange(24, dtype=np.float64).reshape(4, 6)
    value = {
        "arrays": [
            grid,
            np.asfortranarray(grid),
            grid[::2, ::-1],
            grid.astype(">f4"),
            np.array([[True, False]]),
            np.arange(70000, dtype=np.uint8),
            np.array(5, np.int64),
            np.zeros((0, 3), np.uint16),
        ],
        "scalars": (np.float32(0.25), np.uint8(7), np.str_("1.3.6")),
        "plain": [None, True, False, 0, -1, 300, 70000, 2**40, -(2**80), 1.5, "é", ""],
        "nested": {1: ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)), "empty": [[], {}]},
    }
    path = _dump(tmp_path / "value.pickle", value, protocol)
    _assert_equal(pickle_file.load(path), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_objects_stay_shared(tmp_path, protocol):
    zeros, names = np.zeros((2, 3)), ["a"]
    path = _dump(tmp_path / "a.pickle", [zeros, zeros, names, names], protocol)
    first, second, some, same = pickle_file.load(path)
    np.testing.assert_array_equal(first, second)
    assert some is same and first.shape == second.shape == (2, 3)


def test_names_of_both_numpy_generations_are_known(tmp_path):
    old = pickle.dumps(np.arange(3, dtype=np.uint8), protocol=3)
    new = old.replace(b"numpy.core.", b"numpy._core.")
    if new == old:
        new = old.replace(b"numpy._core.", b"numpy.core.")
    for index, data in enumerate((old, new)):
        path = tmp_path / f"{index}.pickle"
        path.write_bytes(data)
        np.testing.assert_array_equal(pickle_file.load(path), [0, 1, 2])


def test_arrays_are_mapped_not_read(tmp_path):
    # 32 MB in four arrays; nothing near one of them (8 MB) may be held in memory twice.
    value = [np.full(1 << 20, index, np.float64) for index in range(4)]
    path = _dump(tmp_path / "large.pickle", value)
    tracemalloc.start()
    arrays = pickle_file.load(path)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert current < 1 << 20
    assert [array[-1] for array in arrays] == [0, 1, 2, 3]
    with pytest.raises(ValueError):
        arrays[0][0] = 1


class _Code:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_code_is_refused_by_name_and_not_run(tmp_path, protocol):
    victim = tmp_path / "made_by_the_pickle"
    value = {"a": np.zeros(3), "b": _Code(os.mkdir, str(victim))}
    path = _dump(tmp_path / "evil.pickle", value, protocol)
    with pytest.raises(ValueError, match=r"evil\.pickle.*(posix|nt)\.mkdir"):
        pickle_file.load(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    "value, name",
    [
        (_Code(eval, "1"), r"eval"),
        (_Code(getattr, "a", "upper"), r"getattr"),
        (_Code(np.load, "x"), r"numpy.*load|load"),
        (datetime.date(2020, 1, 1), r"datetime\.date"),
        ({1, 2}, r"set|EMPTY_SET"),
        (np.array([{}], dtype=object), r"'O8'"),
        (np.zeros(2, [("a", "u1")]), r"'V1'"),
        (np.datetime64("2020-01-01"), r"'M8'"),
    ],
)
def test_anything_but_containers_and_arrays_is_refused(tmp_path, value, name):
    path = _dump(tmp_path / "odd.pickle", value)
    with pytest.raises(ValueError, match=rf"odd\.pickle.*({name}).*nothing in it was"):
        pickle_file.load(path)


@pytest.mark.parametrize(
    "program, complaint",
    [
        (b"cos\nsystem\n(S'true'\ntR.", r"os\.system"),
        (b"(S'true'\nios\nsystem\n.", r"INST"),
        (b"\x80\x02\x82\x01.", r"EXT1"),
        (b"\x80\x02K\x01Q.", r"BINPERSID"),
        (b"cnumpy\nndarray\n(I1000000000\ntR.", r"calls numpy\.ndarray"),
        (b"]K\x01b.", r"state of a list"),
        (b"K\x01K\x02a.", "'int' object has no attribute 'append'"),
        (b"c_codecs\nencode\n(S'eJw='\nS'zip'\ntR.", r"zip"),
    ],
)
def test_hand_written_programs_are_refused(tmp_path, program, complaint):
    path = tmp_path / "program.pickle"
    path.write_bytes(program)
    with pytest.raises(ValueError, match=complaint):
        pickle_file.load(path)


TEXT = b"c_codecs\nencode\nq\0(S'" + 1000 * b"a" + b"'\nq\1S'latin1'\nq\2t"
BOMBS = {
    # Hashing a tuple this deep would end the process.
    "deep key": (b"})" + 300_000 * b"\x85" + b"K\x01s.", "keys other than strings"),
    # Each repetition of a text would take its size in memory.
    "text": (TEXT + 100 * b"h\0h\1h\2\x86R" + b".", "more bytes than the file"),
    "frame": (b"\x80\x04\x95" + 7 * b"\xff" + b"\x7f]", "broken pickle"),
    "deep list": (50_001 * b"]" + 50_000 * b"a", "broken pickle"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(tmp_path, name):
    program, complaint = BOMBS[name]
    path = tmp_path / "bomb.pickle"
    path.write_bytes(program)
    with pytest.raises(ValueError, match=complaint):
        pickle_file.load(path)


def test_broken_files_are_named(tmp_path):
    good = pickle.dumps({"a": np.arange(1000.0)})
    contents = {
        "empty": b"",
        "text": b"not a pickle",
        "cut": good[:-200],
        "no_mark": b"e.",
        "no_memo": b"h\x05.",
        # An array of 8000 bytes that claims 1001 numbers.
        "short": good.replace(b"M\xe8\x03", b"M\xe9\x03"),
        "huge": b"\x80\x04\x8e" + (1 << 50).to_bytes(8, "little") + b"abc.",
    }
    assert contents["short"] != good
    for name, data in contents.items():
        path = tmp_path / f"{name}.pickle"
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"{name}\.pickle"):
            pickle_file.load(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        pickle_file.load(tmp_path / "absent.pickle")
