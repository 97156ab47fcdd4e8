"""Accumulates what the report of a split needs, image by image."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from car_tf.data import class_flips, info
from car_tf.evaluate import sampling
from car_tf.metrics import baselines, calibration, ged, hungarian, iou, raters
from car_tf.metrics import scores as metrics_scores

# Numbers of samples that the field reports; model selection takes the smallest.
SAMPLE_COUNTS = (16, 50, 100)
SCORES = ("ged", "ged_unbiased", "sample_diversity", "hm_iou")


def label_distances(
    samples: np.ndarray, labels: np.ndarray, dataset_info: info.DatasetInfo
) -> ged.PairDistances:
    """Distances for the GED: to the modes of the flips, or to the raters.

    Args:
      samples: `[S, H, W]` class ids.
      labels: `[N, H, W]` class ids of the raters, N = 1 where classes flip.
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
    """Adds an image; right or wrong in expectation over flips and raters.

    Args:
      reliability: to which the image is added.
      probs: `[H, W, K]`, whose arg-max is judged.
      labels: `[N, H, W]` class ids of the raters, N = 1 where classes flip.
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


class SampleScores:
    """GED, and HM-IoU where there are raters, at several numbers of samples.

    Args:
      counts: the numbers of samples, ascending; an image's first ones are scored.
      dataset_info: of the data set.
    """

    def __init__(self, counts: Sequence[int], dataset_info: info.DatasetInfo):
        self._dataset_info = dataset_info
        self._geds: Dict[int, List[ged.GedResult]] = {n: [] for n in counts}
        self._hm_ious: Dict[int, List[float]] = {n: [] for n in counts}

    def add(
        self, samples: np.ndarray, labels: np.ndarray, counts: Sequence[int] = ()
    ) -> None:
        """Adds samples `[S, H, W]` of an image, for some numbers of samples or all."""
        distances = label_distances(samples, labels, self._dataset_info)
        for count in counts or self._geds:
            self._geds[count].append(distances.ged(count))
            if not self._dataset_info.flips:
                matched = hungarian.hungarian_matched_iou(1 - distances.cross[:count])
                self._hm_ious[count].append(matched)

    def summaries(self) -> Dict[int, Dict[str, Any]]:
        """Returns number of samples -> `metrics.scores.summarize`."""
        flips = self._dataset_info.flips
        return {
            count: metrics_scores.summarize(
                count, geds, None if flips else self._hm_ious[count]
            )
            for count, geds in self._geds.items()
        }

    def to_dict(self) -> Dict[str, Any]:
        """Returns the means alone: with all samples, and `by_num_samples`."""
        by_count = {
            str(count): {name: summary[name] for name in SCORES if name in summary}
            for count, summary in self.summaries().items()
        }
        num_samples, scores = list(by_count.items())[-1]
        return {**scores, "num_samples": int(num_samples), "by_num_samples": by_count}


class BaselineScores:
    """Scores of the samplers that need no trained G; see `metrics.baselines`.

    Args:
      counts: numbers of samples, those of the sampler that is evaluated.
      dataset_info: of the data set.
      seed: of the draws, with an image's index.
      stratified: whether the evaluated sampler's noise is.
    """

    def __init__(
        self,
        counts: Sequence[int],
        dataset_info: info.DatasetInfo,
        seed: int,
        stratified: bool,
    ):
        self._counts = counts
        self._seed = seed
        self._stratified = stratified
        self._two_classes = dataset_info.num_classes == 2
        coherent = "level_sets" if self._two_classes else "gumbel_draws"
        names = ("f_argmax", "f_pixels", coherent, "before_stage2")
        self._scores = {name: SampleScores(counts, dataset_info) for name in names}
        self._has_before = False

    def add(
        self,
        index: int,
        probs: np.ndarray,
        labels: np.ndarray,
        before: Optional[np.ndarray],
    ) -> None:
        """Adds an image.

        Args:
          index: of the image in its split.
          probs: `[H, W, K]` of F.
          labels: `[N, H, W]`.
          before: `[S, H, W]`, samples of G before stage 2, or None.
        """
        shared = dict(
            num_samples=self._counts[-1],
            rng=np.random.default_rng([self._seed, index]),
        )
        self._scores["f_argmax"].add(baselines.argmax(probs), labels)
        pixels = baselines.independent_pixels(probs, **shared)
        self._scores["f_pixels"].add(pixels, labels)
        if self._two_classes:
            # The sets of fewer levels are not the first ones of more.
            for count in self._counts:
                levels = baselines.level_sets(probs, num_samples=count)
                self._scores["level_sets"].add(levels, labels, [count])
        else:
            draws = baselines.gumbel_draws(probs, stratified=self._stratified, **shared)
            self._scores["gumbel_draws"].add(draws, labels)
        if before is not None:
            self._has_before = True
            self._scores["before_stage2"].add(before, labels)

    def to_dict(self) -> Dict[str, Any]:
        """Returns baseline -> scores, ready for JSON."""
        result = {name: scores.to_dict() for name, scores in self._scores.items()}
        if not self._has_before:
            del result["before_stage2"]
        if self._stratified:
            # Their pairs must be independent, see `forget_unbiased`.
            for name in {"gumbel_draws", "before_stage2"} & set(result):
                for scores in (result[name], *result[name]["by_num_samples"].values()):
                    scores["ged_unbiased"] = None
        return result


class SplitAccumulator:
    """The metrics of a split: `add` takes its images in turn, `report` sums them up.

    Args:
      dataset_info: of the data set.
      num_samples: S.
      seed: of what baselines draw.
      stratified: whether the sampler's noise is.
    """

    def __init__(
        self,
        dataset_info: info.DatasetInfo,
        num_samples: int,
        seed: int,
        stratified: bool = False,
    ):
        self.dataset_info = dataset_info
        self.num_samples = num_samples
        self.seed = seed
        self.counts = [n for n in SAMPLE_COUNTS if n < num_samples] + [num_samples]
        self.scores = SampleScores(self.counts, dataset_info)
        self.baselines = BaselineScores(self.counts, dataset_info, seed, stratified)
        self.oracles: Dict[str, SampleScores] = {}
        self.raters = raters.RaterComparison(seed)
        flips = dataset_info.flips
        flipping = {i for flip in flips for i in (flip.original, flip.flipped)}
        num_classes = dataset_info.num_classes
        self.neutral = min(set(range(num_classes)) - flipping, default=0)
        self.reliability = calibration.Reliability()
        self.mean_reliability = calibration.Reliability()
        self.flip_calibration = {
            name: calibration.FlipCalibration(**flip_arrays(dataset_info))
            for name in ("calibration_net", "refinement_net")
        }
        self.confusions: Dict[str, np.ndarray] = {}
        self.entropies: Dict[str, List[float]] = {}
        self.mean_difference: List[float] = []

    def add(
        self,
        sampled: sampling.SampledImage,
        labels: np.ndarray,
        blackbox: Optional[np.ndarray],
        before: Optional[np.ndarray] = None,
    ) -> None:
        """Adds one image.

        Args:
          sampled: what the sampler gives for it.
          labels: `[N, H, W]` class ids.
          blackbox: `[H, W]` class ids, or None.
          before: `[S, H, W]`, samples of G before stage 2, or None.
        """
        valid = labels[0] != info.IGNORE_LABEL
        self.scores.add(sampled.samples, labels)
        self.baselines.add(sampled.index, sampled.probs, labels, before)
        prediction = sampled.probs.argmax(-1).astype(np.uint8)
        if self.dataset_info.flips:
            self._add_flips(sampled, labels, prediction, blackbox)
        else:
            self.raters.add(
                sampled.index,
                masks=labels,
                probs=sampled.probs[..., 1],
                sample_mean=sampled.sample_mean[..., 1],
                samples=sampled.samples,
            )
        for reliability, probs in (
            (self.reliability, sampled.probs),
            (self.mean_reliability, sampled.sample_mean),
        ):
            add_reliability(reliability, probs, labels, self.dataset_info)
        for name in ("probs", "sample_mean", "first_probs"):
            entropy = calibration.entropy_bits(getattr(sampled, name))[valid]
            if entropy.size:
                self.entropies.setdefault(name, []).append(float(entropy.mean()))
        difference = np.abs(sampled.sample_mean - sampled.probs)[valid]
        if difference.size:
            self.mean_difference.append(float(difference.mean()))

    def _add_flips(self, sampled, labels, prediction, blackbox) -> None:
        label, flips = labels[0], self.dataset_info.flips
        maps = {"calibration_net": prediction, "truth": label}
        if blackbox is not None:
            maps["blackbox"] = blackbox
        for name, one_map in maps.items():
            rng = np.random.default_rng([self.seed, sampled.index])
            # Unlabelled pixels count nowhere, and what a black box does not know is
            # none of the classes that flip.
            filled = np.where(one_map == info.IGNORE_LABEL, self.neutral, one_map)
            oracle = class_flips.flip_oracle(
                filled.astype(np.uint8),
                flips=flips,
                num_samples=self.num_samples,
                rng=rng,
            )
            if name not in self.oracles:
                self.oracles[name] = SampleScores(self.counts, self.dataset_info)
            self.oracles[name].add(oracle, labels)
            if name != "truth":
                # One class more for what a black box does not know: always wrong.
                num_classes = self.dataset_info.num_classes + 1
                folded = class_flips.fold(one_map, flips)
                folded[folded == info.IGNORE_LABEL] = num_classes - 1
                confusion = iou.confusion_matrix(label, folded, num_classes=num_classes)
                self.confusions[name] = self.confusions.get(name, 0) + confusion
        # F is judged where the black box is right, as in CAR, A.4.
        agrees = None if blackbox is None else blackbox == label
        self.flip_calibration["calibration_net"].update(sampled.probs, label, agrees)
        few = sampled.samples[: SAMPLE_COUNTS[0]]
        self.flip_calibration["refinement_net"].update_samples(few, label)

    def report(self) -> Dict[str, Any]:
        """Returns everything as a dict that is ready for JSON."""
        result = dict(self.scores.summaries()[self.num_samples])
        result["by_num_samples"] = self.scores.to_dict()["by_num_samples"]
        result["baselines"] = self.baselines.to_dict()
        for name, scores in self.oracles.items():
            result[f"ged_flip_oracle_{name}"] = scores.to_dict()["ged"]
        if self.dataset_info.flips:
            oracle = self.oracles["calibration_net"].to_dict()
            result["baselines"]["flip_oracle"] = oracle
            result["calibration"] = {
                name: flip_calibration.to_dict()
                for name, flip_calibration in self.flip_calibration.items()
            }
        else:
            result["raters"] = self._compare_raters(result["baselines"])
        result["reliability"] = self.reliability.to_dict()
        result["ece"] = self.reliability.ece()
        for name, confusion in self.confusions.items():
            result.update(self._report_confusion(name, confusion))
        result["entropy_bits"] = {
            name: float(np.mean(values)) for name, values in self.entropies.items()
        }
        result["g_mean"] = {
            "ece": self.mean_reliability.ece(),
            "entropy": result["entropy_bits"].get("sample_mean"),
        }
        result["sample_mean_difference"] = (
            float(np.mean(self.mean_difference)) if self.mean_difference else None
        )
        return result

    def _compare_raters(self, scores: Dict[str, Any]) -> Dict[str, Any]:
        """Adds the baselines with 16 samples to what compares the raters."""
        result = self.raters.to_dict()
        count = str(min(raters.NUM_SAMPLES, self.num_samples))
        for name, baseline in (
            ("argmax", "f_argmax"),
            ("independent", "f_pixels"),
            ("level_sets", "level_sets"),
        ):
            if baseline in scores:
                values = scores[baseline]["by_num_samples"][count]
                kept = {name: values[name] for name in ("ged", "hm_iou")}
                result["comparisons"][name] = kept
        return result

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


def forget_unbiased(metrics: Dict[str, Any]) -> None:
    """Sets the unbiased GED to None, in place: its pairs must be independent."""
    nowhere = [None] * len(metrics["ged_unbiased_per_image"])
    metrics.update(ged_unbiased=None, ged_unbiased_per_image=nowhere)
    for scores in metrics["by_num_samples"].values():
        scores["ged_unbiased"] = None
