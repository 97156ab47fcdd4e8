"""Small untrained samplers and their exports, made once for all tests that need them."""

import atexit
import functools
import pathlib
import shutil
import tempfile

import numpy as np
import shallow
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import cityscapes, info
from car_tf.models import build
from car_tf.models.keras_api import keras
from export import run

NUM_SAMPLES = 3
SIZE = (48, 64)
NUM_BLACKBOX = cityscapes.NUM_TRAIN_IDS
LIDC_LIKE = info.DatasetInfo(
    title="crops with raters",
    class_names=("other", "lesion"),
    class_colors=((0, 0, 0), (255, 80, 0)),
    image_channels=1,
    num_raters=4,
    random_crop=False,
    resizes=False,
)


def config(name="tiny", **changes):
    """A configuration as a run of this size would have it."""
    base = config_lib.Config(
        name=name,
        data=config_lib.Data(size=SIZE, crop_size=(32, 32), scale_range=(1.0, 1.0)),
        calibration_net=config_lib.CalibrationNet(channels=4),
        refinement_net=config_lib.RefinementNet(base_channels=4, noise_dim=4),
    )
    return config_lib.Config(**{**dict(base), **changes})


def street_facts():
    return cityscapes.dataset_info("street scenes of the tests")


def build_sampler(settings, dataset_info):
    """A sampler whose samples differ, as those of an untrained G would not."""
    keras.utils.set_random_seed(0)
    with shallow.generators(2):  # Features of two sizes.
        generator = build.build_refinement_net(settings, dataset_info)
    kernel = generator.logits_layer.kernel
    kernel.assign(tf.random.stateless_normal(kernel.shape, [1, 2]) * 3.0)
    net = build.build_calibration_net(settings, dataset_info)
    return build.build_sampler(net, generator, dataset_info)


@functools.lru_cache(maxsize=None)
def street_sampler():
    return build_sampler(config(), street_facts())


@functools.lru_cache(maxsize=None)
def root():
    """A folder that lives as long as the tests."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="car-tf-export-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.lru_cache(maxsize=None)
def version():
    """The SavedModel of `street_sampler`."""
    return run.export_run(
        config(),
        street_sampler(),
        street_facts(),
        root() / "models",
        num_samples=NUM_SAMPLES,
        notes=["a note on the data"],
    )


@functools.lru_cache(maxsize=None)
def loaded():
    return tf.saved_model.load(str(version()))


def images(batch, height, width, channels=3, seed=0):
    rng = np.random.default_rng([seed, height, width])
    return rng.integers(0, 256, [batch, height, width, channels]).astype(np.uint8)


def labels(batch, height, width, seed=0):
    """Labels of a black box, with a few pixels of no class."""
    rng = np.random.default_rng([seed, height, width, 1])
    ids = rng.integers(0, NUM_BLACKBOX, [batch, height, width]).astype(np.uint8)
    return np.where(rng.random(ids.shape) < 0.02, np.uint8(255), ids)


def seeds(batch, first=7):
    return np.stack([np.full(batch, first), np.arange(batch)], 1).astype(np.int32)


def street_inputs(batch, height, width):
    """Inputs of `sample`."""
    return {
        "image": images(batch, height, width),
        "blackbox": labels(batch, height, width),
        "num_samples": np.int32(5),
        "seed": seeds(batch),
    }


def call(signature, **inputs):
    """Calls a signature of the street model; arrays in, arrays out."""
    function = loaded().signatures[signature]
    typed = {
        name: tf.constant(value, tf.string if name.endswith("_bytes") else None)
        for name, value in inputs.items()
    }
    results = function(**typed)
    return {name: value.numpy() for name, value in results.items()}
