"""Python functions as black boxes."""

import blackbox_models as models
import numpy as np
import pytest

from car_tf.blackbox import inference
from car_tf.data import io

K = models.NUM_CLASSES
SIZE = (16, 32)


def load(path, **kwargs):
    return inference.load(str(path), num_classes=K, **kwargs)


@pytest.fixture(scope="module")
def images():
    return models.images_of_all_classes(2, SIZE)


FUNCTIONS = """
import numpy as np

K = {num_classes}

def labels(images):
    assert images.dtype == np.uint8
    return np.minimum(images[..., 0].astype(int) * K // 255, K - 1)

def logits(images):
    red = images[..., :1].astype(np.float64) * (K / 255)
    return -np.square(red - np.arange(K) - 0.5)

def probs(images):
    exps = np.exp(logits(images))
    return exps / exps.sum(-1, keepdims=True)

def nan(images):
    scores = probs(images)
    scores[0, 0, 0] = np.nan
    return scores

def bold(images):  # Logits, from 0 to 1 on dark images.
    return np.eye(K)[labels(images)] * images.max() / 100 - (images.max() > 100)

def turned(images):
    return labels(images).swapaxes(1, 2)

def one_map(images):
    return labels(images)[0]

def high(images):
    return labels(images) + 1

def fails(images):
    raise RuntimeError("out of order")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"functions_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(FUNCTIONS.format(num_classes=K))
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("function", ["labels", "logits", "probs"])
def test_python_functions(module, images, function):
    models.check(load(f"{module}:{function}"), images)
    if function == "labels":
        with pytest.raises(io.DataError, match="gives labels only"):
            load(f"{module}:labels", output="probabilities").predict(images, SIZE)
    else:
        models.check(load(f"{module}:{function}", output="probabilities"), images)


@pytest.mark.parametrize(
    "function, message",
    [
        ("nan", "19 logits that are NaN"),
        ("one_map", r"wanted integers \[2, h, w\].*got int64 \[16, 32\]"),
        ("high", "wanted 19 classes, got class ids 1 to 19"),
        ("turned", "images of 16 x 32 pixels, got 32 x 16: turned"),
    ],
)
def test_bad_outputs_of_functions_are_refused(module, images, function, message):
    with pytest.raises(io.DataError, match=message):
        load(f"{module}:{function}").predict(images, SIZE)


def test_scores_of_all_images_are_of_one_kind(module, images):
    function, dark = load(f"{module}:bold", output="probabilities"), images // 6
    for seen in (images, dark):  # Logits of m / 100 for one class, 0 for 18.
        largest = np.exp(seen.max() / 100)
        found = function.predict(seen, SIZE)
        assert found.max() == pytest.approx(largest / (largest + K - 1), abs=1e-3)
    other = load(f"{module}:bold", output="probabilities")
    with pytest.raises(io.DataError, match="the sum .*=sigmoid takes them for sigm"):
        other.predict(dark, SIZE)


def test_missing_functions_are_named(module, tmp_path):
    with pytest.raises(io.DataError, match="has no function none; it has bold, fai"):
        load(f"{module}:none")
    with pytest.raises(io.DataError, match="no_such_package.*ModuleNotFoundError"):
        load("no_such_package.module:function")
    (tmp_path / "broken_module.py").write_text("1 / 0")
    with pytest.raises(io.DataError, match="cannot import.*ZeroDivisionError"):
        load("broken_module:function")
