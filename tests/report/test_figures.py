"""Figures: what is laid out does not lie on something else."""

import itertools
import re
import types

import numpy as np
import pytest
from matplotlib.backends import backend_agg

from car_tf.report import figures

NUM_ROWS = 3


@pytest.mark.parametrize(
    "titles",
    [
        [["input", "label", "sample 1"] * 2, ["black box", "entropy of F", "s"] * 2],
        [["input", "mean of raters", "rater 1", "sample 1", "mean of G"] * 3],
    ],
    ids=["two lines", "fifteen columns"],
)
def test_titles_and_pictures_do_not_overlap(titles):
    picture = np.zeros((48, 96, 3), np.uint8)
    rows = [[picture] * len(titles[0])] * NUM_ROWS
    figure = figures._grid(rows, titles)
    backend_agg.FigureCanvasAgg(figure).draw()
    boxes = [axis.get_window_extent() for axis in figure.axes]
    boxes += [a.title.get_window_extent() for a in figure.axes if a.get_title()]
    assert len(boxes) == NUM_ROWS * len(titles[0]) + sum(map(len, titles))
    for one, other in itertools.combinations(boxes, 2):
        # Descenders may touch the picture below.
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert width <= 1 or height <= 1, (one, other)
    for box in boxes:
        assert box.x0 >= -1 and box.y1 <= figure.bbox.y1 + 1


def test_titles_can_be_read_in_the_report():
    picture = np.zeros((48, 96, 3), np.uint8)
    figure = figures._grid([[picture] * 6], [["entropy of the mean of G"] * 6])
    # Pixels of a letter's height where a page of 1280 pixels shows the figure at 966.
    shown = 966 / figure.bbox.width
    for axis in figure.axes:
        assert axis.title.get_fontsize() * figures.DPI / 72 * shown >= 10


def test_the_mean_of_raters_is_of_those_who_labelled():
    labels = np.zeros((1, 3, 4, 4), np.uint8)
    labels[:, 1], labels[:, 2] = 1, 255
    probs = np.full((4, 4, 2), 0.5)
    item = types.SimpleNamespace(
        index=0, probs=probs, sample_mean=probs, first_probs=probs, samples=labels[0]
    )
    colors = [(200, 0, 0), (0, 100, 0)]
    image = np.zeros((4, 4, 3), np.uint8)
    painted = figures.Shown.of(
        item, image=image, labels=labels[0], blackbox=None, class_colors=colors
    )
    figure = figures.gallery_figure([painted])
    shown = {axis.get_title(): axis.images for axis in figure.axes}
    ((mean,),) = [shown["mean of raters"]]
    assert mean.get_array()[0, 0].tolist() == [100, 50, 0]


def test_a_curve_that_hardly_changes_looks_flat():
    points = [{"step": i, "selection_ged": 0.64 + i * 1e-4} for i in range(5, 9)]
    figure = figures.curves_figure({2: points}, ["selection"])
    (axis,) = figure.axes
    low, high = axis.get_ylim()
    assert low == 0 and 0.65 < high < 1 and axis.get_xlim()[0] == 0
    assert figures.curves_figure({1: points}, ["selection"]) is None


def test_charts_take_the_colours_and_ids_of_the_page():
    entry = dict(lower=0.5, upper=0.6, num_pixels=3, accuracy=0.25, confidence=0.75)
    figure = figures.reliability_figure({"ece": 0.5, "bins": [entry]})
    svg = figures.svg(figure, "one", 'a "title"')
    assert not re.search("#[0-9a-f]{6}", svg)
    assert {"first", "second", "grey", "line", "text"} <= set(
        re.findall(r"var\(--(\w+)\)", svg)
    )
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert ids and all(name.startswith("one-") for name in ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', svg)) <= set(ids)
    assert 'aria-label="a &quot;title&quot;"' in svg and "<style" not in svg
    # Accuracy 0.25 and the gap to 0.75, on an axis of one.
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [0.25, 0.5]
