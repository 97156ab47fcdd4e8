"""The score command on files: what it writes, prints and refuses.

Runs as a process of its own: entry points are imported by nobody.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import job
import numpy as np
import pytest
import stripes

from car_tf.data import class_flips
from car_tf.metrics import scores
from car_tf.score import arrays


def score(*arguments, cwd, start=job.fork):
    """Runs the command in `cwd` and returns the finished process."""
    return start(*arguments, module="car_tf.score", cwd=cwd)


def street_set():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 19, (3, 8, 8)).astype(np.uint8)
    labels[:, 0] = 255
    labels[1] = 2  # Nothing that flips.
    samples = rng.integers(0, 24, (3, 6, 8, 8)).astype(np.uint8)
    return samples, labels


def rater_set():
    rng = np.random.default_rng(1)
    samples, labels = rng.random((2, 10, 8, 8)) < 0.4, rng.random((2, 4, 8, 8)) < 0.4
    return samples.astype(np.uint8), labels.astype(np.uint8)


def test_class_flips_writes_the_protocols_scores(tmp_path):
    samples, labels = street_set()
    np.savez_compressed(tmp_path / "street.npz", samples=samples, labels=labels)
    done = score(
        "--protocol", "class_flips", "street.npz", "--json", "out.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    flips = class_flips.CITYSCAPES_FLIPS
    expected = scores.score_class_flips(
        samples,
        labels,
        originals=[flip.original for flip in flips],
        flipped=[flip.flipped for flip in flips],
        probabilities=[flip.probability for flip in flips],
        num_classes=24,
    )
    written = json.loads((tmp_path / "out.json").read_text())
    assert written == {**expected, "size": [8, 8]}
    assert written["ged_per_image"][1] is None
    assert f"{expected['ged']:.4f}" in done.stdout
    assert "3 images of 8 x 8 pixels, 1 undefined" in done.stdout
    assert "3/3" in done.stderr  # The progress bar.
    assert sorted(os.listdir(tmp_path)) == ["out.json", "street.npz"]


def test_multi_rater_scores_several_counts_in_one_pass(tmp_path):
    samples, labels = rater_set()
    np.savez(tmp_path / "raters.npz", samples=samples, labels=labels)
    done = score(
        "--protocol=multi_rater",
        "--num_samples=4,10",
        "--json=out.json",
        "raters.npz",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    expected = scores.score_multi_rater(samples, labels, sample_counts=[4, 10])
    written = json.loads((tmp_path / "out.json").read_text())
    assert written == {**expected, "size": [8, 8]}
    rows = done.stdout.splitlines()
    assert rows[0].split()[:2] == ["samples", "GED"] and "HM-IoU" in rows[0]
    assert [row.split()[0] for row in rows[1:3]] == ["4", "10"]
    assert f"{expected['by_num_samples']['4']['hm_iou']:.4f}" in rows[1]
    kind = "classes 1; absent=count_as_one; labels read as class ids, 255 is unknown"
    assert kind in rows[-1]


def test_raters_of_several_classes_whatever_their_axes():
    source, _ = stripes.leaves()
    samples = source.images[None, ..., 0].repeat(2, axis=0)  # [S, I, H, W]
    labels, axes = source.labels.transpose(1, 0, 2, 3), dict(axes="SIHW")
    result = arrays.score(samples, labels, num_classes=3, **axes)
    # Worked by hand in test_evaluation.py.
    assert result["ged_per_image"] == pytest.approx([3 / 4, 1 / 4])
    assert result["distance"]["classes"] == [0, 1, 2]
    # No rater gives class 2, so that it must be told of.
    with pytest.raises(ValueError, match="found 2 .num_classes=2, as the labels tell"):
        arrays.score(samples, labels, **axes)


def test_what_two_arrays_do_not_tell_is_refused():
    maps = np.zeros((3, 4, 6, 8), np.uint8)
    # Not as 3 raters of 2 images, each with samples.
    with pytest.raises(ValueError, match="the same images, got 2 and 3"):
        arrays.score(maps[:2], maps[:, :2], axes="auto")
    with pytest.raises(ValueError, match="255 alone, which hides pixels"):
        arrays.score(maps, maps + 255)
    with pytest.raises(
        ValueError, match="hold 2 values up to 128: class ids, or masks"
    ):
        arrays.score(maps, np.uint8(128) * (np.arange(8) > 3) + maps)
    # Maps whose classes flip, or of one rater.
    with pytest.raises(
        ValueError, match="labels of shape .3, 6, 8. may be .*say which"
    ):
        arrays.score(maps, maps[:, 0])
    # Raters before samples, which are last: 3 images of 6 x 8.
    first = np.moveaxis(maps, 1, -1)
    assert arrays.score(first, maps[:, :2], axes="auto")["size"] == [6, 8]


def test_undefined_everywhere_is_null(tmp_path):
    samples, labels = street_set()
    np.savez(tmp_path / "street.npz", samples=samples[1:2, :1], labels=labels[1:2])
    done = score(
        "--protocol=class_flips", "street.npz", "--json=out.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["ged"] is None and written["ged_per_image"] == [None]
    assert "undefined" in done.stdout


def test_axes_are_told_by_the_shapes(tmp_path):
    samples, labels = street_set()
    np.savez(tmp_path / "as_is.npz", samples=samples, labels=labels)
    np.savez(
        tmp_path / "other.npz", samples=samples.transpose(0, 2, 3, 1), labels=labels
    )
    first, other = (
        score("--protocol=class_flips", f"{name}.npz", cwd=tmp_path)
        for name in ("as_is", "other")
    )
    assert first.stdout == other.stdout and first.returncode == 0, other.stderr


def test_axes_that_shapes_do_not_tell_are_asked_for(tmp_path):
    samples, labels = street_set()
    np.savez(tmp_path / "a.npz", samples=samples[:, :3], labels=labels)
    done = score("--protocol=class_flips", "a.npz", cwd=tmp_path)
    assert done.returncode == 1 and "say --axes" in done.stderr
    assert "samples ISHW, labels IHW; samples SIHW, labels IHW" in done.stderr
    scored = [
        score("--protocol=class_flips", f"--axes={axes}", "a.npz", cwd=tmp_path)
        for axes in ("ISHW", "SIHW", "IHWS")
    ]
    assert [done.returncode for done in scored] == [0, 0, 1]
    assert scored[0].stdout != scored[1].stdout
    assert "do not fit --axes=IHWS" in scored[2].stderr


def write_street(path, **changes):
    samples, labels = street_set()
    arrays = {"samples": samples, "labels": labels, **changes}
    np.savez(
        path, **{name: value for name, value in arrays.items() if value is not None}
    )


def bad_class(path):
    samples, _ = street_set()
    samples[2, 5, 7, 7] = 40
    write_street(path, samples=samples)


def flipped_byte(path):
    write_street(path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 1  # Among the 1152 values of the samples, which come first.
    path.write_bytes(content)


def truncated(path):
    write_street(path)
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    "write, message",
    [
        (bad_class, "image 2: samples must hold class ids 0..23, found 40"),
        (flipped_byte, "not a sound .npz: Bad CRC-32"),
        (truncated, "not a sound .npz: File is not a zip file"),
        (lambda path: path.write_text("text"), "not a sound .npz"),
        (lambda path: None, "No such file"),
        (
            lambda path: write_street(path, labels=None),
            "wanted an array 'labels', found",
        ),
        (lambda path: write_street(path, labels=np.zeros(3)), "labels must have shape"),
        (
            lambda path: write_street(path, samples=np.full((3, 6, 8, 8), None)),
            "samples must be integer or bool, got object",
        ),
    ],
)
def test_bad_files_stop_with_one_line_that_names_them(write, message, tmp_path):
    write(tmp_path / "bad.npz")
    done = score("--protocol=class_flips", "bad.npz", "--json=out.json", cwd=tmp_path)
    assert done.returncode == 1
    # A progress bar may stand before it, on a line of its own.
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "bad.npz" in last and message in last
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--protocol=class_flips"], "wanted one FILE.npz, got 0 files"),
        (["street.npz"], "--protocol must be class_flips or multi_rater"),
        (["--protocol=classes", "street.npz"], "class_flips|multi_rater"),
        (["--protocol=class_flips", "--num_samples=4,x", "street.npz"], "got 4,x"),
        (["--protocol=class_flips", "--num_samples=7", "street.npz"], "in 1..6"),
        (["--protocol=class_flips", "--json=street.npz/o", "street.npz"], "street.npz"),
    ],
)
def test_bad_arguments_stop_with_one_clear_line(arguments, message, tmp_path):
    write_street(tmp_path / "street.npz")
    done = score(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_needs_no_heavy_import(tmp_path):
    code = (
        "import sys, runpy, absl.app\n"
        "absl.app.run = lambda main, **unused: None\n"
        "runpy.run_module('car_tf.score', run_name='__main__')\n"
        "print(sorted({'numpy', 'scipy', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=job.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_scoring_never_imports_tensorflow(tmp_path):
    write_street(tmp_path / "street.npz")
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not wanted')")
    street = ("--protocol=class_flips", "street.npz")
    done = score(*street, cwd=tmp_path, start=job.run)
    assert done.returncode == 0, done.stderr
