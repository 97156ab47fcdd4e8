"""What a check of a data set finds: problems, numbers, and their table."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np

from car_tf.config import data_sections
from car_tf.data import io

ERROR, WARNING = "error", "warning"
_MAX_ROWS = 5

PathLike = Union[str, "os.PathLike[str]"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong."""

    level: str  # `error` or `warning`
    kind: str  # what sort of thing, in words that are the same for all of its kind
    split: str  # where
    place: str  # file, or name of the example or group
    detail: str  # what was wanted and what was found


@dataclasses.dataclass(frozen=True)
class Item:
    """What was found out about one example."""

    name: str  # of the example
    group: str  # its city, patient or series
    split: str  # where it lies
    problems: Tuple[Problem, ...] = ()  # what is wrong with it alone
    # (height, width) of its image; None if it cannot be read.
    size: Optional[Tuple[int, int]] = None
    digest: Optional[str] = None  # SHA-256 of its pixels; None if it cannot be read
    # `[256]` pixels of each id in its label as stored, of street scenes.
    counts: Optional[np.ndarray] = None
    # `[A, 256]` pixels of each class id for each rater, of folders.
    rater_counts: Optional[np.ndarray] = None
    # Mean IoU of pairs of raters; None where there are none.
    agreement: Optional[float] = None
    num_labels: int = 0  # labels that could be read
    num_empty: int = 0  # those of them without any class, or without a lesion


def error(kind: str, split: str, place: PathLike, detail: str) -> Problem:
    """Returns what would stop a training or falsify its results."""
    return Problem(ERROR, kind, split, str(place), detail)


def warning(kind: str, split: str, place: PathLike, detail: str) -> Problem:
    """Returns what a user should look at."""
    return Problem(WARNING, kind, split, str(place), detail)


def unreadable(
    split: str, path: PathLike, complaint: Exception, kind: str = "unreadable"
) -> Problem:
    """Turns a reader's complaint about a file into a problem."""
    text, start = str(complaint), f"{path}: "
    return error(kind, split, path, text[len(start) * text.startswith(start) :])


def skips(on_error: str) -> bool:
    """Whether `data.on_error` leaves examples with errors out."""
    return "skip" in _allowed(on_error)


def _allowed(on_error: str) -> List[str]:
    return [name.strip() for name in on_error.split(",")]


def stop_at(problems: Sequence[Problem], on_error: str = "stop") -> None:
    """Raises DataError with the first error that `data.on_error` does not allow."""
    for problem in problems:
        allowed, of_all = (
            _allowed(on_error),
            problem.kind in data_sections.ERRORS_OF_ALL,
        )
        if problem.level != ERROR or problem.kind in allowed:
            continue
        if of_all or "skip" not in allowed:
            words = f" (data.on_error={problem.kind!r} passes this over)" * of_all
            raise io.DataError(f"{problem.place}: {problem.detail}{words}")


def digest(pixels: np.ndarray) -> str:
    """Returns the SHA-256 of an array's shape and values."""
    found = hashlib.sha256(str(pixels.shape).encode())
    found.update(np.ascontiguousarray(pixels))
    return found.hexdigest()


def by(size: Tuple[int, int]) -> str:
    """Returns a size in words."""
    return f"{size[0]} x {size[1]}"


def _grouped(items: Sequence[Item], key: Callable) -> Dict[Any, List[Item]]:
    grouped = collections.defaultdict(list)
    for item in items:
        grouped[key(item)].append(item)
    return grouped


def duplicates(items: Sequence[Item]) -> List[Problem]:
    """Images of equal pixels: across splits an error, within one a warning."""
    problems = []
    readable = [item for item in items if item.digest]
    for members in _grouped(readable, lambda item: item.digest).values():
        first = members[0]
        for other in members[1:]:
            words = f"same pixels as {first.name} of {first.split}"
            make, kind = warning, "duplicate"
            if other.split != first.split:
                make, kind = error, "duplicate across splits"
            problems.append(make(kind, other.split, other.name, words))
    return problems


def of_all(items: Sequence[Item], known_leakage: Sequence[str] = ()) -> List[Problem]:
    """What shows in all examples together: duplicates, and groups in several splits."""
    return duplicates(items) + leaks(items, known_leakage)


def has_errors(problems: Sequence[Problem]) -> bool:
    """Whether one of them is an error."""
    return any(problem.level == ERROR for problem in problems)


def leaks(items: Sequence[Item], known: Sequence[str] = ()) -> List[Problem]:
    """Cities, patients or series that lie in more than one split.

    Those that are `known` to (`known_leakage` of dataset.json) are a warning.
    """
    problems = []
    for group, members in sorted(_grouped(items, lambda item: item.group).items()):
        numbers = collections.Counter(item.split for item in members)
        if group in known and len(numbers) > 1:
            words = "lies in several splits, as known_leakage says"
            problems.append(warning("known leakage", "", group, words))
        elif len(numbers) > 1:
            words = ", ".join(f"{num} images in {s}" for s, num in numbers.items())
            problems.append(error("leakage", " and ".join(numbers), group, words))
    return problems


def odd_sizes(items: Sequence[Item]) -> List[Problem]:
    """Images of another size than most, for data sets in which all must have one."""
    sizes = collections.Counter(item.size for item in items if item.size)
    usual = sizes.most_common(1)[0][0] if sizes else None
    return [
        error(
            "size of image",
            item.split,
            item.name,
            f"wanted {by(usual)}, as most, got {by(item.size)}",
        )
        for item in items
        if item.size not in (None, usual)
    ]


def summaries(items: Sequence[Item]) -> Dict[str, Dict[str, Any]]:
    """Returns numbers by split, as JSON holds them."""
    numbers = {}
    for split, members in _grouped(items, lambda item: item.split).items():
        sizes = collections.Counter(by(item.size) for item in members if item.size)
        numbers[split] = {
            "images": len(members),
            "groups": len({item.group for item in members}),
            "labels": sum(item.num_labels for item in members),
            "empty_labels": sum(item.num_empty for item in members),
            "sizes": dict(sizes.most_common()),
        }
    return numbers


def num_errors(report: Dict[str, Any]) -> int:
    """Counts a report's errors; warnings are none."""
    return sum(problem["level"] == ERROR for problem in report["problems"])


def table(report: Dict[str, Any]) -> str:
    """Returns a report as text: the splits, then some problems of every kind."""
    lines = ["split    images  groups  labels  empty  size"]
    for split, found in report["splits"].items():
        sizes = list(found["sizes"]) or ["-"]
        size = sizes[0] + (f" and {len(sizes) - 1} more" if sizes[1:] else "")
        lines.append(
            f"{split:<8}{found['images']:>7}{found['groups']:>8}{found['labels']:>8}"
            f"{found['empty_labels']:>7}  {size}"
        )
    kinds = collections.defaultdict(list)
    for problem in report["problems"]:
        kinds[problem["level"], problem["kind"]].append(problem)
    for (level, kind), problems in sorted(kinds.items()):
        lines += ["", f"{level}: {kind} ({len(problems)})"]
        lines += [
            f"  {problem['split']}  {problem['place']}: {problem['detail']}"
            for problem in problems[:_MAX_ROWS]
        ]
        if len(problems) > _MAX_ROWS:
            lines.append(
                f"  and {len(problems) - _MAX_ROWS} more (--json has them all)"
            )
    lines += ["", *report["plan"]] if report.get("plan") else []
    errors = num_errors(report)
    warnings = len(report["problems"]) - errors
    return "\n".join([*lines, "", f"errors: {errors}, warnings: {warnings}"])
