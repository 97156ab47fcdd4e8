"""Figures of a run: arrays in, matplotlib figures out."""

from __future__ import annotations

import math
import pathlib
from typing import Any, Dict, List, Optional, Sequence

import matplotlib.figure
import numpy as np
from scipy import special

from car_tf.data import io

BLUE, ORANGE, GREEN, GREY = "#1f5a93", "#e08214", "#3a8a4d", "#8a8f98"
DPI = 110
# Of pictures side by side, in inches: between two, and room for a title.
_GAP, _TITLE = 0.08, 0.32


def colorize(ids: np.ndarray, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """Paints class ids.

    Args:
      ids: `[...]` uint8 class ids; ids without a colour, such as 255, become black.
      colors: K (red, green, blue) triples.

    Returns:
      `[..., 3]` uint8.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table[ids]


def entropy_bits(probs: np.ndarray) -> np.ndarray:
    """Entropy of `[..., K]` probabilities in bits."""
    return special.entr(probs).sum(-1) / math.log(2)


def _grid(
    rows: Sequence[Sequence[Any]],
    titles: Sequence[Sequence[str]],
    *,
    entropy_limit: Optional[float] = None,
    width: float = 16.0,
) -> matplotlib.figure.Figure:
    """Lays pictures out: uint8 arrays as they are, float arrays as entropy maps."""
    height, image_width = np.shape(rows[0][0])[:2]
    columns = max(len(row) for row in rows)
    tile = width / columns
    tall = (tile - _GAP) * height / image_width
    # Room above each row, for its titles where it has some.
    above = [_TITLE if row < len(titles) else _GAP for row in range(len(rows))]
    total = sum(above) + tall * len(rows) + _GAP
    figure = matplotlib.figure.Figure(figsize=(width, total), dpi=DPI)
    # A letter is about 0.6 as wide as its size, in points of 1/72 inch.
    longest = max(len(title) for line in titles for title in line)
    font_size = min(13.0, 72 * tile / (0.6 * longest))
    top = total
    for row, pictures in enumerate(rows):
        top -= above[row] + tall
        for column, picture in enumerate(pictures):
            place = (column * tile + _GAP / 2, top, tile - _GAP, tall)
            scale = (width, total, width, total)
            axis = figure.add_axes([size / all_ for size, all_ in zip(place, scale)])
            _show(axis, picture, entropy_limit)
            if row < len(titles) and column < len(titles[row]):
                axis.set_title(titles[row][column], fontsize=font_size, pad=4)
    return figure


def _show(axis: Any, picture: np.ndarray, entropy_limit: Optional[float]) -> None:
    axis.set_axis_off()
    if picture.dtype != np.uint8:
        axis.imshow(picture, cmap="magma", vmin=0, vmax=entropy_limit)
    elif picture.shape[-1] == 1:
        gray = dict(cmap="gray", vmin=0, vmax=255)
        axis.imshow(picture[..., 0], interpolation="nearest", **gray)
    else:
        axis.imshow(picture, interpolation="nearest")


def samples_figure(
    gallery: Sequence[Any],
    *,
    images: np.ndarray,
    labels: np.ndarray,
    blackbox: Optional[np.ndarray],
    class_colors: Sequence[Sequence[int]],
    num_shown: int = 8,
) -> matplotlib.figure.Figure:
    """Input, label, black box, F's entropy and samples (CAR, Fig. 4).

    Args:
      gallery: items with `index`, `probs` and `samples` (see `sampling.Drawn`).
      images: `[N, H, W, C]` uint8.
      labels: `[N, A, H, W]` uint8; the first annotator's are shown.
      blackbox: `[N, H, W]` uint8 class ids, or None.
      class_colors: K triples.
      num_shown: samples per image, on two lines.
    """
    per_line = num_shown // 2
    numbers = [f"sample {i + 1}" for i in range(num_shown)]
    titles = [["input", "label", *numbers[:per_line]]]
    titles += [["black box", "entropy of F", *numbers[per_line:]]]
    rows = []
    for item in gallery:
        below = np.full((*images.shape[1:3], 3), 255, np.uint8)
        if blackbox is not None:
            below = colorize(blackbox[item.index], class_colors)
        painted = list(colorize(item.samples[:num_shown], class_colors))
        label = colorize(labels[item.index, 0], class_colors)
        rows.append([images[item.index], label, *painted[:per_line]])
        rows.append([below, entropy_bits(item.probs), *painted[per_line:]])
    limit = max(float(entropy_bits(item.probs).max()) for item in gallery)
    return _grid(rows, titles, entropy_limit=max(limit, 1.0))


def readers_figure(
    gallery: Sequence[Any],
    *,
    images: np.ndarray,
    labels: np.ndarray,
    class_colors: Sequence[Sequence[int]],
    num_shown: int = 6,
) -> matplotlib.figure.Figure:
    """Input, all annotators, their mean, F, the mean of G and samples (CAR, Fig. 3).

    Args:
      gallery: items with `index`, `probs`, `sample_mean` and `samples`.
      images: `[N, H, W, C]` uint8.
      labels: `[N, A, H, W]` uint8.
      class_colors: K triples; a distribution is shown as the mean of its colours.
      num_shown: samples per image.
    """
    num_annotators, num_classes = labels.shape[1], len(class_colors)
    colors = np.asarray(class_colors, float)
    titles = ["input", *(f"reader {i + 1}" for i in range(num_annotators))]
    titles += ["mean of readers", "F", "mean of G"]
    titles += [f"sample {i + 1}" for i in range(num_shown)]
    rows = []
    for item in gallery:
        masks = labels[item.index]
        mean = (masks[..., None] == np.arange(num_classes)).mean(0)
        rows.append(
            [
                images[item.index],
                *colorize(masks, class_colors),
                *(
                    np.rint(probs @ colors).astype(np.uint8)
                    for probs in (mean, item.probs, item.sample_mean)
                ),
                *colorize(item.samples[:num_shown], class_colors),
            ]
        )
    return _grid(rows, [titles])


def entropies_figure(
    gallery: Sequence[Any],
    *,
    images: np.ndarray,
    class_colors: Sequence[Sequence[int]],
) -> matplotlib.figure.Figure:
    """Where the uncertainty goes (CAR, Fig. 12).

    A sample of independent pixels from F, then the entropies in bits of F, of the mean
    of the samples, and of one sample.
    """
    rows = []
    for item in gallery:
        rng = np.random.default_rng(item.index)
        draws = rng.random((*item.probs.shape[:2], 1))
        independent = (item.probs.cumsum(-1) < draws).sum(-1)
        independent = np.minimum(independent, item.probs.shape[-1] - 1)
        rows.append(
            [
                images[item.index],
                colorize(independent.astype(np.uint8), class_colors),
                colorize(item.samples[0], class_colors),
                *(
                    entropy_bits(p)
                    for p in (item.probs, item.sample_mean, item.first_probs)
                ),
            ]
        )
    limit = max(float(row[3].max()) for row in rows)
    titles = ["input", "pixels of F, independent", "one sample of G"]
    titles += ["entropy of F", "entropy of the mean of G", "entropy of one sample"]
    return _grid(rows, [titles], entropy_limit=max(limit, 1.0))


def _axes(title: str, x_label: str, y_label: str, size=(6.0, 4.0)):
    figure = matplotlib.figure.Figure(figsize=size, dpi=DPI, layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, fontsize=11)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def calibration_figure(
    calibration: Dict[str, Any], class_names: Sequence[str]
) -> matplotlib.figure.Figure:
    """True and predicted flip probability per stochastic class (CAR, Fig. 5).

    Args:
      calibration: network name -> `FlipCalibration.to_dict()`.
      class_names: of all classes.
    """
    figure, axis = _axes("Flip probabilities", "", "probability", size=(7.5, 4.0))
    tables = list(calibration.values())
    classes = tables[0]["classes"]
    bars = {"truth": [entry["true_probability"] for entry in classes]}
    names = {"calibration_net": "F", "refinement_net": "G"}
    for name, table in calibration.items():
        bars[names.get(name, name)] = [
            math.nan if entry["flip_probability"] is None else entry["flip_probability"]
            for entry in table["classes"]
        ]
    width = 0.8 / len(bars)
    places = np.arange(len(classes))
    for index, (name, values) in enumerate(bars.items()):
        color = (GREY, ORANGE, BLUE)[index % 3]
        where = places + (index - (len(bars) - 1) / 2) * width
        axis.bar(where, values, width * 0.92, label=name, color=color)
        for x, value in zip(where, values):
            if not math.isnan(value):
                axis.text(
                    x, value, f"{value:.2f}", ha="center", va="bottom", fontsize=7
                )
    axis.set_xticks(places, [class_names[entry["flipped"]] for entry in classes])
    axis.legend(frameon=False, ncols=3)
    return figure


def reliability_figure(
    reliability: Dict[str, Any], name: str = "F"
) -> matplotlib.figure.Figure:
    """Accuracy against confidence of what is named, of F in CAR, Fig. 6."""
    ece = reliability["ece"]
    title = f"Reliability of {name}" + (
        "" if ece is None else f", ECE {100 * ece:.2f} %"
    )
    figure, axis = _axes(title, "confidence", "accuracy", size=(4.6, 4.4))
    bins = [entry for entry in reliability["bins"] if entry["num_pixels"]]
    width = bins[0]["upper"] - bins[0]["lower"] if bins else 0.1
    centres = [(entry["lower"] + entry["upper"]) / 2 for entry in bins]
    accuracy = np.array([entry["accuracy"] for entry in bins])
    gap = np.array([entry["confidence"] for entry in bins]) - accuracy
    axis.bar(centres, accuracy, width * 0.95, color=BLUE, label="accuracy")
    axis.bar(
        centres,
        gap,
        width * 0.95,
        bottom=accuracy,
        color=ORANGE,
        alpha=0.6,
        label="gap",
    )
    axis.plot([0, 1], [0, 1], "--", color=GREY)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.legend(frameon=False, loc="upper left")
    return figure


def curves_figure(
    curves: Dict[int, List[Dict[str, float]]],
) -> matplotlib.figure.Figure:
    """Losses of both stages, D's accuracy and the GED on the selection split."""
    figure = matplotlib.figure.Figure(figsize=(13, 3.4), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, 4)
    panels = (
        ("Stage 1: cross entropy (nats)", 1, {"cross_entropy": "F"}),
        (
            "Stage 2: losses (nats)",
            2,
            {"pixel_loss": "pixel loss", "adversarial": "Ladv", "discriminator": "D"},
        ),
        (
            "Stage 2: accuracy of D",
            2,
            {"real_accuracy": "real", "fake_accuracy": "generated"},
        ),
        ("Stage 2: GED, selection split", 2, {"selection_ged": "GED"}),
    )
    for axis, (title, stage, names) in zip(axes, panels):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        for name, color in zip(names, (BLUE, ORANGE, GREEN)):
            points = [(p["step"], p[name]) for p in curves.get(stage, []) if name in p]
            if points:
                axis.plot(*zip(*points), ".-", color=color, label=names[name])
        if len(names) > 1 and axis.lines:
            axis.legend(frameon=False, fontsize=8)
    return figure


def gallery_figure(
    gallery: Sequence[Any],
    *,
    images: np.ndarray,
    labels: np.ndarray,
    blackbox: Optional[np.ndarray],
    class_colors: Sequence[Sequence[int]],
) -> matplotlib.figure.Figure:
    """Samples beside all annotators, or beside the label and the black box."""
    shown = dict(images=images, labels=labels, class_colors=class_colors)
    if labels.shape[1] > 1:
        return readers_figure(gallery, **shown)
    return samples_figure(gallery, blackbox=blackbox, **shown)


def run_figures(
    metrics: Dict[str, Any],
    galleries: Dict[str, Sequence[Any]],
    *,
    images: np.ndarray,
    labels: np.ndarray,
    blackbox: Optional[np.ndarray],
    class_names: Sequence[str],
    class_colors: Sequence[Sequence[int]],
    curves: Dict[int, List[Dict[str, float]]],
) -> Dict[str, matplotlib.figure.Figure]:
    """Returns all figures of a run by name; arguments as in the figures above.

    `galleries` are the items of a figure each, by its name; `samples` is one of them.
    """
    drawn = {
        name: gallery_figure(
            gallery,
            images=images,
            labels=labels,
            blackbox=blackbox,
            class_colors=class_colors,
        )
        for name, gallery in galleries.items()
    }
    drawn = {
        **drawn,
        "entropies": entropies_figure(
            galleries["samples"][:3], images=images, class_colors=class_colors
        ),
        "reliability": reliability_figure(metrics["reliability"]),
        "curves": curves_figure(curves),
    }
    if "calibration" in metrics:
        drawn["calibration"] = calibration_figure(metrics["calibration"], class_names)
    return drawn


def save_all(
    drawn: Dict[str, matplotlib.figure.Figure], folder: pathlib.Path
) -> List[pathlib.Path]:
    """Writes figures as PNG files, each whole or not at all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn.items():
        path = folder / f"{name}.png"
        with io.atomic_file(path) as file:
            figure.savefig(file, format="png")
        paths.append(path)
    return paths
