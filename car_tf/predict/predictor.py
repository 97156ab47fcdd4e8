"""Prediction on folders of images with an exported model: PNG files and statistics."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import queue
import sys
import threading
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from car_tf.predict import output as predict_output
from car_tf.evaluate import tiles
from car_tf.data import load as data_load
from car_tf import config as config_lib
from car_tf.data import examples, io
from export import description, versions
from export.clients import common


@dataclasses.dataclass(frozen=True)
class Options:
    """How images are predicted.

    Attributes:
      num_samples: samples per image.
      seed: of the samples; an image's own seed is made of it and the image's name.
      size: (height, width) that images are resized to; `trained` for that of the
        training, `own` for each image's own.
      blackbox: a model, or a folder of predictions; empty for that of the training.
    """

    num_samples: int = 16
    seed: int = 0
    size: Any = "trained"
    blackbox: str = ""


class Predictor:
    """An exported model, on one device or, copied, on several.

    Attributes:
      path: of its version.
      labels: its `labels.json`.
      content: hash of its content.
      num_devices: images that can be computed at the same time.
    """

    def __init__(self, path: pathlib.Path, devices: Sequence[Optional[str]] = (None,)):
        """Loads it.

        Args:
          path: of its version.
          devices: names of those that share the work; None for TensorFlow's choice.
        """
        self.path = path
        self.num_devices = len(devices)
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
        """Draws samples for `[H, W, C]` uint8.

        Returns:
          `[M, H, W]` uint8 class ids, and the entropy of F, `[H, W]` in bits.
        """
        copy = self._free.get()
        try:
            drawn = tiles.compute(
                tiles.cut(image.shape[:2], self.labels.get("reach")),
                lambda seen: copy.call(
                    "sample",
                    **self._inputs(
                        image[seen], None if blackbox is None else blackbox[seen]
                    ),
                    num_samples=num_samples,
                    seed=[seed],
                ),
                {"samples": 2, "entropy_bits": 1},
            )
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
        drawn = self._copies[0].call(
            "decode", **encoded, num_samples=num_samples, seed=[seed]
        )
        return drawn["samples"][0].numpy()

    def _inputs(
        self, image: np.ndarray, blackbox: Optional[np.ndarray]
    ) -> Dict[str, np.ndarray]:
        inputs = {"image": image[None]}
        if blackbox is not None:
            labels = self.labels["blackbox"]["input"] == "labels"
            kind = np.uint8 if labels else np.float32
            inputs["blackbox"] = blackbox[None].astype(kind)
        return inputs


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
        labels_file = self._loaded.labels.asset_path.numpy().decode()
        self.labels_file = pathlib.Path(labels_file)

    def call(self, name: str, **inputs: Any) -> Dict[str, tf.Tensor]:
        """Calls one of its functions with arrays or tensors."""
        with tf.device(self._device):
            tensors = {key: tf.constant(value) for key, value in inputs.items()}
            return getattr(self._loaded, name)(**tensors)


def predict(
    predictor: Predictor,
    images: Dict[str, pathlib.Path],
    output: pathlib.Path,
    options: Options,
    say: Callable[[str], None] = print,
) -> List[str]:
    """Predicts images into `output/<name>/`; what is there already is left.

    Args:
      predictor: the model.
      images: name -> file, of `common.find_images`.
      output: the folder to write to.
      options: how.
      say: takes lines for people.

    Returns:
      The names of images that failed; each was reported.

    Raises:
      DataError: a black box that is needed and missing.
    """
    black_boxes = _BlackBoxes(predictor, images, options)
    todo, failed = [], []
    for name, file in images.items():
        key = _key(predictor, file, black_boxes.content(name), options)
        if predict_output.recorded_key(output / name) != key:
            todo.append((name, key))
    if len(todo) < len(images):
        say(f"{len(images) - len(todo)} of {len(images)} images were predicted before")
    bar = io.progress(total=len(todo), desc="predicting", unit="image")

    def one(name: str, key: str) -> None:
        result = _predict_one(predictor, name, images[name], options, black_boxes)
        result.write(output / name, key)

    # One image more than devices is under way: it is read or written meanwhile.
    pool = concurrent.futures.ThreadPoolExecutor(predictor.num_devices + 1)
    try:
        names = {pool.submit(one, name, key): name for name, key in todo}
        for future in concurrent.futures.as_completed(names):
            try:
                future.result()
            except (io.DataError, tf.errors.InvalidArgumentError) as error:
                name = names[future]
                failed.append(name)
                words = common.sentence(str(error))
                bar.write(f"error: {name}: {words}", file=sys.stderr)
            bar.update()
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    return [name for name in images if name in failed]


def write_examples(
    config: config_lib.Config, folder: pathlib.Path, num: int
) -> Tuple[Dict[str, pathlib.Path], str]:
    """Writes what `data_load.draw_unseen` draws as PNG files, to predict.

    Args:
      config: of a run on drawn data.
      folder: gets `images`, and `blackbox` with its maps where the run works on one.
      num: how many.

    Returns:
      name -> image file, and the folder of the maps, empty where there are none.
    """
    split = data_load.draw_unseen(config, num)
    drawn = {"images": split.images}
    if split.blackbox is not None:
        drawn["blackbox"] = split.blackbox
    for kind, arrays in drawn.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, array in zip(split.names, arrays):
            Image.fromarray(array.squeeze()).save(folder / kind / f"{name}.png")
    images = {name: folder / "images" / f"{name}.png" for name in split.names}
    return images, str(folder / "blackbox") if "blackbox" in drawn else ""


def _key(
    predictor: Predictor, file: pathlib.Path, blackbox: str, options: Options
) -> str:
    """Identifies a result: model, image, black box and options."""
    try:
        content = io.file_hash(file)
    except io.DataError as error:
        content = str(error)
    facts = [predictor.content, content, blackbox, dataclasses.asdict(options)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def working_size(
    labels: Dict[str, Any], options: Options, own: Tuple[int, int]
) -> Tuple[int, int]:
    """Returns the (height, width) at which an image of its own size is predicted."""
    blackbox = labels["blackbox"]
    if blackbox is not None and blackbox["embedded"]:
        return own  # The model resizes, after its black box has seen the whole image.
    if options.size == "own" or (options.size == "trained" and not labels["resizes"]):
        return own
    return tuple(labels["trained_size"] if options.size == "trained" else options.size)


def read_image(path: pathlib.Path, channels: int) -> Image.Image:
    """Reads an image, `RGB` or grey, as people look at it (EXIF).

    Raises:
      DataError: unreadable, or of more than 8 bits per channel.
    """
    with io.opened(path) as opened:
        mode = opened.mode
    if mode.startswith(("I", "F")):
        raise io.DataError(
            f"{path}: wanted 8 bits per channel, got mode {mode}: scale it first"
        )
    image = io.read_png(path, mode="RGB")
    with contextlib.suppress(
        Exception
    ):  # Pillow raises many types on damaged EXIF data.
        image = ImageOps.exif_transpose(image)
    return image if channels == 3 else image.convert("L")


def _predict_one(
    predictor: Predictor,
    name: str,
    file: pathlib.Path,
    options: Options,
    black_boxes: "_BlackBoxes",
) -> predict_output.Result:
    channels = predictor.labels["image_channels"]
    opened = read_image(file, channels)
    own = (opened.height, opened.width)
    size = working_size(predictor.labels, options, own)
    image = np.atleast_3d(io.resize_antialiased(opened, size))
    seed = common.seed_for(options.seed, name)
    samples, entropy_bits = predictor.sample(
        image,
        black_boxes.of(name, opened, size),
        num_samples=options.num_samples,
        seed=seed,
    )
    return predict_output.Result(
        file=file,
        picture=opened,
        samples=samples,
        entropy_bits=entropy_bits,
        seed=seed,
        labels=predictor.labels,
    )


class _BlackBoxes:
    """Gives the black box's output for an image, from a model or a folder."""

    def __init__(
        self,
        predictor: Predictor,
        images: Dict[str, pathlib.Path],
        options: Options,
    ):
        self._segmenter = None
        self._lock = threading.Lock()
        self._maps: Dict[str, np.ndarray] = {}
        if not predictor.needs_blackbox:
            if options.blackbox:
                raise io.DataError(
                    "--blackbox: this model takes images alone and needs none"
                )
            return
        config = blackbox_config(predictor, options)
        self._segmenter = data_load.build_blackbox(config)
        if self._segmenter is None:
            by_size: Dict[Tuple[int, int], List[str]] = {}
            for name, file in images.items():
                with contextlib.suppress(io.DataError):  # Its prediction says so.
                    size = working_size(predictor.labels, options, _own_size(file))
                    by_size.setdefault(size, []).append(name)
            # The largest group first: it tells the encoding for all.
            for size in sorted(by_size, key=lambda size: -len(by_size[size])):
                maps, encoding = read_maps(config, images, by_size[size], size)
                self._maps.update(maps)
                if encoding:
                    config = config_lib.change(config, blackbox={"encoding": encoding})

    def content(self, name: str) -> str:
        """Identifies what `of` gives for an image, without computing it."""
        if self._segmenter is not None:
            return self._segmenter.fingerprint
        array = self._maps.get(name)
        return "" if array is None else hashlib.sha256(array.tobytes()).hexdigest()

    def of(
        self, name: str, picture: Image.Image, size: Tuple[int, int]
    ) -> Optional[np.ndarray]:
        """Returns `[H, W]` class ids or `[H, W, K]` probabilities; None for none."""
        if self._segmenter is not None:
            # As in training, the segmenter sees the image at its own size; not every
            # segmenter can be called by two threads.
            with self._lock:
                return self._segmenter.predict(np.asarray(picture)[None], size)[0]
        return self._maps.get(name)


def _own_size(file: pathlib.Path) -> Tuple[int, int]:
    with io.opened(file) as image:
        return io.upright_size(image)


def blackbox_config(predictor: Predictor, options: Options) -> config_lib.Config:
    """Returns the configuration of the training with the black box of the options."""
    config = config_lib.from_json(json.dumps(predictor.labels["config"]))
    path = options.blackbox or config.blackbox.path
    if not path:
        raise io.DataError(
            "--blackbox: wanted a segmenter, or a folder of its predictions: this model "
            f"works on the {predictor.labels['blackbox']['input']} of one"
        )
    output = predictor.labels["blackbox"]["input"]
    return config_lib.change(
        config,
        blackbox={"kind": "auto", "path": path, "output": output},
        # No F is built from this, and some ask for a certain black box.
        calibration_net=config_lib.CalibrationNet(),
    )


def read_maps(
    config: config_lib.Config,
    images: Dict[str, pathlib.Path],
    names: Sequence[str],
    size: Tuple[int, int],
) -> Tuple[Dict[str, np.ndarray], str]:
    """Reads the predictions of images of one working size from a folder.

    Returns:
      name -> map, and which ids they are; see `data_load.with_blackbox`.
    """
    nothing = np.zeros([len(names), 0], np.uint8)
    split = examples.Examples(
        # Predictions are named after the frame, without what the file of the image adds.
        names=tuple(name.replace("_leftImg8bit", "") for name in names),
        groups=tuple(names),
        images=nothing,
        labels=nothing,
        image_files=tuple(images[name] for name in names),
    )
    # Nothing is cropped here, so that no crop limits the size.
    whole = {"size": size, "crop_size": (16, 16), "scale_range": (1.0, 1.0)}
    config = config_lib.change(config, data=whole)
    split, encoding = data_load.with_blackbox(config, split, notes=[], segmenter=None)
    return dict(zip(names, split.blackbox)), encoding
