"""The check of a black box against labels, and the command that runs it."""

import os
import pathlib
import resource
import subprocess
import sys

import blackbox_models as models
import numpy as np
import pytest
import real_data
from PIL import Image

from car_tf import config as config_lib
from car_tf.blackbox import attach, inference, postprocess, report
from car_tf.data import cityscapes, sheets

ROOT = pathlib.Path(__file__).resolve().parents[2]
K = models.NUM_CLASSES


def test_confusion_counts_predictions_of_none_as_wrong():
    labels = np.array([[[0, 0, 1, 255]]])
    predictions = np.array([[[0, 1, 255, 0]]])
    counts = report.confusion(labels, predictions, num_classes=2)
    # Rows true, columns predicted, the last for none; the ignored pixel nowhere.
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 1]])
    assert report.accuracy(counts) == pytest.approx(1 / 3)


def test_table_states_both_means():
    # Class 0: 3 of 4 found, one taken for 2. Class 1: 2 of 2. Class 2: not labelled.
    counts = np.array([[3, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    text = report.table(counts, ("road", "car", "tree"))
    lines = text.splitlines()
    # IoU 3 / (3 + 1), 2 / 2, 0 / 1.
    assert lines[1].split() == ["road", "0.750", "66.7%", "50.0%"]
    assert lines[2].split() == ["car", "1.000", "33.3%", "33.3%"]
    assert lines[3].split() == ["tree", "0.000", "0.0%", "16.7%"]
    assert "pixel accuracy 0.833" in text
    # (0.75 + 1) / 2 and (0.75 + 1 + 0) / 3.
    assert "mIoU 0.875 over the 2 classes that are labelled, 0.583 over the 3" in text
    nothing = np.zeros((2, 3), np.int64)
    assert report.table(nothing, ("road", "car")) == "not one labelled pixel"


def test_another_order_of_the_classes_is_noticed():
    # What is labelled 0, 1, 2 is predicted as 1, 2, 0, but for one pixel.
    counts = np.array([[0, 50, 0, 0], [0, 0, 30, 0], [19, 0, 1, 0]])
    hint = report.order_hint(counts)
    assert "0.990" in hint and hint.endswith("2,0,1)")
    right = np.array([[50, 0, 0, 0], [0, 30, 0, 0], [0, 10, 10, 0]])
    assert report.order_hint(right) == ""
    # A class that fills all images tells of wrong images, not of another order; where
    # it fills the labels as well, under another name, of one.
    filled = np.array([[0, 50, 0], [0, 50, 0]])
    assert report.order_hint(filled) == ""
    assert "by these images: 255,0" in report.order_hint(filled * [[2], [0]])


def test_what_speaks_against_an_understood_segmenter_is_said():
    names = ("road", "car", "tree")
    assert report.findings(np.diag([50, 30, 20])[:, [0, 1, 2, 2]] * 0, names)[0] == (
        "not one labelled pixel: whether the black box is understood cannot be told"
    )
    fine = np.array([[50, 0, 0, 0], [5, 25, 0, 0], [0, 10, 10, 0]])
    assert report.findings(fine, names) == []
    # By chance: 0.5 * 1/3 + 0.3 * 1/3 + 0.2 * 1/3.
    chance = np.array([[50, 50, 50, 0], [30, 30, 30, 0], [20, 20, 20, 0]])
    (found,) = report.findings(chance, names)
    assert "hardly agree: pixel accuracy 0.333, of which 0.333 comes by chance" in found
    for column, name in ((0, "road"), (3, "none of the classes")):
        full = np.zeros((3, 4), int)
        full[:, column] = [50, 30, 20]
        assert report.findings(full, names)[0] == (
            f"100.0% of the pixels are predicted as {name}"
        )
    half = np.array([[25, 0, 0, 25], [0, 15, 0, 15], [0, 0, 10, 10]])
    assert report.findings(half, names) == [
        "50.0% of the pixels are predicted as none of the classes"
    ]
    # A rare class may be lost in a mapping while all else is right.
    lost = np.array([[90, 0, 0, 0], [0, 8, 0, 0], [2, 0, 0, 0]])
    assert report.findings(lost, names) == [
        f"labelled, but never predicted: {names[2]} (2.0% of the labelled pixels)"
    ]
    # Right though it is one class.
    assert report.findings(np.array([[99, 0, 0, 0]] + [[0] * 4] * 2), names) == []


def test_only_clearly_better_input_is_pointed_out():
    now = np.full(8, 0.5)
    better = now + 0.1
    assert "with b the pixel accuracy on these images rises from 0.500 to 0.600" in (
        report.input_hint({"a": now, "b": better})
    )
    # On average likewise, but by two images alone.
    lucky = now.copy()
    lucky[:2] += 0.4
    assert report.input_hint({"a": now, "b": lucky}) == ""
    assert report.input_hint({"a": now, "b": now + 0.02}) == ""


def test_sheet_shows_image_label_and_prediction():
    images = np.full((1, 20, 40, 3), 9, np.uint8)
    labels = np.full((1, 20, 40), 255)
    predictions = np.ones((1, 20, 40), int)
    colors = ((250, 0, 0), (0, 250, 0))
    picture = report.sheet(
        images, labels, predictions, class_names=("a", "b"), class_colors=colors
    )
    pixels = np.asarray(picture)
    assert pixels.shape[1] == 3 * 40
    row = pixels[sheets.TITLE_HEIGHT + 10]
    # Three tiles of 40 pixels.
    assert [tuple(row[x]) for x in (20, 60, 100)] == [(9,) * 3, (0, 0, 0), (0, 250, 0)]
    assert (pixels == (250, 0, 0)).all(-1).any(), "the legend shows every class"


def run(arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "car_tf.blackbox", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def test_help_and_mistakes_take_no_time(tmp_path):
    (tmp_path / "b" / "leftImg8bit").mkdir(parents=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = run(["--help"], tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "package.module:function" in shown.stdout
    # Processor time: other work on the machine does not count.
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < 1, f"{spent:.1f} s"
    for arguments, message in (
        (["--data_dir", "x"], "error: --path: wanted a path, got none"),
        (
            ["--path", "a", "--data_dir", "b", "--set", "blackbox.canals=rgb"],
            "channels",
        ),
    ):
        shown = run(arguments, tmp_path)
        assert shown.returncode == 1 and message in shown.stderr
        assert "Traceback" not in shown.stderr


LABEL_IDS = np.array(
    [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
)


def test_the_command_on_a_small_data_set(tmp_path, monkeypatch):
    """A function that takes BGR is given RGB: the command says so."""
    rng = np.random.default_rng(0)
    for index in range(10):
        labels = rng.integers(0, K, (4, 8)).repeat(8, 0).repeat(8, 1)
        name = f"ulm_000000_{index:06d}"
        for kind, ending, content in (
            ("leftImg8bit", "leftImg8bit", models.class_image(labels)),
            ("gtFine", "gtFine_labelIds", LABEL_IDS[labels].astype(np.uint8)),
        ):
            path = tmp_path / kind / "val" / "ulm" / f"{name}_{ending}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def segment(images):\n"
        f"    return np.minimum(images[..., 2].astype(int) * {K} // 255, {K - 1})\n"
    )
    common = ["--path", "mine:segment", "--data_dir", str(tmp_path)]
    common += ["--set", f"data.cache_dir={tmp_path}/cache"]
    common += ["--set", "data.size=16,32", "--sheet", "sheet.png"]

    wrong = run(common, tmp_path, TF_CPP_MIN_LOG_LEVEL="3")
    assert wrong.returncode == 0, wrong.stderr
    assert "Python function: uint8 images" in wrong.stdout
    assert "10 images of val, compared at 16 x 32:" in wrong.stdout
    hint = "hint: with blackbox.channels=bgr the pixel accuracy on these images rises"
    assert hint in wrong.stdout and "to 1.000" in wrong.stdout
    # The files have 32 x 64 pixels.
    for size in ("16,32", "64,128"):
        assert f"blackbox.input_size={size}" in wrong.stdout
    assert Image.open(tmp_path / "sheet.png").width == 3 * 32

    # A training at another size takes what the check has predicted.
    monkeypatch.syspath_prepend(tmp_path)
    changes = {"path": "mine:segment"}, {"size": (32, 64), "crop_size": (16, 16)}
    config = config_lib.change(
        config_lib.Config(name="a"), blackbox=changes[0], data=changes[1]
    )
    kept = set((tmp_path / "cache" / "blackbox").rglob("*.npz"))
    found = inference.predictions(
        attach.build_blackbox(config, K),
        models.split_of(sorted((tmp_path / "leftImg8bit").rglob("*.png"))),
        size=config.data.size,
        cache_dir=tmp_path / "cache",
    )
    assert found.shape == (10, 32, 64)
    assert set((tmp_path / "cache" / "blackbox").rglob("*.npz")) == kept


@pytest.mark.parametrize("output", ["labels", "probabilities"])
def test_the_real_deeplab_runs_once_on_camvid(tmp_path, output, monkeypatch):
    name = "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite"
    model, camvid = real_data.folder("deeplab") / name, real_data.folder("camvid")
    found = cityscapes.find(camvid, "val")[0][::25]
    table = cityscapes.label_id_table()
    size, labels = (256, 512), []
    for scene in found:
        labels.append(table[np.asarray(Image.open(scene.label))])

    def predict(size):
        return inference.predictions(
            inference.load(str(model), num_classes=K, output=output),
            models.split_of([scene.image for scene in found]),
            size=size,
            cache_dir=tmp_path,
        )

    got = predict(size)
    if output == "probabilities":
        assert got.dtype == np.float16 and got.shape == (len(found), *size, K)
        # Each of the K probabilities is kept to 1 / 510, and rounded to float16 then.
        np.testing.assert_allclose(
            got.sum(-1, dtype=np.float32), 1, atol=K / 510 + 1e-3
        )
    counts = report.confusion(
        np.stack(labels), postprocess.hard_labels(got), num_classes=K
    )
    # 80.7 % over all 101 images.
    assert 0.76 < report.accuracy(counts) < 0.86
    # Another working size takes what the black box has given.
    monkeypatch.setattr(inference, "_predict_each", None)
    half = postprocess.hard_labels(predict((128, 256)))
    wanted = postprocess.hard_labels(got)[:, 1::2, 1::2]
    assert half.shape == wanted.shape and (half == wanted).mean() > 0.98
