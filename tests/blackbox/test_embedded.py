"""Black boxes inside another SavedModel, which plain TensorFlow loads and runs."""

import os
import subprocess
import sys

import blackbox_models as models
import numpy as np
import pytest
import tensorflow as tf

from car_tf.blackbox import inference
from car_tf.data import io

K = models.NUM_CLASSES
NUM_IMAGES, SIZE = 2, (16, 32)

# Runs where this project cannot be imported.
LOADER = """
import sys
import numpy as np
import tensorflow as tf
folder = sys.argv[1]
images = tf.constant(np.load(folder + "/images.npy"))
loaded = tf.saved_model.load(folder + "/embedding")
names = [n for n in loaded.signatures if n != "serving_default"]
results = {n: loaded.signatures[n](images=images)["maps"].numpy() for n in names}
np.savez(folder + "/results.npz", **results)
assert "car_tf" not in sys.modules
"""


class Embedding(tf.Module):
    """A model whose first step is a black box, as an export has it."""

    def __init__(self, blackbox, size):
        super().__init__()
        self.blackbox = blackbox
        self._size = size

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    def segment(self, images):
        return {"maps": self.blackbox(images, tf.constant(self._size))}


@pytest.fixture(scope="module")
def images():
    labels = np.random.default_rng(0).integers(0, K, (NUM_IMAGES, 6, 8))
    return models.class_image(labels.repeat(8, 1).repeat(8, 2))


@pytest.fixture(scope="module")
def segmenters(tmp_path_factory):
    """Every kind that can be embedded, in every way that matters."""
    folder = tmp_path_factory.mktemp("models")
    archive = models.write_archive(
        folder / "deeplab.tar.gz", models.frozen_graph(crop_size=(65, 129))
    )
    red = models.RedSegmenter()
    spec = tf.TensorSpec([None, None, None, 3], tf.float32, "x")
    saved = models.save(
        red, folder / "saved", serving_default=(lambda x: {"y": red.logits(x)}, spec)
    )
    for index, keras in enumerate(models.KERASES):
        image = keras.Input([None, None, 3])
        model = keras.Model(image, keras.layers.Conv2D(K, 1)(image))
        model.save(folder / f"model{index}.keras")
    shifted = tuple(range(1, K)) + (255,)
    usages = {
        "frozen_labels": (archive, {}),
        "frozen_probs": (archive, {"output": "probabilities"}),
        "saved_labels": (saved, {"class_map": shifted}),
        "frozen_auto": (archive, {"output": "auto"}),
        "saved_probs": (saved, {"output": "probabilities", "class_map": shifted}),
    }
    for path in folder.glob("*.keras"):
        usages[f"keras_probs_{path.stem}"] = (
            path,
            {"output": "probabilities", "channels": "bgr", "pixel_scale": "0..1"},
        )
    return {
        name: inference.load(str(path), num_classes=K, **usage)
        for name, (path, usage) in usages.items()
    }


def test_embedded_black_boxes_predict_as_live_ones(tmp_path, images, segmenters):
    parts = {
        name: Embedding(segmenter.as_module(), SIZE)
        for name, segmenter in segmenters.items()
    }
    whole = tf.Module()
    whole.parts = list(parts.values())
    tf.saved_model.save(
        whole,
        str(tmp_path / "embedding"),
        signatures={name: part.segment for name, part in parts.items()},
    )
    np.save(tmp_path / "images.npy", images)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("PYTHONPATH", None)
    finished = subprocess.run(
        [sys.executable, "-c", LOADER, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]

    with np.load(tmp_path / "results.npz") as results:
        assert set(results) == set(segmenters)
        for name, segmenter in segmenters.items():
            wanted = segmenter.predict(images, SIZE)
            if "labels" in name:
                assert results[name].dtype == np.uint8
                np.testing.assert_array_equal(results[name], wanted, err_msg=name)
            else:
                assert results[name].shape == (NUM_IMAGES, *SIZE, K)
                np.testing.assert_allclose(
                    results[name], wanted, atol=1e-5, err_msg=name
                )


def test_functions_cannot_be_embedded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "function_to_embed.py").write_text("def f(images): return images")
    with pytest.raises(io.DataError, match="cannot be embedded in a SavedModel"):
        inference.load("function_to_embed:f", num_classes=K).as_module()
