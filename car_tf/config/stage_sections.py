"""Sections on training and evaluation."""

import re
from typing import Annotated, Iterator, Literal, Tuple

from pydantic import Field

from car_tf.config import fields, ranges

_DEVICES = re.compile(r"((?:[1-9]\d?x)?cpu|gpu:\d{1,4}(?:,gpu:\d{1,4})*)?")


class Stage1(fields.Section, key="stage1"):
    """Training of F."""

    steps: ranges.StepsOrNone = 5000
    """Iterations; 0 keeps F as it is in `train.init_from`."""
    batch_size: ranges.Batch = 16
    """Images per step over all devices."""
    labels_per_image: ranges.Samples = 1
    """Drawn per image and step, 1 in the paper: several make the gradient less noisy
    for almost no more work."""
    learning_rate: ranges.Rate = 2e-4
    """Of Adam, at first."""
    decay: ranges.Decay = "linear"
    """`linear` falls to zero at the last step, `halve` halves after 30 epochs."""
    l2: ranges.Share = 5e-4
    """Weight decay, added to the gradient."""
    average_decay: ranges.Share = 0.0
    """Per step, of a running average of F's weights and batch statistics, which is then
    what is selected and used; 0 for F itself."""
    select_every: ranges.StepsOrNone = 0
    """Steps between looks at the selection split, a multiple of
    `train.checkpoint_every`: the weights with the lowest cross entropy are kept. 0 for
    the weights of the last step."""
    temperature_scaling: bool = False
    """Whether F's logits are divided by the temperature with the lowest cross entropy on
    the selection split, at every look, or at the last step where there is none."""

    @property
    def selects(self) -> bool:
        """Whether F is looked at on the selection split, at least after its last step."""
        return bool(self.select_every or self.average_decay or self.temperature_scaling)


class Stage2(fields.Section, key="stage2"):
    """Training of G and D."""

    steps: ranges.Steps = 120_000
    """Iterations of G."""
    batch_size: ranges.Batch = 16
    """Images per step over all devices."""
    num_samples: ranges.Samples = 7
    """M, samples per image for Lcal and Ladv."""
    pixel_loss: Literal["calibration", "cross_entropy", "elbo"] = "calibration"
    """`calibration` is CAR; `cross_entropy` is the cGAN+Lce baseline; `elbo` the
    cVAE-GAN: cross entropy with z from a posterior that sees the label, and `kl_weight`
    times its KL from N(0, I)."""
    kl_weight: ranges.Weight = 1.0
    """beta of the ELBO (CAR, Eq. 20), whose first term is a mean over pixels here."""
    labels_per_image: ranges.Samples = 1
    """Labels of each image that D sees in a step, each with flips or a rater of its
    own."""
    sample_maps: Literal["probabilities", "argmax"] = "probabilities"
    """What D and the calibration loss see of a sample: its `probabilities`, as in the
    paper, or its `argmax`, with straight-through gradients."""
    calibration_estimator: Literal["kl", "paired"] = "kl"
    """Of Lcal: `kl` is Eq. 6; `paired` holds each sample against the draw that it was
    made of, without the bias of few samples; for refinement_net.logits=draw."""
    warmup_steps: ranges.StepsOrNone = 0
    """First steps, in which D is trained alone."""
    balance: Tuple[ranges.Weight, ranges.Weight] = (0.0, 100.0)
    """D rests while the running mean of its loss is below the first number, G while it
    is above the second; chance is 1.386."""
    r1_every: ranges.Steps = 1
    """Steps between two R1 penalties, each as many times as large."""
    augment_discriminator: bool = False
    """Whether images and maps are mirrored, shifted and cut on their way to D."""
    samples_at_once: Annotated[int, Field(ge=0, le=1000)] = 0
    """Of the M samples, those whose features at full size are kept at the same time, a
    divisor of M: the same step with less memory and more work, but for the masks of
    dropout; 0 for all."""
    average_decay: ranges.Share = 0.0
    """Per step, of a running average of G's weights and batch statistics, which is then
    what is selected, evaluated and exported; 0 for G itself."""
    noise_sampling: ranges.NoiseSampling = "independent"
    """The M vectors z of an image are `independent`, as in the paper, or `stratified`
    (a Latin hypercube). Lcal holds the mean of M samples against F, and the more that
    mean varies, the further rare classes are pushed down."""
    adversarial_weight: ranges.Weight = 10.0
    """Of Ladv, in G's loss."""
    calibration_weight: ranges.Weight = 5.0
    """Of the pixel loss, whichever it is."""
    energy_weight: ranges.Weight = 0.0
    """Of the energy distance of the samples from the labels that D sees
    (`losses.energy`): 1 - IoU as the GED takes it, for sample_maps=argmax. Not in the
    paper, and not calibrated: samples are then cut where they meet most raters."""
    r1_gamma: ranges.Weight = 10.0
    """Of R1, the penalty on D's gradient at real labels."""
    learning_rate: ranges.Rate = 2e-4
    """Of G's Adam, at first."""
    discriminator_learning_rate: ranges.Rate = 1e-5
    """Of D's Adam."""
    discriminator_active: ranges.Steps = 50
    """D is updated in the first of these of every `discriminator_period` steps (the
    paper: 50 of 250)."""
    discriminator_period: ranges.Steps = 250
    """Steps from one phase of D's updates to the next."""
    decay: ranges.Decay = "halve"
    """As of stage 1, for G and D."""
    l2: ranges.Share = 5e-4
    """Weight decay, added to the gradient."""

    def rules(self) -> Iterator[Tuple[bool, str]]:
        yield self.num_samples % (self.samples_at_once or 1) == 0, (
            f"stage2.samples_at_once: wanted a divisor of stage2.num_samples "
            f"({self.num_samples}), or 0 for all, got {self.samples_at_once}"
        )
        yield self.discriminator_active <= self.discriminator_period, (
            "stage2.discriminator_active: wanted 1 to discriminator_period "
            f"({self.discriminator_period}), got {self.discriminator_active}"
        )
        is_paired = self.calibration_estimator == "paired"
        yield not is_paired or self.num_samples > 1, (
            "stage2.num_samples: calibration_estimator=paired compares samples of an "
            f"image, so wanted at least 2, got {self.num_samples}"
        )
        yield self.sample_maps == "probabilities" or is_paired, (
            "stage2.sample_maps: what D sees is to be what is calibrated, and "
            "calibration_estimator=kl takes probabilities, so wanted probabilities, or "
            "stage2.calibration_estimator=paired"
        )
        yield not self.energy_weight or self.sample_maps == "argmax", (
            "stage2.energy_weight: distances are those of one-hot maps, so wanted 0, or "
            f"stage2.sample_maps=argmax, got {self.energy_weight}"
        )


def require_devices(key: str, devices: str) -> None:
    """Raises ConfigError unless this is a text that `train.devices` takes."""
    fields.require(
        bool(_DEVICES.fullmatch(devices)),
        f"{key}: wanted cpu, 2xcpu or gpu:0,gpu:1 (or nothing for all GPUs), "
        f"got {fields.short(devices)}",
    )


class Train(fields.Section, key="train"):
    """What both stages share."""

    seed: ranges.Seed = 1
    """Of weights, augmentation, noise and dropout."""
    checkpoint_every: ranges.Steps = 250
    """Steps between checkpoints."""
    select_every: ranges.Steps = 500
    """Stage-2 steps between evaluations on the selection split, a multiple of
    `checkpoint_every`."""
    num_selection_images: ranges.ImagesOrAll = 24
    """Images, spread over the selection split, that serve for it; 0: all."""
    deterministic: bool = False
    """Bit-identical weights across runs."""
    mixed_precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras' policy in training; weights, losses and what is evaluated and exported
    stay float32. `mixed_float16` scales the losses."""
    jit_compile: bool = False
    """XLA for the steps of both stages, on one device."""
    steps_per_execution: ranges.Steps = 1
    """Steps between two looks of Python; cut short where a checkpoint is due."""
    devices: ranges.Text = ""
    """Where to train: empty for all GPUs, or the CPU where there is none; `cpu`;
    `gpu:0,gpu:1` for some GPUs; `2xcpu` for two logical devices on the CPU. Of no
    influence on results but for rounding, so that it may change in a resumed run."""
    init_from: ranges.Text = ""
    """A run directory, with whose networks this run begins; empty for new ones."""
    init_networks: Literal["calibration_net", "both"] = "calibration_net"
    """What is taken from it: F alone, or F and the best G."""

    def rules(self) -> Iterator[Tuple[bool, str]]:
        yield self.select_every % self.checkpoint_every == 0, (
            "train.select_every: wanted a multiple of train.checkpoint_every "
            f"({self.checkpoint_every}), got {self.select_every}"
        )
        require_devices("train.devices", self.devices)


class Evaluation(fields.Section, key="evaluation"):
    """Final evaluation."""

    num_samples: ranges.Samples = 16
    """S, samples per image."""
    num_images: ranges.ImagesOrAll = 0
    """Images, spread over the split; 0: all."""
    realism_steps: ranges.StepsOrNone = 600
    """Training steps of each judge that tells samples from labels; 0 for no judges."""
    seed: ranges.Seed = 0
    """Of the samples."""
    noise_sampling: ranges.NoiseSampling = "independent"
    """Of model selection, evaluation, prediction and export: z is drawn for each sample
    `independent` of the others, as in the paper, or `stratified`, a Latin hypercube for
    every 16 samples, so that few samples show the shares more exactly."""
    absent: Literal["leave_out", "count_as_one"] = "leave_out"
    """A class that occurs in neither of two maps of raters with more than two classes is
    left out of their mean IoU, or counts as IoU 1; selection and evaluation say which."""
