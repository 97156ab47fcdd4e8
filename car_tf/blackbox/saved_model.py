"""SavedModels of other people's segmenters."""

from __future__ import annotations

import tensorflow as tf

from car_tf.blackbox import base, signature
from car_tf.data import io


def open_backend(path: str, options: base.Options) -> signature.SignatureBackend:
    """Opens a SavedModel.

    Raises:
      DataError: damaged, or without a signature that is clearly a segmentation.
    """
    if set(path) & set("[]*?"):
        raise io.DataError(
            f"{path}: TensorFlow reads [ ] * ? in the path of a SavedModel as a pattern "
            "and does not find its variables; rename the folder"
        )
    try:
        loaded = tf.saved_model.load(path)
    except Exception as error:  # The loader raises many types on damaged files.
        raise io.DataError(
            f"{path}: cannot be loaded as a SavedModel ({base.first_line(error)})"
        ) from error
    default = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    names = sorted(loaded.signatures, key=lambda name: (name != default, name))
    signatures = [
        signature.Signature(
            name=name,
            inputs=loaded.signatures[name].structured_input_signature[1],
            run=loaded.signatures[name],
        )
        for name in names
    ]
    return signature.SignatureBackend(
        path, title="SavedModel", signatures=signatures, owner=loaded, options=options
    )
