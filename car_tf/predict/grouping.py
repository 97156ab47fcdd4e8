"""Proposals as people look at them: grouped by similarity, and region by region.

All similarity is measured on the open pixels, those on which the proposals differ at
all: on the others there is nothing to choose.
"""

import dataclasses
from typing import List, Tuple

import numpy as np
import scipy.cluster.hierarchy
import scipy.spatial.distance

from car_tf.metrics import proposals

# Proposals of one group differ on no more than this share of the open pixels, on average.
SAME = 0.25
LEAST_SHARE = 0.001
MAX_REGIONS = 12


@dataclasses.dataclass(frozen=True)
class Group:
    """Proposals that are alike."""

    members: List[int]  # their numbers, the most typical one first
    share: float  # of all proposals, [0, 1]


def differences(samples: np.ndarray) -> np.ndarray:
    """Returns the share of the open pixels of `[S, ...]` ids on which pairs differ.

    `[S, S]` float64 in [0, 1]; zeros where all maps are equal.
    """
    flat = samples.reshape(len(samples), -1)
    flat = flat[:, (flat != flat[0]).any(0)]
    found = np.zeros((len(flat), len(flat)))
    # Pair by pair: counting along an axis takes ten times as long.
    for row, column in zip(*np.triu_indices(len(flat), 1)):
        found[row, column] = np.count_nonzero(flat[row] != flat[column])
    return (found + found.T) / max(flat.shape[1], 1)


def groups(samples: np.ndarray) -> List[Group]:
    """Groups maps `[S, ...]` of ids by average linkage, the largest group first."""
    distances = differences(samples)
    numbers = np.ones(len(samples), int)
    if len(samples) > 1:
        condensed = scipy.spatial.distance.squareform(distances, checks=False)
        tree = scipy.cluster.hierarchy.linkage(condensed, "average")
        numbers = scipy.cluster.hierarchy.fcluster(tree, SAME, "distance")
    found = []
    for number in np.unique(numbers):
        members = np.flatnonzero(numbers == number)
        inner = distances[np.ix_(members, members)].mean(1)
        ranked = members[np.argsort(inner, kind="stable")]
        found.append(Group(ranked.tolist(), len(members) / len(samples)))
    return sorted(found, key=lambda group: (-len(group.members), group.members[0]))


def main_classes(ids: np.ndarray, *, least: float = 0.2, most: int = 2) -> List[int]:
    """Returns the classes that cover at least a share of some pixels, largest first."""
    counts = np.bincount(ids.reshape(-1))
    ranked = np.argsort(-counts, kind="stable")[:most].tolist()
    large = [k for k in ranked if counts[k] >= least * max(ids.size, 1)]
    return large or ranked[:1]


def exchanges(
    ids: np.ndarray, other: np.ndarray, *, least: float = 0.2, most: int = 2
) -> List[Tuple[int, int]]:
    """Returns which classes two maps give the same pixels, the largest areas first.

    Pairs of (class in `ids`, class in `other`) on at least the share `least` of the
    pixels that differ; class ids are below 256. Empty where the maps are equal.
    """
    differ = ids != other
    codes = 256 * ids[differ].astype(np.int64) + other[differ]
    # Counting is twenty times as fast as sorting.
    counts = np.bincount(codes)
    kinds = np.flatnonzero(counts)
    ranked = kinds[np.argsort(-counts[kinds], kind="stable")][:most].tolist()
    large = [kind for kind in ranked if counts[kind] >= least * len(codes)]
    return [divmod(kind, 256) for kind in large or ranked[:1]]


def count(samples: np.ndarray, class_id: int) -> np.ndarray:
    """Returns how many of the maps `[S, ...]` give a class to each pixel, `[...]`."""
    kind = np.uint8 if len(samples) < 256 else np.uint32
    return (samples == class_id).view(np.uint8).sum(0, dtype=kind)


def most_frequent(samples: np.ndarray) -> np.ndarray:
    """Returns `[...]`, of each pixel the class that most maps `[S, ...]` give it.

    Of classes that are equally frequent it is the first.
    """
    found = samples[0].copy()
    differ = (samples != found).any(0)
    chosen, rest = found[differ], samples[:, differ]
    most = np.zeros(chosen.shape, int)
    for class_id in range(int(samples.max()) + 1):
        times = count(rest, class_id)
        chosen[times > most] = class_id
        most = np.maximum(most, times)
    found[differ] = chosen
    return found


def regions(samples: np.ndarray) -> List[np.ndarray]:
    """Returns where there is something to choose, `[H, W]` bool, the largest first."""
    return proposals.regions(
        samples,
        most_frequent(samples),
        least_pixels=max(1, round(LEAST_SHARE * samples[0].size)),
        max_regions=MAX_REGIONS,
    )


def variants(samples: np.ndarray, region: np.ndarray) -> List[Group]:
    """Groups maps by what they have within a region."""
    return groups(samples[:, region])
