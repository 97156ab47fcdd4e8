"""The whole configuration, of the sections beside it.

`python -m car_tf.config NAME` prints them. A new field is a line of type and default and
a docstring; its default does what runs did before it, since their `config.json` lacks it.
"""

from typing import Annotated, ClassVar, Iterator, Tuple

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

    def rules(self) -> Iterator[Tuple[bool, str]]:
        """Yields what must hold of sections together, and what is said otherwise."""
        network, kind, train = self.calibration_net, self.blackbox.kind, self.train
        yield self.stage1.select_every % train.checkpoint_every == 0, (
            "stage1.select_every: wanted a multiple of train.checkpoint_every "
            f"({train.checkpoint_every}), got {self.stage1.select_every}"
        )
        yield network.kind != "blackbox_calibrator" or kind != "none", (
            "calibration_net.kind: blackbox_calibrator works on a black box, but "
            "blackbox.kind=none"
        )
        yield network.kind != "true_distribution" or kind == "truth", (
            "calibration_net.kind: true_distribution takes the label in the black box's "
            f"place, so wanted blackbox.kind=truth, got {kind}"
        )
        yield network.kind != "segnet" or kind == "none", (
            "calibration_net.kind: segnet works on the image alone, so wanted "
            f"blackbox.kind=none, got {kind}"
        )
        known = network.kind == "true_distribution"
        yield not (known and network.recalibrated), (
            "calibration_net.recalibrated: calibration_net.kind=true_distribution is "
            "the truth itself, so wanted false, got true"
        )
        unpools = network.kind == "segnet" and network.decoder == "unpooling"
        yield not (train.jit_compile and unpools), (
            "train.jit_compile: XLA has no max-pooling with indices, so wanted false, "
            "or calibration_net.decoder=skips"
        )
        elbo = self.stage2.pixel_loss == "elbo"
        noise, logits = self.refinement_net.noise, self.refinement_net.logits
        yield not elbo or noise == "standard", (
            "refinement_net.noise: the prior of stage2.pixel_loss=elbo is N(0, I), so "
            f"wanted standard, got {noise}"
        )
        yield not self.discriminator.patches or min(self.data.crop_size) >= 20, (
            "discriminator.patches: patches are judged at an eighth of the size, so "
            f"wanted a data.crop_size of at least 20,20, got {self.data.crop_size}"
        )
        yield logits == "draw" or self.stage2.calibration_estimator != "paired", (
            "stage2.calibration_estimator: paired needs the draws of "
            f"refinement_net.logits=draw, got logits={logits}"
        )
        yield logits != "draw" or (noise == "standard" and not elbo), (
            "refinement_net.logits: draw takes z from N(0, I), so wanted "
            "refinement_net.noise=standard and no stage2.pixel_loss=elbo"
        )
        yield bool(self.stage1.steps or train.init_from), (
            "stage1.steps: wanted a number above 0, or a train.init_from whose F is "
            "kept as it is, got 0"
        )
        yield not train.init_from or network.kind != "true_distribution", (
            "train.init_from: calibration_net.kind=true_distribution has no weights, "
            f"got {train.init_from}"
        )
