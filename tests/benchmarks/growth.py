"""How the costs of sampling and scoring grow with what a user may ask for."""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Optional, Sequence

import matplotlib.figure

from tests.benchmarks import report, sampling, scores, timing

SIZE = (64, 128)
SAMPLES = (1, 2, 4, 8, 16, 32, 64, 100)
AREAS = (1, 4, 9, 16)
CLASSES = (2, 5, 10, 24, 50, 100, 150)
FLIPS = (1, 2, 3, 5, 7, 10)


def _draw(
    *, num: int = 16, num_classes: int = 24, scale: int = 1, small: bool
) -> Callable[[], float]:
    """Returns what times the sampling of one image; `scale` multiplies its sides."""
    size = (SIZE[0] * scale, SIZE[1] * scale)
    net, image, log_probs = sampling.build(
        num_classes=num_classes, base_channels=2 if small else 16, size=size
    )
    return timing.clock(sampling.sampling_sides(net, image, log_probs, num)["ours"])


def _score(num_flips: int) -> Callable[[], float]:
    side = scores.flips_sides((256, 512), 16, num_flips, plain=False)["ours"]
    return timing.clock(side, time.process_time)


def row(
    peaks: Dict[str, float], small: bool, plot: Optional[str] = None
) -> List[report.Table]:
    """Row `growth`: four tables, and a plot of them in the file `plot`."""
    del peaks
    base = 2 if small else 16
    fixed = f"16 samples of one {SIZE[0]}x{SIZE[1]} image, 24 classes, base {base}"
    series = {
        "samples": (SAMPLES, lambda value: _draw(num=value, small=small)),
        "image area": (
            AREAS,
            lambda value: _draw(scale=round(value**0.5), small=small),
        ),
        "classes": (CLASSES, lambda value: _draw(num_classes=value, small=small)),
        "flips": (FLIPS, _score),
    }
    tables = []
    for name, (values, build) in series.items():
        values = values[:2] if small else values
        tables.append(_table(name, values, build, fixed, repeats=1 if small else 7))
    if plot:
        figure(tables).savefig(plot, dpi=120)
    return tables


def _table(
    name: str,
    values: Sequence[int],
    build: Callable[[int], Callable[[], float]],
    fixed: str,
    repeats: int,
) -> report.Table:
    sides = {str(value): build(value) for value in values}
    seconds = timing.medians(sides, repeats=repeats)
    first = seconds[str(values[0])]
    if name == "flips":
        title = "Cost of scoring by flips: 256x512, 16 samples, processor time"
    else:
        title = f"Cost of sampling by {name}; else {fixed}"
    return report.Table(
        title,
        (name, "ms", f"times that of {values[0]}", "ms for each"),
        [
            [
                value,
                1e3 * seconds[str(value)],
                seconds[str(value)] / first,
                1e3 * seconds[str(value)] / value,
            ]
            for value in values
        ],
    )


def figure(tables: Sequence[report.Table]) -> matplotlib.figure.Figure:
    """Plots each table on logarithmic axes, beside proportional growth."""
    drawn = matplotlib.figure.Figure(figsize=(3 * len(tables), 3), layout="constrained")
    for axis, table in zip(drawn.subplots(1, len(tables), squeeze=False)[0], tables):
        values = [row[0] for row in table.rows]
        times = [row[1] for row in table.rows]
        axis.plot(values, times, "o-", label="measured")
        proportional = [times[0] * value / values[0] for value in values]
        axis.plot(values, proportional, ":", color="grey", label="proportional")
        if table.columns[0] == "flips":
            modes = [times[0] * 2 ** (value - values[0]) for value in values]
            axis.plot(values, modes, "--", color="grey", label="modes, 2^flips")
        axis.set(xscale="log", yscale="log", xlabel=table.columns[0], ylabel="ms")
        axis.set_xticks(values, [str(value) for value in values])
        axis.minorticks_off()
        axis.tick_params(axis="x", labelsize=7)
        axis.legend(fontsize=7)
    return drawn
