"""The package as a library: what it offers, how it is called, and the README's script."""

import inspect
import re
import subprocess
import sys
from unittest import mock

import cityscapes_tree
import job
import numpy as np
import pytest
from PIL import Image

import car_tf
from car_tf import config as config_lib
from car_tf.data import io, layouts
from car_tf.models.keras_api import keras
from car_tf.runtime import run_dir
from car_tf.train import api

pytestmark = pytest.mark.usefixtures("shallow_generators")

FIRST = (
    "import car_tf; car_tf.train, car_tf.evaluate, car_tf.score, car_tf.metrics",
    "import car_tf.train.run, car_tf.evaluate.run, car_tf.score.arrays",
    "from car_tf.train import api; import car_tf.metrics.ged, car_tf.evaluate.api",
)
CALLS = """
import os, sys
import tensorflow, tensorflow_probability  # Once for all.
tensorflow_probability.distributions  # It loads itself when it is first used.

for first in sys.argv[1:]:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0, first
        continue
    exec(first)
    import car_tf, inspect, numpy
    import car_tf.train.api, car_tf.metrics.ged, car_tf.metrics.realism
    assert "callbacks" in inspect.signature(car_tf.train).parameters
    assert "realism_steps" in inspect.signature(car_tf.evaluate).parameters
    masks = numpy.ones([1, 1, 2, 2], int)
    assert car_tf.score(masks, masks)["ged"] == car_tf.metrics.ged(masks, masks) == 0
    assert car_tf.metrics.ged.energy_distance and car_tf.train.api.Run is car_tf.Run
    assert car_tf.metrics.realism([1.0], [0.0]) == 1.0
    os._exit(0)
"""


def test_packages_are_called_whoever_imports_them_first():
    command = [sys.executable, "-c", CALLS, *FIRST]
    subprocess.run(command, check=True, env=job.environment())


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = """
import car_tf, sys
car_tf.train, car_tf.evaluate, car_tf.score, car_tf.Run
assert not {"tensorflow", "keras", "matplotlib"} & set(sys.modules), sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=job.environment())


def test_all_that_is_public_is_documented():
    for name in set(car_tf.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(car_tf, name)), name
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        car_tf.trian


def resolved(monkeypatch, **arguments):
    """The configuration that `car_tf.train` would run."""
    seen = []
    monkeypatch.setattr(
        api, "run_job", lambda config, path, **rest: seen.append(config)
    )
    car_tf.train("lidc", **arguments)
    return seen[0]


def test_overrides_are_dotted_nested_or_texts(monkeypatch):
    for arguments in (
        dict(set={"stage2.steps": 10, "train.seed": 3}),
        dict(set={"stage2": {"steps": 10}, "train": {"seed": 3}}),
        dict(set=["stage2.steps=10", "train.seed=3"]),
        dict(stage2={"steps": 10}, set={"train.seed": 3}),
    ):
        config = resolved(monkeypatch, **arguments)
        assert (config.stage2.steps, config.train.seed) == (10, 3)
        assert config.stage1 == config_lib.load("lidc").stage1


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(set={"stage2.stepz": 1}), "stepz"),
        (dict(stage3={"steps": 1}), "stage3"),
        (dict(set={"stage2": 1}), "stage2=1"),
        (dict(set={"stage2.steps": "1"}), "stage2.steps: wanted int"),
        (dict(data_dir="nowhere"), "no file or folder"),
    ],
)
def test_what_does_not_exist_is_refused(monkeypatch, arguments, words):
    with pytest.raises(config_lib.ConfigError, match=words):
        resolved(monkeypatch, **arguments)


@pytest.mark.parametrize(
    "folder, name", [("leftImg8bit", "cityscapes"), ("val/gt", "lidc")]
)
def test_the_data_tell_the_configuration(tmp_path, monkeypatch, folder, name):
    (tmp_path / folder).mkdir(parents=True)
    imitated = ["blackbox.kind=imitation"] * (name == "cityscapes")
    look = mock.Mock(wraps=layouts.dataset_at)
    monkeypatch.setattr(layouts, "dataset_at", look)
    assert api.resolve(None, imitated, data_dir=str(tmp_path)).name == name
    assert look.call_count == 1  # Each look at a large folder takes its time.
    other = {"lidc": "cityscapes", "cityscapes": "lidc"}[name]
    words = f"{other} reads {other}, but .* holds {name}; --config {name} reads it"
    with pytest.raises(config_lib.ConfigError, match=words):
        api.resolve(other, data_dir=str(tmp_path))


def test_data_of_no_known_kind_are_refused(tmp_path):
    with pytest.raises(io.DataError, match="wanted .*describe.*, found no data set"):
        api.resolve(None, data_dir=str(tmp_path))


def tiny():
    return dict(text.split("=") for text in job.TINY)


def python_of(page):
    """All Python blocks of a page."""
    text = (job.CHECKOUT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def segment(images):
    """A black box: bands of road below and sky above."""
    labels = np.full(images.shape[:3], 10, np.uint8)
    labels[:, images.shape[1] // 2 :] = 0
    return labels


class Losses(keras.callbacks.Callback):
    """Ends stage 2 at its second epoch, and keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def on_epoch_end(self, epoch, logs=None):
        self.told.append(dict(logs))
        if "selection_ged" in logs and epoch == 1:
            self.model.stop_training = True


@pytest.mark.long
def test_the_script_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job.leave_out_figures(monkeypatch.setattr)
    job.train_eagerly(monkeypatch.setattr)
    Image.fromarray(np.zeros([40, 60, 3], np.uint8)).save("image.png")
    whole, seen, watch = api.train, [], Losses()
    small = {"stage1.steps": 2, "data.cache_dir": str(tmp_path / "cache")}

    def train(name, *, data_dir, blackbox):
        assert data_dir == "/data/cityscapes" and blackbox.endswith(".tar.gz")
        arguments = dict(
            data_dir=cityscapes_tree.write(tmp_path / "data"),
            blackbox=f"{__name__}:segment",
            set=[f"{key}={value}" for key, value in {**tiny(), **small}.items()],
        )
        seen.append(whole(name, callbacks=[watch], **arguments))
        return seen[-1]

    monkeypatch.setattr(api, "train", train)
    scope = {}
    exec(next(b for b in python_of("README.md") if "car_tf.train(" in b), scope)
    (run,) = seen
    assert scope["samples"].shape == (16, 40, 60)
    assert run.path.parent == tmp_path / "runs" and run.metrics["ged"] is not None
    assert run.sampler.num_classes == 24
    # Callbacks saw both stages, with G's score, and ended the second one.
    assert "cross_entropy" in watch.told[0] and "selection_ged" in watch.told[-1]
    assert len(watch.told) == 1 + 2
    text = (run.path / run_dir.TEXT_LOG).read_text(encoding="utf-8")
    assert "stage 2: ended by a callback after step 4" in text and "report:" in text
    assert "note: stage 2 ends before G is trained: its first 350 steps" in text


@pytest.mark.long
def test_the_tutorial_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job.leave_out_figures(monkeypatch.setattr)
    job.train_eagerly(monkeypatch.setattr)
    monkeypatch.setenv("MPLBACKEND", "agg")
    whole, small = api.train, {
        **tiny(),
        "data.size": "32,32",
        "data.crop_size": "32,32",
    }
    small.update({"stage1.steps": "2", "stage2.steps": "2", "data.num_drawn": "4,2,2"})

    def train(name, *, set):
        config_lib.override(config_lib.load(name), [f"{k}={v}" for k, v in set.items()])
        return whole(name, set=[f"{key}={value}" for key, value in small.items()])

    monkeypatch.setattr(api, "train", train)
    scope = {"__name__": "tutorial"}
    for block in python_of("docs/tutorial.md"):
        exec(block, scope)
    assert scope["samples"].shape == (16, *scope["masks"].shape[1:])
    assert scope["scores"]["num_images"] == 2 and scope["lcal"].shape == [2]
    assert (tmp_path / "samples.png").is_file()
