"""Segmenters as SavedModel folders and as Keras model files, `.keras` and HDF5."""

import json
import zipfile
from typing import Any, Dict, List

import h5py
import tensorflow as tf

from car_tf.blackbox import base, signature
from car_tf.data import io
from car_tf.models import keras_api

KERAS_ENDINGS = (".keras", ".h5", ".hdf5")


def open_backend(path: str, options: base.Options) -> signature.SignatureBackend:
    """Opens a SavedModel, or a Keras model, of Keras 3 where that is installed.

    Raises:
      DataError: damaged, without a signature that is clearly a segmentation, made with
        layers that Keras does not know or with Python code in them, or of a Keras that
        is not here.
    """
    is_keras = path.endswith(KERAS_ENDINGS)
    if not is_keras and set(path) & set("[]*?"):
        raise io.DataError(
            f"{path}: TensorFlow reads [ ] * ? in the path of a SavedModel as a pattern "
            "and does not find its variables; rename the folder"
        )
    try:
        model = _load_keras(path) if is_keras else tf.saved_model.load(path)
    except io.DataError:
        raise
    except Exception as error:  # Both raise many types on damaged files.
        hint = "; a model with layers of its own can be exported as a SavedModel"
        raise io.DataError(
            f"{path}: cannot be loaded as a {'Keras model' if is_keras else 'SavedModel'}"
            f" ({base.first_line(error)}){hint if is_keras else ''}"
        ) from error
    return signature.SignatureBackend(
        path,
        title="Keras model" if is_keras else "SavedModel",
        signatures=_keras_signatures(path, model) if is_keras else _signatures(model),
        owner=model,
        options=options,
    )


def _signatures(loaded: Any) -> List[signature.Signature]:
    default = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    return [
        signature.Signature(
            name=name,
            inputs=loaded.signatures[name].structured_input_signature[1],
            run=loaded.signatures[name],
        )
        for name in sorted(loaded.signatures, key=lambda name: (name != default, name))
    ]


def _load_keras(path: str) -> Any:
    version = _version(path)
    if version.startswith("3."):
        return _load_keras_3(path, version)
    # Without it, Keras runs the code of lambda layers in HDF5 files.
    with keras_api.serialization_lib.SafeModeScope(True):
        return keras_api.keras.models.load_model(path, compile=False)


def _keras_signatures(path: str, model: Any) -> List[signature.Signature]:
    if not getattr(model, "inputs", None):
        raise io.DataError(f"{path}: wanted a Keras model with inputs of known shape")
    # What Keras 3 calls an input is the tensor's own name.
    names = getattr(model, "input_names", None) or [t.name for t in model.inputs]
    pairs = zip(names, model.inputs)
    inputs = {name: tf.TensorSpec(t.shape, t.dtype, name) for name, t in pairs}

    # As a graph: layer by layer, a model keeps all its feature maps.
    @tf.function(reduce_retracing=True)
    def run(**tensors: tf.Tensor) -> Dict[str, tf.Tensor]:
        (image,) = tensors.values()
        outputs = model(image, training=False)
        if isinstance(outputs, dict):
            return outputs
        return dict(zip(model.output_names, tf.nest.flatten(outputs)))

    return [signature.Signature(name="model", inputs=inputs, run=run)]


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
