"""Samples of other models, scored on the same images as a run's own."""

import pathlib
from typing import Dict, Sequence

import numpy as np

from car_tf.data import examples, info, npz
from car_tf.evaluate import distances
from car_tf.metrics import iou
from car_tf.metrics import scores as metrics_scores
from car_tf.runtime import run_dir


def score(
    paths: Sequence[str],
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    counts: Sequence[int],
    *,
    absent: str = iou.LEAVE_OUT,
) -> Dict[str, metrics_scores.SampleScores]:
    """Scores files of samples against the labels of a split, by the files' stems.

    Args:
      paths: .npz files with `samples` `[I, S, H, W]` of class ids, and with `names`,
        `[I]` texts that hold those of the split in any order, or `labels`, the split's
        own in its order, by which the images are known to be the same; or both.
      counts: numbers of samples; those that a file has are scored.

    Raises:
      run_dir.RunError: a file cannot be read or is of other images; names it.
    """
    result = {}
    for path in paths:
        try:
            samples = _matched(path, source)
            available = samples.shape[1]
            kept = [n for n in counts if n <= available] or [available]
            scores = metrics_scores.SampleScores(kept, matched=not dataset_info.flips)
            for index, one in enumerate(samples):
                labels = np.asarray(source.labels[index])
                scores.add(distances.label_distances(one, labels, dataset_info, absent))
        except (ValueError, OSError) as error:
            raise run_dir.RunError(f"--samples: {path}: {error}") from error
        result[pathlib.Path(path).stem] = scores
    return result


def _matched(path: str, source: examples.Examples):
    """Returns a file's samples in the order of the split, once that is certain."""
    samples = npz.NpzArray(path, "samples")
    size = source.labels.shape[-2:]
    if len(samples.shape) != 4 or tuple(samples.shape[2:]) != tuple(size):
        raise ValueError(
            f"wanted samples [images, samples, {size[0]}, {size[1]}], got "
            f"{tuple(samples.shape)}"
        )
    if samples.dtype.kind not in "biu":
        raise ValueError(f"wanted samples of class ids, got {samples.dtype}")
    with np.load(path) as archive:
        found = set(archive.files) & {"names", "labels"}
    if not found:
        raise ValueError(
            "wanted names or labels beside the samples, to see that the images are the "
            "same, found neither"
        )
    if "labels" in found:
        _require_labels(npz.NpzArray(path, "labels"), source)
    if "names" not in found:
        return samples
    names = [str(name) for name in npz.NpzArray(path, "names").whole()]
    if len(names) != samples.shape[0]:
        raise ValueError(f"got {len(names)} names of {samples.shape[0]} images")
    if names == list(source.names):
        return samples
    if "labels" in found:
        raise ValueError("the labels are those of the split, but the names are not")
    places = {name: index for index, name in enumerate(names)}
    missing = [name for name in source.names if name not in places]
    if missing:
        raise ValueError(
            f"wanted samples of all {len(source)} images, found none of {missing[0]}"
        )
    order = [places[name] for name in source.names]
    return examples.Rows(samples.whole(), order)


def _require_labels(labels: npz.NpzArray, source: examples.Examples) -> None:
    """Raises ValueError unless a file's labels are those of the split, in its order."""
    wanted = source.labels.shape
    several = tuple(wanted), (wanted[0], *wanted[2:]) if wanted[1] == 1 else None
    if tuple(labels.shape) not in several:
        words = f"wanted the labels of the split, {tuple(wanted)}, got"
        raise ValueError(f"{words} {tuple(labels.shape)}")
    for index, one in enumerate(labels):
        own = np.asarray(source.labels[index])
        if not np.array_equal(one.reshape(own.shape), own):
            raise ValueError(
                f"the labels of image {index} are not those of {source.names[index]}"
            )
