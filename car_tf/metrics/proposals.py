"""How close proposals come to what a rater would have drawn.

A rater who is offered S label maps takes the best one whole, or mixes: region by
region the variant that suits best. Both are compared with a single guess.
"""

import dataclasses
from typing import List, Sequence, Tuple

import numpy as np
import scipy.ndimage

# Neighbours across corners belong together.
_NEIGHBOURS = np.ones((3, 3), int)


@dataclasses.dataclass(frozen=True)
class Effort:
    """One map against what a rater wants."""

    # Mean over the counted classes that occur in either map; 1 where none does.
    iou: float
    wrong_pixels: float  # share of the labelled pixels that are still to be corrected
    # Decisions that it took: none for a single guess, one for the choice of a whole
    # map, and one for every region in which another variant was taken.
    picks: int


class Target:
    """What a rater wants, to be compared with maps and their mixtures.

    Args:
      label: `[H, W]` integer class ids; `ignore_label` counts nowhere.
      classes: those whose IoU counts.
    """

    def __init__(
        self,
        label: np.ndarray,
        *,
        num_classes: int,
        classes: Sequence[int],
        ignore_label: int = 255,
    ):
        self._valid = label != ignore_label
        self._rows = np.where(self._valid, label, 0).astype(np.int64) * num_classes
        self._num_classes = num_classes
        self._classes = list(classes)

    def counts(self, maps: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Counts pixels by true and predicted class within a region.

        Of class ids `[S, H, W]` below K and a region `[H, W]` bool: `[S, K, K]` int64,
        rows true, columns predicted.
        """
        where = where & self._valid
        cells = self._rows[where] + maps[:, where]
        size = self._num_classes**2
        offsets = size * np.arange(len(maps))[:, None]
        counts = np.bincount((cells + offsets).ravel(), minlength=size * len(maps))
        return counts.reshape(len(maps), self._num_classes, self._num_classes)

    def everywhere(self, maps: np.ndarray) -> np.ndarray:
        """Counts as `counts` does, over the whole image."""
        return self.counts(maps, np.ones(self._valid.shape, bool))

    def iou(self, counts: np.ndarray) -> np.ndarray:
        """Returns the mean IoU `[S]` of counts `[S, K, K]`."""
        intersection = np.diagonal(counts, axis1=1, axis2=2)
        union = counts.sum(1) + counts.sum(2) - intersection
        intersection, union = (x[:, self._classes] for x in (intersection, union))
        ious = np.divide(
            intersection, union, out=np.zeros(union.shape), where=union > 0
        )
        occur = (union > 0).sum(1)
        return np.where(occur > 0, ious.sum(1) / np.maximum(occur, 1), 1.0)

    def effort(self, counts: np.ndarray, picks: int) -> Effort:
        """Returns what one map's counts `[K, K]` leave to be done."""
        total = max(int(counts.sum()), 1)
        wrong = 1 - np.trace(counts) / total if counts.sum() else 0.0
        return Effort(float(self.iou(counts[None])[0]), float(wrong), picks)


def regions(
    samples: np.ndarray, guess: np.ndarray, *, least_pixels: int, max_regions: int
) -> List[np.ndarray]:
    """Returns where a choice is to be made, `[H, W]` bool each, the largest first.

    A region is a connected part (across corners too) of the pixels on which the samples
    `[S, H, W]` are not of one mind, as far as the single guess `[H, W]` gives it one
    class. Those of fewer than `least_pixels` are left out: nobody clicks on specks.
    """
    open_pixels = (samples != samples[0]).any(0)
    found: List[Tuple[int, np.ndarray]] = []
    for class_id in np.unique(guess[open_pixels]):
        parts, num = scipy.ndimage.label(
            open_pixels & (guess == class_id), structure=_NEIGHBOURS
        )
        sizes = np.bincount(parts.ravel(), minlength=num + 1)
        for part in range(1, num + 1):
            if sizes[part] >= least_pixels:
                found.append((int(sizes[part]), parts == part))
    found.sort(key=lambda item: -item[0])
    return [where for _, where in found[:max_regions]]


def best_sample(target: Target, samples: np.ndarray) -> Tuple[int, Effort]:
    """Returns which map is the closest by IoU, then by pixels, and how close it is."""
    counts = target.everywhere(samples)
    right = np.trace(counts, axis1=1, axis2=2)
    chosen = int(np.lexsort((-right, -target.iou(counts)))[0])
    return chosen, target.effort(counts[chosen], 1)


def mixture(
    target: Target, samples: np.ndarray, where: Sequence[np.ndarray]
) -> Tuple[np.ndarray, Effort]:
    """Starts from the best sample and takes, region by region, a better variant.

    Of class ids `[S, H, W]`; the regions, which do not overlap, are each visited once
    and in this order, and the variant that raises the IoU most is taken. Returns the
    mixture `[H, W]`, and how close it is.
    """
    chosen, effort = best_sample(target, samples)
    mixed = samples[chosen].copy()
    counts = target.everywhere(samples[chosen][None])[0]
    picks = effort.picks
    for region in where:
        variants = target.counts(samples, region)
        others = counts - variants[chosen] + variants
        ious = target.iou(others)
        best = int(ious.argmax())
        if ious[best] > target.iou(counts[None])[0] + 1e-12:
            mixed[region] = samples[best][region]
            counts, picks = others[best], picks + 1
    return mixed, target.effort(counts, picks)
