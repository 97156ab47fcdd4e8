"""Scores of the 1-D regression's runs: curves and mode weights in, tables out."""

import dataclasses
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from car_tf.experiment.regression import config as regression_config

RESULTS_FILE = "results.json"
HEADS = (
    *("λ", "π", "σ", "runs", "final log-likelihood, median (quartiles)"),
    *("perfect sampler", "iterations to 90 %", "collapsed"),
    *("upper mode's weight", "worst error"),
)


def iterations_to_90_percent(
    curve: np.ndarray, iterations: np.ndarray
) -> Optional[int]:
    """First iteration by which a curve has made 90 % of its way to its final value.

    Log-likelihoods may be negative, so that the way is measured from the first value.
    None where the final value of `curve` `[E]`, at `iterations` `[E]`, is not above it.
    """
    first, final = curve[0], curve[-1]
    if final <= first:
        return None
    return int(iterations[np.argmax(curve >= first + 0.9 * (final - first))])


def is_collapsed(upper_weight: float, mode_probability: float) -> bool:
    """Whether a mode has less than half of its true weight."""
    upper = upper_weight < mode_probability / 2
    return bool(upper or 1 - upper_weight < (1 - mode_probability) / 2)


def results(
    runs: Sequence[regression_config.Run],
    *,
    curves: np.ndarray,
    iterations: np.ndarray,
    upper_weights: np.ndarray,
    perfect: np.ndarray,
) -> Dict[str, List[Dict[str, Any]]]:
    """Returns scores of `runs`, of `configurations` (distribution, weight), and `pooled`.

    Args:
      curves, perfect: `[N, E]` and `[N]` log-likelihoods in nats, of N runs and of draws
        from the true distributions.
      iterations: `[E]` iterations of the evaluations.
      upper_weights: `[N]` shares of the final samples in the upper mode.
    """
    each = [
        {
            "calibration_weight": run.calibration_weight,
            **dataclasses.asdict(run.problem),
            "final_log_likelihood": float(curve[-1]),
            "perfect_log_likelihood": float(reference),
            "iterations_to_90_percent": iterations_to_90_percent(curve, iterations),
            "upper_weight": float(weight),
            "upper_weight_error": float(weight - run.problem.mode_probability),
            "collapsed": is_collapsed(weight, run.problem.mode_probability),
        }
        for run, curve, weight, reference in zip(runs, curves, upper_weights, perfect)
    ]
    keys = ("calibration_weight", "mode_probability", "mode_noise")
    return {
        "runs": each,
        "configurations": _grouped(each, keys),
        "pooled": _grouped(each, keys[:1]),
    }


def _grouped(each: List[Dict[str, Any]], keys: Sequence[str]) -> List[Dict[str, Any]]:
    """Summarises runs that agree in `keys`, in order of appearance."""
    groups = {}
    for entry in each:
        shared = {key: entry[key] for key in keys}
        groups.setdefault(tuple(shared.values()), (shared, []))[1].append(entry)
    return [{**shared, **_summary(members)} for shared, members in groups.values()]


def _summary(members: List[Dict[str, Any]]) -> Dict[str, Any]:
    def column(name):
        return [entry[name] for entry in members if entry[name] is not None]

    lower, median, upper = np.percentile(column("final_log_likelihood"), [25, 50, 75])
    steps = column("iterations_to_90_percent")
    return {
        "num_runs": len(members),
        "final_median": float(median),
        "final_quartiles": [float(lower), float(upper)],
        "perfect_log_likelihood": float(np.mean(column("perfect_log_likelihood"))),
        "median_iterations_to_90_percent": float(np.median(steps)) if steps else None,
        "num_collapsed": sum(column("collapsed")),
        "collapsed_fraction": float(np.mean(column("collapsed"))),
        "mean_upper_weight": float(np.mean(column("upper_weight"))),
        "worst_upper_weight_error": float(np.max(np.abs(column("upper_weight_error")))),
    }


def table(scores: Dict[str, List[Dict[str, Any]]]) -> List[Tuple[str, ...]]:
    """Returns the cells of `results` as text, the `HEADS` first."""
    rows = [HEADS]
    for entry in [*scores["configurations"], *scores["pooled"]]:
        lower, upper = entry["final_quartiles"]
        steps = entry["median_iterations_to_90_percent"]
        row = (
            f"{entry['calibration_weight']:g}",
            f"{entry.get('mode_probability', 'all')}",
            f"{entry.get('mode_noise', 'all')}",
            f"{entry['num_runs']}",
            f"{entry['final_median']:.2f} ({lower:.2f} to {upper:.2f})",
            f"{entry['perfect_log_likelihood']:.2f}",
            "never" if steps is None else f"{steps:.0f}",
            f"{entry['num_collapsed']} of {entry['num_runs']}",
            f"{entry['mean_upper_weight']:.3f}",
            f"{entry['worst_upper_weight_error']:.3f}",
        )
        rows.append(row)
    return rows


def to_markdown(scores: Dict[str, List[Dict[str, Any]]]) -> str:
    """Returns the table of `results` as Markdown."""
    heads, *rows = (f"| {' | '.join(cells)} |\n" for cells in table(scores))
    return "".join([heads, "|" + " ---: |" * len(HEADS) + "\n", *rows])
