"""Line and reliability charts as SVG that takes its colours from the page around it."""

from __future__ import annotations

import html
import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

WIDTH, HEIGHT = 400, 250
# Room for title and key, numbers of y, numbers and name of x.
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 44, 38
_CLASSES = ("first", "second", "third")


def ticks(low: float, high: float, num: int = 4) -> List[float]:
    """Returns round numbers that divide a range, about `num` steps of it.

    The first is at or below `low` and the last at or above `high`.
    """
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


class _Plane:
    """Places values on the drawing."""

    def __init__(self, x_ticks: Sequence[float], y_ticks: Sequence[float]):
        self.x_ticks, self.y_ticks = x_ticks, y_ticks

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 2)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return round(
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low), 2
        )

    def frame(self, title: str, x_name: str) -> str:
        left, right = self.x(self.x_ticks[0]), self.x(self.x_ticks[-1])
        parts = [_words(0, 14, title, kind="title")]
        for value in self.y_ticks:
            kind = "zero" if value == self.y_ticks[0] else "grid"
            parts.append(_line(left, self.y(value), right, self.y(value), kind))
            parts.append(_words(left - 6, self.y(value) + 4, f"{value:g}", "end"))
        for value in self.x_ticks:
            anchor = "end" if value == self.x_ticks[-1] else "middle"
            parts.append(_words(self.x(value), HEIGHT - 22, f"{value:g}", anchor))
        parts.append(_words((left + right) / 2, HEIGHT - 5, x_name, "middle"))
        return "".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _words(
    x: float, y: float, words: str, anchor: str = "start", kind: str = ""
) -> str:
    attribute = f' class="{kind}"' if kind else ""
    return (
        f'<text{attribute} x="{x:g}" y="{y:g}" text-anchor="{anchor}">'
        f"{html.escape(words)}</text>"
    )


def _svg(title: str, inner: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(title, quote=True)}">{inner}</svg>'
    )


def lines(
    title: str,
    series: Mapping[str, Sequence[Tuple[float, float]]],
    *,
    level: Optional[float] = None,
    limits: Optional[Tuple[float, float]] = None,
) -> str:
    """Returns a chart of up to three lines.

    Args:
      title: above it.
      series: name -> (x, y) points; empty ones are left out.
      level: a dashed line across.
      limits: of y; by default those of the values.
    """
    series = {name: points for name, points in series.items() if points}
    if not series:
        return ""
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    ys += [] if level is None else [level]
    low, high = limits or (min(*ys, 0.0), max(ys))
    plane = _Plane(ticks(0, max(xs), 4), ticks(low, high))
    # A line may end between two round numbers; what lies beyond it is cut off.
    plane.x_ticks = [x for x in plane.x_ticks if x < max(xs) * 0.9] + [max(xs)]
    parts = [plane.frame(title, "step")]
    if level is not None:
        left, right = plane.x(plane.x_ticks[0]), plane.x(plane.x_ticks[-1])
        parts.append(_line(left, plane.y(level), right, plane.y(level), "level"))
    at = 0.0
    for (name, points), kind in zip(series.items(), _CLASSES):
        where = " ".join(f"{plane.x(x)},{plane.y(y)}" for x, y in points)
        parts.append(f'<polyline class="series {kind}" points="{where}"/>')
        if len(points) < 12:
            parts += [
                f'<circle class="series {kind}" r="2" cx="{plane.x(x)}" '
                f'cy="{plane.y(y)}"/>'
                for x, y in points
            ]
        if len(series) > 1:
            parts.append(_line(at, 27, at + 16, 27, f"series {kind}"))
            parts.append(_words(at + 21, 31, name))
            at += 44 + 6.6 * len(name)
    return _svg(title, "".join(parts))


def reliability(title: str, bins: Sequence[Dict[str, Any]]) -> str:
    """Returns accuracy against confidence, with the gap from the diagonal.

    Args:
      title: above it.
      bins: of `metrics.calibration.Reliability`.
    """
    plane = _Plane([0, 0.2, 0.4, 0.6, 0.8, 1.0], [0, 0.25, 0.5, 0.75, 1.0])
    parts = [plane.frame(title, "confidence")]
    base = plane.y(0)
    for entry in bins:
        if not entry["num_pixels"]:
            continue
        left = plane.x(entry["lower"]) + 1
        width = plane.x(entry["upper"]) - plane.x(entry["lower"]) - 2
        top, bound = plane.y(entry["accuracy"]), plane.y(entry["confidence"])
        parts.append(_box("solid", left, top, width, base - top))
        parts.append(_box("gap", left, min(top, bound), width, abs(top - bound)))
    parts.append(_line(plane.x(0), plane.y(0), plane.x(1), plane.y(1), "ideal"))
    return _svg(title, "".join(parts))


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" '
        f'height="{height:.2f}"/>'
    )
