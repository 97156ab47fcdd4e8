"""The sections of a configuration: every field, what it means and what it may be.

`python -m car_tf.config NAME` prints them. A new field is a line of type and default and
a docstring; its default does what runs did before it, since their `config.json` lacks it.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, ClassVar, Literal, Sequence, Tuple

import pydantic
from pydantic import Field

from car_tf.config import fields

# Seeds of stages are ten times as large, and int32.
MAX_SEED = 10**8

_DEVICES = re.compile(r"((?:[1-9]\d?x)?cpu|gpu:\d{1,4}(?:,gpu:\d{1,4})*)?")

# The upper ends are far beyond what fits into memory or a life.
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Steps = Annotated[int, Field(gt=0, le=10**8)]
StepsOrNone = Annotated[int, Field(ge=0, le=10**8)]
Batch = Annotated[int, Field(gt=0, le=2**16)]
Samples = Annotated[int, Field(gt=0, le=1000)]
Channels = Annotated[int, Field(gt=0, le=2**12)]
Images = Annotated[int, Field(gt=0, le=10**6)]
ImagesOrAll = Annotated[int, Field(ge=0, le=10**6)]
Rate = Annotated[float, Field(gt=0, le=10)]
Weight = Annotated[float, Field(ge=0, le=10**6)]
Share = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(max_length=4096)]
Decay = Literal["constant", "linear", "halve"]
NoiseSampling = Literal["independent", "stratified"]
Side = Annotated[int, Field(gt=0, le=2**16)]
Size = Tuple[Side, Side]
CropSide = Annotated[int, Field(ge=16, le=2**16)]
SideOrOwn = Annotated[int, Field(ge=0, le=2**16)]
Scale = Annotated[float, Field(gt=0, le=100)]
ClassId = Annotated[int, Field(ge=0, le=255)]


class Data(fields.Section, key="data"):
    """Which images, at which size, and how they are augmented."""

    dataset: Literal["cityscapes", "lidc"] = "cityscapes"
    """The reader. An empty `data_dir` draws an embedded stand-in."""
    data_dir: Text = ""
    """Folder of the data set on disk; set by `--data_dir`."""
    cache_dir: Text = ""
    """Where decoded data sets are kept; empty: the user's cache folder."""
    size: Size = (256, 512)
    """Working (height, width) in pixels, to which photographs are resized and CT crops
    are cut around their centre."""
    crop_size: Tuple[CropSide, CropSide] = (128, 128)
    """(height, width) of training crops."""
    scale_range: Tuple[Scale, Scale] = (0.75, 1.5)
    """Factors by which a training crop is magnified, drawn uniformly."""
    symmetries: Literal["mirror", "square"] = "mirror"
    """That a training crop is seen under: `mirror`, left to right, as the paper, or
    `square`, all eight of a square crop."""
    num_drawn: Tuple[Images, Images, Images] = (400, 40, 60)
    """Drawn scenes for (train, selection, evaluation)."""
    drawn_seed: Seed = 1
    """Seed of the drawn scenes."""
    selection_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share held out for model selection where the data set's own held-out cities or
    patients do not exist."""
    split_seed: Seed = 1
    """Of the draws that split a data set; apart from `train.seed`, so that repetitions
    of a training are judged on the same images."""
    on_error: Literal["stop", "skip"] = "stop"
    """`skip` leaves unreadable examples out and counts them."""

    @pydantic.model_validator(mode="after")
    def _crops_fit(self) -> "Data":
        low, high = self.scale_range
        fields.require(
            low <= high,
            f"data.scale_range: wanted 0 < low <= high, got {self.scale_range}",
        )
        # From the centre of the first to the centre of the last pixel.
        fields.require(
            all(
                crop - 1 <= (size - 1) * low + 1e-6
                for crop, size in zip(self.crop_size, self.size)
            ),
            f"data.crop_size {self.crop_size} does not fit into data.size {self.size}"
            f" at the smallest data.scale_range {low}",
        )
        fields.require(
            self.symmetries == "mirror" or self.crop_size[0] == self.crop_size[1],
            f"data.crop_size: wanted a square for data.symmetries={self.symmetries}, "
            f"got {self.crop_size}",
        )
        return self


class BlackBox(fields.Section, key="blackbox"):
    """The segmenter that CAR is put on top of."""

    kind: Literal["auto", "none", "imitation", "truth", "predictions", "live"] = "auto"
    """`none` (images alone), `imitation` (the true labels, degraded), `truth` (the
    labels before their flips), `predictions` (files on disk), `live` (a model that is
    run: see `path`), `auto` (`live` or `predictions` where `path` is set, else
    `imitation`)."""
    path: Text = ""
    """Model, `package.module:function` or folder of predictions; see `--blackbox`."""
    encoding: Literal["auto", "train_ids", "label_ids"] = "auto"
    """What ids mean that files hold or a model gives; `auto` tells files by how well
    either reading agrees with the labels and takes a model's for train ids."""
    output: Literal["auto", "labels", "probabilities", "logits", "sigmoid"] = "auto"
    """Labels, class probabilities, or `auto`: probabilities where it has them; `logits`
    or `sigmoid`: probabilities, from scores that are taken for those."""
    class_map: Annotated[Tuple[ClassId, ...], Field(max_length=1024)] = ()
    """The data set's class of each of the segmenter's classes, 255 for one that the
    data set lacks; empty where both have the same."""
    input_size: Tuple[SideOrOwn, SideOrOwn] = (0, 0)
    """(height, width) of the images that a model is given; 0,0 for its own: what it was
    made for, else the size of the image file."""
    channels: Literal["rgb", "bgr"] = "rgb"
    """Order of the colours that a model is given."""
    pixel_scale: Literal["0..255", "0..1", "-1..1", "imagenet"] = "0..255"
    """Range of the grey levels that a model is given; `imagenet` is 0..1 less
    ImageNet's mean, divided by its standard deviation."""
    signature: Text = ""
    """Of a SavedModel; empty to find it."""
    input_name: Text = ""
    """Of a model's image; empty to find it."""
    output_name: Text = ""
    """Of a model's labels or scores; empty to find it."""

    @pydantic.model_validator(mode="after")
    def _is_complete(self) -> "BlackBox":
        fields.require(
            self.kind not in ("predictions", "live") or bool(self.path),
            f"blackbox.path: blackbox.kind={self.kind} needs a path",
        )
        fields.require(
            min(self.input_size) > 0 or self.input_size == (0, 0),
            "blackbox.input_size: wanted positive, or 0,0 for the model's own, got "
            f"{self.input_size}",
        )
        return self


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


class CalibrationNet(fields.Section, key="calibration_net"):
    """F: the calibration network."""

    kind: Literal["blackbox_calibrator", "segnet", "true_distribution"] = (
        "blackbox_calibrator"
    )
    """`blackbox_calibrator` works on a black box, `segnet` on images alone,
    `true_distribution` takes the label and the known flips instead."""
    channels: Channels = 64
    """Of every block; of a SegNet's first level, 64 in the paper."""
    dropout: Share = 0.1
    """Share of features that training drops."""
    decoder: Literal["unpooling", "skips"] = "unpooling"
    """Of a SegNet: `unpooling` by the indices of the max-pooling, or `skips` as in a
    U-Net."""


class RefinementNet(fields.Section, key="refinement_net"):
    """G: the refinement network."""

    base_channels: Channels = 32
    """Of G's first level."""
    noise_dim: Channels = 32
    """Length of the noise vector z."""
    dropout: Share = 0.1
    """Share of features that training drops."""
    logits: Literal["draw", "gumbel", "residual", "scratch"] = "gumbel"
    """`draw` adds a learned map to the logits of a calibrated draw of F, which G sees
    (`models/draw_refinement_net.py`); `scratch` is the paper's form, a learned map;
    `residual` adds it to log F; `gumbel` also adds a Gumbel variable of each class, the same in all pixels, to log
    F, so that samples follow F before any training."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.2
    """By which the sum of `gumbel` is divided: the lower, the surer of itself a sample
    is, and the less D can tell it from a label by that alone."""
    noise: Literal["standard", "encoded"] = "standard"
    """`standard` normal, or `encoded`: a Gaussian for each image, from a head of the
    encoder (the cVAE; CAR, B.2.3)."""


class Discriminator(fields.Section, key="discriminator"):
    """D: the discriminator."""

    base_channels: Channels = 64
    """Of D's first level."""
    patches: bool = False
    """Whether another head judges patches."""
    presence: bool = False
    """Whether another head judges how much there is of each class."""


class Stage1(fields.Section, key="stage1"):
    """Training of F."""

    steps: Steps = 5000
    """Iterations."""
    batch_size: Batch = 16
    """Images per step over all devices."""
    labels_per_image: Samples = 1
    """Drawn per image and step, 1 in the paper: several make the gradient less noisy
    for almost no more work."""
    learning_rate: Rate = 2e-4
    """Of Adam, at first."""
    decay: Decay = "linear"
    """`linear` falls to zero at the last step, `halve` halves after 30 epochs."""
    l2: Share = 5e-4
    """Weight decay, added to the gradient."""


class Stage2(fields.Section, key="stage2"):
    """Training of G and D."""

    steps: Steps = 120_000
    """Iterations of G."""
    batch_size: Batch = 16
    """Images per step over all devices."""
    num_samples: Samples = 7
    """M, samples per image for Lcal and Ladv."""
    pixel_loss: Literal["calibration", "cross_entropy", "elbo"] = "calibration"
    """`calibration` is CAR; `cross_entropy` is the cGAN+Lce baseline; `elbo` the
    cVAE-GAN: cross entropy with z from a posterior that sees the label, and `kl_weight`
    times its KL from N(0, I)."""
    kl_weight: Weight = 1.0
    """beta of the ELBO (CAR, Eq. 20), whose first term is a mean over pixels here."""
    labels_per_image: Samples = 1
    """Labels of each image that D sees in a step, each with flips or a rater of its
    own."""
    sample_maps: Literal["probabilities", "argmax"] = "probabilities"
    """What D and the calibration loss see of a sample: its `probabilities`, as in the
    paper, or its `argmax`, with straight-through gradients."""
    calibration_estimator: Literal["kl", "paired"] = "kl"
    """Of Lcal: `kl` is Eq. 6; `paired` holds each sample against the draw that it was
    made of, without the bias of few samples; for refinement_net.logits=draw."""
    warmup_steps: StepsOrNone = 0
    """First steps, in which D is trained alone."""
    balance: Tuple[Weight, Weight] = (0.0, 100.0)
    """D rests while the running mean of its loss is below the first number, G while it
    is above the second; chance is 1.386."""
    r1_every: Steps = 1
    """Steps between two R1 penalties, each as many times as large."""
    augment_discriminator: bool = False
    """Whether images and maps are mirrored, shifted and cut on their way to D."""
    samples_at_once: Annotated[int, Field(ge=0, le=1000)] = 0
    """Of the M samples, those whose features at full size are kept at the same time, a
    divisor of M: the same step with less memory and more work, but for the masks of
    dropout; 0 for all."""
    average_decay: Share = 0.0
    """Per step, of a running average of G's weights and batch statistics, which is then
    what is selected, evaluated and exported; 0 for G itself."""
    noise_sampling: NoiseSampling = "independent"
    """The M vectors z of an image are `independent`, as in the paper, or `stratified`
    (a Latin hypercube). Lcal holds the mean of M samples against F, and the more that
    mean varies, the further rare classes are pushed down."""
    adversarial_weight: Weight = 10.0
    """Of Ladv, in G's loss."""
    calibration_weight: Weight = 5.0
    """Of the pixel loss, whichever it is."""
    r1_gamma: Weight = 10.0
    """Of R1, the penalty on D's gradient at real labels."""
    learning_rate: Rate = 2e-4
    """Of G's Adam, at first."""
    discriminator_learning_rate: Rate = 1e-5
    """Of D's Adam."""
    discriminator_active: Steps = 50
    """D is updated in the first of these of every `discriminator_period` steps (the
    paper: 50 of 250)."""
    discriminator_period: Steps = 250
    """Steps from one phase of D's updates to the next."""
    decay: Decay = "halve"
    """As of stage 1, for G and D."""
    l2: Share = 5e-4
    """Weight decay, added to the gradient."""

    @pydantic.model_validator(mode="after")
    def _counts_agree(self) -> "Stage2":
        fields.require(
            self.num_samples % (self.samples_at_once or 1) == 0,
            f"stage2.samples_at_once: wanted a divisor of stage2.num_samples "
            f"({self.num_samples}), or 0 for all, got {self.samples_at_once}",
        )
        fields.require(
            self.discriminator_active <= self.discriminator_period,
            "stage2.discriminator_active: wanted 1 to discriminator_period "
            f"({self.discriminator_period}), got {self.discriminator_active}",
        )
        is_paired = self.calibration_estimator == "paired"
        fields.require(
            not is_paired or self.num_samples > 1,
            "stage2.num_samples: calibration_estimator=paired compares samples of an "
            f"image, so wanted at least 2, got {self.num_samples}",
        )
        fields.require(
            self.sample_maps == "probabilities" or is_paired,
            "stage2.sample_maps: what D sees is to be what is calibrated, and "
            "calibration_estimator=kl takes probabilities, so wanted probabilities, or "
            "stage2.calibration_estimator=paired",
        )
        return self


def require_devices(key: str, devices: str) -> None:
    """Raises ConfigError unless this is a text that `train.devices` takes."""
    fields.require(
        bool(_DEVICES.fullmatch(devices)),
        f"{key}: wanted cpu, 2xcpu or gpu:0,gpu:1 (or nothing for all GPUs), "
        f"got {fields.short(devices)}",
    )


class Train(fields.Section, key="train"):
    """What both stages share."""

    seed: Seed = 1
    """Of weights, augmentation, noise and dropout."""
    checkpoint_every: Steps = 250
    """Steps between checkpoints."""
    select_every: Steps = 500
    """Stage-2 steps between evaluations on the selection split, a multiple of
    `checkpoint_every`."""
    num_selection_images: ImagesOrAll = 24
    """Images, spread over the selection split, that serve for it; 0: all."""
    deterministic: bool = False
    """Bit-identical weights across runs."""
    mixed_precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras' policy in training; weights, losses and what is evaluated and exported
    stay float32. `mixed_float16` scales the losses."""
    jit_compile: bool = False
    """XLA for the steps of both stages, on one device."""
    steps_per_execution: Steps = 1
    """Steps between two looks of Python; cut short where a checkpoint is due."""
    devices: Text = ""
    """Where to train: empty for all GPUs, or the CPU where there is none; `cpu`;
    `gpu:0,gpu:1` for some GPUs; `2xcpu` for two logical devices on the CPU. Of no
    influence on results but for rounding, so that it may change in a resumed run."""

    @pydantic.model_validator(mode="after")
    def _selects_what_is_saved(self) -> "Train":
        fields.require(
            self.select_every % self.checkpoint_every == 0,
            "train.select_every: wanted a multiple of train.checkpoint_every "
            f"({self.checkpoint_every}), got {self.select_every}",
        )
        require_devices("train.devices", self.devices)
        return self


class Evaluation(fields.Section, key="evaluation"):
    """Final evaluation."""

    num_samples: Samples = 16
    """S, samples per image."""
    num_images: ImagesOrAll = 0
    """Images, spread over the split; 0: all."""
    realism_steps: StepsOrNone = 600
    """Training steps of each judge that tells samples from labels; 0 for no judges."""
    seed: Seed = 0
    """Of the samples."""
    noise_sampling: NoiseSampling = "independent"
    """Of model selection, evaluation, prediction and export: z is drawn for each sample
    `independent` of the others, as in the paper, or `stratified`, a Latin hypercube for
    every 16 samples, so that few samples show the shares more exactly."""


class Job(fields.Section):
    """A configuration as a whole.

    Attributes:
      JOB: the module whose `run(config, workdir, say=...)` does what it describes.
    """

    JOB: ClassVar[str] = ""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    """Of the run's directory and of the exported model."""


class Config(Job):
    """A whole experiment: stages 1 and 2 on one data set."""

    JOB: ClassVar[str] = "car_tf.train.run"

    data: Data = Data()
    blackbox: BlackBox = BlackBox()
    calibration_net: CalibrationNet = CalibrationNet()
    refinement_net: RefinementNet = RefinementNet()
    discriminator: Discriminator = Discriminator()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()

    @pydantic.model_validator(mode="after")
    def _sections_agree(self) -> "Config":
        network, kind = self.calibration_net, self.blackbox.kind
        fields.require(
            network.kind != "blackbox_calibrator" or kind != "none",
            "calibration_net.kind: blackbox_calibrator works on a black box, but "
            "blackbox.kind=none",
        )
        fields.require(
            network.kind != "true_distribution" or kind == "truth",
            "calibration_net.kind: true_distribution takes the label in the black box's "
            f"place, so wanted blackbox.kind=truth, got {kind}",
        )
        fields.require(
            network.kind != "segnet" or kind == "none",
            "calibration_net.kind: segnet works on the image alone, so wanted "
            f"blackbox.kind=none, got {kind}",
        )
        fields.require(
            not self.train.jit_compile
            or network.kind != "segnet"
            or network.decoder != "unpooling",
            "train.jit_compile: XLA has no max-pooling with indices, so wanted false, "
            "or calibration_net.decoder=skips",
        )
        fields.require(
            self.stage2.pixel_loss != "elbo" or self.refinement_net.noise == "standard",
            "refinement_net.noise: the prior of stage2.pixel_loss=elbo is N(0, I), so "
            f"wanted standard, got {self.refinement_net.noise}",
        )
        fields.require(
            not self.discriminator.patches or min(self.data.crop_size) >= 20,
            "discriminator.patches: patches are judged at an eighth of the size, so "
            f"wanted a data.crop_size of at least 20,20, got {self.data.crop_size}",
        )
        draws = self.refinement_net.logits == "draw"
        fields.require(
            draws or self.stage2.calibration_estimator != "paired",
            "stage2.calibration_estimator: paired needs the draws of "
            f"refinement_net.logits=draw, got logits={self.refinement_net.logits}",
        )
        fields.require(
            not draws
            or (
                self.refinement_net.noise == "standard"
                and self.stage2.pixel_loss != "elbo"
            ),
            "refinement_net.logits: draw takes z from N(0, I), so wanted "
            "refinement_net.noise=standard and no stage2.pixel_loss=elbo",
        )
        return self
