"""The black box of a prediction: a model, or maps in a folder."""

import contextlib
import hashlib
import json
import pathlib
import threading
from typing import Dict, List, Optional, Tuple

import numpy as np
from PIL import Image

from car_tf import config as config_lib
from car_tf.blackbox import attach, segmenter
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
        self.notes: List[str] = []  # What a user must be told.
        self._lock = threading.Lock()
        self._maps: Dict[str, np.ndarray] = {}
        if not predictor.needs_blackbox:
            if options.blackbox:
                raise io.DataError(NOT_NEEDED)
            return
        config, self._segmenter = opened(predictor, options)
        if self._segmenter is None:
            known = known_of(predictor, options)
            by_size: Dict[Tuple[int, int], List[str]] = {}
            for name, file in images.items():
                with contextlib.suppress(io.DataError):  # Its prediction says so.
                    own = predict_images.own_size(file)
                    size = predict_images.working_size(predictor.labels, options, own)
                    by_size.setdefault(size, []).append(name)
            # The largest group first: it tells the encoding for all.
            for size in sorted(by_size, key=lambda size: -len(by_size[size])):
                names = by_size[size]
                files = {name: images[name] for name in names}
                shared = dict(known=known, notes=self.notes)
                self._maps.update(read_maps(config, files, size, predictor, **shared))

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


def opened(
    predictor: predict_predictor.Predictor, options: predict_predictor.Options
) -> Tuple[config_lib.Config, Optional[segmenter.Segmenter]]:
    """Returns the training's configuration with a black box, and it if it is a model."""
    config = blackbox_config(predictor, options)
    num_classes = predictor.labels["blackbox"]["num_classes"]
    found = attach.build_blackbox(config, num_classes)
    if found is not None and not options.blackbox:  # Another one tells for itself.
        found.scores = known_of(predictor, options).get("blackbox_scores", "")
    return config, found


def known_of(
    predictor: predict_predictor.Predictor, options: predict_predictor.Options
) -> Dict[str, str]:
    """Returns what the training told of its black box, as of `attach.known_of`."""
    trained = (predictor.labels["config"] or {}).get("blackbox", {})
    told = {
        ("blackbox_scores", "output="): predictor.labels["blackbox"].get("scores"),
        ("blackbox_encoding", "encoding="): trained.get("encoding"),
    }
    said = " ".join(options.blackbox_settings)
    return {
        name: value
        for (name, setting), value in told.items()
        if value not in (None, "", "auto") and setting not in said
    }


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
    size: Tuple[int, int],
    predictor: predict_predictor.Predictor,
    *,
    known: Dict[str, str],
    notes: List[str],
) -> Dict[str, np.ndarray]:
    """Reads the predictions of images of one working size from a folder, by name.

    To `known` and `notes` is added as by `attach.with_blackbox`.
    """
    nothing = np.zeros([len(images), 0], np.uint8)
    split = examples.Examples(
        # Predictions are named after the frame, without what the file of the image adds.
        names=tuple(name.replace("_leftImg8bit", "") for name in images),
        groups=tuple(images),
        images=nothing,
        labels=nothing,
        image_files=tuple(images.values()),
    )
    # Nothing is cropped here, so that no crop limits the size.
    whole = {"size": size, "crop_size": (16, 16), "scale_range": (1.0, 1.0)}
    # What training was told is no word on these files.
    encoding = "auto" if "blackbox_encoding" in known else config.blackbox.encoding
    config = config_lib.change(config, data=whole, blackbox={"encoding": encoding})
    how = dict(known=known, notes=notes, segmenter=None)
    how["num_classes"] = predictor.labels["blackbox"]["num_classes"]
    return dict(zip(images, attach.with_blackbox(config, split, **how).blackbox))
