"""How well a black box agrees with labels, and whether it was understood right."""

import pathlib
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import scipy.optimize
from PIL import Image

from car_tf.blackbox import inference, postprocess, segmenter
from car_tf.data import examples, io, sheets
from car_tf.metrics import iou

_TITLES = ("image", "label", "prediction")
_PIXEL_SCALES = ("0..255", "0..1", "-1..1", "imagenet", "caffe")
# Another way to give the images must be better by so much accuracy, and on so large a
# share of the images, to be pointed out.
_CLEARLY, _MOSTLY = 0.03, 0.875
# What no segmenter that is understood right stays below: agreement beyond chance
# (Cohen's kappa) and mIoU.
_MIN_KAPPA, _MIN_MIOU = 0.2, 0.1
# Share of the pixels that one class does not fill by itself, and none.
_MAX_SHARE, _MAX_NONE = 0.95, 0.25


def confusion(
    labels: np.ndarray, predictions: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Counts pixels by true and predicted class, the last one predicted as none.

    Of `[N, H, W]` class ids, 255 ignored, or `[N, A, H, W]` of A raters, each of whom
    counts, and `[N, H, W]` predicted ones, 255 for none. `[K, K + 1]` int64.
    """
    total = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for label, prediction in zip(labels, predictions):
        ids = np.minimum(prediction, num_classes)
        for own in np.reshape(label, (-1, *ids.shape)):
            total += iou.confusion_matrix(own, ids, num_classes=num_classes + 1)
    return total[:-1]


def accuracy(counts: np.ndarray) -> float:
    """Share of labelled pixels that are predicted right; NaN if there are none."""
    total = counts.sum()
    return float(np.diagonal(counts).sum() / total) if total else float("nan")


def table(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns per-class IoU, mIoU and pixel accuracy as text."""
    square = np.vstack([counts, np.zeros_like(counts[:1])])
    ious = iou.per_class_iou(square)[:-1]
    true, predicted = counts.sum(1), counts[:, :-1].sum(0)
    total = max(counts.sum(), 1)
    lines = [f"{'class':<14} {'IoU':>6} {'labelled':>9} {'predicted':>9}"]
    for name, value, *shares in zip(class_names, ious, true, predicted):
        cell = "-" if np.isnan(value) else f"{value:.3f}"
        cells = [f"{share / total:>9.1%}" for share in shares]
        lines.append(f"{name:<14} {cell:>6} {' '.join(cells)}")
    occurs, labelled = ~np.isnan(ious), true > 0
    if not labelled.any():
        return "not one labelled pixel"
    lines.append(f"pixel accuracy {accuracy(counts):.3f}")
    lines.append(
        f"mIoU {ious[labelled].mean():.3f} over the {labelled.sum()} classes that are "
        f"labelled, {ious[occurs].mean():.3f} over the {occurs.sum()} that are "
        "labelled or predicted"
    )
    return "\n".join(lines)


def findings(counts: np.ndarray, class_names: Sequence[str]) -> List[str]:
    """Returns what speaks against an understood segmenter, a sentence each."""
    total, found = counts.sum(), []
    if not total:
        words = "whether the black box is understood cannot be told"
        return [f"not one labelled pixel: {words}"]
    true, predicted = counts.sum(1) / total, counts.sum(0) / total
    top, words = int(predicted[:-1].argmax()), "of the pixels are predicted as"
    if predicted[top] > _MAX_SHARE >= true[top]:
        found.append(f"{predicted[top]:.1%} {words} {class_names[top]}")
    if predicted[-1] > _MAX_NONE:
        found.append(f"{predicted[-1]:.1%} {words} none of the classes")
    right, chance = accuracy(counts), float((true * predicted[:-1]).sum())
    square = np.vstack([counts, np.zeros_like(counts[:1])])
    miou = float(iou.per_class_iou(square)[:-1][true > 0].mean())
    # Where there is one class alone, all agreement is chance.
    is_chance = right < 0.99 and (right - chance) / (1 - chance) < _MIN_KAPPA
    if is_chance or miou < _MIN_MIOU:
        found.append(
            f"predictions and labels hardly agree: pixel accuracy {right:.3f}, of which "
            f"{chance:.3f} comes by chance, mIoU {miou:.3f}"
        )
    if not found:  # Where all is wrong, so are single classes.
        lost = np.flatnonzero((true > 0) & (predicted[:-1] == 0))
        parts = [
            f"{class_names[k]} ({true[k]:.1%} of the labelled pixels)" for k in lost
        ]
        found += ["labelled, but never predicted: " + ", ".join(parts)] if parts else []
    return found


def sheet(
    images: np.ndarray,
    labels: np.ndarray,
    predictions: np.ndarray,
    *,
    class_names: Sequence[str],
    class_colors: Sequence[Tuple[int, int, int]],
) -> Image.Image:
    """Draws one row per image: input, label, prediction; and the colours' meaning.

    Of `[N, H, W, C]` uint8, grey or RGB, and `[N, H, W]` class ids, 255 for none.
    """
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    table = sheets.color_table(dict(enumerate(class_colors)))
    tiles = [
        (title, Image.fromarray(np.ascontiguousarray(pixels)))
        for image, label, prediction in zip(images, table[labels], table[predictions])
        for title, pixels in zip(_TITLES, (image, label, prediction))
    ]
    drawn = sheets.montage(tiles, tile_width=images.shape[2])
    return sheets.with_legend(drawn, class_names, class_colors)


def order_hint(counts: np.ndarray) -> str:
    """Returns advice where the classes seem to have another order, else nothing.

    One class that fills the predictions but not the labels shows no order.
    """
    square, most = counts[:, :-1], _MAX_SHARE * counts.sum()
    if square.sum(0).max(initial=0) > most >= square.sum(1).max(initial=0):
        return ""
    true, predicted = scipy.optimize.linear_sum_assignment(-square)
    best = square[true, predicted].sum() / max(counts.sum(), 1)
    if not best > accuracy(counts) + 0.1:
        return ""
    order = np.full(len(square), 255)
    # Classes that hardly occur cannot be told.
    seen = square[true, predicted] > 0.001 * counts.sum()
    order[predicted[seen]] = true[seen]
    text = ",".join(map(str, order))
    return (
        f"hint: the classes seem to have another order: renamed, {best:.3f} of the "
        "pixels would be right; check the classes and set blackbox.class_map "
        f"(by these images: {text})"
    )


def try_other_inputs(
    blackbox: segmenter.Segmenter,
    split: examples.Examples,
    predictions: np.ndarray,
    cache_dir: pathlib.Path,
) -> Dict[str, np.ndarray]:
    """Measures what another channel order, range of grey levels or size would give.

    Takes N images with their labels and `[N, H, W]` class ids of the black box as it is
    used now. Returns setting in words -> `[N]` pixel accuracies; the one in use first.
    """
    settings = _other_inputs(blackbox, inference.read_image(split, 0).shape[:2])
    tried = {}
    for words, changes in settings.items():
        if changes is not None:
            try:
                where = dict(size=split.labels.shape[2:], cache_dir=cache_dir)
                other = blackbox.variant(**changes)
                found = inference.predictions(other, split, **where)
            except io.DataError:  # A model that bears no other input.
                continue
            predictions = postprocess.hard_labels(found)
        num_classes = blackbox.options.num_classes
        pairs = zip(split.labels[:, None], predictions[:, None])
        counts = [confusion(*pair, num_classes=num_classes) for pair in pairs]
        tried[words] = np.array([accuracy(count) for count in counts])
    return tried


def _other_inputs(
    blackbox: segmenter.Segmenter, image_size: Tuple[int, int]
) -> Dict[str, Optional[Dict[str, Any]]]:
    """Settings in words -> arguments of `variant`; None for those in use, the first."""
    options, backend = blackbox.options, blackbox.backend
    fields = ("channels", "pixel_scale", "input_size")
    now = {name: getattr(options, name) for name in fields}
    whole = backend.input_dtype.is_integer
    scales = (options.pixel_scale,) if whole else _PIXEL_SCALES
    settings = {"as it is": None}
    for scale in scales:
        for channels in ("rgb", "bgr"):
            changed = {**now, "channels": channels, "pixel_scale": scale}
            if changed != now:
                words = f"blackbox.channels={channels}"
                words += "" if whole else f" blackbox.pixel_scale={scale}"
                settings[words] = changed
    size = blackbox.input_size or image_size
    for other in (tuple(n // 2 for n in size), tuple(n * 2 for n in size)):
        if backend.takes(other):
            words = f"blackbox.input_size={other[0]},{other[1]}"
            settings[words] = {**now, "input_size": other}
    return settings


def input_hint(tried: Mapping[str, np.ndarray]) -> str:
    """Returns advice where another reading of the images is clearly better, else nothing.

    Clearly: by three points on average, and on seven of eight images; a segmenter that
    hardly looks at colour differs by that much on single images.
    """
    (_, now), *others = tried.items()
    words, best = max(others, key=lambda item: np.nanmean(item[1]))
    gain = np.nanmean(best) - np.nanmean(now)
    if not (gain > _CLEARLY and np.mean(best > now) >= _MOSTLY):
        return ""
    return (
        f"hint: with {words} the pixel accuracy on these images rises from "
        f"{np.nanmean(now):.3f} to {np.nanmean(best):.3f}"
    )
