"""Segmenters as TensorFlow Lite."""

from __future__ import annotations

import pathlib
from typing import Any, Dict, List, Optional

import numpy as np
import tensorflow as tf

from car_tf.blackbox import base, signature
from car_tf.data import io

_RANGES = ((0, 255), (0, 1), (-1, 1))  # Of grey levels in quantized images.
_RANGE_TOLERANCE = 0.06  # Of such a range, which the images of a calibration leave.
# What may stand between the arg-max and the output.
_BETWEEN = ("CAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE")


def open_backend(path: str, options: base.Options) -> signature.SignatureBackend:
    """Opens a TFLite model, which is understood like a signature.

    Scores are an output where the model has such, else what its arg-max is taken of.

    Raises:
      DataError: no TFLite model, or no clear segmentation.
    """
    interpreter = _interpreter(path, wants_scores=options.prefers_scores)
    first, *_ = details = interpreter.get_input_details()
    outputs, levels = interpreter.get_output_details(), _levels(path, first)
    if options.prefers_scores and all(len(each["shape"]) < 4 for each in outputs):
        found = [_behind_arg_max(interpreter, each) for each in outputs]
        outputs += filter(None, found)

    def run(**tensors: Any) -> Dict[str, np.ndarray]:
        (image,) = map(np.asarray, tensors.values())
        if tuple(interpreter.get_input_details()[0]["shape"]) != image.shape:
            interpreter.resize_tensor_input(first["index"], image.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(
            first["index"], image if levels is None else levels[image]
        )
        interpreter.invoke()
        return {each["name"]: _values(interpreter, each) for each in outputs}

    backend = signature.SignatureBackend(
        path,
        title="TFLite model",
        signatures=[signature.Signature("model", _specs(details), run)],
        owner=interpreter,
        options=options,
    )
    backend.embeddable = False
    return backend


def _interpreter(path: str, *, wants_scores: bool) -> tf.lite.Interpreter:
    try:
        content = pathlib.Path(path).read_bytes()
        interpreter = tf.lite.Interpreter(
            model_content=content,
            # Tensors within the model are overwritten otherwise.
            experimental_preserve_all_tensors=wants_scores,
        )
        interpreter.allocate_tensors()
    except OSError as error:
        raise io.DataError(f"{path}: cannot be read ({error})") from error
    except (ValueError, RuntimeError) as error:
        is_one = content[4:8] == b"TFL3"
        what = "cannot be run by TensorFlow" if is_one else "not a TFLite model"
        raise io.DataError(f"{path}: {what} ({base.first_line(error)})") from error
    return interpreter


def _specs(details: List[Dict[str, Any]]) -> Dict[str, tf.TensorSpec]:
    """Returns the inputs, one image at a time; `shape` holds 1 for any size."""
    return {
        each["name"]: tf.TensorSpec(
            [1, *(n if n > 0 else None for n in each["shape_signature"].tolist()[1:])],
            each["dtype"],
        )
        for each in details
    }


def _levels(path: str, image: Dict[str, Any]) -> Optional[np.ndarray]:
    """Returns what grey levels 0 to 255 are for a quantized image, `[256]` uint8.

    None where they are themselves; a DataError where its bytes stand for values of which
    it is not known what black and white are.
    """
    scale, zero_point = image["quantization"]
    if image["dtype"] != np.uint8 or not scale:
        return None
    found = scale * (np.array([0, 255]) - zero_point)
    for low, high in _RANGES:
        if np.abs(found - (low, high)).max() <= _RANGE_TOLERANCE * (high - low):
            values = np.linspace(low, high, 256)
            return np.rint(values / scale + zero_point).clip(0, 255).astype(np.uint8)
    raise io.DataError(
        f"{path}: the bytes of its image stand for {found[0]:.3g} to {found[1]:.3g}, "
        "wanted about 0 to 255, 0 to 1 or -1 to 1 (convert it with inputs of float32)"
    )


def _values(interpreter: tf.lite.Interpreter, detail: Dict[str, Any]) -> np.ndarray:
    """Returns a tensor's numbers, those of eight bits at their scale."""
    raw = interpreter.get_tensor(detail["index"])
    scale, zero_point = detail["quantization"]
    return scale * (raw.astype(np.float32) - zero_point) if scale else raw


def _behind_arg_max(
    interpreter: tf.lite.Interpreter, output: Dict[str, Any]
) -> Optional[Dict[str, Any]]:
    """Finds the tensor that class ids are the arg-max of."""
    # There is no public way to ask a TFLite model for its operations.
    makers = {
        int(index): operation
        for operation in interpreter._get_ops_details()
        for index in operation["outputs"]
    }
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    index = output["index"]
    while index in makers:
        operation = makers[index]
        index = int(operation["inputs"][0])
        if operation["op_name"] == "ARG_MAX":
            return details[index]
        if operation["op_name"] not in _BETWEEN:
            return None
    return None
