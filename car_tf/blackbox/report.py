"""How well a black box agrees with labels, and whether it was understood right."""

from __future__ import annotations

import pathlib
from typing import Dict, Mapping, Sequence, Tuple

import numpy as np
import scipy.optimize

from car_tf.blackbox import live, segmenter
from car_tf.data import info
from car_tf.metrics import iou

_PIXEL_SCALES = ("0..255", "0..1", "-1..1", "imagenet")
# Another way to give the images must be better by so much accuracy, and on so large a
# share of the images, to be pointed out.
_CLEARLY, _MOSTLY = 0.03, 0.875


def confusion(
    labels: np.ndarray, predictions: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Counts pixels by true and predicted class.

    Args:
      labels: `[N, H, W]` class ids, 255 ignored.
      predictions: `[N, H, W]` class ids, 255 for none.
      num_classes: K.

    Returns:
      `[K, K + 1]` int64, rows true, columns predicted, the last one predicted as none.
    """
    total = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for label, prediction in zip(labels, predictions):
        ids = np.minimum(prediction, num_classes)
        total += iou.confusion_matrix(label, ids, num_classes=num_classes + 1)
    return total[:-1]


def accuracy(counts: np.ndarray) -> float:
    """Share of labelled pixels that are predicted right; NaN if there are none."""
    total = counts.sum()
    return float(np.diagonal(counts).sum() / total) if total else float("nan")


def table(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """Returns per-class IoU, mIoU and pixel accuracy as text.

    Args:
      counts: of `confusion`.
      class_names: of K classes.
    """
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


def order_hint(counts: np.ndarray) -> str:
    """Returns advice where the classes seem to have another order, else nothing.

    Args:
      counts: of `confusion`.
    """
    square = counts[:, :-1]
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
    image_files: Sequence[pathlib.Path],
    labels: np.ndarray,
    predictions: np.ndarray,
) -> Dict[str, np.ndarray]:
    """Measures what other channel orders and grey-level ranges would give.

    Args:
      blackbox: the black box as it is used now.
      image_files: N images.
      labels: `[N, H, W]` class ids, 255 ignored.
      predictions: `[N, H, W]` class ids as it is used now.

    Returns:
      Setting in words -> `[N]` pixel accuracies; the one in use first.
    """
    now = (blackbox.options.channels, blackbox.options.pixel_scale)
    scales = _PIXEL_SCALES
    if blackbox.backend.input_dtype.is_integer:
        scales = (now[1],)
    others = [(c, s) for s in scales for c in ("rgb", "bgr") if (c, s) != now]
    tried = {}
    for channels, scale in [now, *others]:
        if (channels, scale) != now:
            variant = blackbox.variant(channels=channels, pixel_scale=scale)
            predictions = _predict(variant, image_files, labels.shape[1:])
        words = f"blackbox.channels={channels}"
        if len(scales) > 1:
            words += f" blackbox.pixel_scale={scale}"
        num_classes = blackbox.options.num_classes
        pairs = zip(labels[:, None], predictions[:, None])
        counts = [confusion(*pair, num_classes=num_classes) for pair in pairs]
        tried[words] = np.array([accuracy(count) for count in counts])
    return tried


def _predict(
    blackbox: segmenter.Segmenter,
    image_files: Sequence[pathlib.Path],
    size: Tuple[int, int],
) -> np.ndarray:
    maps = [blackbox.predict(live.read_image(path)[None], size) for path in image_files]
    return hard_labels(np.concatenate(maps))


def input_hint(tried: Mapping[str, np.ndarray]) -> str:
    """Returns advice where another reading of the images is clearly better, else nothing.

    Clearly: by three points on average, and on seven of eight images; a segmenter that
    hardly looks at colour differs by that much on single images.

    Args:
      tried: of `try_other_inputs`.
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


def hard_labels(predictions: np.ndarray) -> np.ndarray:
    """Returns `[N, H, W]` uint8 class ids of labels or probabilities; 255 for none."""
    if predictions.ndim == 3:
        return np.asarray(predictions)
    ids = np.stack([probs.argmax(-1).astype(np.uint8) for probs in predictions])
    none = np.stack([probs.max(-1) == 0 for probs in predictions])
    ids[none] = info.IGNORE_LABEL
    return ids
