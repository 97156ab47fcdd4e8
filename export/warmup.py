"""Requests that a server runs through a model before it offers it.

TensorFlow Serving reads them from the model's folder, so that no client pays for the
first optimisation of the graphs. A model whose warm-up fails is not loaded, so every
request names all inputs (old servers know no defaults) and gives each a batch axis
(servers that merge requests refuse scalars).
"""

import pathlib
from typing import Any, Dict

import numpy as np
import tensorflow as tf

import export
from export.clients import common

FILE = "assets.extra/tf_serving_warmup_requests"
# Without the probabilities, which are by far the largest; the client asks for these.
# A server prepares each set of outputs of its own.
SLIM_OUTPUTS = ("samples", "entropy_bits")
_SLIM_SIGNATURES = ("serving_default", "sample")
NOT_WRITTEN = (
    "exported without warm-up requests, so that a server's first requests will be slow: "
    + export.SERVING_MISSING
)


def requests(module: Any, computation: Any) -> Dict[str, Dict[str, Any]]:
    """Returns signature -> input -> tensor proto, of one image of the trained size."""
    height, width = computation.settings.trained_size
    dataset_info = computation.settings.dataset_info
    channels = dataset_info.image_channels
    inner = {
        "image": [height, width, channels],
        "blackbox": [height, width, dataset_info.num_blackbox_classes],
        "log_probs": [height, width, dataset_info.num_classes],
        "seed": [2],
    }
    sizes = computation.feature_sizes(height, width)
    for spec, size in zip(computation.feature_specs, sizes):
        inner[spec.name] = size

    def value(spec: tf.TensorSpec) -> Any:
        if spec.name == "image_bytes":
            return tf.make_tensor_proto([_png(height, width, channels)])
        if spec.name == "blackbox_bytes":
            return tf.make_tensor_proto([_png(height, width, 1)])
        if spec.name == "num_samples":
            return tf.make_tensor_proto([computation.settings.num_samples], tf.int32)
        shape = [1, *inner[spec.name]][: spec.shape.rank]
        # One number stands for all: the file stays small at any size.
        return tf.make_tensor_proto(0, spec.dtype, shape)

    return {
        name: {spec.name: value(spec) for spec in function.input_signature}
        for name, function in module.functions().items()
    }


def _png(height: int, width: int, channels: int) -> bytes:
    pixels = np.zeros([height, width, channels], np.uint8)
    return common.encode_png(pixels[..., 0] if channels == 1 else pixels)


def write(folder: pathlib.Path, module: Any, computation: Any, name: str) -> bool:
    """Writes the requests of all signatures into a SavedModel's folder.

    False where the package with TensorFlow Serving's messages is missing.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        return False
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        found = requests(module, computation)
        plans = [(signature, ()) for signature in found]
        plans += [(signature, SLIM_OUTPUTS) for signature in _SLIM_SIGNATURES]
        for signature, outputs in plans:
            request = predict_pb2.PredictRequest(output_filter=outputs)
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, proto in found[signature].items():
                request.inputs[key].CopyFrom(proto)
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return True
