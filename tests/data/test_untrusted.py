"""Files of strangers: bombs are bounded, code is not run, damage gives clear errors."""

import gzip
import io
import json
import os
import pathlib
import pickle
import struct
import tarfile
import zlib

import blackbox_models
import fuzz_readers
import h5py
import numpy as np
import pytest
from PIL import Image

from car_tf import config as config_lib
from car_tf.blackbox import archive, base, frozen_graph, saved_models
from car_tf.data import io as data_io
from car_tf.data import npz
from car_tf.data.lidc import folders as lidc_folders
from car_tf.data.lidc import hdf5 as lidc_hdf5
from car_tf.data.lidc import pickle_file
from car_tf.data.lidc import read as lidc
from car_tf.predict import images as predict_images


@pytest.fixture(scope="module")
def table():
    return fuzz_readers.seeds()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_sound_files_are_read_and_damage_gives_clear_errors(table, tmp_path):
    for kind, (sound, ending, read, _) in table.items():
        if kind not in ("ids", "grey", "image"):
            for number, content in enumerate(sound):
                folder = tmp_path / f"{kind}-{number}"
                folder.mkdir()
                path = folder / f"input{ending}"
                path.write_bytes(content)
                read(path)
    for seed in range(300):
        kind, content = fuzz_readers.case(table, seed)
        problem = fuzz_readers.attempt(kind, content, tmp_path, table)
        assert problem == "", f"seed {seed}, {kind}: {problem}"


# HDF5


@pytest.mark.parametrize(
    "name, reason",
    [("crash", "Segmentation fault"), ("endless", "CPU time limit exceeded")],
)
def test_hdf5_that_stops_its_library_is_an_error(tmp_path, monkeypatch, name, reason):
    packed = pathlib.Path(__file__).parents[1] / "damaged" / f"{name}.hdf5.gz"
    path = tmp_path / "data_lidc.hdf5"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    monkeypatch.setattr(lidc_hdf5, "_SECONDS", 3)
    with pytest.raises(data_io.DataError, match=rf"data_lidc\.hdf5: .*{reason}"):
        lidc.read(path, "val", seed=1, cache_dir=tmp_path / "cache")
    assert os.listdir(tmp_path / "cache") == ["hashes.json"]


def test_hdf5_that_points_at_other_files_is_refused(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(3 * 4 * 5))
    for kind in ("external data", "external link", "virtual"):
        path = tmp_path / f"{kind}.hdf5"
        with h5py.File(path, "w") as file, h5py.File(tmp_path / "other", "w") as other:
            other["images"] = np.zeros((3, 4, 5), np.uint8)
            file["val/labels"] = np.zeros((3, 4, 5, 4), np.uint8)
            if kind == "external data":
                where = [(str(secret), 0, 60)]
                file.create_dataset("val/images", (3, 4, 5), "u1", external=where)
            elif kind == "external link":
                link = h5py.ExternalLink(str(tmp_path / "other"), "images")
                file["val/images"] = link
            else:
                layout = h5py.VirtualLayout((3, 4, 5), "u1")
                layout[:] = h5py.VirtualSource(other["images"])
                file.create_virtual_dataset("val/images", layout)
        with pytest.raises(data_io.DataError, match="lies in another file"):
            lidc.read(path, "val", seed=1)


def test_hdf5_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    path = tmp_path / "data_lidc.hdf5"
    path.write_bytes(b"anything")
    monkeypatch.setattr(lidc_hdf5, "_PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(lidc_hdf5, "_WAIT", 0.5)
    with pytest.raises(data_io.DataError, match="hdf5: not read after 1 s"):
        lidc.read(path, "val", seed=1)


def test_hdf5_that_claims_more_than_it_can_hold_is_refused(tmp_path):
    path = tmp_path / "data_lidc.hdf5"
    with h5py.File(path, "w") as file:
        for split in ("train", "val"):
            # Nothing is written, so nothing takes room.
            shape = (1_000_000, 512, 512)
            file.create_dataset(f"{split}/images", shape, "u1", chunks=(1, 512, 512))
            file.create_dataset(f"{split}/labels", (1, 4, 512, 512), "u1")
    with pytest.raises(data_io.DataError, match="524288000000 pixels cannot lie in"):
        lidc.read(path, "val", seed=1)


# PNG


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png(width, height, *chunks):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks)


READERS = {
    "image": lambda path: data_io.read_png(path, mode="RGB"),
    "ids": data_io.read_ids,
    "crop": lidc_folders.read_grey,
    "prediction": lambda path: predict_images.read_image(path, 3),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("side", [10_000, 14_000, 100_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_of_too_many_pixels_are_refused_undecoded(tmp_path, reader, side):
    # 100, 196 and 10000 megapixels in a few bytes; Pillow itself warns from 89 on and
    # raises from 179 on.
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, chunk(b"IDAT", zlib.compress(bytes(1000)))))
    with pytest.raises(
        data_io.DataError, match="bomb.png: wanted at most 64000000 pixels"
    ):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_compressed_texts_are_bounded(tmp_path, reader):
    # 8 MiB of text in 8 kB.
    bomb = zlib.compress(bytes(8 << 20))
    rows = zlib.compress(bytes(2 * 3))
    content = [
        chunk(b"zTXt", b"a\0\0" + bomb),
        chunk(b"IDAT", rows),
        chunk(b"IEND", b""),
    ]
    path = tmp_path / "text.png"
    path.write_bytes(png(2, 2, *content))
    with pytest.raises(data_io.DataError, match="text.png: not a readable image"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
def test_formats_that_start_other_programs_are_refused(tmp_path, reader):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "EPS")
    path = tmp_path / "really_eps.png"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(data_io.DataError, match="not a readable image"):
        READERS[reader](path)


# Archives


def test_an_archive_of_very_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MAX_MEMBERS", 3)
    path = tmp_path / "graph.tar.gz"
    with tarfile.open(path, "w:gz") as written:
        for index in range(9):
            written.addfile(tarfile.TarInfo(f"file{index}"))
    with pytest.raises(
        data_io.DataError, match="at most 3 files, got 0 bytes in file 4"
    ):
        frozen_graph.read_graph(str(path))


def test_an_archive_that_announces_a_huge_file_is_refused_at_once(tmp_path):
    entry = tarfile.TarInfo("frozen_inference_graph.pb")
    entry.size = 1 << 40
    path = tmp_path / "graph.tar"
    path.write_bytes(entry.tobuf())
    with pytest.raises(data_io.DataError, match="at most 2 GiB .* got 1099511627776"):
        frozen_graph.read_graph(str(path))


# Code


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("keras", blackbox_models.KERASES)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_code_in_keras_models_is_not_run(tmp_path, keras, ending):
    ran = tmp_path / "ran"

    code = f"lambda x: (open({str(ran)!r}, 'w').close(), x)[1]"
    image = keras.Input([8, 8, 3])
    outputs = keras.layers.Lambda(eval(code))(image)
    keras.Model(image, outputs).save(tmp_path / f"model{ending}")
    assert ran.exists()
    ran.unlink()
    with pytest.raises(data_io.DataError, match="cannot be loaded as a Keras model"):
        saved_models.open_backend(str(tmp_path / f"model{ending}"), base.Options(3))
    assert not ran.exists()


def test_names_in_a_pickle_do_nothing_to_a_terminal(tmp_path):
    path = tmp_path / "x.pickle"
    path.write_bytes(b"c\x1b[2J\x1b]0;owned\x07os\nsystem\n.")
    with pytest.raises(ValueError, match="nothing in it was run") as caught:
        pickle_file.load(path)
    assert str(caught.value).isprintable()


# Found by fuzzing


def test_an_array_header_that_is_no_python_is_a_value_error():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    broken = buffer.getvalue().replace(b"}", b"(")
    with pytest.raises(ValueError, match="not a sound .npy"):
        data_io.decode_array(broken)


def test_an_array_too_large_for_any_memory_is_a_value_error():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    header = buffer.getvalue()
    broken = header.replace(b"(3,), }" + b" " * 16, b"(3" + b"0" * 16 + b",), }")
    assert len(broken) == len(header)
    with pytest.raises(ValueError):
        data_io.decode_array(broken)


def test_offsets_before_the_start_of_an_npz_are_a_value_error(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, samples=np.zeros([2, 2]))
    content = bytearray(path.read_bytes())
    # The offset of the central directory, in the record at the end.
    place = content.rindex(b"PK\x05\x06") + 16
    content[place : place + 4] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a sound .npz"):
        list(npz.NpzArray(str(path), "samples"))


@pytest.mark.parametrize("code", [b"0u", b"(u", b"u1,08u1"])
def test_a_dtype_of_a_pickle_is_not_parsed_as_python(tmp_path, code):
    path = tmp_path / "x.pickle"
    content = pickle.dumps(np.zeros(3, np.uint8), protocol=2)
    sound = b"X\x02\x00\x00\x00u1"
    assert sound in content
    broken = b"X" + len(code).to_bytes(4, "little") + code
    path.write_bytes(content.replace(sound, broken))
    with pytest.raises(ValueError, match="wanted numbers"):
        pickle_file.load(path)


def test_a_section_that_is_no_section_is_a_configuration_error():
    text = config_lib.to_json(config_lib.load("cityscapes"))
    broken = json.loads(text) | {"stage1": 7}
    with pytest.raises(config_lib.ConfigError, match="fields of Stage1, got 7"):
        config_lib.from_json(json.dumps(broken))
