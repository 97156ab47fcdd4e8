"""Figures of a run: arrays in, matplotlib figures out."""

import dataclasses
import html
import io
import math
import pathlib
import re
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import matplotlib
import matplotlib.figure
import numpy as np

from car_tf.data import io as data_io
from car_tf.data import sheets
from car_tf.metrics import calibration, raters

BLUE, ORANGE, GREEN, GREY = "#1f5a93", "#e08214", "#3a8a4d", "#8a8f98"
GRID = "#d9dde2"
# What a page calls these colours, and matplotlib's black (templates/palette.css).
_VARIABLES = {BLUE: "first", ORANGE: "second", GREEN: "third", GREY: "grey"}
_VARIABLES.update({GRID: "line", "#000000": "text"})
DPI = 110
# Inches of a chart that can be read on a telephone, 390 pixels wide.
CHART = (4.4, 3.1)
# Two losses of D, on real and on generated pairs, of a discriminator that guesses: 2 ln 2.
CHANCE_LOSS = 2 * math.log(2)
# Samples of an image that are painted.
NUM_SHOWN = 8
# Of pictures side by side, in inches: between two, and room for a title.
_GAP, _TITLE = 0.08, 0.32
# Figures and their names.
Drawn = Iterable[Tuple[str, matplotlib.figure.Figure]]


def colorize(ids: np.ndarray, colors: Sequence[Sequence[int]]) -> np.ndarray:
    """Paints class ids `[...]` in K colours, others such as 255 black: `[..., 3]`."""
    return sheets.color_table(dict(enumerate(colors)))[ids]


def _grid(rows, titles, *, entropy_limit=None, width=16.0) -> matplotlib.figure.Figure:
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
            axis.set_axis_off()
            if picture.dtype != np.uint8:
                axis.imshow(picture, cmap="magma", vmin=0, vmax=entropy_limit)
            elif picture.shape[-1] == 1:
                gray = dict(cmap="gray", vmin=0, vmax=255)
                axis.imshow(picture[..., 0], interpolation="nearest", **gray)
            else:
                axis.imshow(picture, interpolation="nearest")
            if row < len(titles) and column < len(titles[row]):
                axis.set_title(titles[row][column], fontsize=font_size, pad=4)
    return figure


@dataclasses.dataclass(frozen=True)
class Shown:
    """What figures show of a drawn image: pictures `[H, W, 3]` uint8, entropies float.

    Made when an image is drawn, so that nobody keeps its distributions.
    """

    index: int  # of the image in its split
    image: np.ndarray  # `[H, W, C]`
    labels: Sequence[np.ndarray]  # of each rater
    blackbox: np.ndarray  # white where there is none
    samples: Sequence[np.ndarray]
    before: Sequence[np.ndarray]  # samples before stage 2, of the same noise, if any
    means: Sequence[np.ndarray]  # of several raters, F and G: means of their colours
    independent: np.ndarray  # pixels of F, drawn one by one
    entropies: Sequence[np.ndarray]  # of F, the mean of the samples and one, `[H, W]`

    @classmethod
    def of(
        cls,
        item: Any,
        *,
        image: np.ndarray,
        labels: np.ndarray,
        blackbox: Optional[np.ndarray],
        class_colors: Sequence[Sequence[int]],
        before: Optional[np.ndarray] = None,
    ) -> "Shown":
        """Paints a `sampling.SampledImage`.

        Args:
          image: `[H, W, C]` uint8.
          labels, blackbox: ids `[A, H, W]` and, or None, `[H, W]`, uint8.
          class_colors: K colours (red, green, blue).
          before: `[S, H, W]` ids, or None.
        """
        white = np.full((*labels.shape[1:], 3), 255, np.uint8)
        spread, means = (item.probs, item.sample_mean, item.first_probs), []
        if len(labels) > 1:
            colors = np.asarray(class_colors, float)
            _, mean = raters.known_and_shares(labels, len(colors))
            blended = (mean, *spread[:2])
            means = [np.rint(probs @ colors).astype(np.uint8) for probs in blended]
        draws = np.random.default_rng(item.index).random((*item.probs.shape[:2], 1))
        ids = (item.probs.cumsum(-1) < draws).sum(-1)
        ids = np.minimum(ids, item.probs.shape[-1] - 1).astype(np.uint8)
        return cls(
            item.index,
            np.array(image),
            list(colorize(np.asarray(labels), class_colors)),
            white if blackbox is None else colorize(blackbox, class_colors),
            list(colorize(item.samples[:NUM_SHOWN], class_colors)),
            [] if before is None else list(colorize(before[:NUM_SHOWN], class_colors)),
            means,
            colorize(ids, class_colors),
            [calibration.entropy_bits(probs) for probs in spread],
        )


def gallery_figure(gallery: Sequence[Shown]) -> matplotlib.figure.Figure:
    """Samples beside all raters, or beside the label and the black box.

    Of raters a distribution is shown as the mean of its colours.
    """
    if len(gallery[0].labels) > 1:
        return _raters_figure(gallery)
    return _samples_figure(gallery)


def _samples_figure(gallery: Sequence[Shown]) -> matplotlib.figure.Figure:
    """Input, label, black box, F's entropy and samples on two lines (CAR, Fig. 4)."""
    half = NUM_SHOWN // 2
    numbers = [f"sample {i + 1}" for i in range(NUM_SHOWN)]
    titles = [["input", "label", *numbers[:half]]]
    titles += [["black box", "entropy of F", *numbers[half:]]]
    rows, limit = [], 1.0
    for item in gallery:
        entropy = item.entropies[0]
        limit = max(limit, float(entropy.max()))
        rows.append([item.image, item.labels[0], *item.samples[:half]])
        rows.append([item.blackbox, entropy, *item.samples[half:]])
    return _grid(rows, titles, entropy_limit=limit)


def _raters_figure(
    gallery: Sequence[Shown], num_shown: int = 6
) -> matplotlib.figure.Figure:
    """Input, all raters, their mean, F, the mean of G and samples (CAR, Fig. 3)."""
    titles = ["input", *(f"rater {i + 1}" for i in range(len(gallery[0].labels)))]
    titles += ["mean of raters", "F", "mean of G"]
    titles += [f"sample {i + 1}" for i in range(num_shown)]
    rows = [
        [item.image, *item.labels, *item.means, *item.samples[:num_shown]]
        for item in gallery
    ]
    return _grid(rows, [titles])


def entropies_figure(gallery: Sequence[Shown]) -> matplotlib.figure.Figure:
    """Where the uncertainty goes (CAR, Fig. 12).

    A sample of independent pixels from F, then the entropies in bits of F, of the mean
    of the samples, and of one sample.
    """
    rows = [
        [item.image, item.independent, item.samples[0], *item.entropies]
        for item in gallery
    ]
    limit = max(float(item.entropies[0].max()) for item in gallery)
    titles = ["input", "pixels of F, independent", "one sample of G"]
    titles += ["entropy of F", "entropy of the mean of G", "entropy of one sample"]
    return _grid(rows, [titles], entropy_limit=max(limit, 1.0))


def _axes(title: str, x_label: str, y_label: str, size=CHART) -> Tuple[Any, Any]:
    figure = matplotlib.figure.Figure(figsize=size, dpi=DPI, layout="constrained")
    return figure, _label(figure.subplots(), title, x_label, y_label)


def _label(axis: Any, title: str, x_label: str, y_label: str) -> Any:
    axis.set_title(title, fontsize=10)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    return axis


def calibration_figure(
    tables: Dict[str, Any], class_names: Sequence[str]
) -> matplotlib.figure.Figure:
    """True and predicted flip probability per stochastic class (CAR, Fig. 5).

    `tables` holds `FlipCalibration.to_dict()` by the network's name.
    """
    classes = list(tables.values())[0]["classes"]
    bars = {"truth": [entry["true_probability"] for entry in classes]}
    names = {"calibration_net": "F", "refinement_net": "G"}
    for name, table in tables.items():
        values = [entry["flip_probability"] for entry in table["classes"]]
        bars[names.get(name, name)] = values
    size = (CHART[0], 0.9 + 0.55 * len(classes))
    figure, axis = _axes("Flip probabilities", "probability", "", size)
    places, thickness = np.arange(len(classes)), 0.8 / len(bars)
    for index, (name, values) in enumerate(bars.items()):
        where = places + (index - (len(bars) - 1) / 2) * thickness
        lengths = [value or 0.0 for value in values]
        color = (GREY, ORANGE, BLUE)[index % 3]
        axis.barh(where, lengths, thickness * 0.92, label=name, color=color)
        for y, value in zip(where, values):
            words = " undefined" if value is None else f" {value:.2f}"
            axis.text(value or 0.0, y, words, va="center", fontsize=7)
    # A dollar would begin a formula.
    names = [class_names[entry["flipped"]].replace("$", r"\$") for entry in classes]
    axis.set_yticks(places, names)
    axis.set(xlim=(0, 1.1), ylim=(len(classes) - 0.5, -0.5))
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def reliability_figure(
    reliability: Dict[str, Any], name: str = "F"
) -> matplotlib.figure.Figure:
    """Accuracy against confidence of what is named, of F in CAR, Fig. 6."""
    ece = reliability["ece"]
    title = f"Reliability of {name}"
    title += "" if ece is None else f", ECE {100 * ece:.2f} %"
    figure, axis = _axes(title, "confidence", "accuracy", (CHART[0], 4.0))
    bins = [entry for entry in reliability["bins"] if entry["num_pixels"]]
    width = 0.95 * (bins[0]["upper"] - bins[0]["lower"]) if bins else 0.1
    centres = [(entry["lower"] + entry["upper"]) / 2 for entry in bins]
    accuracy = np.array([entry["accuracy"] for entry in bins])
    gap = np.array([entry["confidence"] for entry in bins]) - accuracy
    axis.bar(centres, accuracy, width, color=BLUE, label="accuracy")
    axis.bar(centres, gap, width / 2, bottom=accuracy, color=ORANGE, label="gap")
    axis.plot([0, 1], [0, 1], "--", color=GREY)
    axis.set(xlim=(0, 1), ylim=(0, 1))
    axis.legend(frameon=False, loc="upper left", fontsize=8)
    return figure


@dataclasses.dataclass(frozen=True)
class Panel:
    """Curves of one stage: field of its log -> name; `level`: a dashed line."""

    title: str
    stage: int
    names: Dict[str, str]
    level: Optional[float] = None
    top: Optional[float] = None


PANELS = {
    "cross_entropy": Panel(
        "Stage 1: cross entropy, nats",
        1,
        {"cross_entropy": "training", "selection_cross_entropy": "selection split"},
    ),
    "losses": Panel(
        "Stage 2: losses, nats",
        2,
        {"pixel_loss": "pixel loss", "adversarial": "Ladv", "discriminator": "D"},
        level=CHANCE_LOSS,
    ),
    "accuracy": Panel(
        "Stage 2: share that D gets right",
        2,
        {"real_accuracy": "real", "fake_accuracy": "generated"},
        level=0.5,
        top=1.0,
    ),
    "selection": Panel("Stage 2: GED, selection split", 2, {"selection_ged": "GED"}),
}


def curves_figure(
    curves: Dict[int, List[Dict[str, float]]], panels: Sequence[str] = tuple(PANELS)
) -> Optional[matplotlib.figure.Figure]:
    """Losses of both stages, D's accuracy and the GED on the selection split.

    Every axis begins at 0 or below, so that noise looks as small as it is. None where
    the logs (stage -> lines) have no point of the `panels`, which are of `PANELS`.
    """
    size = (CHART[0] if len(panels) == 1 else 3.3 * len(panels), CHART[1])
    figure = matplotlib.figure.Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, (PANELS[name] for name in panels)):
        _label(axis, panel.title, "step", "")
        for name, color in zip(panel.names, (BLUE, ORANGE, GREEN)):
            lines = curves.get(panel.stage, [])
            points = [(p["step"], p[name]) for p in lines if name in p]
            if points:
                style = ".-" if len(points) < 30 else "-"
                axis.plot(*zip(*points), style, color=color, label=panel.names[name])
        if len(axis.lines) > 1:
            axis.legend(frameon=False, fontsize=8)
        if panel.level is not None and axis.lines:
            axis.axhline(panel.level, linestyle="--", color=GREY, linewidth=1)
        low, high = axis.dataLim.intervaly
        low, high = (min(low, 0.0), max(high, 0.0)) if axis.lines else (0.0, 1.0)
        axis.set_ylim(1.05 * low, panel.top or 1.1 * high or 1.0)
        axis.set_xlim(left=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
    return figure if any(axis.lines for axis in axes) else None


def svg(figure: matplotlib.figure.Figure, name: str, title: str) -> str:
    """Returns a figure as SVG for a page, in its colours; `title` is for screen readers.

    `name` begins the ids, which must be unique in the page.
    """
    buffer = io.StringIO()
    fonts = {"svg.fonttype": "none", "svg.hashsalt": name}
    fonts["font.sans-serif"] = ["DejaVu Sans"]
    with matplotlib.rc_context(fonts):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    whole = buffer.getvalue()
    box = re.search(r'viewBox="[^"]*"', whole).group()
    inner = whole[whole.index(">", whole.index("<svg")) + 1 :]
    inner = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->", "", inner, flags=re.S)
    inner = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", inner)
    inner = inner.replace("'DejaVu Sans'", "system-ui")
    for color, variable in _VARIABLES.items():
        inner = inner.replace(color, f"var(--{variable})")
    return f'<svg {box} role="img" aria-label="{html.escape(title)}">{inner}'


def run_figures(
    metrics: Dict[str, Any],
    galleries: Dict[str, Callable[[], Sequence[Shown]]],
    *,
    class_names: Sequence[str],
    curves: Dict[int, List[Dict[str, float]]],
) -> Drawn:
    """Yields all figures of a run, one after the other; `curves` as in `curves_figure`.

    `galleries` returns the items of a figure, by its name; `samples` is one of them.
    """
    for name, gallery in galleries.items():
        yield name, gallery_figure(gallery())
    yield "entropies", entropies_figure(galleries["samples"]()[:3])
    yield "reliability", reliability_figure(metrics["reliability"])
    if "calibration" in metrics:
        yield "calibration", calibration_figure(metrics["calibration"], class_names)
    training = curves_figure(curves)
    if training is not None:
        yield "curves", training


def save_all(drawn: Drawn, folder: pathlib.Path) -> None:
    """Writes figures as PNG files, each whole or not at all, and forgets it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn:
        with data_io.atomic_file(folder / f"{name}.png") as file:
            figure.savefig(file, format="png")
        figure.clear()
