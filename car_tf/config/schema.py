"""The sections of a configuration: every field, what it means and what it may be."""

from __future__ import annotations

import os
import re
from typing import Literal, Tuple

from car_tf.config import fields

# Seeds of stages are ten times as large, and int32.
MAX_SEED = 10**8

_DEVICES = re.compile(r"((?:[1-9]\d?x)?cpu|gpu:\d+(?:,gpu:\d+)*)?")


@fields.section
class Data:
    """Which images, at which size, and how they are augmented.

    Attributes:
      dataset: the reader. An empty `data_dir` draws an embedded stand-in instead.
      data_dir: folder of the data set on disk; set by `--data_dir`.
      cache_dir: where decoded data sets are kept; empty: the user's cache folder.
      size: working (height, width) in pixels, to which photographs are resized and CT
        crops are cut around their centre.
      crop_size: (height, width) of training crops.
      scale_range: factors by which a training crop is magnified, drawn uniformly.
      symmetries: that a training crop is seen under: `mirror`, left to right, as the
        paper, or `square`, all eight of a square crop.
      num_drawn: drawn scenes for (train, selection, evaluation).
      drawn_seed: seed of the drawn scenes.
      selection_fraction: share held out for model selection where the data set's
        own held-out cities or patients do not exist.
      split_seed: of the draws that split a data set; apart from `train.seed`, so that
        repetitions of a training are judged on the same images.
      on_error: `skip` leaves unreadable examples out and counts them.
    """

    dataset: Literal["cityscapes", "lidc"] = "cityscapes"
    data_dir: str = ""
    cache_dir: str = ""
    size: Tuple[int, int] = (256, 512)
    crop_size: Tuple[int, int] = (128, 128)
    scale_range: Tuple[float, float] = (0.75, 1.5)
    symmetries: Literal["mirror", "square"] = "mirror"
    num_drawn: Tuple[int, int, int] = (400, 40, 60)
    drawn_seed: int = 1
    selection_fraction: float = 0.1
    split_seed: int = 1
    on_error: Literal["stop", "skip"] = "stop"

    def __post_init__(self):
        fields.require(
            min(self.size) > 0, f"data.size: wanted positive, got {self.size}"
        )
        fields.require(
            min(self.crop_size) >= 16,
            f"data.crop_size: wanted at least 16 pixels, got {self.crop_size}",
        )
        low, high = self.scale_range
        fields.require(
            0 < low <= high,
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
        fields.require(
            min(self.num_drawn) > 0,
            f"data.num_drawn: wanted positive numbers, got {self.num_drawn}",
        )
        fields.require_not_negative(
            "data", drawn_seed=self.drawn_seed, split_seed=self.split_seed
        )
        fields.require(
            0 < self.selection_fraction < 1,
            "data.selection_fraction: wanted between 0 and 1, got "
            f"{self.selection_fraction}",
        )


@fields.section
class BlackBox:
    """The segmenter that CAR is put on top of.

    Attributes:
      kind: `none` (images alone), `imitation` (the true labels, degraded),
        `truth` (the labels before their flips), `predictions` (files on disk),
        `live` (a model that is run: see `path`), `auto` (`live` or `predictions`
        where `path` is set, else `imitation`).
      path: model, `package.module:function` or folder of predictions; set by
        `--blackbox`.
      encoding: what ids mean that files hold or a model gives; `auto` tells files by
        the ids in them and takes a model's for train ids.
      output: labels, class probabilities, or `auto`: probabilities where it has them.
      class_map: the data set's class of each of the segmenter's classes, 255 for one
        that the data set lacks; empty where both have the same.
      input_size: (height, width) of the images that a model is given; (0, 0) for its
        own: what it was made for, else the size of the image file.
      channels: order of the colours that a model is given.
      pixel_scale: range of the grey levels that a model is given; `imagenet` is 0..1
        less ImageNet's mean, divided by its standard deviation.
      signature: of a SavedModel; empty to find it.
      input_name: of a model's image; empty to find it.
      output_name: of a model's labels or scores; empty to find it.
    """

    kind: Literal["auto", "none", "imitation", "truth", "predictions", "live"] = "auto"
    path: str = ""
    encoding: Literal["auto", "train_ids", "label_ids"] = "auto"
    output: Literal["auto", "labels", "probabilities"] = "auto"
    class_map: Tuple[int, ...] = ()
    input_size: Tuple[int, int] = (0, 0)
    channels: Literal["rgb", "bgr"] = "rgb"
    pixel_scale: Literal["0..255", "0..1", "-1..1", "imagenet"] = "0..255"
    signature: str = ""
    input_name: str = ""
    output_name: str = ""

    def __post_init__(self):
        fields.require(
            self.kind not in ("predictions", "live") or bool(self.path),
            f"blackbox.path: blackbox.kind={self.kind} needs a path",
        )
        fields.require(
            all(0 <= class_id <= 255 for class_id in self.class_map),
            f"blackbox.class_map: wanted classes 0 to 255, got {self.class_map}",
        )
        fields.require(
            min(self.input_size) > 0 or self.input_size == (0, 0),
            "blackbox.input_size: wanted positive, or 0,0 for the model's own, got "
            f"{self.input_size}",
        )


def is_segmenter_here(path: str) -> bool:
    """Whether a `blackbox.path` is a file or folder of this machine, or a function."""
    return os.path.exists(os.path.expanduser(path)) or ":" in path


@fields.section
class CalibrationNet:
    """F: the calibration network.

    Attributes:
      channels: of every block; of a SegNet's first level, 64 in the paper.
      decoder: of a SegNet: `unpooling` by the indices of the max-pooling, or `skips`
        as in a U-Net.
    """

    kind: Literal["blackbox_calibrator", "segnet", "true_distribution"] = (
        "blackbox_calibrator"
    )
    channels: int = 64
    dropout: float = 0.1
    decoder: Literal["unpooling", "skips"] = "unpooling"

    def __post_init__(self):
        fields.require_positive("calibration_net", channels=self.channels)
        fields.require(
            0 <= self.dropout < 1,
            f"calibration_net.dropout: wanted in [0, 1), got {self.dropout}",
        )


@fields.section
class RefinementNet:
    """G: the refinement network.

    Attributes:
      logits: `draw` adds a learned map to the logits of a calibrated draw of F, which
        G sees (`models/draw_refinement_net.py`); `scratch` is the paper's form, a learned map; `residual` adds it to log F;
        `gumbel` also adds a Gumbel variable of each class, the same in all pixels, to
        log F, so that samples follow F before any training.
      temperature: by which the sum of `gumbel` is divided: the lower, the surer of
        itself a sample is, and the less D can tell it from a label by that alone.
      noise_dim: length of the noise vector z.
      noise: `standard` normal, or `encoded`: a Gaussian for each image, from a head
        of the encoder (the cVAE; CAR, B.2.3).
    """

    base_channels: int = 32
    noise_dim: int = 32
    dropout: float = 0.1
    logits: Literal["draw", "gumbel", "residual", "scratch"] = "gumbel"
    temperature: float = 0.2
    noise: Literal["standard", "encoded"] = "standard"

    def __post_init__(self):
        fields.require_positive(
            "refinement_net",
            base_channels=self.base_channels,
            noise_dim=self.noise_dim,
            temperature=self.temperature,
        )
        fields.require(
            0 <= self.dropout < 1,
            f"refinement_net.dropout: wanted in [0, 1), got {self.dropout}",
        )


@fields.section
class Discriminator:
    """D: the discriminator.

    Attributes:
      patches: whether another head judges patches.
      presence: whether another head judges the classes' areas.
    """

    base_channels: int = 64
    patches: bool = False
    presence: bool = False

    def __post_init__(self):
        fields.require_positive("discriminator", base_channels=self.base_channels)


@fields.section
class Stage1:
    """Training of F.

    Attributes:
      steps: iterations.
      batch_size: images per step over all devices.
      labels_per_image: drawn per image and step, 1 in the paper: several make the
        gradient less noisy for almost no more work.
      decay: `linear` falls to zero at the last step, `halve` halves after 30 epochs.
    """

    steps: int = 5000
    batch_size: int = 16
    labels_per_image: int = 1
    learning_rate: float = 2e-4
    decay: Literal["constant", "linear", "halve"] = "linear"
    l2: float = 5e-4

    def __post_init__(self):
        fields.require_positive(
            "stage1",
            steps=self.steps,
            batch_size=self.batch_size,
            labels_per_image=self.labels_per_image,
            learning_rate=self.learning_rate,
        )
        fields.require_not_negative("stage1", l2=self.l2)


@fields.section
class Stage2:
    """Training of G and D.

    Attributes:
      steps: iterations of G.
      batch_size: images per step over all devices.
      num_samples: M, samples per image for Lcal and Ladv.
      pixel_loss: `calibration` is CAR; `cross_entropy` is the cGAN+Lce baseline;
        `elbo` the cVAE-GAN: cross entropy with z from a posterior that sees the
        label, and `kl_weight` times its KL from N(0, I).
      calibration_weight: of the pixel loss, whichever it is.
      kl_weight: beta of the ELBO (CAR, Eq. 20), whose first term is a mean over the
        pixels here.
      samples_at_once: of the M samples, those whose features at full size are kept at
        the same time, a divisor of M: the same step with less memory and more work, but
        for the masks of dropout; 0 for all.
      labels_per_image: labels of each image that D sees in a step, each with flips or
        a rater of its own.
      sample_maps: what D and the calibration loss see of a sample: its `probabilities`,
        as in the paper, or its `argmax`, with straight-through gradients.
      calibration_estimator: of Lcal: `kl` is Eq. 6; `paired` holds each sample against
        the draw that it was made of, without the bias of few samples; for
        refinement_net.logits=draw.
      warmup_steps: first steps, in which D is trained alone.
      balance: D rests while the running mean of its loss is below the first number, G
        while it is above the second; chance is 1.386.
      r1_every: steps between two R1 penalties, each as many times as large.
      augment_discriminator: whether images and maps are mirrored, shifted and cut on
        their way to D.
      average_decay: per step, of a running average of G's weights and batch statistics,
        which is then what is selected, evaluated and exported; 0 for G itself.
      noise_sampling: the M vectors z of an image are `independent`, as in the paper,
        or `stratified` (a Latin hypercube). Lcal holds the mean of M samples against
        F, and the more that mean varies, the further rare classes are pushed down.
      discriminator_period: D is updated in the first `discriminator_active` of
        every `discriminator_period` steps (the paper: 50 of 250).
    """

    steps: int = 120_000
    batch_size: int = 16
    num_samples: int = 7
    pixel_loss: Literal["calibration", "cross_entropy", "elbo"] = "calibration"
    kl_weight: float = 1.0
    labels_per_image: int = 1
    sample_maps: Literal["probabilities", "argmax"] = "probabilities"
    calibration_estimator: Literal["kl", "paired"] = "kl"
    warmup_steps: int = 0
    balance: Tuple[float, float] = (0.0, 100.0)
    r1_every: int = 1
    augment_discriminator: bool = False
    samples_at_once: int = 0
    average_decay: float = 0.0
    noise_sampling: Literal["independent", "stratified"] = "independent"
    adversarial_weight: float = 10.0
    calibration_weight: float = 5.0
    r1_gamma: float = 10.0
    learning_rate: float = 2e-4
    discriminator_learning_rate: float = 1e-5
    discriminator_active: int = 50
    discriminator_period: int = 250
    decay: Literal["constant", "linear", "halve"] = "halve"
    l2: float = 5e-4

    def __post_init__(self):
        fields.require_positive(
            "stage2",
            steps=self.steps,
            batch_size=self.batch_size,
            num_samples=self.num_samples,
            learning_rate=self.learning_rate,
            discriminator_learning_rate=self.discriminator_learning_rate,
        )
        fields.require_not_negative(
            "stage2",
            adversarial_weight=self.adversarial_weight,
            calibration_weight=self.calibration_weight,
            r1_gamma=self.r1_gamma,
            kl_weight=self.kl_weight,
            l2=self.l2,
        )
        fields.require(
            0 <= self.average_decay < 1,
            f"stage2.average_decay: wanted 0 to below 1, got {self.average_decay}",
        )
        fields.require(
            0 <= self.samples_at_once
            and self.num_samples % (self.samples_at_once or 1) == 0,
            f"stage2.samples_at_once: wanted a divisor of stage2.num_samples "
            f"({self.num_samples}), or 0 for all, got {self.samples_at_once}",
        )
        fields.require(
            0 < self.discriminator_active <= self.discriminator_period,
            "stage2.discriminator_active: wanted 1 to discriminator_period "
            f"({self.discriminator_period}), got {self.discriminator_active}",
        )


def require_devices(key: str, devices: str) -> None:
    """Raises ConfigError unless this is a text that `train.devices` takes."""
    fields.require(
        bool(_DEVICES.fullmatch(devices)),
        f"{key}: wanted cpu, 2xcpu or gpu:0,gpu:1 (or nothing for all GPUs), "
        f"got {devices!r}",
    )


@fields.section
class Train:
    """What both stages share.

    Attributes:
      seed: of weights, augmentation, noise and dropout.
      checkpoint_every: steps between checkpoints.
      select_every: stage-2 steps between evaluations on the selection split, a
        multiple of `checkpoint_every`.
      num_selection_images: images, spread over the selection split, that serve for it.
      deterministic: bit-identical weights across runs.
      mixed_precision: Keras' policy in training; weights, losses and what is evaluated
        and exported stay float32. `mixed_float16` scales the losses.
      jit_compile: XLA for the steps of both stages, on one device.
      steps_per_execution: steps between two looks of Python; cut short where a
        checkpoint is due.
      devices: where to train: empty for all GPUs, or the CPU where there is none;
        `cpu`; `gpu:0,gpu:1` for some GPUs; `2xcpu` for two logical devices on the CPU.
        Of no influence on results but for rounding, so that it may change in a resumed
        run.
    """

    seed: int = 1
    checkpoint_every: int = 250
    select_every: int = 500
    num_selection_images: int = 24
    deterministic: bool = False
    mixed_precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    jit_compile: bool = False
    steps_per_execution: int = 1
    devices: str = ""

    def __post_init__(self):
        fields.require_positive(
            "train",
            checkpoint_every=self.checkpoint_every,
            select_every=self.select_every,
            steps_per_execution=self.steps_per_execution,
        )
        fields.require(
            self.select_every % self.checkpoint_every == 0,
            "train.select_every: wanted a multiple of train.checkpoint_every "
            f"({self.checkpoint_every}), got {self.select_every}",
        )
        fields.require_not_negative(
            "train", num_selection_images=self.num_selection_images
        )
        fields.require(
            0 <= self.seed <= MAX_SEED,
            f"train.seed: wanted 0 to {MAX_SEED}, got {self.seed}",
        )
        require_devices("train.devices", self.devices)


@fields.section
class Evaluation:
    """Final evaluation: S samples per image, on some images of the split or all (0).

    Attributes:
      noise_sampling: of model selection, evaluation, prediction and export: z is drawn
        for each sample `independent` of the others, as in the paper, or `stratified`,
        a Latin hypercube for every 16 samples, so that few samples show the shares
        more exactly.
      realism_steps: training steps of each judge that tells samples from labels; 0 for
        no judges.
    """

    num_samples: int = 16
    num_images: int = 0
    realism_steps: int = 600
    seed: int = 0
    noise_sampling: Literal["independent", "stratified"] = "independent"

    def __post_init__(self):
        fields.require_positive("evaluation", num_samples=self.num_samples)
        fields.require_not_negative(
            "evaluation",
            num_images=self.num_images,
            realism_steps=self.realism_steps,
        )
        fields.require(
            0 <= self.seed <= MAX_SEED,
            f"evaluation.seed: wanted 0 to {MAX_SEED}, got {self.seed}",
        )
