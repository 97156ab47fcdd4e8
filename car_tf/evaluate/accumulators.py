"""Accumulates what the report of a split needs, image by image."""

import collections
import types
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from car_tf.data import class_flips, info
from car_tf.evaluate import distances, sampling
from car_tf.metrics import baselines, bootstrap, calibration, ged, iou, raters
from car_tf.metrics import scores as metrics_scores

# Numbers of samples that the field reports; model selection takes the smallest.
SAMPLE_COUNTS = (16, 50, 100)
# Kept for every number of samples, so that runs can be compared image by image.
PER_IMAGE = ("ged_per_image", "hm_iou_per_image")


def add_reliability(
    reliability: calibration.Reliability,
    probs: np.ndarray,
    labels: np.ndarray,
    dataset_info: info.DatasetInfo,
    mask: Optional[np.ndarray] = None,
) -> None:
    """Adds an image; right or wrong in expectation over flips and raters.

    Of `[H, W, K]`, whose arg-max is judged, the raters' ids `[N, H, W]`, N = 1 where
    classes flip, or 255, and a mask `[H, W]` bool of pixels to count, or None for all.
    """
    prediction = probs.argmax(-1)
    correct, known = np.zeros(prediction.shape), np.zeros(prediction.shape)
    table = dataset_info.flip_table()
    for label in labels:
        knows = label != info.IGNORE_LABEL
        correct[knows] += table[label[knows], prediction[knows]]
        known += knows
    valid = known > 0 if mask is None else mask & (known > 0)
    confidence = probs.max(-1).clip(0, 1)[valid]
    reliability.update(confidence, correct[valid] / known[valid])


class SplitAccumulator:
    """The metrics of a split: `add` takes its images in turn, `report` sums them up."""

    COUNTED = (
        *("scores", "baselines", "oracles", "raters", "reliability", "confusions"),
        *("marked_reliability", "mean_reliability", "class_reliability", "entropies"),
        *("flip_calibration", "mean_difference"),
    )  # See `metrics.merging`.

    def __init__(
        self,
        dataset_info: info.DatasetInfo,
        num_samples: int,
        seed: int,
        stratified: bool = False,
        absent: str = iou.LEAVE_OUT,
        cuts: Optional[baselines.Cuts] = None,
    ):
        self.dataset_info = dataset_info
        self.absent = absent
        self.num_samples = num_samples
        self.seed = seed
        self.counts = [n for n in SAMPLE_COUNTS if n < num_samples] + [num_samples]
        scored = (self.counts, dataset_info, seed, stratified, absent)
        self.scores = metrics_scores.SampleScores(
            self.counts, matched=not dataset_info.flips, independent=not stratified
        )
        self.baselines = distances.BaselineScores(*scored, cuts=cuts)
        self.oracles = distances.BaselineScores(*scored)
        self.raters = raters.RaterComparison(seed)
        flips, num_classes = dataset_info.flips, dataset_info.num_classes
        flipping = {i for flip in flips for i in (flip.original, flip.flipped)}
        self.neutral = min(set(range(num_classes)) - flipping, default=0)
        self.reliability = calibration.Reliability()
        self.marked_reliability = calibration.Reliability()
        self.mean_reliability = calibration.Reliability()
        flip_arrays = distances.flip_arrays(dataset_info)
        self.class_reliability, self.flip_calibration = {}, {}
        for net in ("calibration_net", "refinement_net"):
            self.class_reliability[net] = calibration.ClassReliability(num_classes)
            self.flip_calibration[net] = calibration.FlipCalibration(**flip_arrays)
        # One class more for what a black box does not know: always wrong.
        size = (num_classes + 1, num_classes + 1)
        self.confusions = collections.defaultdict(lambda: np.zeros(size, np.int64))
        self.entropies: Dict[str, List[float]] = collections.defaultdict(list)
        self.mean_difference: List[float] = []

    def add(
        self,
        sampled: sampling.SampledImage,
        labels: np.ndarray,
        blackbox: Optional[np.ndarray],
        before: Optional[np.ndarray] = None,
    ) -> None:
        """Adds one image, of labels `[N, H, W]` and a black box's ids `[H, W]` or None.

        `before` are samples `[S, H, W]` of G before stage 2, or None.
        """
        labels = np.asarray(labels)
        valid = (labels != info.IGNORE_LABEL).any(axis=0)
        pairs = distances.label_distances(
            sampled.samples, labels, self.dataset_info, self.absent
        )
        self.scores.add(pairs)
        self.baselines.add(sampled.index, sampled.probs, labels, before)
        maps = {"calibration_net": sampled.probs.argmax(-1).astype(np.uint8)}
        if blackbox is not None:
            maps["blackbox"] = blackbox
        mode = sampled.sample_mean.argmax(-1).astype(np.uint8)
        self._add_confusions({**maps, "refinement_net": mode}, labels)
        if self.dataset_info.flips:
            self._add_flips(sampled, labels, maps)
        else:
            self._add_raters(sampled, labels, pairs)
        add_reliability(self.reliability, sampled.probs, labels, self.dataset_info)
        mean = sampled.sample_mean
        add_reliability(self.mean_reliability, mean, labels, self.dataset_info)
        for name in ("probs", "sample_mean", "first_probs"):
            entropy = calibration.entropy_bits(getattr(sampled, name))[valid]
            if entropy.size:
                self.entropies[name].append(float(entropy.mean()))
        difference = np.abs(mean - sampled.probs)[valid]
        if difference.size:
            self.mean_difference.append(float(difference.mean()))

    def _add_confusions(self, maps: Dict[str, np.ndarray], labels: np.ndarray) -> None:
        """Compares maps with the label before its flips, or with every rater's."""
        num_classes = self.dataset_info.num_classes + 1
        for name, one_map in maps.items():
            folded = class_flips.fold(one_map, self.dataset_info.flips)
            folded[folded == info.IGNORE_LABEL] = num_classes - 1
            for label in labels:
                found = iou.confusion_matrix(label, folded, num_classes=num_classes)
                self.confusions[name] += found

    def _add_flips(self, sampled, labels, maps: Dict[str, np.ndarray]) -> None:
        """Adds what stands beside an image whose classes flip."""
        label, flips = labels[0], self.dataset_info.flips
        for name, one_map in {**maps, "truth": label}.items():
            # Unlabelled pixels count nowhere, and what a black box does not know is
            # none of the classes that flip.
            filled = np.where(one_map == info.IGNORE_LABEL, self.neutral, one_map)
            oracle = class_flips.flip_oracle(
                filled.astype(np.uint8),
                flips=flips,
                num_samples=self.num_samples,
                rng=np.random.default_rng([self.seed, sampled.index]),
            )
            self.oracles.add_samples(name, oracle, labels)
        # F is judged where the black box is right, as in CAR, A.4.
        agrees = maps["blackbox"] == label if "blackbox" in maps else None
        self.flip_calibration["calibration_net"].update(sampled.probs, label, agrees)
        few = sampled.samples[: SAMPLE_COUNTS[0]]
        self.flip_calibration["refinement_net"].update_samples(few, label)

    def _add_raters(self, sampled, labels, pairs: ged.PairDistances) -> None:
        """Adds what stands beside an image of raters."""
        self.raters.add(
            sampled.index,
            distances=pairs.within_labels,
            labels=labels,
            probs=sampled.probs,
            sample_mean=sampled.sample_mean,
            samples=sampled.samples,
        )
        known, shares = raters.known_and_shares(labels, self.dataset_info.num_classes)
        nets = {"calibration_net": sampled.probs, "refinement_net": sampled.sample_mean}
        for name, probs in nets.items():
            self.class_reliability[name].update(probs[known], shares[known])
        marked = known & (shares[..., 0] < 1)
        add_reliability(
            self.marked_reliability, sampled.probs, labels, self.dataset_info, marked
        )

    def report(
        self,
        groups: Sequence[str],
        others: Mapping[str, metrics_scores.SampleScores] = types.MappingProxyType({}),
    ) -> Dict[str, Any]:
        """Returns everything as a dict that is ready for JSON.

        `groups` are of the images that were added, in turn: patients, cities; `others`
        the scores of other models' samples of the same images, by name.
        """
        resampled = bootstrap.GroupBootstrap(groups)
        summaries = self.scores.summaries()
        result = dict(summaries[self.num_samples], groups=list(groups))
        by_count = self.scores.to_dict(resampled)["by_num_samples"]
        for count, scores in by_count.items():
            kept = summaries[int(count)]
            scores.update({k: v for k, v in kept.items() if k in PER_IMAGE})
        result["by_num_samples"] = by_count
        result["bootstrap"] = resampled.to_dict()
        result["baselines"] = self.baselines.to_dict(resampled)
        result["differences"] = {
            name: self.scores.differences(one, resampled)
            for name, one in {**self.baselines.scores, **others}.items()
        }
        if others:
            scored = {name: one.to_dict(resampled) for name, one in others.items()}
            result["samplers"] = scored
        if self.dataset_info.flips:
            result.update(self._report_flips(resampled, result["baselines"]))
        else:
            result.update(self._report_raters(result["baselines"]))
        for name, confusion in self.confusions.items():
            result.update(self._report_confusion(name, confusion))
        result.update(self._report_uncertainty())
        return result

    def _report_flips(self, resampled, found: Dict[str, Any]) -> Dict[str, Any]:
        """Returns oracles and flip probabilities; adds F's oracle to the baselines."""
        oracles = self.oracles.to_dict(resampled)
        found["flip_oracle"] = oracles["calibration_net"]
        result = {
            f"ged_flip_oracle_{name}": scores["ged"] for name, scores in oracles.items()
        }
        result["calibration"] = {
            name: flip_calibration.to_dict()
            for name, flip_calibration in self.flip_calibration.items()
        }
        return result

    def _report_raters(self, found: Dict[str, Any]) -> Dict[str, Any]:
        """Returns what compares the raters, and what their distance is."""
        names, compared = self.dataset_info.class_names, self.raters.to_dict()
        count = str(min(raters.NUM_SAMPLES, self.num_samples))
        named = {"argmax": "f_argmax", "independent": "f_pixels"}
        for name, baseline in {**named, "level_sets": "level_sets"}.items():
            if baseline in found:
                values = found[baseline]["by_num_samples"][count]
                kept = {name: values[name] for name in ("ged", "hm_iou")}
                compared["comparisons"][name] = kept
        return {
            "distance": metrics_scores.describe_distance(len(names), self.absent),
            "raters": compared,
            "ece_marked": self.marked_reliability.ece(),
            "class_calibration": {
                name: each.to_dict(names)
                for name, each in self.class_reliability.items()
            },
        }

    def _report_uncertainty(self) -> Dict[str, Any]:
        """Returns reliability and entropies."""
        entropies = {n: float(np.mean(values)) for n, values in self.entropies.items()}
        differences = self.mean_difference
        return {
            "reliability": self.reliability.to_dict(),
            "ece": self.reliability.ece(),
            "entropy_bits": entropies,
            "g_mean": {
                "ece": self.mean_reliability.ece(),
                "reliability": self.mean_reliability.to_dict(),
                "entropy": entropies.get("sample_mean"),
            },
            "sample_mean_difference": (
                float(np.mean(differences)) if differences else None
            ),
        }

    def _report_confusion(self, name: str, confusion: np.ndarray) -> Dict[str, Any]:
        """Returns what a confusion matrix gives: IoU and accuracy of `name`."""
        per_class = iou.per_class_iou(confusion)[:-1]
        known = per_class[~np.isnan(per_class)]
        accuracy = np.trace(confusion) / max(confusion.sum(), 1)
        return {
            f"miou_{name}": float(known.mean()) if known.size else None,
            f"pixel_accuracy_{name}": float(accuracy),
            f"iou_per_class_{name}": {
                class_name: None if np.isnan(value) else float(value)
                for class_name, value in zip(self.dataset_info.class_names, per_class)
            },
        }
