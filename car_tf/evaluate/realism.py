"""Realism of G's samples, and of what it is compared with, by one judge each."""

import math
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from car_tf.data import class_flips, examples, info, io
from car_tf.evaluate import judge, sampling
from car_tf.metrics import baselines
from car_tf.models import sampler

# Of larger splits some images, and of larger images every second pixel or fewer.
MAX_IMAGES, MAX_PIXELS = 1000, 2**14
# Samples, and draws of the flips, of each training and of each held-out image.
NUM_TRAIN_MAPS, NUM_TEST_MAPS = 2, 4
OWN = "after_stage2"


def measure(
    model: sampler.Sampler,
    before: Optional[sampler.Sampler],
    train: examples.Examples,
    test: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    steps: int,
    seed: int,
    log: Callable[[str], None] = lambda line: None,
) -> Dict[str, Any]:
    """Trains one judge for each kind of maps, all by one recipe.

    On the split `train`, F's and G's own, and asked on held-out images. Returns `auc`,
    `paired_accuracy` and `steps` of the sampler (see `judge.realism`), and the same
    under `labels_against_labels` (two draws of the flips, or two halves of the raters;
    left out for a single rater), `f_pixels`, `f_argmax` and, with the sampler from
    before stage 2, `before_stage2`.
    """
    results = {}
    splits = train, test
    for name, arrays in shown(model, before, splits, dataset_info, seed).items():
        results[name] = judge.realism(
            *arrays, num_classes=dataset_info.num_classes, seed=seed, steps=steps
        )
        log(
            f"realism, {name.replace('_', ' ')}: AUC {results[name]['auc']:.3f}, "
            f"paired accuracy {results[name]['paired_accuracy']:.3f}"
        )
    return {**results.pop(OWN), **results}


def shown(
    model: sampler.Sampler,
    before: Optional[sampler.Sampler],
    splits: Tuple[examples.Examples, examples.Examples],
    dataset_info: info.DatasetInfo,
    seed: int,
) -> Dict[str, List[np.ndarray]]:
    """Returns by name what a judge is trained on and asked about, as it takes them.

    Of training and held-out images each: images `[I, h, w, C]`, labels `[I, A, h, w]`
    and samples `[I, S, h, w]`; names are those of `measure`, and `OWN`.
    """
    found: Dict[str, List[np.ndarray]] = {}
    for split, num_maps in zip(splits, (NUM_TRAIN_MAPS, NUM_TEST_MAPS)):
        split = sampling.some_of(split, MAX_IMAGES)
        stride = math.ceil(math.sqrt(split.images[0, ..., 0].size / MAX_PIXELS))
        # Of each image at once: whole splits at their full size take gigabytes.
        images = np.stack([image[::stride, ::stride] for image in split.images])
        maps = _maps(model, before, split, dataset_info, num_maps, seed, stride)
        for name, arrays in maps.items():
            found.setdefault(name, []).extend([images, *arrays])
    return found


def _maps(
    model, before, source, dataset_info, num_maps, seed, stride
) -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
    """Returns name -> labels `[I, A, h, w]` and samples `[I, S, h, w]`.

    Every `stride`-th pixel in both directions is kept.
    """

    def kept(maps: np.ndarray) -> np.ndarray:
        return maps[..., ::stride, ::stride].copy()

    labels, others = _labels(source, dataset_info, num_maps, seed, kept)
    result = {}
    if others.shape[1]:
        result["labels_against_labels"] = labels[:, : others.shape[1]], others
    if not dataset_info.flips:
        labels = _present(source.labels, kept)
    found: Dict[str, list] = {"f_pixels": [], "f_argmax": []}

    def drawn(of: sampler.Sampler):
        stream = sampling.sample(of, source, num_samples=num_maps, seed=seed)
        return io.progress(stream, "drawing for the judges", "image", total=len(source))

    if before is not None:
        earlier = drawn(before)
        found["before_stage2"] = [kept(sampled.samples) for sampled in earlier]
    found[OWN] = []
    for sampled in drawn(model):
        rng = np.random.default_rng([seed, sampled.index])
        probs, pixels = sampled.probs, baselines.independent_pixels
        found["f_pixels"].append(kept(pixels(probs, num_samples=num_maps, rng=rng)))
        found["f_argmax"].append(kept(baselines.argmax(probs)))
        found[OWN].append(kept(sampled.samples))
    for name, samples in found.items():
        result[name] = labels, np.stack(samples)
    return result


def _labels(
    source, dataset_info, num_maps, seed, kept
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns two sets of labels `[I, A, h, w]`, independent of each other.

    `kept` takes from maps `[..., H, W]` the pixels that are kept.
    """
    if not dataset_info.flips:
        labels = _present(source.labels, kept)
        half = labels.shape[1] // 2
        return labels[:, half:][:, : half or None], labels[:, :half]
    draws = [
        class_flips.flip_oracle(
            kept(label[0]),
            flips=dataset_info.flips,
            num_samples=2 * num_maps,
            rng=np.random.default_rng([seed, index, 1]),
        )
        for index, label in enumerate(source.labels)
    ]
    return np.stack(draws)[:, :num_maps], np.stack(draws)[:, num_maps:]


def _present(labels: np.ndarray, kept: Callable) -> np.ndarray:
    """Returns labels `[I, A, h, w]` without empty places: others' fill them in turn."""
    labels = np.array(labels)
    for maps in labels:
        known = (maps != info.IGNORE_LABEL).any(axis=(1, 2))
        if known.any():
            maps[~known] = np.resize(maps[known], maps[~known].shape)
    return kept(labels)
