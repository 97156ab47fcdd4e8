"""Evaluation of a sampler on a split: metrics as a dict, pictures as a gallery."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.data import class_flips, examples, info
from car_tf.metrics import calibration, ged, hungarian, iou, protocols, readers
from car_tf.models import sampler

# Float values of one batch's samples on a replica; bounds the memory that drawing takes,
# and that of drawn images which wait to be scored or are kept for figures.
MAX_VALUES = 2**27
MAX_WAITING = 4
# Numbers of samples that the field reports; model selection takes the smallest.
SAMPLE_COUNTS = (16, 50, 100)
SCORES = ("ged", "ged_unbiased", "sample_diversity", "hm_iou")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """What a sampler says of one image.

    Attributes:
      index: of the image in its split.
      samples: `[S, H, W]` uint8 class ids.
      probs: `[H, W, K]` of F.
      sample_mean: `[H, W, K]`, mean of the samples' probabilities.
      first_probs: `[H, W, K]`, one sample's probabilities.
    """

    index: int
    samples: np.ndarray
    probs: np.ndarray
    sample_mean: np.ndarray
    first_probs: np.ndarray


def draw(
    model: sampler.Sampler,
    source: examples.Examples,
    *,
    num_samples: int,
    seed: int,
    num_images: int = 0,
    indices: Sequence[int] = (),
) -> Iterator[Drawn]:
    """Draws samples for the first images of a split (0: all), or those of `indices`.

    An image's samples depend on `seed` and its index, not on its neighbours. Networks
    that were built for several replicas share the images.
    """
    chosen = np.arange(min(num_images or len(source), len(source)))
    if len(indices):
        chosen = np.asarray(indices)
    height, width = source.images.shape[1:3]
    per_image = num_samples * height * width * _num_classes(model)
    batch_size = int(np.clip(MAX_VALUES // per_image, 1, 32))
    num_replicas = model.strategy.num_replicas_in_sync if model.strategy else 1
    run = _compiled(model)
    for start in range(0, len(chosen), batch_size * num_replicas):
        rows = chosen[start : start + batch_size * num_replicas]
        # No replica may be without an image: the first ones fill the last places.
        size = -(-len(rows) // num_replicas)
        parts = np.resize(rows, [num_replicas, size])
        seeds = [np.stack([np.full(size, seed), part], 1) for part in parts]
        blackbox = None
        if source.blackbox is not None:
            blackbox = _distribute(model, [source.blackbox[part] for part in parts])
        drawn = run(
            _distribute(model, [source.images[part] for part in parts]),
            blackbox,
            _distribute(model, np.array(seeds, np.int32)),
            tf.constant(num_samples),
        )
        drawn = {name: _collect(model, value) for name, value in drawn.items()}
        for offset, row in enumerate(rows):
            yield Drawn(
                int(row), **{name: value[offset] for name, value in drawn.items()}
            )


def _distribute(model: sampler.Sampler, parts: Sequence[np.ndarray]):
    """Gives each replica its part."""
    if model.strategy is None:
        return tf.constant(parts[0])
    return model.strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )


def _collect(model: sampler.Sampler, value) -> np.ndarray:
    """Joins what the replicas have computed."""
    if model.strategy is None:
        return value.numpy()
    parts = model.strategy.experimental_local_results(value)
    return np.concatenate([part.numpy() for part in parts])


def _compiled(model: sampler.Sampler) -> Callable:
    """The sampler as one graph for all batch sizes, built once per sampler."""
    if not hasattr(model, "compiled_sample"):

        def sample(*arguments):
            if model.strategy is None:
                return model.sample(*arguments)
            return model.strategy.run(model.sample, args=arguments)

        model.compiled_sample = tf.function(sample, reduce_retracing=True)
    return model.compiled_sample


def _num_classes(model: sampler.Sampler) -> int:
    return model.refinement_net.logits_layer.filters


def label_distances(
    samples: np.ndarray, labels: np.ndarray, facts: info.DatasetInfo
) -> ged.PairDistances:
    """Distances for the GED: to the modes of the flips, or to the annotators.

    Args:
      samples: `[S, H, W]` class ids.
      labels: `[N, H, W]` class ids of the annotators, N = 1 where classes flip.
      facts: of the data set.
    """
    if not facts.flips:
        return ged.multi_rater_distances(samples, labels)
    return ged.class_flips_distances(
        samples, labels[0], num_classes=facts.num_classes, **flip_arrays(facts)
    )


def flip_arrays(facts: info.DatasetInfo) -> Dict[str, List]:
    """Returns the flips as the parallel lists that the metrics take."""
    return {
        "originals": [flip.original for flip in facts.flips],
        "flipped": [flip.flipped for flip in facts.flips],
        "probabilities": [flip.probability for flip in facts.flips],
    }


def mean_ged(
    model: sampler.Sampler,
    source: examples.Examples,
    facts: info.DatasetInfo,
    *,
    num_samples: int,
    seed: int,
    num_images: int = 0,
    watch: Callable[[Drawn], None] = lambda drawn: None,
) -> Optional[float]:
    """Computes the mean GED alone, for model selection.

    Args:
      model: draws.
      source: the split.
      facts: of the data set.
      num_samples: per image.
      seed: of the samples.
      num_images: how many, spread over the split, in which neighbours tend to show one
        patient or street; 0 for all.
      watch: sees what is drawn of every image.

    Returns:
      The mean, or None where it is defined for no image.
    """
    count = min(num_images or len(source), len(source))
    indices = np.arange(count) * len(source) // max(count, 1)
    results = []
    for drawn in draw(
        model, source, num_samples=num_samples, seed=seed, indices=indices
    ):
        watch(drawn)
        labels = source.labels[drawn.index]
        results.append(label_distances(drawn.samples, labels, facts).ged())
    return protocols.summarize(num_samples, results, None)["ged"]


def add_reliability(
    reliability: calibration.Reliability,
    probs: np.ndarray,
    labels: np.ndarray,
    facts: info.DatasetInfo,
) -> None:
    """Adds an image; right or wrong in expectation over flips and annotators.

    Args:
      reliability: to which the image is added.
      probs: `[H, W, K]`, whose arg-max is judged.
      labels: `[N, H, W]` class ids of the annotators, N = 1 where classes flip.
      facts: of the data set.
    """
    prediction = probs.argmax(-1)
    correct = np.zeros(prediction.shape)
    table = np.eye(facts.num_classes)
    for flip in facts.flips:
        table[flip.original, flip.original] = 1 - flip.probability
        table[flip.original, flip.flipped] = flip.probability
    valid = labels[0] != info.IGNORE_LABEL
    for label in labels:
        correct[valid] += table[label[valid], prediction[valid]] / len(labels)
    reliability.update(probs.max(-1).clip(0, 1)[valid], correct[valid])


class _Tally:
    """Accumulates what the report needs, image by image."""

    def __init__(self, facts: info.DatasetInfo, num_samples: int, seed: int):
        self.facts = facts
        self.num_samples = num_samples
        self.seed = seed
        counts = [count for count in SAMPLE_COUNTS if count < num_samples]
        self.counts = [*counts, num_samples]
        self.geds: Dict[int, List[ged.GedResult]] = {n: [] for n in self.counts}
        self.hm_ious: Dict[int, List[float]] = {n: [] for n in self.counts}
        self.oracle_geds: Dict[str, List[ged.GedResult]] = {}
        self.readers = readers.ReaderComparison(seed)
        flipping = {i for flip in facts.flips for i in (flip.original, flip.flipped)}
        self.neutral = min(set(range(facts.num_classes)) - flipping, default=0)
        self.reliability = calibration.Reliability()
        self.flip_calibration = {
            name: calibration.FlipCalibration(**flip_arrays(facts))
            for name in ("calibration_net", "refinement_net")
        }
        self.confusions: Dict[str, np.ndarray] = {}
        self.entropies: Dict[str, List[float]] = {}
        self.mean_difference: List[float] = []

    def add(
        self, drawn: Drawn, labels: np.ndarray, blackbox: Optional[np.ndarray]
    ) -> None:
        """Adds one image; `blackbox` is `[H, W]` class ids or None."""
        valid = labels[0] != info.IGNORE_LABEL
        distances = label_distances(drawn.samples, labels, self.facts)
        for count in self.counts:
            self.geds[count].append(distances.ged(count))
        prediction = drawn.probs.argmax(-1).astype(np.uint8)
        if self.facts.flips:
            self._add_flips(drawn, labels, prediction, blackbox)
        else:
            self._add_readers(drawn, labels, distances)
        add_reliability(self.reliability, drawn.probs, labels, self.facts)
        for name in ("probs", "sample_mean", "first_probs"):
            entropy = calibration.entropy_bits(getattr(drawn, name))[valid]
            if entropy.size:
                self.entropies.setdefault(name, []).append(float(entropy.mean()))
        difference = np.abs(drawn.sample_mean - drawn.probs)[valid]
        if difference.size:
            self.mean_difference.append(float(difference.mean()))

    def _add_flips(self, drawn, labels, prediction, blackbox) -> None:
        label, flips = labels[0], self.facts.flips
        maps = {"calibration_net": prediction, "truth": label}
        if blackbox is not None:
            maps["blackbox"] = blackbox
        for name, one_map in maps.items():
            rng = np.random.default_rng([self.seed, drawn.index])
            # Unlabelled pixels count nowhere, and what a black box does not know is
            # none of the classes that flip.
            filled = np.where(one_map == info.IGNORE_LABEL, self.neutral, one_map)
            oracle = class_flips.flip_oracle(
                filled.astype(np.uint8),
                flips=flips,
                num_samples=self.num_samples,
                rng=rng,
            )
            result = label_distances(oracle, labels, self.facts).ged()
            self.oracle_geds.setdefault(name, []).append(result)
            if name != "truth":
                # One class more for what a black box does not know: always wrong.
                num_classes = self.facts.num_classes + 1
                folded = class_flips.fold(one_map, flips)
                folded[folded == info.IGNORE_LABEL] = num_classes - 1
                confusion = iou.confusion_matrix(label, folded, num_classes=num_classes)
                self.confusions[name] = self.confusions.get(name, 0) + confusion
        # F is judged where the black box is right, as in CAR, A.4.
        agrees = None if blackbox is None else blackbox == label
        self.flip_calibration["calibration_net"].update(drawn.probs, label, agrees)
        self.flip_calibration["refinement_net"].update(drawn.sample_mean, label)

    def _add_readers(self, drawn, labels, distances) -> None:
        for count in self.counts:
            matched = hungarian.hungarian_matched_iou(1 - distances.cross[:count])
            self.hm_ious[count].append(matched)
        self.readers.add(
            drawn.index,
            masks=labels,
            probs=drawn.probs[..., 1],
            sample_mean=drawn.sample_mean[..., 1],
        )

    def report(self) -> Dict[str, Any]:
        """Returns everything as a dict that is ready for JSON."""
        by_count = {
            count: protocols.summarize(
                count, geds, None if self.facts.flips else self.hm_ious[count]
            )
            for count, geds in self.geds.items()
        }
        result = dict(by_count[self.num_samples])
        result["by_num_samples"] = {
            str(count): {name: summary[name] for name in SCORES if name in summary}
            for count, summary in by_count.items()
        }
        for name, geds in self.oracle_geds.items():
            summary = protocols.summarize(self.num_samples, geds, None)
            result[f"ged_flip_oracle_{name}"] = summary["ged"]
        if not self.facts.flips:
            result["readers"] = self.readers.to_dict()
        if self.facts.flips:
            result["calibration"] = {
                name: flip_calibration.to_dict()
                for name, flip_calibration in self.flip_calibration.items()
            }
        result["reliability"] = self.reliability.to_dict()
        result["ece"] = self.reliability.ece()
        for name, confusion in self.confusions.items():
            per_class = iou.per_class_iou(confusion)[:-1]
            known = per_class[~np.isnan(per_class)]
            result[f"miou_{name}"] = float(known.mean()) if known.size else None
            result[f"pixel_accuracy_{name}"] = float(
                np.trace(confusion) / max(confusion.sum(), 1)
            )
            result[f"iou_per_class_{name}"] = {
                class_name: None if np.isnan(value) else float(value)
                for class_name, value in zip(self.facts.class_names, per_class)
            }
        result["entropy_bits"] = {
            name: float(np.mean(values)) for name, values in self.entropies.items()
        }
        result["sample_mean_difference"] = (
            float(np.mean(self.mean_difference)) if self.mean_difference else None
        )
        return result


def evaluate(
    model: sampler.Sampler,
    source: examples.Examples,
    facts: info.DatasetInfo,
    *,
    num_samples: int,
    seed: int,
    num_images: int = 0,
    gallery_size: int = 6,
    progress: Optional[Callable] = None,
) -> Tuple[Dict[str, Any], List[Drawn]]:
    """Evaluates a sampler on a split.

    Scoring runs in a second thread while the next images are being drawn.

    Args:
      model: the sampler.
      source: the split.
      facts: of its data set.
      num_samples: S.
      seed: of the samples and of the flip oracle.
      num_images: how many of the first images; 0 for all.
      gallery_size: how many images, evenly spread, to return for figures; fewer where
        they are very large.
      progress: wraps the iteration over images, such as `tqdm.tqdm`.

    Returns:
      The metrics, and the gallery.
    """
    tally = _Tally(facts, num_samples, seed)
    total = min(num_images or len(source), len(source))
    height, width = source.images.shape[1:3]
    num_held = MAX_VALUES // (3 * height * width * _num_classes(model))
    gallery_size = min(gallery_size, max(1, num_held))
    chosen = set(np.linspace(0, total - 1, min(gallery_size, total)).astype(int))
    gallery: List[Drawn] = []
    stream = draw(
        model, source, num_samples=num_samples, seed=seed, num_images=num_images
    )
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending: List[concurrent.futures.Future] = []
        for drawn in progress(stream, total=total) if progress else stream:
            blackbox = None
            if source.blackbox is not None:
                blackbox = hard_labels(source.blackbox[drawn.index])
            labels = source.labels[drawn.index]
            pending.append(pool.submit(tally.add, drawn, labels, blackbox))
            if drawn.index in chosen:
                gallery.append(drawn)
            # A short queue, so that drawn samples do not pile up in memory.
            if len(pending) > min(MAX_WAITING, num_held):
                pending.pop(0).result()
        for future in pending:
            future.result()
    return tally.report(), gallery


def forget_unbiased(metrics: Dict[str, Any]) -> None:
    """Sets the unbiased GED to None, in place: its pairs must be independent."""
    nowhere = [None] * len(metrics["ged_unbiased_per_image"])
    metrics.update(ged_unbiased=None, ged_unbiased_per_image=nowhere)
    for scores in metrics["by_num_samples"].values():
        scores["ged_unbiased"] = None


def extremes(
    ged_per_image: Sequence[Optional[float]], num_cases: int = 3
) -> Dict[str, List[int]]:
    """Returns which images have the highest and the lowest GED, no image in both.

    Args:
      ged_per_image: of the first images of a split; None where undefined.
      num_cases: how many of each at most.

    Returns:
      `worst`, highest first, and `best`, lowest first.
    """
    defined = [i for i, value in enumerate(ged_per_image) if value is not None]
    ranked = sorted(defined, key=lambda i: (ged_per_image[i], i))
    num_cases = min(num_cases, len(ranked) // 2)
    return {"worst": ranked[::-1][:num_cases], "best": ranked[:num_cases]}


def hard_labels(blackbox: np.ndarray) -> np.ndarray:
    """Returns class ids `[..., H, W]` of labels or of `[..., H, W, K]` probabilities."""
    if np.issubdtype(blackbox.dtype, np.integer):
        return blackbox
    return blackbox.argmax(-1).astype(np.uint8)


def summary_lines(metrics: Dict[str, Any], facts: info.DatasetInfo) -> Sequence[str]:
    """Returns the result in a few lines for people."""

    def shown(value: Optional[float]) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    lines = []
    for count, scores in metrics["by_num_samples"].items():
        line = f"GED{count} {shown(scores['ged'])}"
        line += f" (unbiased {shown(scores['ged_unbiased'])})"
        if "hm_iou" in scores:
            line += f", HM-IoU {shown(scores['hm_iou'])}"
        lines.append(line)
    lines[-1] += f" on {metrics['num_images']} images"
    if metrics["num_undefined_images"]:
        lines[-1] += f", {metrics['num_undefined_images']} of them undefined"
    if "readers" in metrics:
        lines += _reader_lines(metrics["readers"])
    oracles = {
        name[len("ged_flip_oracle_") :]: value
        for name, value in metrics.items()
        if name.startswith("ged_flip_oracle_")
    }
    if oracles:
        over = ", ".join(
            f"{shown(value)} over {name}" for name, value in oracles.items()
        )
        lines.append(f"GED of the flip oracle: {over}")
    lines.append(f"ECE of F {shown(metrics['ece'])}")
    for net, table in metrics.get("calibration", {}).items():
        entries = ", ".join(
            f"{facts.class_names[entry['flipped']]} {shown(entry['flip_probability'])}"
            f" (true {entry['true_probability']:.3f})"
            for entry in table["classes"]
        )
        worst, mean = table["worst_flip_offset"], table["mean_flip_offset"]
        lines.append(
            f"flip probabilities of {net}: {entries}; "
            f"offset mean {shown(mean)}, worst {shown(worst)}"
        )
    return lines


def _reader_lines(result: Dict[str, Any]) -> List[str]:
    names = {
        "argmax": "F's arg-max as a constant sampler",
        "independent": "independent pixels of F",
        "level_sets": "level sets of F",
        "leave_one_out": "the other readers against each",
        "readers_drawn": "the readers' own masks, drawn",
    }
    lines = [
        f"for comparison, {words}: GED{readers.NUM_SAMPLES} "
        f"{result['comparisons'][name]['ged']:.3f}, "
        f"HM-IoU {result['comparisons'][name]['hm_iou']:.3f}"
        for name, words in names.items()
    ]
    differences = result["mean_difference"]
    if "calibration_net_marked_pixels" in differences:
        lines.append(
            "mean absolute difference from the readers' mean where one marked a lesion:"
            f" F {differences['calibration_net_marked_pixels']:.3f}, "
            f"mean of G {differences['refinement_net_marked_pixels']:.3f}"
        )
    return lines
