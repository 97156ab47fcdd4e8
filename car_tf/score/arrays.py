"""`car_tf.score`: any model's samples against labels, as arrays."""

from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Tuple

# What the axes of the samples may be: images, samples, height and width.
AXES = ("ISHW", "SIHW", "IHWS")
PROTOCOLS = ("class_flips", "multi_rater")


def orders(
    samples: Sequence[int], labels: Sequence[int], axes: str
) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
    """Returns how the axes of samples and labels are to be transposed, of their shapes.

    To images, samples or raters (where there are), H and W; as they are where nothing
    fits, for the metrics to refuse.

    Raises:
      ValueError: the shapes allow several orders, or not that of `axes`.
    """
    as_is = tuple(range(len(samples))), tuple(range(len(labels)))
    if len(samples) != 4 or len(labels) not in (3, 4):
        return as_is
    found = {}
    for order in AXES if axes == "auto" else (axes,):
        # Raters may lie where the samples do, or where they are mostly put.
        is_told = axes != "auto" or len(labels) == 3
        for other in (order,) if is_told else dict.fromkeys([order, "ISHW"]):
            other = other.replace("S", "" if len(labels) == 3 else "S")
            sizes = [dict(zip(order, samples)), dict(zip(other, labels))]
            if all(sizes[0][axis] == sizes[1][axis] for axis in "IHW"):
                ways = (
                    tuple(order.index(axis) for axis in "ISHW"),
                    tuple(other.index(axis) for axis in "ISHW" if axis in other),
                )
                # Axes of length 1 may be exchanged without a difference.
                kinds = tuple(
                    tuple(axis for axis in way if shape[axis] > 1)
                    for way, shape in zip(ways, (samples, labels))
                )
                found.setdefault(kinds, (ways, f"samples {order}, labels {other}"))
    shapes = f"samples of shape {tuple(samples)} and labels of {tuple(labels)}"
    if len(found) > 1:
        words = "; ".join(words for _, words in found.values())
        raise ValueError(
            f"{shapes} can be read in {len(found)} ways ({words}; I images, S samples "
            "or raters): say --axes"
        )
    if not found and axes != "auto":
        raise ValueError(f"{shapes} do not fit --axes={axes}")
    return next(iter(found.values()))[0] if found else as_is


def score(
    samples: Any,
    labels: Any,
    *,
    protocol: str = "",
    num_classes: int = 0,
    absent: str = "leave_out",
    sample_counts: Optional[Sequence[int]] = None,
    axes: str = "ISHW",
    progress: Optional[Callable[[Iterable[int]], Iterable[int]]] = None,
) -> Dict[str, Any]:
    """Scores a set of images; the axes may lie in the orders of `AXES`.

    Args:
      samples: `[I, S, H, W]` integers: S samples of each of I images.
      labels: `[I, N, H, W]`, maps of N raters, or `[I, H, W]`, Cityscapes' train ids
        whose classes flip; 255 hides a pixel, but where all labels are 0 or 255, masks.
      protocol: `multi_rater` or `class_flips`; may be left out of four axes: raters.
      num_classes: K, of raters' maps; 0 for one more than the highest id of the labels.
      absent: as of `car_tf.metrics.ged`.
      sample_counts: numbers of each image's first samples to score; by default all.
      axes: of the samples, one of `AXES`, or `auto`: as the shapes tell.
      progress: wraps the iteration over images, such as `tqdm.tqdm`.

    Returns:
      `ged`, `ged_unbiased`, `hm_iou` (of raters), `sample_diversity` and
      `label_diversity`, means over the images; the same per image as `ged_per_image` and
      so on; `size`, (height, width) as read; with `sample_counts` also `by_num_samples`.

    Raises:
      ValueError: shapes, types or values do not fit; names the image.
    """
    # Late, so that the command's --help needs no NumPy.
    from car_tf.data import class_flips
    from car_tf.metrics import scores

    samples, labels = _as_array(samples), _as_array(labels)
    protocol = _protocol(protocol, labels.shape)
    ways = orders(samples.shape, labels.shape, axes)
    samples, labels = (
        # A file is read image by image.
        array.reordered(way) if hasattr(array, "reordered") else array.transpose(way)
        for array, way in zip((samples, labels), ways)
    )
    options = {"sample_counts": sample_counts, "progress": progress}
    size = {"size": list(samples.shape[2:])}
    if protocol == "multi_rater":
        options.update(num_classes=num_classes, absent=absent)
        return {**scores.score_multi_rater(samples, labels, **options), **size}
    flips = class_flips.CITYSCAPES_FLIPS
    options.update(
        originals=[flip.original for flip in flips],
        flipped=[flip.flipped for flip in flips],
        probabilities=[flip.probability for flip in flips],
        num_classes=1 + max(flip.flipped for flip in flips),
    )
    return {**scores.score_class_flips(samples, labels, **options), **size}


def _protocol(protocol: str, labels: Tuple[int, ...]) -> str:
    if not protocol and len(labels) == 3:
        raise ValueError(
            f"labels of shape {tuple(labels)} may be maps whose classes flip (protocol="
            "class_flips) or of one rater (multi_rater, as [I, 1, H, W]): say which"
        )
    protocol = protocol or "multi_rater"
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: wanted {' or '.join(PROTOCOLS)}, got {protocol!r}")
    return protocol


def _as_array(array: Any) -> Any:
    import numpy as np

    return array if hasattr(array, "reordered") else np.asarray(array)
