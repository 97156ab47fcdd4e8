"""Predicting a split once: cache, resuming, failures, memory."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import blackbox_models as models
import job
import numpy as np
import pytest
from PIL import Image

from car_tf import config
from car_tf.blackbox import attach, inference, postprocess, report
from car_tf.data import examples, io

K = models.NUM_CLASSES
SIZE = (8, 16)

SOURCE = """
import json, pathlib
import numpy as np

folder = pathlib.Path({folder!r})

def note(images):
    with open(folder / "calls.txt", "a") as log:
        log.write(f"{{len(images)}}\\n")

def labels(images):
    note(images)
    # The blue of each image is its number.
    numbers = images[:, 0, 0, 2]
    bad = json.loads((folder / "bad.json").read_text())
    for number in numbers:
        if number in bad:
            raise RuntimeError(f"cannot bear {{number}}")
    return np.minimum(images[..., 0].astype(int) * {k} // 255, {k} - 1)

def probs(images):
    one_hot = np.eye({k})[labels(images)]
    scores = 0.7 * one_hot + 0.3 / {k}
    bad = images[:, 0, 0, 1] == 111
    scores[bad] = np.nan
    return scores

def bold(images):  # Logits, from 0 to 1 on dark images.
    return np.eye({k})[labels(images)] * images.max() / 100 - (images.max() > 100)
"""


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A folder with a function that logs its calls and fails as it is told."""
    name = f"logged_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(SOURCE.format(folder=str(tmp_path), k=K))
    (tmp_path / "bad.json").write_text("[]")
    monkeypatch.syspath_prepend(tmp_path)
    return Box(tmp_path, name)


class Box:
    def __init__(self, folder, module):
        self.folder, self.module = folder, module

    def write(self, num, size=SIZE, name="images"):
        """Writes images whose blue is their number; returns files and labels."""
        rng = np.random.default_rng(0)
        labels = rng.integers(0, K, (num, *size))
        images = models.class_image(labels)
        images[..., 2] = np.arange(1, num + 1)[:, None, None]
        return models.write_images(self.folder / name, images), labels

    def predict(self, paths, *, function="labels", size=SIZE, output="auto", **kwargs):
        segmenter = inference.load(
            f"{self.module}:{function}", num_classes=K, output=output, **kwargs
        )
        return inference.predictions(
            segmenter,
            models.split_of(paths) if isinstance(paths, list) else paths,
            size=size,
            cache_dir=self.folder / "cache",
        )

    def calls(self):
        """Sizes of the batches since the last time that this was asked."""
        log = self.folder / "calls.txt"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return [int(line) for line in lines]

    def kept(self):
        return len(list((self.folder / "cache" / "blackbox").rglob("*.npz")))


def test_predictions_are_made_in_batches_and_once(box):
    paths, labels = box.write(20)
    got = box.predict(paths)
    assert isinstance(got, np.memmap) and got.dtype == np.uint8
    np.testing.assert_array_equal(got, labels)
    assert box.calls() == [8, 8, 4]
    np.testing.assert_array_equal(box.predict(paths), labels)
    # A part of the images, in another order, is there already.
    np.testing.assert_array_equal(box.predict(paths[:2:-1]), labels[:2:-1])
    assert box.calls() == []


def test_a_function_that_fails_on_image_17_keeps_16_and_goes_on_there(box):
    paths, labels = box.write(20)
    (box.folder / "bad.json").write_text("[17]")
    message = "image_0016.png: .*RuntimeError: cannot bear 17.*before it are kept"
    for _ in range(2):
        with pytest.raises(io.DataError, match=message):
            box.predict(paths)
        assert box.kept() == 16
    # Two batches, the third, its first image alone; then the rest likewise.
    assert box.calls() == [8, 8, 4, 1, 4, 1]
    (box.folder / "bad.json").write_text("[]")
    np.testing.assert_array_equal(box.predict(paths), labels)
    assert box.calls() == [4]


@pytest.mark.parametrize("function", ["labels", "probs"])
def test_examples_that_are_no_files_are_predicted_alike(box, function):
    paths, labels = box.write(12)
    images = np.stack([Image.open(path) for path in paths])
    names = tuple(f"crop{i}" for i in range(12))
    split = examples.Examples(names, names, images, labels[:, None])
    (box.folder / "bad.json").write_text("[11]")
    with pytest.raises(io.DataError, match="^crop10: .*cannot bear 11"):
        box.predict(split, function=function)
    assert box.calls() == [8, 4, 1, 1, 1] and box.kept() == 10
    (box.folder / "bad.json").write_text("[]")
    got = box.predict(split, function=function)
    assert box.calls() == [2]
    if function == "probs":  # Not in steps of 1 / 255, as those of files.
        wanted = (0.7 * np.eye(K)[labels] + 0.3 / K).astype(np.float16)
        np.testing.assert_array_equal(got, wanted)
    else:
        np.testing.assert_array_equal(got, labels)


def test_images_before_a_bad_one_within_a_batch_are_kept(box):
    paths, labels = box.write(8)
    (box.folder / "bad.json").write_text("[6]")
    with pytest.raises(io.DataError, match="image_0005.png"):
        box.predict(paths)
    assert box.kept() == 5
    (box.folder / "bad.json").write_text("[]")
    np.testing.assert_array_equal(box.predict(paths), labels)


def test_probabilities_are_off_by_half_a_step_at_most(box):
    paths, labels = box.write(5)
    got = box.predict(paths, function="probs")
    assert isinstance(got, np.memmap) and got.dtype == np.float16
    wanted = 0.7 * np.eye(K)[labels] + 0.3 / K
    # Half a step of 1 / 255, and half precision's rounding of numbers below 1.
    assert np.abs(got - wanted).max() <= 1 / 510 + 2**-12
    np.testing.assert_array_equal(got.argmax(-1), labels)


def test_the_kind_of_scores_is_kept_with_them(box):
    (bright,), _ = box.write(1)
    dark = box.folder / "dark.png"
    Image.fromarray(np.asarray(Image.open(bright)) // 6).save(dark)
    with pytest.raises(io.DataError, match="the sum .*blackbox.output=sigmoid takes"):
        box.predict([dark], function="bold")
    box.predict([bright], function="bold")
    # Another process goes on with what the first image told.
    (after,) = box.predict([dark], function="bold")
    assert after.max() < 0.1


def test_nan_probabilities_name_the_image(box):
    paths, _ = box.write(3)
    first, image = (np.array(Image.open(path)) for path in paths[:2])
    image[..., 1] = 111
    models.write_images(box.folder / "images", [first, image])
    with pytest.raises(io.DataError, match="image_0001.png: .* NaN"):
        box.predict(paths, function="probs")
    assert box.kept() == 1


def test_an_unreadable_image_does_not_cost_those_before_it(box):
    paths, labels = box.write(6)
    content = paths[4].read_bytes()
    paths[4].write_bytes(content[: len(content) // 2])
    with pytest.raises(io.DataError, match="image_0004.png: not a readable image"):
        box.predict(paths)
    assert box.kept() == 4
    paths[4].write_bytes(content)
    np.testing.assert_array_equal(box.predict(paths), labels)


def test_a_worker_predicts_its_share_and_that_of_workers_who_are_gone(
    box, monkeypatch, capsys
):
    paths, labels = box.write(9)
    monkeypatch.setenv("TF_CONFIG", job.cluster(2)[1])
    monkeypatch.setattr(inference, "_PATIENCE", 0.0)
    np.testing.assert_array_equal(box.predict(paths), labels)
    # Images 1, 3, 5 and 7 are its own.
    assert box.calls() == [4, 5]
    said = capsys.readouterr().out
    assert "no prediction of another worker in 0 s; the 5 images" in said
    np.testing.assert_array_equal(box.predict(paths), labels)
    assert box.calls() == []


OTHER_WORKER = """
import pathlib, sys
import blackbox_models as models
import numpy as np
from car_tf.blackbox import inference

box, module, *paths = sys.argv[1:]
predicted = inference.predictions(
    inference.load(f"{module}:labels", num_classes=models.NUM_CLASSES, output="auto"),
    models.split_of([pathlib.Path(path) for path in paths]),
    size=(8, 16),
    cache_dir=pathlib.Path(box) / "cache",
)
np.save(f"{box}/other.npy", predicted)
"""


def test_two_workers_predict_each_image_once(box, monkeypatch):
    paths, labels = box.write(9)
    one, other = job.cluster(2)
    tests = pathlib.Path(__file__).resolve().parents[1]
    found = os.pathsep.join(map(str, [job.CHECKOUT, tests, box.folder]))
    command = [sys.executable, "-c", OTHER_WORKER, box.folder, box.module, *paths]
    environment = job.environment(TF_CONFIG=other, PYTHONPATH=found)
    monkeypatch.setenv("TF_CONFIG", one)
    with subprocess.Popen(list(map(str, command)), env=environment) as process:
        np.testing.assert_array_equal(box.predict(paths), labels)
    assert process.returncode == 0 and sorted(box.calls()) == [4, 5]
    np.testing.assert_array_equal(np.load(box.folder / "other.npy"), labels)


def test_whatever_changes_is_predicted_anew_and_nothing_else(box):
    paths, labels = box.write(9)
    box.predict(paths)
    assert box.calls() == [8, 1]
    # An image.
    changed = models.class_image(np.full(SIZE, 3))
    models.write_images(box.folder / "images", [changed])
    assert (box.predict(paths)[0] == 3).all() and box.calls() == [1]
    # The classes, the source.
    got = box.predict(paths, class_map=tuple(range(1, K)) + (255,))
    wanted = np.where(labels == K - 1, 255, labels + 1)
    np.testing.assert_array_equal(got[1:], wanted[1:])
    assert box.calls() == [8, 1]
    with open(box.folder / f"{box.module}.py", "a") as source:
        source.write("# changed\n")
    box.predict(paths)
    assert box.calls() == [8, 1]


@pytest.mark.parametrize("function", ["labels", "probs"])
def test_one_prediction_serves_all_working_sizes(box, function, monkeypatch):
    paths, _ = box.write(3, (16, 32))
    whole = box.predict(paths, function=function, size=(16, 32))
    assert box.calls() == [3]
    half = box.predict(paths, function=function, size=(8, 16))
    assert box.calls() == [] and half.shape[1:3] == (8, 16)
    if function == "labels":
        # The centre of a pixel of half the size is the first of the four's second.
        np.testing.assert_array_equal(half, whole[:, 1::2, 1::2])
    else:
        means = whole.reshape(3, 8, 2, 16, 2, K).astype(np.float32).mean((2, 4))
        np.testing.assert_allclose(half, means, atol=1e-3)
    # What a large working size shows is more than is kept for the others.
    monkeypatch.setattr(postprocess, "MAX_SHARED_PIXELS", 16 * 32 - 1)
    assert box.predict(paths, function=function, size=(16, 32)).shape == whole.shape
    assert box.calls() == [3]


def test_probabilities_of_large_images_are_kept_halved():
    def kept(image, size, probable):
        return postprocess.kept_size(image, size, probable).numpy().tolist()

    # 1024 x 2048 are 2^21 pixels: more than 4 x 3 x 2^16, and 2^19 once halved.
    assert kept((1024, 2048), (256, 512), True) == [512, 1024]
    assert kept((1024, 2048), (96, 192), True) == [512, 1024]
    assert kept((1025, 2049), (96, 192), True) == [512, 1024]
    assert kept((768, 1024), (96, 192), True) == [768, 1024]
    assert kept((1024, 2048), (256, 512), False) == [1024, 2048]
    assert kept((1024, 2048), (1024, 2048), True) == [1024, 2048]


def test_other_inputs_are_tried_once(box):
    paths, labels = box.write(3)
    segmenter = inference.load(f"{box.module}:labels", num_classes=K)
    split = models.split_of(paths, labels[:, None].astype(np.uint8))
    arguments = (segmenter, split, labels.astype(np.uint8))
    first = report.try_other_inputs(*arguments, box.folder / "cache")
    assert box.calls() and len(first) > 2
    again = report.try_other_inputs(*arguments, box.folder / "cache")
    assert list(again) == list(first) and box.calls() == []


def test_a_damaged_prediction_is_made_anew(box):
    paths, labels = box.write(3)
    box.predict(paths)
    box.calls()
    kept = sorted((box.folder / "cache" / "blackbox").rglob("*.npz"))
    kept[1].write_bytes(kept[1].read_bytes()[:-9])
    # Another order, so that the assembled array cannot serve.
    np.testing.assert_array_equal(box.predict(paths[::-1]), labels[::-1])
    assert box.calls() == [1]


def test_images_of_several_sizes_are_not_mixed(box):
    wide, _ = box.write(3, (8, 32), "wide")
    square, _ = box.write(2, (16, 16), "square")
    got = box.predict([*wide, *square, wide[0]], size=(8, 16))
    assert got.shape == (6, 8, 16)
    # The last is the first, in content too.
    assert box.calls() == [3, 2]
    np.testing.assert_array_equal(got[0], got[5])


def test_a_thousand_cached_images_take_less_than_a_second(tmp_path, box):
    # Ten images a hundred times over, so that the first run takes no time either.
    images = models.class_image(np.arange(40).reshape(10, 2, 2) % K)
    paths = models.write_images(tmp_path / "many", np.tile(images, (100, 1, 1, 1)))
    box.predict(paths, size=(2, 2))
    box.calls()
    started = time.process_time()
    got = box.predict(paths, size=(2, 2))
    spent = time.process_time() - started
    assert got.shape == (1000, 2, 2) and box.calls() == []
    assert spent < 1, f"{spent:.2f} s"


def test_the_model_is_opened_once_and_not_at_all_where_all_is_cached(box, monkeypatch):
    from car_tf.blackbox import python_function

    opened = []
    real = python_function.open_backend
    monkeypatch.setattr(
        python_function,
        "open_backend",
        lambda *args: opened.append(1) or real(*args),
    )
    paths, _ = box.write(20)
    box.predict(paths)
    assert len(opened) == 1
    box.predict(paths)
    assert len(opened) == 1


def test_label_ids_of_a_model_are_mapped_by_its_configuration(box):
    settings = config.BlackBox(path=f"{box.module}:labels", encoding="label_ids")
    blackbox = attach.build_blackbox(config.Config(name="a", blackbox=settings), 19)
    # Label ids 0 to 33: road is 7, car 26 and bicycle 33; 0 and 9 (parking) are none.
    class_map = blackbox.options.class_map
    assert len(class_map) == 34
    assert [class_map[k] for k in (7, 26, 33, 0, 9)] == [0, 13, 18, 255, 255]


def test_reading_ahead_is_bounded_and_in_order():
    lock, started, used = threading.Lock(), [], 0

    def read(item):
        with lock:
            started.append(item)
        return item

    for item in io.read_ahead(read, range(50), num_ahead=3):
        assert item == used
        used += 1
        time.sleep(0.001)
        # Three wait, and one is in use.
        assert len(started) <= used + 3
    assert used == 50


def test_store_writes_all_or_nothing(tmp_path, monkeypatch):
    kept = inference.Store(tmp_path, fingerprint="a", size=(2, 2))

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError):
        kept.write("0" * 64, np.zeros((2, 2), np.uint8))
    assert not kept.has("0" * 64)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    other = inference.Store(tmp_path, fingerprint="b", size=(2, 2))
    assert other.file("0" * 64) != kept.file("0" * 64)
