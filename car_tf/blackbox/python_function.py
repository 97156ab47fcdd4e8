"""Any Python function as a black box: `package.module:function`."""

import importlib
import os
import re
import sys
from typing import Any, Callable, Tuple

import numpy as np
import tensorflow as tf

from car_tf.blackbox import base
from car_tf.data import io

# What a function is called by: `package.module:function`.
NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def find(path: str) -> Callable[[np.ndarray], Any]:
    """Imports a function; modules in the working directory are found too.

    Raises:
      DataError: no such module or function, or a module that cannot be imported.
    """
    module_name, _, name = path.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # Importing runs the module.
        words = f"cannot import {module_name} ({base.first_line(error)})"
        raise io.DataError(f"{path}: {words}") from error
    function = getattr(module, name, None)
    if not callable(function):
        offered = [key for key, value in vars(module).items() if callable(value)]
        raise io.DataError(
            f"{path}: {module_name} has no function {name}; it has "
            f"{', '.join(sorted(offered)[:20]) or 'none'}"
        )
    return function


def content_hash(path: str) -> str:
    """Returns a hash of a function's source file and name.

    What the function imports, and weights that it loads, do not show in it: a string
    `fingerprint` that the function carries as an attribute is hashed as well.
    """
    own = getattr(find(path), "fingerprint", "")
    source = getattr(sys.modules[path.partition(":")[0]], "__file__", None)
    return f"{path}|{io.file_hash(source) if source else ''}|{own}"


class PythonFunction:
    """A function from images to labels, probabilities or logits.

    It is given `[B, h, w, 3]` uint8, or float32 where the pixels are scaled, and
    returns `[B, h', w']` integers or `[B, h', w', K]` floats.
    """

    embeddable = False
    single = False
    may_be_certainty = False
    kind = ""

    def __init__(self, path: str, options: base.Options):
        self._path = path
        self._function = find(path)
        self.input_size = options.input_size
        is_scaled = options.pixel_scale != "0..255"
        self.input_dtype = tf.float32 if is_scaled else tf.uint8
        self.description = (
            f"Python function: {self.input_dtype.name} images [B, H, W, 3]; integers "
            "are class ids, floats from 0 to 1 probabilities (divided by their sum), "
            "other floats logits"
        )

    def takes(self, size: Tuple[int, int]) -> bool:
        """See `base.Backend`."""
        return True

    def __call__(self, images: tf.Tensor) -> np.ndarray:
        """Segments images; see `base.Backend`."""
        raw = np.asarray(self._function(images.numpy()))
        is_ids = raw.dtype.kind in "iu" and raw.ndim == 3
        is_scores = raw.dtype.kind == "f" and raw.ndim == 4
        if not (is_ids or is_scores) or len(raw) != len(images):
            raise io.DataError(
                f"{self._path}: wanted integers [{len(images)}, h, w] or floats "
                f"[{len(images)}, h, w, K], got {raw.dtype} {list(raw.shape)}"
            )
        return raw


open_backend = PythonFunction
