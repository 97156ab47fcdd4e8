"""The whole configuration, of the sections beside it.

`python -m car_tf.config NAME` prints them. A new field is a line of type and default and
a docstring; its default does what runs did before it, since their `config.json` lacks it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import pydantic
from pydantic import Field

from car_tf.config import data_sections, fields, network_sections, stage_sections


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

    data: data_sections.Data = data_sections.Data()
    blackbox: data_sections.BlackBox = data_sections.BlackBox()
    calibration_net: network_sections.CalibrationNet = network_sections.CalibrationNet()
    refinement_net: network_sections.RefinementNet = network_sections.RefinementNet()
    discriminator: network_sections.Discriminator = network_sections.Discriminator()
    stage1: stage_sections.Stage1 = stage_sections.Stage1()
    stage2: stage_sections.Stage2 = stage_sections.Stage2()
    train: stage_sections.Train = stage_sections.Train()
    evaluation: stage_sections.Evaluation = stage_sections.Evaluation()

    @pydantic.model_validator(mode="after")
    def _sections_agree(self) -> "Config":
        network, kind = self.calibration_net, self.blackbox.kind
        fields.require(
            self.stage1.select_every % self.train.checkpoint_every == 0,
            "stage1.select_every: wanted a multiple of train.checkpoint_every "
            f"({self.train.checkpoint_every}), got {self.stage1.select_every}",
        )
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

    @pydantic.model_validator(mode="after")
    def _begins_with_networks(self) -> "Config":
        fields.require(
            bool(self.stage1.steps or self.train.init_from),
            "stage1.steps: wanted a number above 0, or a train.init_from whose F is "
            "kept as it is, got 0",
        )
        fields.require(
            not self.train.init_from
            or self.calibration_net.kind != "true_distribution",
            "train.init_from: calibration_net.kind=true_distribution has no weights, "
            f"got {self.train.init_from}",
        )
        return self
