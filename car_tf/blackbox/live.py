"""Runs a black box on a split once and keeps what it says."""

from __future__ import annotations

import hashlib
import pathlib
import threading
from typing import Dict, Sequence, Tuple

import numpy as np

from car_tf.blackbox import base, tflite
from car_tf.data import cache, files


def load(path: str, *, num_classes: int) -> base.BlackBox:
    """Loads the black box that lies at a path, told by its kind of file.

    Raises:
      DataError: no file, or a kind that is not supported.
    """
    if path.endswith(".tflite"):
        return tflite.TFLiteSegmenter(path, num_classes=num_classes)
    raise files.DataError(
        f"{path}: wanted a TFLite model (.tflite) or a folder of predictions"
    )


def predictions(
    segmenter: base.BlackBox,
    *,
    image_files: Sequence[pathlib.Path],
    size: Tuple[int, int],
    cache_dir: pathlib.Path,
) -> np.ndarray:
    """Predicts a split, or takes the predictions from the cache.

    Args:
      segmenter: the black box.
      image_files: N images.
      size: working (height, width); predictions are resized to it, nearest.
      cache_dir: the cache folder.

    Returns:
      `[N, H, W]` uint8 class ids.
    """
    hashes = cache.content_hashes(image_files, cache_dir)
    key = f"live|{cache.FORMAT_VERSION}|{segmenter.fingerprint}|{size}|{hashes}"
    # Interpreters hold one set of tensors; decoding runs ahead in other threads.
    lock = threading.Lock()

    def read_one(index: int) -> Dict[str, np.ndarray]:
        image = np.asarray(files.read_png(image_files[index], mode="RGB"))
        with lock:
            ids = segmenter.predict(image)
        return {"blackbox": files.resize_nearest(ids, size)}

    stored, _ = cache.arrays(
        key=hashlib.sha256(key.encode()).hexdigest(),
        cache_dir=cache_dir,
        specs={"blackbox": (tuple(size), np.uint8)},
        num=len(image_files),
        read=read_one,
        what="running the black box",
    )
    return stored["blackbox"]
