"""An exported model as what draws samples, on one device or several."""

import dataclasses
import json
import pathlib
import queue
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.evaluate import tiles
from export import description, versions


@dataclasses.dataclass(frozen=True)
class Options:
    """How images are predicted."""

    num_samples: int = 16  # samples per image
    # Of the samples; an image's own seed is made of it and the image's name.
    seed: int = 0
    # (height, width) that images are resized to; `trained` for that of the training,
    # `own` for each image's own.
    size: Any = "trained"
    # A model, or a folder of predictions; empty for that of the training.
    blackbox: str = ""
    # `blackbox.field=value`, other than in training.
    blackbox_settings: Sequence[str] = ()


class Predictor:
    """An exported model, on one device or, copied, on several.

    Attributes:
      path: of its version.
      labels: its `labels.json`.
      content: hash of its content.
      num_devices: images that can be computed at the same time.
    """

    def __init__(self, path: pathlib.Path, devices: Sequence[Optional[str]] = (None,)):
        """Loads a version on each of some devices; None is TensorFlow's choice."""
        self.path, self.num_devices = path, len(devices)
        self._copies = [_Copy(path, device) for device in devices]
        self._free: queue.Queue = queue.Queue()
        for copy in self._copies:
            self._free.put(copy)
        labels_file = self._copies[0].labels_file
        try:
            self.labels = json.loads(labels_file.read_text("utf-8"))
        except ValueError as error:
            raise versions.ExportError(f"{labels_file}: not JSON ({error})") from error
        self.content = description.read_content_hash(path)

    @property
    def needs_blackbox(self) -> bool:
        """Whether a black box's output must be given."""
        blackbox = self.labels["blackbox"]
        return blackbox is not None and not blackbox["embedded"]

    def sample(
        self,
        image: np.ndarray,
        blackbox: Optional[np.ndarray],
        *,
        num_samples: int,
        seed: Tuple[int, int],
    ) -> Tuple[np.ndarray, np.ndarray]:
        """Draws `[M, H, W]` uint8 samples for `[H, W, C]`; F's entropy in bits beside."""
        copy = self._free.get()

        def draw(seen: tiles.Slices) -> Dict[str, tf.Tensor]:
            maps = None if blackbox is None else blackbox[seen]
            inputs = self._inputs(image[seen], maps)
            return copy.call("sample", **inputs, num_samples=num_samples, seed=[seed])

        try:
            cut = tiles.cut(image.shape[:2], self.labels.get("reach"))
            drawn = tiles.compute(cut, draw, {"samples": 2, "entropy_bits": 1})
        finally:
            self._free.put(copy)
        return drawn["samples"][0], drawn["entropy_bits"][0]

    def encode(
        self, image: np.ndarray, blackbox: Optional[np.ndarray]
    ) -> Dict[str, tf.Tensor]:
        """Computes what all samples of `[H, W, C]` uint8 share, `log_probs` of F too."""
        return dict(self._copies[0].call("encode", **self._inputs(image, blackbox)))

    def decode(
        self, encoded: Dict[str, tf.Tensor], *, num_samples: int, seed: Tuple[int, int]
    ) -> np.ndarray:
        """Draws `[M, H, W]` uint8 samples from what `encode` gave."""
        inputs = dict(encoded, num_samples=num_samples, seed=[seed])
        return self._copies[0].call("decode", **inputs)["samples"][0].numpy()

    def _inputs(
        self, image: np.ndarray, blackbox: Optional[np.ndarray]
    ) -> Dict[str, np.ndarray]:
        if blackbox is None:
            return {"image": image[None]}
        is_ids = self.labels["blackbox"]["input"] == "labels"
        maps = blackbox[None].astype(np.uint8 if is_ids else np.float32)
        return {"image": image[None], "blackbox": maps}


class _Copy:
    """A SavedModel of `python -m export` on one device."""

    def __init__(self, path: pathlib.Path, device: Optional[str]):
        self._device = device
        with tf.device(device):
            # Its variables live as long as it does.
            self._loaded = tf.saved_model.load(str(path))
        wanted = ("labels", "sample", "encode", "decode")
        if not all(hasattr(self._loaded, name) for name in wanted):
            raise versions.ExportError(
                f"{path}: wanted a model of `python -m export`, found another SavedModel"
            )
        self.labels_file = pathlib.Path(self._loaded.labels.asset_path.numpy().decode())

    def call(self, name: str, **inputs: Any) -> Dict[str, tf.Tensor]:
        """Calls one of its functions with arrays or tensors."""
        with tf.device(self._device):
            tensors = {key: tf.constant(value) for key, value in inputs.items()}
            return getattr(self._loaded, name)(**tensors)
