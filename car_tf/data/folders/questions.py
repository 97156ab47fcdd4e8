"""What a draft asks where the values of masks do not tell what they stand for.

Each function returns a question, or nothing where there is none.
"""

import itertools
from typing import Any, Dict, Sequence, Set

from car_tf.data.folders import examine


def of_object(values: Sequence[Any], shares: Sequence[float]) -> str:
    """Asks which of one or two values is marked, by their shares of the pixels."""
    if len(values) == 1:
        return f"classes: masks hold {values[0]} alone: what is marked?"
    if len(values) == 2 and shares[1] > 0.5:
        return (
            f"classes: {values[1]} covers {shares[1]:.0%} of the masks: is the object "
            "black on white? The first class is the background: put the two in that "
            "order, each with its values."
        )
    return ""


def of_raters(by_rater: Dict[str, Set[int]], mode: str) -> str:
    """Asks where two raters mark with other values: codes of `examine.codes_of`."""
    for (one, own), (two, others) in itertools.combinations(by_rater.items(), 2):
        if own and others and own.isdisjoint(others):
            first, second = (examine.value_of(min(c), mode) for c in (own, others))
            return (
                f"classes: no value that {one} marks with is one of {two}'s: where "
                f"{first} and {second} are the same, give one class both values."
            )
    return ""


def of_channels(colors: Sequence[Sequence[int]]) -> str:
    """Asks where channels may be raters, who agree where a colour is grey."""
    red, green, blue = map(set, zip(*colors))
    agree = any(0 < r == g == b for r, g, b in colors)
    if len(colors) > 2 and red == green == blue and agree:
        return (
            "classes: is each colour a class, or each channel the mask of a rater? Then "
            "save each channel as a file, masks/RATER/NAME.png, and draft anew."
        )
    return ""


def of_values(
    values: Sequence[int], per_mask: Sequence[Set[int]], is_grey: bool
) -> str:
    """Asks where grey values may stand for something else than for classes."""
    consecutive = list(range(len(values)))
    full = [own for own in per_mask if own == set(range(len(own)))]
    highest = {max(own) for own in full}
    num_asked = 6 if len(full) == len(per_mask) else 10
    if len(values) < 3:
        return ""
    if values == [0, 1, 255] and not any({1, 255} <= own for own in per_mask):
        return (
            "classes: some masks hold 0 and 1, others 0 and 255: where 1 and 255 are the "
            "same, give one class both values."
        )
    if len(values) >= num_asked and len(highest) > 2:
        return (
            f"classes: masks hold values from 0 to {values[-1]}, as many as each needs: "
            "do they number objects? Then save them with one value for each class, and "
            "draft anew."
        )
    if values[-1] == 255 and (not is_grey or values[:-1] == consecutive[:-1]):
        return (
            "ignore: is the mask value 255 a class, or are those pixels to be left out? "
            "Of the latter, move it from classes to ignore."
        )
    if is_grey and values != consecutive:
        shown = ", ".join(map(str, values[:8]))
        return (
            f"classes: masks hold {len(values)} grey values ({shown}, ...): is each a "
            "class? Edges that were smoothed or compressed have values of their own: "
            "save such masks with one value for each class, and draft anew."
        )
    return ""
