"""Typed configuration of the 1-D bimodal regression (CAR, Section 5.1). No TensorFlow.

One configuration is a set of runs: every combination of its mode probabilities, mode
noises, seeds and calibration weights. `config.load` and `config.to_json` serve it like
`config.Config`.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from typing import Tuple

from car_tf.config import fields


@fields.section
class Bimodal:
    """The data (CAR, Eq. 8).

    Attributes:
      mode_probabilities: values of pi, the probability of the upper mode.
      mode_noises: values of sigma, the standard deviation around a mode.
    """

    mode_probabilities: Tuple[float, ...] = (0.9,)
    mode_noises: Tuple[float, ...] = (0.03,)

    def __post_init__(self):
        fields.require(
            bool(self.mode_probabilities)
            and all(0 < value < 1 for value in self.mode_probabilities),
            "data.mode_probabilities: wanted values between 0 and 1, got "
            f"{self.mode_probabilities}",
        )
        fields.require(
            bool(self.mode_noises) and all(value > 0 for value in self.mode_noises),
            f"data.mode_noises: wanted positive values, got {self.mode_noises}",
        )


@fields.section
class Networks:
    """F, G and D: multi-layer perceptrons of one shape."""

    hidden_layers: int = 4
    hidden_units: int = 64

    def __post_init__(self):
        fields.require_positive(
            "networks",
            hidden_layers=self.hidden_layers,
            hidden_units=self.hidden_units,
        )


@fields.section
class Stage1:
    """Training of F."""

    steps: int = 1500
    batch_size: int = 1000
    learning_rate: float = 1e-4

    def __post_init__(self):
        fields.require_positive(
            "stage1",
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )


@fields.section
class Stage2:
    """Training of G and D.

    Attributes:
      steps: iterations; G and D are both updated in each.
      batch_size: pairs (x, y) per run and step.
      num_samples: M, samples per x. Runs without Lcal draw one, as nothing is averaged.
      calibration_weights: values of lambda, the weight of Lcal.
    """

    steps: int = 5000
    batch_size: int = 100
    num_samples: int = 10
    learning_rate: float = 1e-4
    calibration_weights: Tuple[float, ...] = (1.0, 0.0)

    def __post_init__(self):
        fields.require_positive(
            "stage2",
            steps=self.steps,
            batch_size=self.batch_size,
            num_samples=self.num_samples,
            learning_rate=self.learning_rate,
        )
        fields.require(
            bool(self.calibration_weights)
            and all(value >= 0 for value in self.calibration_weights),
            "stage2.calibration_weights: wanted values from 0 on, got "
            f"{self.calibration_weights}",
        )


@fields.section
class Train:
    """Repetitions and checkpoints.

    Attributes:
      seeds: one run of every combination per seed.
      checkpoint_every: steps between checkpoints.
    """

    seeds: Tuple[int, ...] = (1,)
    checkpoint_every: int = 500

    def __post_init__(self):
        fields.require(bool(self.seeds), "train.seeds: wanted at least one, got none")
        fields.require_positive("train", checkpoint_every=self.checkpoint_every)


@fields.section
class Evaluation:
    """The log-likelihood curve.

    Attributes:
      every: stage-2 steps between evaluations; both stages run in blocks of them.
      num_points: values of x, evenly spaced, with one sample each.
    """

    every: int = 10
    num_points: int = 2000

    def __post_init__(self):
        fields.require_positive(
            "evaluation", every=self.every, num_points=self.num_points
        )


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


@fields.section
class Regression:
    """A set of runs that are trained together.

    `REPORT` names the module of its report's sections.
    """

    REPORT = "car_tf.experiment.regression.report"

    name: str
    data: Bimodal = Bimodal()
    networks: Networks = Networks()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()

    def __post_init__(self):
        for name, steps in (
            ("stage1.steps", self.stage1.steps),
            ("stage2.steps", self.stage2.steps),
        ):
            fields.require(
                steps % self.evaluation.every == 0,
                f"{name}: wanted a multiple of evaluation.every "
                f"({self.evaluation.every}), got {steps}",
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

    def num_samples(self, run: Run) -> int:
        """M of a run."""
        return self.stage2.num_samples if run.calibration_weight else 1
