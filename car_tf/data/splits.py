"""Splits by group (patient, series, sequence), such that none leaks into another."""

import hashlib
from typing import Dict, Hashable, List, Mapping, Sequence

SPLITS = ("train", "val", "test")
FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}


def check_disjoint(groups: Mapping[str, Sequence[Hashable]]) -> None:
    """Raises ValueError where splits share a patient, of patients by split."""
    seen: Dict[Hashable, str] = {}
    for split, members in groups.items():
        for group in members:
            if seen.setdefault(group, split) != split:
                both = f"{seen[group]} and {split}"
                raise ValueError(f"patient {group} is in two splits, {both}")


def split_by_group(
    groups: Sequence[str], *, seed: int, fractions: Mapping[str, float]
) -> Dict[str, List[int]]:
    """Splits examples, by the group of each, such that no group is in two splits.

    Groups are ranked by a hash of name and seed, which stays the same wherever a random
    generator's stream may not. `fractions` are of the groups, by split; positive, they
    sum to 1. Returns ascending indices of the examples by split, each with a group.

    Raises:
      ValueError: the fractions do not sum to 1, or there are fewer groups than splits.
    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) <= 0:
        raise ValueError(f"fractions must be positive and sum to 1, got {fractions}")

    def rank(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode()).digest()

    ranked = sorted(set(groups), key=rank)
    if len(ranked) < len(fractions):
        words = f"cannot split {len(ranked)} patients or series into"
        raise ValueError(f"{words} {len(fractions)}")
    # Cut points, moved where rounding would leave a split without a group.
    cuts, total = [0], 0.0
    for index, fraction in enumerate(fractions.values()):
        total += fraction
        later = len(fractions) - 1 - index
        cut = max(round(total * len(ranked)), cuts[-1] + 1)
        cuts.append(min(cut, len(ranked) - later))
    split_of = {
        group: split
        for split, start, stop in zip(fractions, cuts, cuts[1:])
        for group in ranked[start:stop]
    }
    indices: Dict[str, List[int]] = {split: [] for split in fractions}
    for index, group in enumerate(groups):
        indices[split_of[group]].append(index)
    return indices
