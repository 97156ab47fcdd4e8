"""What people drop on the proposal page, made into what the model takes."""

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from typing import Callable, Iterator, List, Optional, Tuple, Union

import numpy as np
import tensorflow as tf
from PIL import Image

from car_tf import config as config_lib
from car_tf.app import views
from car_tf.blackbox import attach
from car_tf.config import data_sections
from car_tf.data import io, pictures, scans
from car_tf.predict import black_boxes as predict_black_boxes
from car_tf.predict import images as predict_images
from car_tf.predict import predictor as predict_predictor
from export.clients import common

NUM_EXAMPLES = 4

# Returns the ending and the content of an image's file.
ImageFile = Callable[[], Tuple[str, bytes]]


class PageError(ValueError):
    """What cannot be done; the message is shown to people."""

    status = 400  # of the answer


class Forgotten(PageError):
    """An image is not remembered any more; the page opens it again."""

    status = 410


@dataclasses.dataclass(frozen=True)
class Upload:
    """An image that is to be opened."""

    name: str  # of its file
    content: Union[bytes, pathlib.Path]  # of its file, or where it lies
    map_name: str = ""  # of the file of its map; empty for none
    map_content: bytes = b""  # of that file
    index: Optional[int] = None  # of the slice; None for the middle one
    # Through which the model is to see a scan; None for the file's.
    window: Optional[scans.Window] = None


@dataclasses.dataclass(frozen=True)
class Opened:
    """An image that is ready for the model."""

    name: str  # of the file
    picture: Image.Image  # at its own size, RGB, as the model sees it
    image: np.ndarray  # `[H, W, C]` uint8, at the working size
    # `[H, W]` ids or `[H, W, K]` probabilities; None for none.
    blackbox: Optional[np.ndarray]
    # The grey values behind the picture; None for an ordinary one.
    scan: Optional[scans.Slice] = None
    window: Optional[scans.Window] = None  # through which the model sees the scan
    file: Optional[ImageFile] = None  # returns the image as a mask belongs to it
    seconds: float = 0.0  # what opening it took, black box included

    @property
    def stem(self) -> str:
        """What files that belong to it are called, such as `scan_z012`."""
        stem = stem_of(self.name)
        if self.scan is None or self.scan.count == 1:
            return stem
        return f"{stem}_z{self.scan.index:03d}"


class Reader:
    """Opens uploads for a model.

    Args:
      options: how images are predicted. Where they name no black box and that of the
        training is not here, each image must come with its map.
      window: through which all scans are seen; by default that of the training, or of
        each file.
    """

    def __init__(
        self,
        predictor: predict_predictor.Predictor,
        options: predict_predictor.Options,
        window: Optional[scans.Window] = None,
    ):
        self._predictor = predictor
        self._options = options
        self._window = window or tuple(predictor.labels.get("image_range") or ())
        self._config: Optional[config_lib.Config] = None
        self._segmenter = None
        if not predictor.needs_blackbox:
            if options.blackbox:
                raise io.DataError(predict_black_boxes.NOT_NEEDED)
            return
        trained_on = (predictor.labels["config"] or {}).get("blackbox", {}).get("path")
        here = trained_on and data_sections.is_segmenter_here(trained_on)
        if options.blackbox or here:
            config, self._segmenter = predict_black_boxes.opened(predictor, options)
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
        with _on_disk(upload) as path, tempfile.TemporaryDirectory(
            prefix="car_tf-app-"
        ) as name:
            folder = pathlib.Path(name)
            try:
                scan, window, picture = self._look(upload, path)
                how = self._predictor.labels, self._options
                own = (picture.height, picture.width)
                size = predict_images.working_size(*how, own)
                if scan is not None:  # Black boxes read pictures.
                    path = folder / "seen.png"
                    picture.save(path, compress_level=1)
                blackbox = self._blackbox(upload, path, picture, size, folder)
            except (ValueError, tf.errors.InvalidArgumentError) as error:
                words = common.sentence(str(error)).replace(str(path), upload.name)
                words = words.replace(str(_map_path(folder, upload)), upload.map_name)
                raise PageError(words) from error
        channels = self._predictor.labels["image_channels"]
        seen = picture if channels == 3 else picture.convert("L")
        return Opened(
            name=upload.name,
            picture=picture,
            image=np.atleast_3d(io.resize_antialiased(seen, size)),
            blackbox=blackbox,
            scan=scan,
            window=window,
            file=lambda: self._file(upload),
            seconds=time.perf_counter() - start,
        )

    def _look(
        self, upload: Upload, path: pathlib.Path
    ) -> Tuple[Optional[scans.Slice], Optional[scans.Window], Image.Image]:
        """Returns the scan, its window, and the picture that the model is shown."""
        scan = scans.read(path, upload.index)
        if scan is None:
            labels = self._predictor.labels
            how = labels["image_channels"], labels.get("image_range", ())
            return None, None, predict_images.read_image(path, *how).convert("RGB")
        window = upload.window or self._window or scan.window
        return scan, window, pictures.within(scan.values, window).convert("RGB")

    def _file(self, upload: Upload) -> Tuple[str, bytes]:
        """Returns the file of an upload: itself, or what the model saw as PNG."""
        with _on_disk(upload) as path:
            ending = path.suffix.lower()
            scan, unused_window, picture = self._look(upload, path)
            if scan is None and ending in common.IMAGE_ENDINGS:
                with io.opened(path) as image:
                    if pictures.orientation(image) == 1:
                        return ending, path.read_bytes()
        seen = picture if scan is None else picture.convert("L")
        return ".png", views.encoded(seen, "PNG")

    def _blackbox(self, upload, path, picture, size, folder) -> Optional[np.ndarray]:
        if self._segmenter is not None:
            # As in training, the segmenter sees the image at its own size.
            return self._segmenter.predict(np.asarray(picture)[None], size)[0]
        if not self._predictor.needs_blackbox:
            return None
        config, name = self._config, stem_of(upload.name)
        if self.needs_map or upload.map_content:
            if not upload.map_content:
                raise PageError(
                    "This model works on top of a segmenter: give the map of classes "
                    f"that it draws for {upload.name}, too, or start with --blackbox."
                )
            map_path = _map_path(folder, upload)
            if map_path.suffix not in common.MAP_ENDINGS:
                words = "a map is a PNG of class ids, or .npy."
                raise PageError(f"{upload.map_name}: {words}")
            map_path.parent.mkdir()
            map_path.write_bytes(upload.map_content)
            name = map_path.stem
            given = dataclasses.replace(self._options, blackbox=str(map_path.parent))
            config = predict_black_boxes.blackbox_config(self._predictor, given)
        config = config_lib.change(config, data={"cache_dir": str(folder / "cache")})
        known = predict_black_boxes.known_of(self._predictor, self._options)
        maps = predict_black_boxes.read_maps(
            config, {name: path}, size, self._predictor, known=known, notes=[]
        )
        return maps[name]


@contextlib.contextmanager
def _on_disk(upload: Upload) -> Iterator[pathlib.Path]:
    """Yields a file with an upload's content, whose name has its ending."""
    if isinstance(upload.content, pathlib.Path):
        yield upload.content
        return
    with tempfile.TemporaryDirectory(prefix="car_tf-app-") as folder:
        ending = pathlib.PurePath(upload.name).name[len(stem_of(upload.name)) :]
        path = pathlib.Path(folder) / f"upload{ending}"
        path.write_bytes(upload.content)
        yield path


def stem_of(name: str) -> str:
    """Returns a file's name without its ending, `.nii.gz` included."""
    name = pathlib.PurePath(name).name
    for ending in scans.NIFTI_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return pathlib.PurePath(name).stem


def _map_path(folder: pathlib.Path, upload: Upload) -> pathlib.Path:
    return folder / "maps" / f"map{pathlib.PurePath(upload.map_name).suffix.lower()}"


def draw_examples(config: config_lib.Config) -> List[Opened]:
    """Draws images that a run on drawn data was not trained on; none of other data."""
    if config.data.data_dir:
        return []
    split = attach.draw_unseen(config, NUM_EXAMPLES)
    maps = [None] * len(split.names) if split.blackbox is None else split.blackbox
    return [_example(*each) for each in zip(split.names, split.images, maps)]


def _example(name: str, image: np.ndarray, blackbox: Optional[np.ndarray]) -> Opened:
    picture = Image.fromarray(image.squeeze()).convert("RGB")

    def file() -> Tuple[str, bytes]:
        return ".png", views.encoded(picture, "PNG")

    return Opened(f"{name}.png", picture, image, blackbox, file=file)
