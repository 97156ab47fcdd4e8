"""Damages files at random and reads them: nothing but the clear errors may come out.

    python tests/fuzz_readers.py --minutes 5

where car_tf is installed.

Starts from sound files of every kind that users bring (images and labels, .npy and .npz
arrays, pickles, HDF5, DICOM and outlines, frozen graphs and archives of them,
configurations and the JSON of runs), changes bytes, cuts, repeats and splices them, and
gives them to the reader. What is no clear error is printed with its seed, and the file
is kept.
"""

import argparse
import io
import pathlib
import pickle
import random
import resource
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zlib

import h5py
import lidc_download
import numpy as np
import pydicom
import tensorflow as tf
from PIL import ExifTags, Image

from car_tf import config as config_lib
from car_tf.blackbox import frozen_graph
from car_tf.config import fields
from car_tf.data import io as data_io
from car_tf.data import npz, pictures
from car_tf.data.lidc import contours, pickle_file
from car_tf.data.lidc import dicom as lidc_dicom
from car_tf.data.lidc import folders as lidc_folders
from car_tf.data.lidc import read as lidc
from car_tf.runtime import run_dir

CLEAR = (data_io.DataError, config_lib.ConfigError, run_dir.RunError)


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def graph():
    with tf.Graph().as_default() as built:
        image = tf.compat.v1.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        scores = tf.cast(image, tf.float32, name="ResizeBilinear_1")
        tf.argmax(scores, -1, name="SemanticPredictions")
    return built.as_graph_def().SerializeToString()


def archive(content, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        entry = tarfile.TarInfo("deeplab/frozen_inference_graph.pb")
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def saved(save, *args, **kwargs):
    buffer = io.BytesIO()
    save(buffer, *args, **kwargs)
    return buffer.getvalue()


def hdf5(images, labels, **options):
    """PHiSeg's layout, two crops in each of two splits."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for split in ("train", "val"):
            file.create_dataset(f"{split}/images", data=images, **options)
            file.create_dataset(f"{split}/labels", data=labels, **options)
            file[f"{split}/uids"] = [f"{split}-1", f"{split}-2"]
    return buffer.getvalue()


def dicom(folder):
    """A slice as it is, and in the two codings that pydicom decodes itself."""
    path = folder / "slice.dcm"
    pixels = np.arange(12 * 10).reshape(12, 10)
    lidc_download.write_slice(path, "1.2.3", -5.0, pixels)
    plain = path.read_bytes()
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(path)
    packed = path.read_bytes()
    data = pydicom.dcmread(io.BytesIO(plain))
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(path)
    return [plain, packed, path.read_bytes()]


def read_photograph(path):
    with data_io.opened(path) as image:
        pictures.map_size(image)
    data_io.read_png(path, mode="RGB")


def read_dicom(path):
    for headers in lidc_dicom.index_series(path.parent).values():
        lidc_dicom.read_slices(headers)
    outline = contours.Outline(1, np.array([(2, 2), (6, 2), (6, 6), (2, 6)]), False)
    contours.crops_of_slice(*lidc_dicom.read_hounsfield(path), [outline])


def read_outlines(path):
    database = contours.ContourDatabase(path)
    for series in database.series_by_patient().values():
        for uid in series:
            for outlines in database.outlines(uid).values():
                pixels = np.zeros(lidc_download.SHAPE, np.float32)
                contours.crops_of_slice(pixels, (0.7, 0.7), outlines)


def seeds():
    """name -> (sound files' contents, ending, reader of a path, allowed errors)."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 34, (9, 14), dtype=np.uint8)
    colour = rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)
    images = [
        png(colour),
        png(grey),
        png(grey.astype(np.uint16)),
        png(colour[..., 0] > 9),
    ]
    images.append(png(np.zeros((300, 300), np.uint8)))
    crop = {"image": rng.random((4, 4)), "masks": [np.eye(4)] * 4, "series_uid": "1"}
    records = {
        "a": crop,
        "b": {**crop, "series_uid": "2"},
        "c": {**crop, "series_uid": "3"},
    }
    pickles = [pickle.dumps(records, protocol) for protocol in (0, 2, 4, 5)]
    arrays = [saved(np.save, grey), saved(np.save, rng.random((2, 3, 4)).astype("f2"))]
    zipped = [
        saved(save, samples=rng.integers(0, 2, (2, 3, 4, 4), dtype=np.uint8))
        for save in (np.savez, np.savez_compressed)
    ]
    masks = rng.integers(0, 2, (2, 4, 6, 5), dtype=np.uint8)
    grey_crops = rng.integers(0, 256, (2, 6, 5), dtype=np.uint8)
    hdf5_files = [
        hdf5(grey_crops, masks),
        hdf5(grey_crops / np.float32(255) - 0.5, np.moveaxis(masks, 1, 3)),
        hdf5(grey_crops, masks, compression="gzip", shuffle=True, fletcher32=True),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        slices = dicom(folder)
        lidc_download.write_contours(folder / "outlines.sqlite", num_patients=1)
        outlines = [(folder / "outlines.sqlite").read_bytes()]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    photographs = [saved(Image.fromarray(colour).save, "BMP")]
    photographs += [
        saved(Image.fromarray(colour).save, kind, exif=exif)
        for kind in ("PNG", "JPEG", "TIFF", "WEBP")
    ]
    frozen = graph()
    config = config_lib.to_json(config_lib.Config(name="x")).encode()
    return {
        "image": (images, ".png", lambda path: data_io.read_png(path, mode="RGB"), ()),
        "photograph": (photographs, ".jpg", read_photograph, ()),
        "hdf5": (
            hdf5_files,
            ".hdf5",
            lambda p: lidc.read(p, "val", seed=1),
            (FileNotFoundError,),
        ),
        "dicom": (slices, ".dcm", read_dicom, ()),
        "outlines": (outlines, ".sqlite", read_outlines, ()),
        "ids": (images, ".png", data_io.read_ids, ()),
        "grey": (images, ".png", lidc_folders.read_grey, ()),
        "pickle": (pickles, ".pickle", pickle_file.load, (ValueError,)),
        "lidc": (
            pickles,
            ".pickle",
            lambda p: lidc.read(p, "val", seed=1),
            (ValueError,),
        ),
        "array": (
            arrays,
            ".npy",
            lambda path: data_io.decode_array(path.read_bytes()),
            (ValueError,),
        ),
        "npz": (
            zipped,
            ".npz",
            lambda path: list(npz.NpzArray(str(path), "samples")),
            (ValueError,),
        ),
        "graph": ([frozen], ".pb", lambda path: frozen_graph.read_graph(str(path)), ()),
        "archive": (
            [archive(frozen), archive(frozen, "w"), archive(frozen, "w:xz")],
            ".tar.gz",
            lambda path: frozen_graph.read_graph(str(path)),
            (),
        ),
        "config": (
            [config],
            ".json",
            lambda path: config_lib.from_json(path.read_text("latin-1")),
            (),
        ),
        "setting": (
            [b"train.seed=3", b"data.size=[256, 512]", b"blackbox.class_map=1,2"],
            ".txt",
            lambda path: fields.override(
                config_lib.Config(name="x"), [path.read_text("latin-1")]
            ),
            (),
        ),
    }


INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, ord("0"), ord("9"), ord("-"), ord("("), ord("."))


def mutate(content, rng, others):
    """Returns a damaged copy."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(data) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(7)
        if kind == 0:
            data[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[place : place + 1] = bytes([rng.choice(INTERESTING)])
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length] * rng.choice((1, 2, 50))
        elif kind == 4:
            del data[place:]
        elif kind == 5:
            number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1))
            order = rng.choice(("little", "big"))
            data[place : place + 8] = number.to_bytes(8, order)
        else:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[place : place + length] = other[start : start + length]
    return bytes(data)


def mend(content):
    """Returns a PNG with right checksums, so that damage gets past them."""
    data, place = bytearray(content), 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(data)


def attempt(kind, content, folder, table):
    """Reads a file; returns what came out that should not have, as text."""
    _, ending, read, allowed = table[kind]
    path = pathlib.Path(folder) / f"input{ending}"
    path.write_bytes(content)
    started = time.monotonic()
    try:
        read(path)
    except (*CLEAR, *allowed) as error:
        if kind == "pickle" and not str(error).isprintable():
            return "a message that is not printable"
    except BaseException:  # Whatever it is, it is what is looked for.
        return traceback.format_exc()
    seconds = time.monotonic() - started
    return f"took {seconds:.1f} s" if seconds > 20 else ""


def case(table, seed):
    """Returns the kind and content of a case, which a seed determines."""
    rng = random.Random(seed)
    # HDF5 takes a process for each file, all others less than a millisecond or ten.
    kind = "hdf5" if rng.random() < 0.01 else rng.choice(sorted(set(table) - {"hdf5"}))
    sound = table[kind][0]
    content = mutate(rng.choice(sound), rng, sound)
    if table[kind][1] == ".png" and rng.random() < 0.7:
        content = mend(content)
    return kind, content


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default="fuzz_failures")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # pydicom's, of every odd value.
    table, seed, failures, counts = seeds(), arguments.seed, {}, {}
    end = time.monotonic() + 60 * arguments.minutes
    memory = []
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            kind, content = case(table, seed)
            counts[kind] = counts.get(kind, 0) + 1
            problem = attempt(kind, content, folder, table)
            if problem:
                where = (kind, problem.strip().splitlines()[-1][:80])
                if where not in failures:
                    print(f"seed {seed}, {kind}:\n{problem}", flush=True)
                    keep = pathlib.Path(arguments.keep)
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed}-{kind}").write_bytes(content)
                failures[where] = failures.get(where, 0) + 1
            seed += 1
            if seed % 20000 == 0:
                pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
                memory.append(pages * resource.getpagesize() >> 20)
                print(f"{seed} cases, {memory[-1]} MiB", flush=True)
    print(f"cases by kind: {counts}\nmemory in MiB every 20000 cases: {memory}")
    print(f"failures: {failures or 'none'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
