"""The figure of what stage 2 has changed."""

from __future__ import annotations

from typing import Any, Sequence

import matplotlib.figure
import numpy as np

from car_tf.report import figures


def before_after_figure(
    before: Sequence[Any],
    after: Sequence[Any],
    *,
    images: np.ndarray,
    labels: np.ndarray,
    class_colors: Sequence[Sequence[int]],
    num_shown: int = 3,
) -> matplotlib.figure.Figure:
    """Samples before stage 2 and after it, in pairs of the same noise.

    Args:
      before: items with `index` and `samples` (see `sampling.SampledImage`).
      after: the same images with the same noise.
      images: `[N, H, W, C]` uint8.
      labels: `[N, A, H, W]` uint8; the first rater's are shown.
      class_colors: K (red, green, blue) triples.
      num_shown: samples of each image.
    """
    titles = ["input", "label"]
    rows = []
    for first, last in zip(before, after):
        label = figures.colorize(labels[first.index, 0], class_colors)
        rows.append([images[first.index], label])
        for number, pair in enumerate(zip(first.samples, last.samples)):
            if number < num_shown:
                rows[-1] += [figures.colorize(one, class_colors) for one in pair]
    for number in range((len(rows[0]) - 2) // 2):
        titles += [f"z {number + 1}, before", f"z {number + 1}, after"]
    return figures._grid(rows, [titles])
