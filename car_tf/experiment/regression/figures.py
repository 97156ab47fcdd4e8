"""Figures of the 1-D regression (CAR, Figs. 2 and 7): arrays in, figures out."""

from __future__ import annotations

import dataclasses
from typing import Dict, Sequence, Tuple

import matplotlib.figure
import numpy as np

from car_tf.experiment.regression import config as regression_config

BLUE, ORANGE, RED, SKY = "#1f5a93", "#e08214", "#c0392b", "#6ab7ff"
DPI = 110
# Neighbouring x whose samples are averaged together for the mean of the samples.
MEAN_WINDOW = 20
# Linear within +-10 nats, logarithmic beyond: a sample between the modes costs hundreds.
SCALE = dict(value="symlog", linthresh=10)


@dataclasses.dataclass(frozen=True)
class SampledRun:
    """What a trained run draws.

    Attributes:
      run: which.
      data: (x, y) of true pairs.
      x: `[N]` values of x.
      mean: `[N]`, F's output.
      samples: `[N, M]`, G's.
      realness: `[rows, columns]`, D's probability that a pair is real, y upwards.
      extent: (x first, x last, y first, y last) of `realness`.
    """

    run: regression_config.Run
    data: Tuple[np.ndarray, np.ndarray]
    x: np.ndarray
    mean: np.ndarray
    samples: np.ndarray
    realness: np.ndarray
    extent: Tuple[float, float, float, float]


def run_figures(
    runs: Sequence[regression_config.Run],
    *,
    curves: np.ndarray,
    iterations: np.ndarray,
    shown: Sequence[SampledRun],
) -> Dict[str, matplotlib.figure.Figure]:
    """Returns all figures by name.

    Args:
      runs: N runs.
      curves: `[N, E]` log-likelihoods, nats.
      iterations: `[E]` iterations of the evaluations.
      shown: one run per calibration weight.
    """
    drawn = {"overview": overview_figure(runs, curves, iterations, shown)}
    for item in shown:
        figure = matplotlib.figure.Figure((5.0, 4.2), dpi=DPI, layout="constrained")
        _draw_samples(figure.subplots(), item)
        drawn[f"samples_lambda{item.run.calibration_weight:g}"] = figure
    for weight in sorted({run.calibration_weight for run in runs}):
        for name, averaged in (("average", True), ("runs", False)):
            drawn[f"curves_lambda{weight:g}_{name}"] = curves_figure(
                runs, curves, iterations, weight=weight, averaged=averaged
            )
    return drawn


def overview_figure(
    runs: Sequence[regression_config.Run],
    curves: np.ndarray,
    iterations: np.ndarray,
    shown: Sequence[SampledRun],
) -> matplotlib.figure.Figure:
    """Median and quartiles over all runs, and samples (CAR, Fig. 2a-c)."""
    figure = matplotlib.figure.Figure(
        (4.4 * (1 + len(shown)), 3.9), dpi=DPI, layout="constrained"
    )
    axes = figure.subplots(1, 1 + len(shown))
    axis = axes[0]
    for weight, color in _colors(runs).items():
        chosen = curves[[run.calibration_weight == weight for run in runs]]
        lower, median, upper = np.percentile(chosen, [25, 50, 75], axis=0)
        axis.fill_between(iterations, lower, upper, color=color, alpha=0.25, lw=0)
        label = f"{_name(weight)}, {len(chosen)} runs"
        axis.plot(iterations, median, color=color, lw=1.3, label=label)
    axis.set_yscale(**SCALE)
    axis.set_title("Log-likelihood, median and quartiles", fontsize=10)
    axis.set_xlabel("iteration")
    axis.set_ylabel("nats")
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    _tidy(axis)
    for axis, item in zip(axes[1:], shown):
        _draw_samples(axis, item)
    return figure


def curves_figure(
    runs: Sequence[regression_config.Run],
    curves: np.ndarray,
    iterations: np.ndarray,
    *,
    weight: float,
    averaged: bool,
) -> matplotlib.figure.Figure:
    """Curves by mode probability and mode noise (CAR, Fig. 7a-d).

    Args:
      runs: N runs.
      curves: `[N, E]` log-likelihoods, nats.
      iterations: `[E]`.
      weight: the calibration weight whose runs are drawn.
      averaged: whether the mean over seeds is drawn, or each run.
    """
    probabilities = sorted({run.problem.mode_probability for run in runs})
    noises = sorted({run.problem.mode_noise for run in runs})
    figure = matplotlib.figure.Figure(
        (max(3.2 * len(noises), 6.0), 2.2 * len(probabilities) + 0.6),
        dpi=DPI,
        layout="constrained",
    )
    axes = figure.subplots(
        len(probabilities), len(noises), squeeze=False, sharex=True, sharey=True
    )
    for run, curve in zip(runs, curves):
        if run.calibration_weight == weight and not averaged:
            row = probabilities.index(run.problem.mode_probability)
            column = noises.index(run.problem.mode_noise)
            axes[row, column].plot(iterations, curve, lw=0.7)
    for row, probability in enumerate(probabilities):
        for column, noise in enumerate(noises):
            axis = axes[row, column]
            if averaged:
                chosen = [
                    run.calibration_weight == weight
                    and run.problem.mode_probability == probability
                    and run.problem.mode_noise == noise
                    for run in runs
                ]
                axis.plot(iterations, curves[chosen].mean(axis=0), color=BLUE, lw=1)
            axis.set_yscale(**SCALE)
            axis.set_title(f"π = {probability:g}, σ = {noise:g}", fontsize=9)
            _tidy(axis)
    what = "mean over seeds" if averaged else "each run"
    figure.suptitle(f"Log-likelihood in nats, {_name(weight)}, {what}", fontsize=11)
    figure.supxlabel("iteration", fontsize=10)
    return figure


def _draw_samples(axis, item: SampledRun) -> None:
    """Data, F, samples, their mean, and D's landscape (CAR, Fig. 2b, c)."""
    # Red is real. At the end D hardly leaves 1/2, so that the colours take its range.
    reach = max(float(np.abs(item.realness - 0.5).max()), 1e-6)
    axis.imshow(
        item.realness,
        extent=item.extent,
        origin="lower",
        aspect="auto",
        cmap="RdBu_r",
        vmin=0.5 - reach,
        vmax=0.5 + reach,
        alpha=0.45,
    )
    axis.scatter(*item.data, s=2.5, color="black", lw=0, label="data")
    drawn = item.samples[:, 0]
    axis.scatter(item.x, drawn, s=3, color=SKY, lw=0, label="samples of G")
    whole = len(item.x) // MEAN_WINDOW * MEAN_WINDOW
    x, mean = (
        values[:whole].reshape(-1, MEAN_WINDOW).mean(axis=1)
        for values in (item.x, item.samples.mean(axis=1))
    )
    axis.plot(x, mean, color="#123a7a", lw=1.6, label="mean of the samples")
    axis.plot(item.x, item.mean, color=RED, lw=1.6, label="F")
    problem = item.run.problem
    axis.set_title(
        f"{_name(item.run.calibration_weight)}: π = {problem.mode_probability:g}, "
        f"σ = {problem.mode_noise:g}",
        fontsize=10,
    )
    axis.set_xlim(*item.extent[:2])
    axis.set_ylim(*item.extent[2:])
    axis.set_xlabel("x")
    axis.set_ylabel("y")
    legend = axis.legend(fontsize=7, loc="lower right", markerscale=3)
    legend.set_zorder(10)


def _name(weight: float) -> str:
    return f"with Lcal (λ = {weight:g})" if weight else "without Lcal (λ = 0)"


def _colors(runs: Sequence[regression_config.Run]) -> Dict[float, str]:
    weights = sorted({run.calibration_weight for run in runs}, reverse=True)
    palette = (BLUE, ORANGE, "#3a8a4d", "#8a8f98")
    return {weight: palette[i % 4] for i, weight in enumerate(weights)}


def _tidy(axis) -> None:
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
