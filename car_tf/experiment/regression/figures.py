"""Figures of the 1-D regression (CAR, Figs. 2 and 7): arrays in, figures out."""

from typing import Dict, NamedTuple, Sequence, Tuple

import matplotlib.figure
import numpy as np

from car_tf.experiment.regression import config as regression_config

BLUE, RED, SKY, NAVY = "#1f5a93", "#c0392b", "#6ab7ff", "#123a7a"
PALETTE = (BLUE, "#e08214", "#3a8a4d", "#8a8f98")
# Neighbouring x whose samples are averaged together for the mean of the samples.
MEAN_WINDOW = 20
# First and last x and y of the pictures of samples.
EXTENT = (0.0, 1.0, -0.75, 0.75)


class SampledRun(NamedTuple):
    """What a trained run draws."""

    problem: regression_config.Problem
    calibration_weight: float
    data: Tuple[np.ndarray, np.ndarray]  # x and y of true pairs
    x: np.ndarray  # [N]
    mean: np.ndarray  # [N], F's output
    samples: np.ndarray  # [N, M], G's
    realness: np.ndarray  # [rows, columns], D's probability of "real" over `EXTENT`


def run_figures(
    runs: Sequence[regression_config.Run],
    curves: np.ndarray,
    iterations: np.ndarray,
    shown: Sequence[SampledRun],
) -> Dict[str, matplotlib.figure.Figure]:
    """Returns all figures by name: of `scores.results`' arrays, and a run per weight."""
    drawn = {"overview": _overview(runs, curves, iterations, shown)}
    for weight in sorted({run.calibration_weight for run in runs}):
        chosen = [run.calibration_weight == weight for run in runs]
        problems = [run.problem for run in runs if run.calibration_weight == weight]
        kinds = {"runs": "each run", "average": "mean over seeds"}
        if len({problem.seed for problem in problems}) == 1:
            del kinds["average"]
        for kind, words in kinds.items():
            figure = _grid(problems, curves[chosen], iterations, kind == "average")
            figure.suptitle(f"Log-likelihood in nats, {_name(weight)}, {words}")
            drawn[f"curves_lambda{weight:g}_{kind}"] = figure
    return drawn


def _overview(runs, curves, iterations, shown) -> matplotlib.figure.Figure:
    """Median and quartiles over all runs, and samples (CAR, Fig. 2a-c)."""
    figure = matplotlib.figure.Figure(
        (4.4 * (1 + len(shown)), 3.9), dpi=110, layout="constrained"
    )
    axis, *others = figure.subplots(1, 1 + len(shown))
    weights = sorted({run.calibration_weight for run in runs}, reverse=True)
    for index, weight in enumerate(weights):
        color = PALETTE[index % len(PALETTE)]
        chosen = curves[[run.calibration_weight == weight for run in runs]]
        lower, median, upper = np.percentile(chosen, [25, 50, 75], axis=0)
        axis.fill_between(iterations, lower, upper, color=color, alpha=0.25, lw=0)
        label = f"{_name(weight)}, {len(chosen)} runs"
        axis.plot(iterations, median, color=color, lw=1.3, label=label)
    axis.set_title("Log-likelihood, median and quartiles", fontsize=10)
    axis.set(xlabel="iteration", ylabel="nats")
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    _tidy(axis)
    for axis, item in zip(others, shown):
        _draw_samples(axis, item)
    return figure


def _grid(problems, curves, iterations, averaged: bool) -> matplotlib.figure.Figure:
    """Curves by mode probability and mode noise (CAR, Fig. 7a-d)."""
    probabilities = sorted({problem.mode_probability for problem in problems})
    noises = sorted({problem.mode_noise for problem in problems})
    size = (max(3.2 * len(noises), 6.0), 2.2 * len(probabilities) + 0.6)
    figure = matplotlib.figure.Figure(size, dpi=110, layout="constrained")
    axes = figure.subplots(
        len(probabilities), len(noises), squeeze=False, sharex=True, sharey=True
    )
    for row, probability in enumerate(probabilities):
        for column, noise in enumerate(noises):
            axis, place = axes[row, column], (probability, noise)
            here = [(p.mode_probability, p.mode_noise) == place for p in problems]
            if averaged:
                axis.plot(iterations, curves[here].mean(axis=0), color=BLUE, lw=1)
            else:
                axis.plot(iterations, curves[here].T, lw=0.7)
            axis.set_title(f"π = {probability:g}, σ = {noise:g}", fontsize=9)
            _tidy(axis)
    figure.supxlabel("iteration", fontsize=10)
    return figure


def _draw_samples(axis, item: SampledRun) -> None:
    """Data, F, samples, their mean, and D's landscape (CAR, Fig. 2b, c)."""
    # Red is real. At the end D hardly leaves 1/2, so that the colours take its range.
    most = max(float(np.abs(item.realness - 0.5).max()), 1e-6)
    shades = dict(cmap="RdBu_r", vmin=0.5 - most, vmax=0.5 + most, alpha=0.45)
    place = dict(extent=EXTENT, origin="lower", aspect="auto")
    axis.imshow(item.realness, **place, **shades)
    axis.scatter(*item.data, s=2.5, color="black", lw=0, label="data")
    axis.scatter(item.x, item.samples[:, 0], s=3, color=SKY, lw=0, label="samples of G")
    whole = len(item.x) // MEAN_WINDOW * MEAN_WINDOW
    x, mean = (
        values[:whole].reshape(-1, MEAN_WINDOW).mean(axis=1)
        for values in (item.x, item.samples.mean(axis=1))
    )
    axis.plot(x, mean, color=NAVY, lw=1.6, label="mean of the samples")
    axis.plot(item.x, item.mean, color=RED, lw=1.6, label="F")
    words = f"π = {item.problem.mode_probability:g}, σ = {item.problem.mode_noise:g}"
    axis.set_title(f"{_name(item.calibration_weight)}: {words}", fontsize=10)
    axis.set(xlim=EXTENT[:2], ylim=EXTENT[2:], xlabel="x", ylabel="y")
    axis.legend(fontsize=7, loc="lower right", markerscale=3).set_zorder(10)


def _name(weight: float) -> str:
    return f"with Lcal (λ = {weight:g})" if weight else "without Lcal (λ = 0)"


def _tidy(axis) -> None:
    # Logarithmic beyond +-10 nats: a sample between the modes costs hundreds.
    axis.set_yscale("symlog", linthresh=10)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
