"""Keras model files: `.keras` and HDF5."""

from __future__ import annotations

from typing import Dict

import keras
import tensorflow as tf
from keras.src.saving import serialization_lib

from car_tf.blackbox import base, signature
from car_tf.data import io

ENDINGS = (".keras", ".h5", ".hdf5")


def open_backend(path: str, options: base.Options) -> signature.SignatureBackend:
    """Opens a Keras model.

    Raises:
      DataError: damaged, made with layers that Keras does not know or with Python code
        in them, or no clear segmentation.
    """
    try:
        # Without it, Keras runs the code of lambda layers in HDF5 files.
        with serialization_lib.SafeModeScope(True):
            model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises many types on damaged files.
        raise io.DataError(
            f"{path}: cannot be loaded as a Keras model ({base.first_line(error)}); "
            "a model with layers of its own can be exported as a SavedModel"
        ) from error
    if not getattr(model, "inputs", None):
        raise io.DataError(f"{path}: wanted a Keras model with inputs of known shape")
    inputs = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for name, tensor in zip(model.input_names, model.inputs)
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
