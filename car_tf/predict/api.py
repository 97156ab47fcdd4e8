"""`car_tf.load`: a trained run or an exported model as one object that draws samples."""

import os
import pathlib
from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf
from PIL import Image

from car_tf.data import io, pictures
from car_tf.metrics import baselines, calibration
from car_tf.predict import black_boxes, images
from car_tf.predict import predictor as predict_predictor
from export import checks, versions
from export.clients import common

ImageLike = Union[str, os.PathLike, np.ndarray, Image.Image]
Size = Union[str, Tuple[int, int]]


def load(path: Union[str, os.PathLike]) -> "Sampler":
    """Opens a finished run, or a SavedModel of `python -m export`.

    Takes a run directory, what `car_tf.train` returned, a model's folder, or one of its
    versions.

    Raises:
      export.versions.ExportError: there is no model of this kind.
    """
    folder = pathlib.Path(path).expanduser()
    is_run = (folder / "config.json").is_file()
    if is_run:
        found = versions.of_flags(str(folder), "")
    else:
        try:
            found = versions.of_flags("", str(folder))
        except versions.ExportError as error:
            raise versions.ExportError(f"{error}, and no run (config.json)") from None
    return Sampler(predict_predictor.Predictor(found))


class Sampler:
    """Draws label maps for images of any size.

    Attributes:
      class_names: of the K classes, in the order of their ids.
      class_colors: (red, green, blue) of each.
      flips: of each class with a twin: ids `original` and `flipped`, and `probability`.
    """

    def __init__(self, predictor: predict_predictor.Predictor):
        self._predictor = predictor
        self._segmenter: Any = None
        labels = predictor.labels
        self.class_names = tuple(entry["name"] for entry in labels["classes"])
        self.class_colors = tuple(tuple(entry["color"]) for entry in labels["classes"])
        self.flips = tuple(labels["flips"])

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    def sample(
        self,
        image: ImageLike,
        num_samples: int = 16,
        *,
        seed: int = 0,
        blackbox: Optional[ImageLike] = None,
        temperature: float = 1.0,
        size: Size = "own",
    ) -> np.ndarray:
        """Draws label maps; the same image and seed give the same ones.

        Args:
          image: a file, a PIL image, or `[H, W]` or `[H, W, C]` uint8.
          num_samples: S, how many.
          seed: of the samples.
          blackbox: the output of the run's segmenter for this image: `[h, w]` class
            ids (a file or an array) or `[h, w, Kb]` probabilities. By default the
            segmenter that the run was trained on is called.
          temperature: divides F's log-probabilities when samples are drawn: above 1
            they differ more, below 1 less, than G was trained to.
          size: (height, width) of the maps; `own` for that of the image, `trained` for
            the size that the networks work at.

        Returns:
          `[S, H, W]` uint8 class ids, enlarged by nearest neighbour.

        Raises:
          DataError: an image that cannot be read, a black box that is needed, or no size.
          ValueError: `num_samples` or `temperature` out of range.
        """
        _check_size(size)
        if not 1 <= num_samples <= checks.MAX_SAMPLES:
            wanted = f"1 to {checks.MAX_SAMPLES}"
            raise ValueError(f"num_samples: wanted {wanted}, got {num_samples}")
        seen, maps, own = self._inputs(image, blackbox)
        drawing = dict(num_samples=num_samples, seed=common.seed_for(seed, ""))
        if temperature == 1:
            samples, _ = self._predictor.sample(seen, maps, **drawing)
        else:
            encoded = self._predictor.encode(seen, maps)
            encoded["log_probs"] = _tempered(encoded["log_probs"], temperature)
            samples = self._predictor.decode(encoded, **drawing)
        sizes = {"own": own, "trained": seen.shape[:2]}
        return _resized(samples, sizes[size] if isinstance(size, str) else size)

    def probabilities(
        self,
        image: ImageLike,
        *,
        blackbox: Optional[ImageLike] = None,
        temperature: float = 1.0,
    ) -> np.ndarray:
        """Returns F's probability of each class at each pixel (CAR, Eq. 1).

        Args:
          image: as of `sample`.
          blackbox: as of `sample`.
          temperature: divides the log-probabilities; 1 is what F was trained to.

        Returns:
          `[h, w, K]` float32 at the networks' working size.
        """
        seen, maps, _ = self._inputs(image, blackbox)
        log_probs = self._predictor.encode(seen, maps)["log_probs"]
        return np.exp(_tempered(log_probs, temperature)[0].numpy())

    def entropy(self, image: ImageLike, **options: Any) -> np.ndarray:
        """Returns how unsure F is at each pixel, `[h, w]` in bits, 0 to log2 K.

        Takes what `probabilities` takes.
        """
        return calibration.entropy_bits(self.probabilities(image, **options))

    def level_sets(
        self,
        image: ImageLike,
        num_samples: int = 16,
        *,
        seed: int = 0,
        blackbox: Optional[ImageLike] = None,
    ) -> np.ndarray:
        """Draws label maps from F alone, the sampler that costs nothing.

        Returns:
          `[S, h, w]` uint8: thresholds of the second class's probability where there
          are two classes, Gumbel draws (one variable per class and map) otherwise.
        """
        probs = self.probabilities(image, blackbox=blackbox)
        if self.num_classes == 2:
            return baselines.level_sets(probs, num_samples=num_samples)
        rng = np.random.default_rng(seed)
        return baselines.gumbel_draws(probs, num_samples=num_samples, rng=rng)

    def _inputs(self, image: ImageLike, blackbox: Optional[ImageLike]):
        """Returns what the model takes, and the image's own (height, width)."""
        if blackbox is not None:
            _check_turned(image)
        labels = self._predictor.labels
        limits = labels.get("image_range", ())
        picture = images.as_picture(image, labels["image_channels"], limits)
        options = predict_predictor.Options(size="trained")
        seen = images.at_working_size(picture, labels, options)
        own, size = (picture.height, picture.width), seen.shape[:2]
        return seen, self._blackbox(picture, blackbox, size), own

    def _given(self, source: ImageLike, sizes: Sequence[Tuple[int, int]]) -> np.ndarray:
        """Takes a black box's output: ids of classes, or probabilities of each."""
        maps = source if isinstance(source, np.ndarray) else _read_ids(source)
        num = self._predictor.labels["blackbox"]["num_classes"]
        if self._predictor.labels["blackbox"]["input"] == "labels":
            is_one = maps.ndim == 2 and maps.dtype.kind in "iu"
            strange = maps[(maps >= num) | (maps < 0)] if is_one else maps[:0]
            is_one &= not strange[strange != 255].size
            wanted = f"[h, w] ids below {num}, or 255 for none"
        else:
            is_one = maps.ndim == 3 and maps.dtype.kind == "f" and maps.shape[-1] == num
            # Of halves and bytes; classes that the data lack take their share.
            is_one = is_one and maps.min() >= -0.001 and maps.sum(-1).max() <= 1.05
            wanted = f"[h, w, {num}] floats from 0 to 1 that sum to 1"
        if not is_one or maps.shape[:2] not in sizes:
            sides = " or ".join(f"{h} x {w}" for h, w in dict.fromkeys(sizes))
            values = f" with {maps.min():g} to {maps.max():g}" if maps.size else ""
            raise io.DataError(
                f"blackbox: wanted {wanted}, of {sides} pixels, got {maps.dtype} "
                f"{list(maps.shape)}{values} (ids are of the run's classes in their "
                "order, for Cityscapes the train ids)"
            )
        return maps

    def _blackbox(self, picture: Image.Image, given: Optional[ImageLike], size):
        if not self._predictor.needs_blackbox:
            if given is not None:
                raise io.DataError("blackbox: this model takes images alone")
            return None
        if given is not None:
            maps = self._given(given, (size, (picture.height, picture.width)))
            return maps if maps.shape[:2] == size else _resized(maps[None], size)[0]
        config = self._predictor.labels["config"]
        if self._segmenter is None and config and config["blackbox"]["path"]:
            options = predict_predictor.Options()
            _, self._segmenter = black_boxes.opened(self._predictor, options)
        if self._segmenter is None:
            raise io.DataError(
                "blackbox: wanted the segmenter's output for this image as `blackbox=`, "
                "because the run was trained on predictions in files or on an imitation"
            )
        seen = np.asarray(picture.convert("RGB"))
        return self._segmenter.predict(seen[None], size)[0]


def _check_size(size: Any) -> None:
    is_pair = isinstance(size, (tuple, list, np.ndarray)) and np.shape(size) == (2,)
    if is_pair and all(side == int(side) > 0 for side in size):
        return
    if not isinstance(size, str) or size not in ("own", "trained"):
        wanted = "own, trained, or a (height, width) of pixels"
        raise io.DataError(f"size: wanted {wanted}, got {size!r}")


def _tempered(log_probs: tf.Tensor, temperature: float) -> tf.Tensor:
    """Divides `[..., K]` log-probabilities by a temperature, and normalises them."""
    if not temperature > 0:
        raise ValueError(f"temperature: wanted a number above 0, got {temperature}")
    return log_probs if temperature == 1 else tf.nn.log_softmax(log_probs / temperature)


def _read_ids(source: Union[str, os.PathLike, Image.Image]) -> np.ndarray:
    if not isinstance(source, Image.Image):
        try:
            return io.read_ids(pathlib.Path(source).expanduser())
        except io.DataError as error:
            wanted = "wanted the output of a segmenter for this image, not a segmenter"
            raise io.DataError(f"blackbox: {wanted}: {error}") from None
    try:
        return np.asarray(pictures.to_ids(source))
    except pictures.PictureError as error:
        raise io.DataError(f"blackbox: {error}") from None


def _check_turned(image: ImageLike) -> None:
    """Refuses an image that its map may or may not be turned with."""
    if isinstance(image, np.ndarray):
        return
    try:
        if isinstance(image, Image.Image):
            pictures.map_size(image)
            return
        with io.opened(pathlib.Path(image).expanduser()) as opened:
            pictures.map_size(opened)
    except pictures.PictureError as error:
        raise io.DataError(f"image: {error}") from None


def _resized(maps: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Resizes `[N, h, w, ...]` to (height, width) by nearest neighbour."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, maps.shape[1:3])
    )
    return maps[:, rows[:, None], columns]
