"""What scoring an image costs on one core, and a plain evaluation to compare with."""

from __future__ import annotations

import itertools
import time
from typing import Callable, Dict, List, Tuple

import numpy as np

from car_tf.data import class_flips
from car_tf.metrics import ged, hungarian
from tests.benchmarks import report, timing


def blobs(rng: np.random.Generator, count: int, size: Tuple[int, int], ids: int):
    """Draws `[count, *size]` uint8 maps of rectangles with class ids below `ids`."""
    cells = rng.integers(0, ids, (count, size[0] // 8, size[1] // 8), np.uint8)
    return cells.repeat(8, 1).repeat(8, 2)


def flips_sides(
    size: Tuple[int, int], num_samples: int, num_flips: int, plain: bool = True
) -> Dict[str, Callable[[], float]]:
    """Returns ways to compute the GED of one image whose classes flip."""
    rng = np.random.default_rng(0)
    known = class_flips.CITYSCAPES_FLIPS
    num_originals = max(19, num_flips)
    if num_flips == len(known):
        originals = [flip.original for flip in known]
    else:
        originals = list(range(num_flips))
    flipped = [num_originals + index for index in range(num_flips)]
    probabilities = [0.3 + 0.02 * index for index in range(num_flips)]
    num_classes = num_originals + num_flips
    label = blobs(rng, 1, size, num_originals)[0]
    label[:8] = 255
    samples = blobs(rng, num_samples, size, num_classes)
    sides = {
        "ours": lambda: ged.class_flips_distances(
            samples,
            label,
            originals=originals,
            flipped=flipped,
            probabilities=probabilities,
            num_classes=num_classes,
        )
        .ged()
        .ged
    }
    if plain:
        sides["plain"] = lambda: plain_flips_ged(
            samples, label, originals, flipped, probabilities, num_classes
        )
    return sides


def plain_flips_ged(
    samples, label, originals, flipped, probabilities, num_classes
) -> float:
    """GED by building every mode and a confusion matrix for every pair of maps."""
    valid = label != 255
    samples = [sample[valid].astype(np.int64) for sample in samples]
    modes, weights = [], []
    for hits in itertools.product([0, 1], repeat=len(originals)):
        table = np.arange(256)
        weight = 1.0
        for hit, one, other, chance in zip(hits, originals, flipped, probabilities):
            table[one] = other if hit else one
            weight *= chance if hit else 1 - chance
        modes.append(table[label[valid]])
        weights.append(weight)
    switchable = [*originals, *flipped]

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        joint = np.bincount(one * num_classes + other, minlength=num_classes**2)
        joint = joint.reshape(num_classes, num_classes)
        union = joint.sum(0) + joint.sum(1) - joint.diagonal()
        with np.errstate(invalid="ignore"):
            iou = joint.diagonal() / union
        return 1 - np.nanmean(iou[switchable])

    def expectation(ones, one_weights, others, other_weights) -> float:
        return sum(
            v * w * distance(one, other)
            for one, v in zip(ones, one_weights)
            for other, w in zip(others, other_weights)
        )

    equal = [1 / len(samples)] * len(samples)
    cross = expectation(samples, equal, modes, weights)
    within = expectation(samples, equal, samples, equal)
    return 2 * cross - within - expectation(modes, weights, modes, weights)


def raters_side(size: Tuple[int, int], num_samples: int) -> Callable[[], float]:
    """Returns a function that scores masks against four raters, HM-IoU included."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[: size[0], : size[1]]

    def discs(count: int) -> np.ndarray:
        """Discs about the centre; one in five masks is empty, as many raters' are."""
        radii = rng.uniform(5, size[0] / 6, count) * (rng.random(count) > 0.2)
        shift = rng.normal(0, 3, (2, count, 1, 1))
        distance = (rows - size[0] / 2 - shift[0]) ** 2
        distance = distance + (columns - size[1] / 2 - shift[1]) ** 2
        return (distance < radii[:, None, None] ** 2).astype(np.uint8)

    samples, labels = discs(num_samples), discs(4)

    def score() -> float:
        distances = ged.multi_rater_distances(samples, labels)
        hungarian.hungarian_matched_iou(1 - distances.cross)
        return distances.ged().ged

    return score


def row(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `score`: processor time per image, so that one core is what is counted."""
    del peaks
    size, num_flips = ((32, 64), 3) if small else ((256, 512), 5)
    sides = flips_sides(size, 16, num_flips)
    difference = abs(sides["ours"]() - sides["plain"]())
    timed = {
        name: timing.clock(side, time.process_time)
        for name, side in sides.items()
        if name == "ours"
    }
    masks, counts = (32, 32) if small else (128, 128), (16, 100)
    for num_samples in counts:
        side = raters_side(masks, num_samples)
        timed[f"raters, {num_samples}"] = timing.clock(side, time.process_time)
    seconds = timing.medians(timed, repeats=3 if small else 31)
    # Seconds long, so that one round must do.
    plain = timing.clock(sides["plain"], time.process_time)()
    return [
        report.Table(
            "Scores of one image, processor time",
            ("what", "ms", "plain evaluation, ms", "times as fast"),
            [
                [
                    f"GED, {size[0]}x{size[1]}, 16 samples, {2**num_flips} modes",
                    1e3 * seconds["ours"],
                    1e3 * plain,
                    plain / seconds["ours"],
                ],
                *(
                    [
                        f"GED and HM-IoU, {masks[0]}x{masks[1]}, {num_samples} samples, "
                        "4 raters",
                        1e3 * seconds[f"raters, {num_samples}"],
                        None,
                        None,
                    ]
                    for num_samples in counts
                ),
            ],
            (
                "Plain: every mode built, a confusion matrix for each pair of maps; it "
                f"differs from ours by {difference:.0e}.",
            ),
        )
    ]
