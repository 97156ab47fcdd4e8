"""What a check of a data set finds: problems, numbers, and their table."""

import collections
import dataclasses
import hashlib
import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

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


class Problems(List[Problem]):
    """Collects what is wrong with a data set."""

    def error(self, kind: str, split: str, place: PathLike, detail: str) -> None:
        """Adds what would stop a training or falsify its results."""
        self.append(Problem(ERROR, kind, split, str(place), detail))

    def warning(self, kind: str, split: str, place: PathLike, detail: str) -> None:
        """Adds what a user should look at."""
        self.append(Problem(WARNING, kind, split, str(place), detail))

    def unreadable(
        self, split: str, path: PathLike, error: Exception, kind: str = "unreadable"
    ) -> None:
        """Adds a reader's complaint about a file."""
        self.error(kind, split, path, str(error).removeprefix(f"{path}: "))

    def attempt(
        self, split: str, path: PathLike, read: Callable, kind: str = "unreadable"
    ) -> Any:
        """Returns `read()`; None, and a problem more, where that raises DataError."""
        try:
            return read()
        except io.DataError as error:
            self.unreadable(split, path, error, kind)
            return None

    def has_errors(self) -> bool:
        """Whether one of them is an error."""
        return any(problem.level == ERROR for problem in self)


def skips(on_error: str) -> bool:
    """Whether `data.on_error` leaves examples with errors out."""
    return "skip" in _allowed(on_error)


def _allowed(on_error: str) -> List[str]:
    return [name.strip() for name in on_error.split(",")]


def stop_at(problems: Sequence[Problem], on_error: str = "stop") -> None:
    """Raises DataError with the first error that `data.on_error` does not allow."""
    for problem in problems:
        of_all = problem.kind in data_sections.ERRORS_OF_ALL
        if problem.level != ERROR or problem.kind in _allowed(on_error):
            continue
        if of_all or not skips(on_error):
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


def of_all(items: Sequence[Item], known_leakage: Sequence[str] = ()) -> Problems:
    """Returns what shows in all examples together: equal pixels, and leakage.

    Images of equal pixels are an error across splits, a warning within one. So are
    cities, patients or series in more than one split; those in `known_leakage` (of
    dataset.json) are a warning.
    """
    problems = Problems()
    readable = [item for item in items if item.digest]
    for first, *others in _grouped(readable, lambda item: item.digest).values():
        for other in others:
            words = f"same pixels as {first.name} of {first.split}"
            if other.split == first.split:
                problems.warning("duplicate", other.split, other.name, words)
            else:
                kind = "duplicate across splits"
                problems.error(kind, other.split, other.name, words)
    for group, members in sorted(_grouped(items, lambda item: item.group).items()):
        numbers = collections.Counter(item.split for item in members)
        if group in known_leakage and len(numbers) > 1:
            words = "lies in several splits, as known_leakage says"
            problems.warning("known leakage", "", group, words)
        elif len(numbers) > 1:
            words = ", ".join(f"{num} images in {s}" for s, num in numbers.items())
            problems.error("leakage", " and ".join(numbers), group, words)
    return problems


def odd_sizes(items: Sequence[Item]) -> Problems:
    """Returns images of another size than most, where all must have one."""
    sizes = collections.Counter(item.size for item in items if item.size)
    usual = sizes.most_common(1)[0][0] if sizes else None
    problems = Problems()
    for item in items:
        if item.size not in (None, usual):
            words = f"wanted {by(usual)}, as most, got {by(item.size)}"
            problems.error("size of image", item.split, item.name, words)
    return problems


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
    """Counts a report's errors, without its warnings."""
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
            lines += [f"  and {len(problems) - _MAX_ROWS} more (--json has them all)"]
    lines += ["", *report["plan"]] if report.get("plan") else []
    errors = num_errors(report)
    warnings = len(report["problems"]) - errors
    return "\n".join([*lines, "", f"errors: {errors}, warnings: {warnings}"])
