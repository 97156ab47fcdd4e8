"""Streaming one array of an .npz, image by image."""

from __future__ import annotations

import numpy as np
import pytest

from car_tf.data import npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["u1", "?", "<i8", ">u2"])
def test_yields_the_images_of_the_array(save, dtype, tmp_path):
    array = np.random.default_rng(0).integers(0, 2, (5, 3, 4, 2)).astype(dtype)
    save(tmp_path / "file.npz", other=np.zeros(3), samples=array)
    stream = npz.NpzArray(tmp_path / "file.npz", "samples")
    assert stream.shape == array.shape and stream.dtype == array.dtype
    for _ in range(2):  # It can be read again.
        np.testing.assert_array_equal(np.stack(list(stream)), array)


def test_reads_fortran_order(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "file.npz", samples=np.asfortranarray(array))
    stream = npz.NpzArray(tmp_path / "file.npz", "samples")
    np.testing.assert_array_equal(np.stack(list(stream)), array)


def test_missing_array_is_named(tmp_path):
    np.savez(tmp_path / "file.npz", images=np.zeros(3), masks=np.zeros(3))
    message = "wanted an array 'samples', found images, masks"
    with pytest.raises(ValueError, match=message):
        npz.NpzArray(tmp_path / "file.npz", "samples")


def test_damage_to_the_last_image_is_found_before_it_is_used(tmp_path):
    path = tmp_path / "file.npz"
    # Larger than what the archive reads ahead, so that the first images come through.
    np.savez(path, samples=np.zeros((3, 100_000), np.uint8))
    content = bytearray(path.read_bytes())
    content[280_000] = 1
    path.write_bytes(content)
    images = iter(npz.NpzArray(path, "samples"))
    next(images), next(images)
    with pytest.raises(ValueError, match="Bad CRC-32"):
        next(images)
