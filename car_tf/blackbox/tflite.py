"""Segmenters as TensorFlow Lite."""

from __future__ import annotations

import pathlib
from typing import Any, Dict, Optional, Tuple

import numpy as np
import tensorflow as tf

from car_tf.blackbox import base, postprocess
from car_tf.data import io

# Where the model leaves the size open.
_TRIAL_SIZE = (128, 256)
# What may stand between the arg-max and the output.
_BETWEEN = ("CAST", "EXPAND_DIMS", "RESHAPE", "SQUEEZE")


def open_backend(path: str, options: base.Options) -> "TFLiteModel":
    """Opens a TFLite model."""
    return TFLiteModel(path, options)


class TFLiteModel:
    """A TFLite model from an image of fixed size to class ids or scores.

    Scores are an output where the model has such, else what its arg-max is taken of.
    """

    embeddable = False
    single = True

    def __init__(self, path: str, options: base.Options):
        """Loads the model.

        Raises:
          DataError: no TFLite model, or other inputs and outputs.
        """
        self._path = path
        wants_scores = options.prefers_scores
        try:
            self._interpreter = tf.lite.Interpreter(
                model_content=pathlib.Path(path).read_bytes(),
                # Tensors within the model are overwritten otherwise.
                experimental_preserve_all_tensors=wants_scores,
            )
            self._interpreter.allocate_tensors()
        except OSError as error:
            raise io.DataError(f"{path}: cannot be read ({error})") from error
        except (ValueError, RuntimeError) as error:
            is_one = pathlib.Path(path).read_bytes()[4:8] == b"TFL3"
            what = "cannot be run by TensorFlow" if is_one else "not a TFLite model"
            raise io.DataError(f"{path}: {what} ({base.first_line(error)})") from error
        self._input = self._choose_input()
        self.input_dtype = tf.as_dtype(self._input["dtype"])
        # `shape` holds 1 where any size may be given.
        self._fixed = tuple(
            None if n < 0 else int(n) for n in self._input["shape_signature"][1:3]
        )
        self.input_size = base.settle_input_size(path, self._fixed, options.input_size)
        self._output = self._choose_output(options)
        if wants_scores and self._is_labels():
            self._output = self._behind_arg_max() or self._output
        self.kind = base.LABELS
        if not self._is_labels():
            self.kind = options.kind(self._kind_of_scores())
        self.description = (
            f"TFLite model: image from {_describe(self._input)}, one at a time; "
            f"{self.kind} from {_describe(self._output)}"
        )

    def _kind_of_scores(self) -> str:
        """Tells logits from probabilities by the scores of a noise image."""
        size = self.input_size or _TRIAL_SIZE
        noise = np.random.default_rng(0).random((1, *size, 3))
        if self.input_dtype.is_integer:
            noise *= 255
        return postprocess.kind_of(self._run(noise.astype(self._input["dtype"])))

    def _choose_input(self) -> Dict[str, Any]:
        inputs = self._interpreter.get_input_details()
        fitting = [
            detail
            for detail in inputs
            if len(detail["shape"]) == 4
            and detail["shape"][0] == 1
            and detail["shape"][-1] == 3
            and detail["dtype"] in (np.uint8, np.float32)
        ]
        if len(inputs) != 1 or not fitting:
            first = any(
                len(d["shape"]) == 4 and d["shape"][1] == 3 and d["shape"][3] != 3
                for d in inputs
            )
            raise io.DataError(
                f"{self._path}: wanted one image uint8 or float32 [1, H, W, 3], got "
                + "; ".join(map(_describe, inputs))
                + (" (channels before the pixels, NCHW)" if first else "")
            )
        return fitting[0]

    def _choose_output(self, options: base.Options) -> Dict[str, Any]:
        outputs = self._interpreter.get_output_details()
        fitting = [
            detail
            for detail in outputs
            if options.output_name in ("", detail["name"])
            and (
                len(detail["shape"]) == 3
                and np.issubdtype(detail["dtype"], np.integer)
                and not detail["quantization"][0]
                or len(detail["shape"]) == 4
                and detail["shape"][-1] > 1
            )
        ]
        if len(fitting) != 1:
            raise io.DataError(
                f"{self._path}: wanted one output of whole class ids [1, h, w] or "
                f"scores [1, h, w, {options.num_own_classes}] (blackbox.output_name chooses), "
                f"got {'; '.join(map(_describe, outputs))}"
            )
        return fitting[0]

    def _is_labels(self) -> bool:
        return len(self._output["shape"]) == 3

    def _behind_arg_max(self) -> Optional[Dict[str, Any]]:
        """Finds the tensor that the class ids are the arg-max of."""
        # There is no public way to ask a TFLite model for its operations.
        operations = self._interpreter._get_ops_details()
        makers = {
            int(index): operation
            for operation in operations
            for index in operation["outputs"]
        }
        details = {d["index"]: d for d in self._interpreter.get_tensor_details()}
        index = self._output["index"]
        while index in makers:
            operation = makers[index]
            index = int(operation["inputs"][0])
            if operation["op_name"] == "ARG_MAX":
                return details[index]
            if operation["op_name"] not in _BETWEEN:
                return None
        return None

    def takes(self, size: Tuple[int, int]) -> bool:
        """See `base.Backend`."""
        return base.fits(size, self._fixed)

    def __call__(self, images: tf.Tensor) -> np.ndarray:
        """Segments one image; see `base.Backend`."""
        return self._run(images.numpy())

    def _run(self, images: np.ndarray) -> np.ndarray:
        if tuple(self._interpreter.get_input_details()[0]["shape"]) != images.shape:
            self._interpreter.resize_tensor_input(self._input["index"], images.shape)
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input["index"], images)
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._output["index"])
        if self._is_labels():
            return raw.astype(np.int32)
        scale, zero_point = self._output["quantization"]
        return scale * (raw.astype(np.float32) - zero_point) if scale else raw


def _describe(detail: Dict[str, Any]) -> str:
    shape = [int(length) for length in detail["shape_signature"]]
    return f"{detail['name']} {np.dtype(detail['dtype']).name} {shape}"
