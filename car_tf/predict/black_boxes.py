"""The black box of a prediction: a model, or maps in a folder."""

import contextlib
import hashlib
import json
import pathlib
import threading
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.config import fields
from car_tf.data import examples, io
from car_tf.predict import images as predict_images
from car_tf.predict import predictor as predict_predictor

NOT_NEEDED = "--blackbox: this model takes images alone and needs none"


class BlackBoxes:
    """Gives the black box's output for an image, from a model or a folder."""

    def __init__(
        self,
        predictor: predict_predictor.Predictor,
        images: Dict[str, pathlib.Path],
        options: predict_predictor.Options,
    ):
        self._segmenter = None
        self._lock = threading.Lock()
        self._maps: Dict[str, np.ndarray] = {}
        if not predictor.needs_blackbox:
            if options.blackbox:
                raise io.DataError(NOT_NEEDED)
            return
        config = blackbox_config(predictor, options)
        num_classes = predictor.labels["blackbox"]["num_classes"]
        self._segmenter = attach.build_blackbox(config, num_classes)
        if self._segmenter is None:
            by_size: Dict[Tuple[int, int], List[str]] = {}
            for name, file in images.items():
                with contextlib.suppress(io.DataError):  # Its prediction says so.
                    own = predict_images.own_size(file)
                    size = predict_images.working_size(predictor.labels, options, own)
                    by_size.setdefault(size, []).append(name)
            # The largest group first: it tells the encoding for all.
            for size in sorted(by_size, key=lambda size: -len(by_size[size])):
                names = by_size[size]
                maps, encoding = read_maps(config, images, names, size, num_classes)
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
                seen = np.asarray(picture.convert("RGB"))
                return self._segmenter.predict(seen[None], size)[0]
        return self._maps.get(name)


def blackbox_config(
    predictor: predict_predictor.Predictor, options: predict_predictor.Options
) -> config_lib.Config:
    """Returns the configuration of the training with the black box of the options."""
    config = config_lib.from_json(json.dumps(predictor.labels["config"]))
    output = predictor.labels["blackbox"]["input"]
    config = attach.as_trained(config, output)
    config = fields.override(config, options.blackbox_settings)
    path = options.blackbox or config.blackbox.path
    if not path:
        raise io.DataError(
            "--blackbox: wanted a segmenter, or a folder of its predictions: this model "
            f"works on the {predictor.labels['blackbox']['input']} of one"
        )
    if (config.blackbox.output == "labels") != (output == "labels"):
        raise io.DataError(f"--set blackbox.output: this model works on {output}")
    return config_lib.change(
        config,
        blackbox={"kind": "auto", "path": path},
        # No F is built from this, and some ask for a certain black box.
        calibration_net={"kind": "blackbox_calibrator"},
    )


def read_maps(
    config: config_lib.Config,
    images: Dict[str, pathlib.Path],
    names: Sequence[str],
    size: Tuple[int, int],
    num_classes: int,
) -> Tuple[Dict[str, np.ndarray], str]:
    """Reads the predictions of images of one working size from a folder.

    Returns:
      name -> map, and which ids they are; see `attach.with_blackbox`.
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
    split, encoding = attach.with_blackbox(
        config, split, notes=[], segmenter=None, num_classes=num_classes
    )
    return dict(zip(names, split.blackbox)), encoding
