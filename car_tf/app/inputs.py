"""What people drop on the proposal page, made into what the model takes."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
import time
from typing import List, Optional, Tuple

import numpy as np
import tensorflow as tf
from PIL import Image

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.config import data_sections
from car_tf.data import io
from car_tf.predict import black_boxes as predict_black_boxes
from car_tf.predict import images as predict_images
from car_tf.predict import predictor as predict_predictor
from export.clients import common

NUM_EXAMPLES = 4


class PageError(ValueError):
    """What cannot be done; the message is shown to people."""


@dataclasses.dataclass(frozen=True)
class Upload:
    """Files as they were sent; without a map, `map_content` is empty."""

    name: str
    content: bytes
    map_name: str = ""
    map_content: bytes = b""


@dataclasses.dataclass(frozen=True)
class Opened:
    """An image that is ready for the model.

    Attributes:
      name: of the file.
      picture: at its own size, RGB.
      image: `[H, W, C]` uint8, at the working size.
      blackbox: `[H, W]` ids or `[H, W, K]` probabilities; None for none.
      seconds: what opening it took, black box included.
    """

    name: str
    picture: Image.Image
    image: np.ndarray
    blackbox: Optional[np.ndarray]
    seconds: float = 0.0


class Reader:
    """Opens uploads for a model.

    Args:
      predictor: the model.
      options: how images are predicted. Where they name no black box and that of the
        training is not here, each image must come with its map.
    """

    def __init__(
        self, predictor: predict_predictor.Predictor, options: predict_predictor.Options
    ):
        self._predictor = predictor
        self._options = options
        self._config: Optional[config_lib.Config] = None
        self._segmenter = None
        if not predictor.needs_blackbox:
            if options.blackbox:
                raise io.DataError(
                    "--blackbox: this model takes images alone and needs none"
                )
            return
        trained_on = (predictor.labels["config"] or {}).get("blackbox", {}).get("path")
        if options.blackbox or _is_here(trained_on):
            config = predict_black_boxes.blackbox_config(predictor, options)
            self._segmenter = attach.build_blackbox(
                config, predictor.labels["blackbox"]["num_classes"]
            )
            # A folder of the training's predictions says nothing of new images.
            if options.blackbox or self._segmenter is not None:
                self._config = config

    @property
    def needs_map(self) -> bool:
        """Whether each image must come with the black box's map."""
        return self._predictor.needs_blackbox and self._config is None

    def read(self, upload: Upload) -> Opened:
        """Opens an upload.

        Raises:
          PageError: no image, one that is too large, or a map that does not fit.
        """
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="car_tf-app-") as name:
            folder = pathlib.Path(name)
            path = folder / "upload"
            path.write_bytes(upload.content)
            try:
                picture = predict_images.read_image(
                    path, 3, self._predictor.labels.get("image_range", ())
                )
                own = (picture.height, picture.width)
                size = predict_images.working_size(
                    self._predictor.labels, self._options, own
                )
                blackbox = self._blackbox(upload, picture, size, folder)
            except (ValueError, tf.errors.InvalidArgumentError) as error:
                words = common.sentence(str(error)).replace(str(path), upload.name)
                words = words.replace(str(_map_path(folder, upload)), upload.map_name)
                raise PageError(words) from error
        channels = self._predictor.labels["image_channels"]
        seen = picture if channels == 3 else picture.convert("L")
        image = np.atleast_3d(io.resize_antialiased(seen, size))
        seconds = time.perf_counter() - start
        return Opened(upload.name, picture, image, blackbox, seconds)

    def _blackbox(
        self,
        upload: Upload,
        picture: Image.Image,
        size: Tuple[int, int],
        folder: pathlib.Path,
    ) -> Optional[np.ndarray]:
        if self._segmenter is not None:
            # As in training, the segmenter sees the image at its own size.
            return self._segmenter.predict(np.asarray(picture)[None], size)[0]
        if not self._predictor.needs_blackbox:
            return None
        config, name = self._config, pathlib.PurePath(upload.name).stem
        if self.needs_map or upload.map_content:
            if not upload.map_content:
                raise PageError(
                    "This model works on top of a segmenter: give the map of classes "
                    f"that it draws for {upload.name}, too."
                )
            path = _map_path(folder, upload)
            if path.suffix not in common.MAP_ENDINGS:
                raise PageError(
                    f"{upload.map_name}: a map is a PNG of class ids, or .npy."
                )
            path.parent.mkdir()
            path.write_bytes(upload.map_content)
            name = path.stem
            given = dataclasses.replace(self._options, blackbox=str(path.parent))
            config = predict_black_boxes.blackbox_config(self._predictor, given)
        config = config_lib.change(config, data={"cache_dir": str(folder / "cache")})
        maps, _ = predict_black_boxes.read_maps(
            config,
            {name: folder / "upload"},
            [name],
            size,
            self._predictor.labels["blackbox"]["num_classes"],
        )
        return maps[name]


def _map_path(folder: pathlib.Path, upload: Upload) -> pathlib.Path:
    return folder / "maps" / f"map{pathlib.PurePath(upload.map_name).suffix.lower()}"


def _is_here(blackbox: Optional[str]) -> bool:
    """Whether the black box of the training can be used on this machine."""
    return bool(blackbox) and data_sections.is_segmenter_here(blackbox)


def draw_examples(config: config_lib.Config) -> List[Opened]:
    """Draws images that a run on drawn data was not trained on.

    Args:
      config: of the run.

    Returns:
      A few of them; none where the data are somebody's files.
    """
    if config.data.data_dir:
        return []
    split = attach.draw_unseen(config, NUM_EXAMPLES)
    return [
        Opened(
            name=f"{name}.png",
            picture=Image.fromarray(image.squeeze()).convert("RGB"),
            image=image,
            blackbox=None if split.blackbox is None else split.blackbox[index],
        )
        for index, (name, image) in enumerate(zip(split.names, split.images))
    ]
