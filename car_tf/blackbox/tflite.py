"""DeepLab as TensorFlow Lite."""

from __future__ import annotations

import hashlib
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from car_tf.data import files


class TFLiteSegmenter:
    """A TFLite model from a uint8 RGB image to a map of class ids.

    The image is stretched to the model's input size; the map covers the whole image.
    """

    def __init__(self, path: str, *, num_classes: int):
        """Loads the model.

        Raises:
          DataError: no such file, no TFLite model, or other inputs and outputs.
        """
        try:
            content = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise files.DataError(f"{path}: cannot be read ({error})") from error
        self.num_classes = num_classes
        self.fingerprint = hashlib.sha256(content).hexdigest()
        self._path = path
        try:
            self._interpreter = tf.lite.Interpreter(model_content=content)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise files.DataError(f"{path}: not a TFLite model ({error})") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shapes = [tuple(detail["shape"]) for detail in (*inputs, *outputs)]
        if (
            len(shapes) != 2
            or len(shapes[0]) != 4
            or shapes[0][-1] != 3
            or inputs[0]["dtype"] != np.uint8
            or len(shapes[1]) != 3
        ):
            raise files.DataError(
                f"{path}: wanted uint8 [1, H, W, 3] to class ids [1, h, w], got "
                f"{[detail['dtype'].__name__ for detail in inputs]} {shapes}"
            )
        self._input, self._output = inputs[0], outputs[0]

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segments one image; see `base.BlackBox`."""
        _, height, width, _ = self._input["shape"]
        resized = files.resize_antialiased(Image.fromarray(image), (height, width))
        self._interpreter.set_tensor(self._input["index"], resized[None])
        self._interpreter.invoke()
        ids = self._interpreter.get_tensor(self._output["index"])[0]
        if ids.min() < 0 or ids.max() >= self.num_classes:
            raise files.DataError(
                f"{self._path}: wanted class ids below {self.num_classes}, got "
                f"{ids.min()} to {ids.max()}"
            )
        return ids.astype(np.uint8)
