"""Typed configuration of the 1-D bimodal regression (CAR, Section 5.1). No TensorFlow.

One configuration is a set of runs: every combination of its mode probabilities, mode
noises, seeds and calibration weights. `config.load` and `config.to_json` serve it like
`config.Config`.
"""

import dataclasses
import itertools
import zlib
from typing import Annotated, ClassVar, Iterator, Tuple

from pydantic import Field

from car_tf.config import fields, ranges, schema

Probability = Annotated[float, Field(gt=0, lt=1)]
Noise = Annotated[float, Field(gt=0, le=100)]
SEVERAL = Field(min_length=1, max_length=1000)


class Bimodal(fields.Section, key="data"):
    """The data (CAR, Eq. 8)."""

    mode_probabilities: Annotated[Tuple[Probability, ...], SEVERAL] = (0.9,)
    """Values of pi, the probability of the upper mode."""
    mode_noises: Annotated[Tuple[Noise, ...], SEVERAL] = (0.03,)
    """Values of sigma, the standard deviation around a mode."""


class Networks(fields.Section, key="networks"):
    """F, G and D: multi-layer perceptrons of one shape."""

    hidden_layers: Annotated[int, Field(gt=0, le=100)] = 4
    """Layers between input and output."""
    hidden_units: ranges.Channels = 64
    """Units of each."""


class Stage1(fields.Section, key="stage1"):
    """Training of F."""

    steps: ranges.Steps = 1500
    """Iterations."""
    batch_size: ranges.Batch = 1000
    """Pairs (x, y) per run and step."""
    learning_rate: ranges.Rate = 1e-4
    """Of Adam."""


class Stage2(fields.Section, key="stage2"):
    """Training of G and D."""

    steps: ranges.Steps = 5000
    """Iterations; G and D are both updated in each."""
    batch_size: ranges.Batch = 100
    """Pairs (x, y) per run and step."""
    num_samples: ranges.Samples = 10
    """M, samples per x. Runs without Lcal draw one, as nothing is averaged."""
    learning_rate: ranges.Rate = 1e-4
    """Of Adam, for G and D."""
    calibration_weights: Annotated[Tuple[ranges.Weight, ...], SEVERAL] = (1.0, 0.0)
    """Values of lambda, the weight of Lcal."""


class Train(fields.Section, key="train"):
    """Repetitions and checkpoints."""

    seeds: Annotated[Tuple[ranges.Seed, ...], SEVERAL] = (1,)
    """One run of every combination per seed."""
    checkpoint_every: ranges.Steps = 500
    """Steps between checkpoints."""


class Evaluation(fields.Section, key="evaluation"):
    """The log-likelihood curve."""

    every: ranges.Steps = 10
    """Stage-2 steps between evaluations; both stages run in blocks of them."""
    num_points: ranges.Images = 2000
    """Values of x, evenly spaced, with one sample each."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A distribution to learn and the seed of one attempt at it: one F."""

    mode_probability: float
    mode_noise: float
    seed: int

    def key(self, purpose: str) -> int:
        """Returns the 32-bit key of the random numbers that `purpose` names.

        It depends on this problem alone, so that a run draws the same numbers in
        whatever company it trains, and problems with one seed are independent.
        """
        text = f"{purpose} {self.mode_probability!r} {self.mode_noise!r} {self.seed}"
        return zlib.crc32(text.encode())


@dataclasses.dataclass(frozen=True)
class Run:
    """One G and one D, trained on a problem's F."""

    problem: Problem
    calibration_weight: float


class Regression(schema.Job):
    """A set of runs that are trained together.

    Attributes:
      REPORT: the module whose `sections` their report has.
    """

    JOB: ClassVar[str] = "car_tf.experiment.regression.run"
    REPORT: ClassVar[str] = "car_tf.experiment.regression.report"

    data: Bimodal = Bimodal()
    networks: Networks = Networks()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()

    def rules(self) -> Iterator[Tuple[bool, str]]:
        every = self.evaluation.every
        for name in ("stage1", "stage2"):
            steps = getattr(self, name).steps
            yield steps % every == 0, (
                f"{name}.steps: wanted a multiple of evaluation.every ({every}), got "
                f"{steps}"
            )

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """All problems: by mode probability, then mode noise, then seed."""
        return tuple(
            Problem(*values)
            for values in itertools.product(
                self.data.mode_probabilities, self.data.mode_noises, self.train.seeds
            )
        )

    @property
    def runs(self) -> Tuple[Run, ...]:
        """All runs: by calibration weight, then problem."""
        return tuple(
            Run(problem, weight)
            for weight in self.stage2.calibration_weights
            for problem in self.problems
        )
