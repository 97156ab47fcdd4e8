"""Reading files: arrays in threads, palettes, and what is refused."""

import concurrent.futures
import gc
import io
import sys

import numpy as np
import pytest
from PIL import Image

from car_tf.data import io as data_io


def encoded(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_arrays_are_decoded():
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    np.testing.assert_array_equal(data_io.decode_array(encoded(array)), array)
    with pytest.raises(ValueError):
        data_io.decode_array(encoded(np.array([{}], dtype=object)))


def test_arrays_are_decoded_in_many_threads():
    # Garbage collection lets threads take turns while a header is parsed; with
    # `np.load` in the place of `decode_array`, several percent fail on Python 3.11.
    content = encoded(np.zeros([8, 16], np.uint8))

    def take_turns(phase, details):
        return [0 for _ in range(50)]

    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.callbacks.append(take_turns)
    try:
        gc.set_threshold(5)
        sys.setswitchinterval(1e-6)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            arrays = list(pool.map(data_io.decode_array, [content] * 1000))
    finally:
        gc.callbacks.remove(take_turns)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)
        gc.unfreeze()
    assert len(arrays) == 1000


def test_a_palette_image_keeps_its_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8), mode="P")
    image.putpalette([7, 7, 7] * 256)
    image.save(tmp_path / "ids.png")
    np.testing.assert_array_equal(
        data_io.read_ids(tmp_path / "ids.png"), [[0, 1], [2, 255]]
    )


def test_sixteen_bits_are_read_where_they_are_not_needed(tmp_path):
    ids = np.array([[0, 33], [255, 7]], np.uint16)
    Image.fromarray(ids).save(tmp_path / "ids.png")
    np.testing.assert_array_equal(data_io.read_ids(tmp_path / "ids.png"), ids)
    Image.fromarray(ids * 3).save(tmp_path / "ids.png")
    with pytest.raises(
        data_io.DataError, match="ids.png: wanted ids 0 to 255, got 0 to"
    ):
        data_io.read_ids(tmp_path / "ids.png")


def test_too_large_an_image_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(data_io, "MAX_PIXELS", 11)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(data_io.DataError, match="at most 11 pixels, got 4 x 3"):
        data_io.read_png(tmp_path / "large.png", mode="RGB")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(data_io.DataError, match="absent.png: wanted an image file"):
        data_io.read_png(tmp_path / "absent.png", mode="RGB")


def test_ids_are_mapped_and_unknown_ones_named(tmp_path):
    table = np.full(256, -1, np.int16)
    table[[3, 4]] = 0, 255
    arguments = dict(path=tmp_path / "x.png", wanted="3 or 4")
    got = data_io.map_ids(np.array([[3, 4]]), table, **arguments)
    np.testing.assert_array_equal(got, [[0, 255]])
    assert got.dtype == np.uint8
    for bad in (5, -1, 256, 300):
        with pytest.raises(
            data_io.DataError, match=f"x.png: wanted 3 or 4, got id {bad}"
        ):
            data_io.map_ids(np.array([[3, bad]]), table, **arguments)
