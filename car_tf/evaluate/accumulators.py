"""Accumulates what the report of a split needs, image by image."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

import numpy as np

from car_tf.evaluate import sampling
from car_tf.data import class_flips, info
from car_tf.metrics import calibration, ged, hungarian, iou, raters
from car_tf.metrics import scores as metrics_scores

# Numbers of samples that the field reports; model selection takes the smallest.
SAMPLE_COUNTS = (16, 50, 100)
SCORES = ("ged", "ged_unbiased", "sample_diversity", "hm_iou")


def label_distances(
    samples: np.ndarray, labels: np.ndarray, dataset_info: info.DatasetInfo
) -> ged.PairDistances:
    """Distances for the GED: to the modes of the flips, or to the annotators.

    Args:
      samples: `[S, H, W]` class ids.
      labels: `[N, H, W]` class ids of the annotators, N = 1 where classes flip.
      dataset_info: of the data set.
    """
    if not dataset_info.flips:
        return ged.multi_rater_distances(samples, labels)
    return ged.class_flips_distances(
        samples,
        labels[0],
        num_classes=dataset_info.num_classes,
        **flip_arrays(dataset_info),
    )


def flip_arrays(dataset_info: info.DatasetInfo) -> Dict[str, List]:
    """Returns the flips as the parallel lists that the metrics take."""
    return {
        "originals": [flip.original for flip in dataset_info.flips],
        "flipped": [flip.flipped for flip in dataset_info.flips],
        "probabilities": [flip.probability for flip in dataset_info.flips],
    }


def add_reliability(
    reliability: calibration.Reliability,
    probs: np.ndarray,
    labels: np.ndarray,
    dataset_info: info.DatasetInfo,
) -> None:
    """Adds an image; right or wrong in expectation over flips and annotators.

    Args:
      reliability: to which the image is added.
      probs: `[H, W, K]`, whose arg-max is judged.
      labels: `[N, H, W]` class ids of the annotators, N = 1 where classes flip.
      dataset_info: of the data set.
    """
    prediction = probs.argmax(-1)
    correct = np.zeros(prediction.shape)
    table = np.eye(dataset_info.num_classes)
    for flip in dataset_info.flips:
        table[flip.original, flip.original] = 1 - flip.probability
        table[flip.original, flip.flipped] = flip.probability
    valid = labels[0] != info.IGNORE_LABEL
    for label in labels:
        correct[valid] += table[label[valid], prediction[valid]] / len(labels)
    reliability.update(probs.max(-1).clip(0, 1)[valid], correct[valid])


class Tally:
    """The metrics of a split: `add` takes its images in turn, `report` says the result."""

    def __init__(self, dataset_info: info.DatasetInfo, num_samples: int, seed: int):
        self.info = dataset_info
        self.num_samples = num_samples
        self.seed = seed
        counts = [count for count in SAMPLE_COUNTS if count < num_samples]
        self.counts = [*counts, num_samples]
        self.geds: Dict[int, List[ged.GedResult]] = {n: [] for n in self.counts}
        self.hm_ious: Dict[int, List[float]] = {n: [] for n in self.counts}
        self.oracle_geds: Dict[str, List[ged.GedResult]] = {}
        self.readers = raters.ReaderComparison(seed)
        flipping = {
            i for flip in dataset_info.flips for i in (flip.original, flip.flipped)
        }
        self.neutral = min(set(range(dataset_info.num_classes)) - flipping, default=0)
        self.reliability = calibration.Reliability()
        self.flip_calibration = {
            name: calibration.FlipCalibration(**flip_arrays(dataset_info))
            for name in ("calibration_net", "refinement_net")
        }
        self.confusions: Dict[str, np.ndarray] = {}
        self.entropies: Dict[str, List[float]] = {}
        self.mean_difference: List[float] = []

    def add(
        self, drawn: sampling.Drawn, labels: np.ndarray, blackbox: Optional[np.ndarray]
    ) -> None:
        """Adds one image; `blackbox` is `[H, W]` class ids or None."""
        valid = labels[0] != info.IGNORE_LABEL
        distances = label_distances(drawn.samples, labels, self.info)
        for count in self.counts:
            self.geds[count].append(distances.ged(count))
        prediction = drawn.probs.argmax(-1).astype(np.uint8)
        if self.info.flips:
            self._add_flips(drawn, labels, prediction, blackbox)
        else:
            self._add_readers(drawn, labels, distances)
        add_reliability(self.reliability, drawn.probs, labels, self.info)
        for name in ("probs", "sample_mean", "first_probs"):
            entropy = calibration.entropy_bits(getattr(drawn, name))[valid]
            if entropy.size:
                self.entropies.setdefault(name, []).append(float(entropy.mean()))
        difference = np.abs(drawn.sample_mean - drawn.probs)[valid]
        if difference.size:
            self.mean_difference.append(float(difference.mean()))

    def _add_flips(self, drawn, labels, prediction, blackbox) -> None:
        label, flips = labels[0], self.info.flips
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
            result = label_distances(oracle, labels, self.info).ged()
            self.oracle_geds.setdefault(name, []).append(result)
            if name != "truth":
                # One class more for what a black box does not know: always wrong.
                num_classes = self.info.num_classes + 1
                folded = class_flips.fold(one_map, flips)
                folded[folded == info.IGNORE_LABEL] = num_classes - 1
                confusion = iou.confusion_matrix(label, folded, num_classes=num_classes)
                self.confusions[name] = self.confusions.get(name, 0) + confusion
        # F is judged where the black box is right, as in CAR, A.4.
        agrees = None if blackbox is None else blackbox == label
        self.flip_calibration["calibration_net"].update(drawn.probs, label, agrees)
        few = drawn.samples[: SAMPLE_COUNTS[0]]
        self.flip_calibration["refinement_net"].update_samples(few, label)

    def _add_readers(self, drawn, labels, distances) -> None:
        for count in self.counts:
            matched = hungarian.hungarian_matched_iou(1 - distances.cross[:count])
            self.hm_ious[count].append(matched)
        self.readers.add(
            drawn.index,
            masks=labels,
            probs=drawn.probs[..., 1],
            sample_mean=drawn.sample_mean[..., 1],
            samples=drawn.samples,
        )

    def report(self) -> Dict[str, Any]:
        """Returns everything as a dict that is ready for JSON."""
        by_count = {
            count: metrics_scores.summarize(
                count, geds, None if self.info.flips else self.hm_ious[count]
            )
            for count, geds in self.geds.items()
        }
        result = dict(by_count[self.num_samples])
        result["by_num_samples"] = {
            str(count): {name: summary[name] for name in SCORES if name in summary}
            for count, summary in by_count.items()
        }
        for name, geds in self.oracle_geds.items():
            summary = metrics_scores.summarize(self.num_samples, geds, None)
            result[f"ged_flip_oracle_{name}"] = summary["ged"]
        if not self.info.flips:
            result["readers"] = self.readers.to_dict()
        if self.info.flips:
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
                for class_name, value in zip(self.info.class_names, per_class)
            }
        result["entropy_bits"] = {
            name: float(np.mean(values)) for name, values in self.entropies.items()
        }
        result["sample_mean_difference"] = (
            float(np.mean(self.mean_difference)) if self.mean_difference else None
        )
        return result


def forget_unbiased(metrics: Dict[str, Any]) -> None:
    """Sets the unbiased GED to None, in place: its pairs must be independent."""
    nowhere = [None] * len(metrics["ged_unbiased_per_image"])
    metrics.update(ged_unbiased=None, ged_unbiased_per_image=nowhere)
    for scores in metrics["by_num_samples"].values():
        scores["ged_unbiased"] = None
