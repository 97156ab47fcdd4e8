"""Keras model files: `.keras` and HDF5."""

from __future__ import annotations

import json
import zipfile
from typing import Any, Dict

import h5py
import tensorflow as tf

from car_tf.blackbox import base, signature
from car_tf.data import io
from car_tf.models import keras_api

ENDINGS = (".keras", ".h5", ".hdf5")


def open_backend(path: str, options: base.Options) -> signature.SignatureBackend:
    """Opens a Keras model, of Keras 3 where that is installed.

    Raises:
      DataError: damaged, made with layers that Keras does not know or with Python code
        in them, of a Keras that is not here, or no clear segmentation.
    """
    try:
        version = _version(path)
        if version.startswith("3."):
            model = _load_keras_3(path, version)
        else:
            # Without it, Keras runs the code of lambda layers in HDF5 files.
            with keras_api.serialization_lib.SafeModeScope(True):
                model = keras_api.keras.models.load_model(path, compile=False)
    except io.DataError:
        raise
    except Exception as error:  # Keras raises many types on damaged files.
        raise io.DataError(
            f"{path}: cannot be loaded as a Keras model ({base.first_line(error)}); "
            "a model with layers of its own can be exported as a SavedModel"
        ) from error
    if not getattr(model, "inputs", None):
        raise io.DataError(f"{path}: wanted a Keras model with inputs of known shape")
    # What Keras 3 calls an input is the tensor's own name.
    names = getattr(model, "input_names", None) or [t.name for t in model.inputs]
    inputs = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for name, tensor in zip(names, model.inputs)
    }

    # As a graph: layer by layer, a model keeps all its feature maps.
    @tf.function(reduce_retracing=True)
    def run(**tensors: tf.Tensor) -> Dict[str, tf.Tensor]:
        (image,) = tensors.values()
        outputs = model(image, training=False)
        if isinstance(outputs, dict):
            return outputs
        return dict(zip(model.output_names, tf.nest.flatten(outputs)))

    found = signature.Signature(name="model", inputs=inputs, run=run)
    return signature.SignatureBackend(
        path, title="Keras model", signatures=[found], owner=model, options=options
    )


def _version(path: str) -> str:
    """Returns the version of the Keras that wrote a file; "" where it does not say."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read("metadata.json")).get("keras_version", "")
    else:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("keras_version", "")
    return found.decode() if isinstance(found, bytes) else str(found)


def _load_keras_3(path: str, version: str) -> Any:
    if keras_api.KERAS_MAJOR < 3:
        raise io.DataError(
            f"{path}: made with Keras {version}: open it with Python 3.12 or 3.13, "
            "where car_tf installs Keras 3; or export it there as a SavedModel"
        )
    import keras
    from keras.src.saving import serialization_lib

    if keras.backend.backend() != "tensorflow":
        raise io.DataError(
            f"{path}: wanted Keras 3 on TensorFlow, got {keras.backend.backend()} "
            "(KERAS_BACKEND or ~/.keras/keras.json)"
        )
    with serialization_lib.SafeModeScope(True):
        return keras.models.load_model(path, compile=False, safe_mode=True)
