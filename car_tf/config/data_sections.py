"""Sections on images and black box."""

import os
from typing import Annotated, Iterator, Literal, Sequence, Tuple

import pydantic
from pydantic import Field

from car_tf.config import fields, ranges

# What may be wrong with a data set as a whole, as `data check` calls it.
ERRORS_OF_ALL = ("leakage", "duplicate across splits", "train ids", "no label")


class Data(fields.Section, key="data"):
    """Which images, at which size, and how they are augmented."""

    dataset: Literal["cityscapes", "lidc", "folders"] = "cityscapes"
    """The reader; `folders` takes any images and raters, as a `dataset.json` says. Of the
    others, an empty `data_dir` draws an embedded stand-in."""
    data_dir: ranges.Text = ""
    """Folder of the data set on disk; set by `--data_dir`."""
    cache_dir: ranges.Text = ""
    """Where decoded data sets are kept; empty: the user's cache folder."""
    size: ranges.Size = (256, 512)
    """Working (height, width) in pixels, to which photographs are resized and CT crops
    are cut around their centre; of `folders`, taken from `dataset.json`."""
    crop_size: Tuple[ranges.CropSide, ranges.CropSide] = (128, 128)
    """(height, width) of training crops."""
    scale_range: Tuple[ranges.Scale, ranges.Scale] = (0.75, 1.5)
    """Factors by which a training crop is magnified, drawn uniformly."""
    symmetries: Literal["mirror", "square"] = "mirror"
    """That a training crop is seen under: `mirror`, left to right, as the paper, or
    `square`, all eight of a square crop."""
    grey_jitter: ranges.Share = 0.0
    """By how much gamma, contrast and brightness of a training crop are changed."""
    num_drawn: Tuple[ranges.Images, ranges.Images, ranges.Images] = (400, 40, 60)
    """Drawn scenes for (train, selection, evaluation)."""
    drawn_seed: ranges.Seed = 1
    """Seed of the drawn scenes."""
    selection_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share held out for model selection where the data set's own held-out cities or
    patients do not exist."""
    split_seed: ranges.Seed = 1
    """Of the draws that split a data set; apart from `train.seed`, so that repetitions
    of a training are judged on the same images."""
    on_error: ranges.Text = "stop"
    """What to do at what `data check` calls an error: `stop`; `skip` leaves examples with
    errors out and counts them; errors of the data set as a whole are passed over by
    name: `leakage`, `duplicate across splits`, `train ids`, `no label`. Several are
    separated by commas."""

    @pydantic.field_validator("on_error")
    @classmethod
    def _is_known(cls, on_error: str) -> str:
        for name in on_error.split(","):
            known = ("stop", "skip", *ERRORS_OF_ALL)
            fields.require(
                name.strip() in known,
                f"data.on_error: {fields.short(name)}; "
                + fields.suggest(name.strip(), known),
            )
        return on_error

    def rules(self) -> Iterator[Tuple[bool, str]]:
        low, high = self.scale_range
        words = "data.scale_range: wanted 0 < low <= high, got"
        yield low <= high, f"{words} {self.scale_range}"
        # From the centre of the first to the centre of the last pixel.
        sides = zip(self.crop_size, self.size)
        yield all(crop - 1 <= (size - 1) * low + 1e-6 for crop, size in sides), (
            f"data.crop_size {self.crop_size} does not fit into data.size {self.size}"
            f" at the smallest data.scale_range {low}"
        )
        yield self.symmetries == "mirror" or self.crop_size[0] == self.crop_size[1], (
            f"data.crop_size: wanted a square for data.symmetries={self.symmetries}, "
            f"got {self.crop_size}"
        )


class BlackBox(fields.Section, key="blackbox"):
    """The segmenter that CAR is put on top of."""

    kind: Literal["auto", "none", "imitation", "truth", "predictions", "live"] = "auto"
    """`none` (images alone), `imitation` (the true labels, degraded), `truth` (the
    labels before their flips), `predictions` (files on disk), `live` (a model that is
    run: see `path`), `auto` (`live` or `predictions` where `path` is set, else
    `imitation`)."""
    path: ranges.Text = ""
    """Model, `package.module:function` or folder of predictions; see `--blackbox`."""
    encoding: Literal["auto", "train_ids", "label_ids"] = "auto"
    """What ids mean that files hold or a model gives; `auto` tells files by how well
    either reading agrees with the labels and takes a model's for train ids."""
    output: Literal["auto", "labels", "probabilities", "logits", "sigmoid"] = "auto"
    """Labels, class probabilities, or `auto`: probabilities where it has them; `logits`
    or `sigmoid`: probabilities, from scores that are taken for those."""
    class_map: Annotated[Tuple[ranges.ClassId, ...], Field(max_length=1024)] = ()
    """The data set's class of each of the segmenter's classes, 255 for one that the
    data set lacks; empty where both have the same."""
    input_size: Tuple[ranges.SideOrOwn, ranges.SideOrOwn] = (0, 0)
    """(height, width) of the images that a model is given; 0,0 for its own: what it was
    made for, else the size of the image file."""
    channels: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours that a model is given."""
    pixel_scale: Literal["0..255", "0..1", "-1..1", "imagenet", "caffe"] = "0..255"
    """Range of the grey levels that a model is given; `imagenet` is 0..1 less
    ImageNet's mean, divided by its standard deviation, `caffe` 0..255 less its mean
    (mostly of `channels=bgr`)."""
    signature: ranges.Text = ""
    """Of a SavedModel; empty to find it."""
    input_name: ranges.Text = ""
    """Of a model's image; empty to find it."""
    output_name: ranges.Text = ""
    """Of a model's labels or scores; empty to find it."""

    def rules(self) -> Iterator[Tuple[bool, str]]:
        needs_path = self.kind in ("predictions", "live")
        words = f"blackbox.path: blackbox.kind={self.kind} needs a path"
        yield bool(self.path) or not needs_path, words
        yield min(self.input_size) > 0 or self.input_size == (0, 0), (
            "blackbox.input_size: wanted positive, or 0,0 for the model's own, got "
            f"{self.input_size}"
        )


def is_segmenter_here(path: str) -> bool:
    """Whether a `blackbox.path` is a file or folder of this machine, or a function."""
    return os.path.exists(os.path.expanduser(path)) or ":" in path


def blackbox_settings(texts: Sequence[str]) -> Tuple[str, ...]:
    """Returns `blackbox.field=value` texts of a flag `--set`; refuses other sections."""
    for text in texts:
        fields.require(
            text.strip().startswith("blackbox."),
            f"--set: wanted blackbox.field=value here, got {fields.short(text)}",
        )
    return tuple(texts)
