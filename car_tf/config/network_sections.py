"""Sections on the networks F, G and D."""

from typing import Annotated, Literal

from pydantic import Field

from car_tf.config import fields, ranges


class CalibrationNet(fields.Section, key="calibration_net"):
    """F: the calibration network."""

    kind: Literal["blackbox_calibrator", "segnet", "true_distribution"] = (
        "blackbox_calibrator"
    )
    """`blackbox_calibrator` works on a black box, `segnet` on images alone,
    `true_distribution` takes the label and the known flips instead."""
    channels: ranges.Channels = 64
    """Of every block; of a SegNet's first level, 64 in the paper."""
    dropout: ranges.Share = 0.1
    """Share of features that training drops."""
    decoder: Literal["unpooling", "skips"] = "unpooling"
    """Of a SegNet: `unpooling` by the indices of the max-pooling, or `skips` as in a
    U-Net."""
    half_size: bool = False
    """Whether a SegNet has no first level: squares of 2x2 pixels become channels, and the
    logits are made of channels again."""
    symmetric: bool = False
    """Whether a SegNet's logits are means over the eight symmetries of the square, but for
    training: better, at eight times the work."""
    recalibrated: bool = False
    """Whether F's logits are remapped image by image, after stage 1, so that whole masks
    are as likely as raters draw them (`models/recalibration.py`); of two classes that do
    not flip, and else without effect."""


class RefinementNet(fields.Section, key="refinement_net"):
    """G: the refinement network."""

    base_channels: ranges.Channels = 32
    """Of G's first level."""
    noise_dim: ranges.Channels = 32
    """Length of the noise vector z."""
    dropout: ranges.Share = 0.1
    """Share of features that training drops."""
    logits: Literal["draw", "gumbel", "residual", "scratch"] = "gumbel"
    """`draw` adds a learned map to the logits of a calibrated draw of F, which G sees
    (`models/draw_refinement_net.py`); `scratch` is the paper's form, a learned map;
    `residual` adds it to log F; `gumbel` also adds a Gumbel variable of each class, the same in all pixels, to log
    F, so that samples follow F before any training."""
    tie_flips: bool = False
    """Of `draw`: whether G knows that a class and the one that it flips to are never in
    one image together: the draw decides which of both, for the whole image."""
    draw_scale: ranges.Share = 0.0
    """Of `draw`: distance, as a share of the shorter side, up to which the Gumbel variable
    of a class is alike; 0 for one variable in the whole image."""
    half_size: bool = False
    """Of `draw`: whether squares of 2x2 pixels become channels, and the learned map is
    made of channels again: a quarter of the work."""
    temperature: Annotated[float, Field(gt=0, le=100)] = 0.2
    """By which the sum of `gumbel` is divided: the lower, the surer of itself a sample
    is, and the less D can tell it from a label by that alone."""
    noise: Literal["standard", "encoded"] = "standard"
    """`standard` normal, or `encoded`: a Gaussian for each image, from a head of the
    encoder (the cVAE; CAR, B.2.3)."""


class Discriminator(fields.Section, key="discriminator"):
    """D: the discriminator."""

    base_channels: ranges.Channels = 64
    """Of D's first level."""
    patches: bool = False
    """Whether another head judges patches."""
    presence: bool = False
    """Whether another head judges how much there is of each class."""
