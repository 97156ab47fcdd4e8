"""Which files of a folder are images and masks, and which split each image is of."""

import csv
import dataclasses
import pathlib
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

from car_tf.data import findings, io, splits
from car_tf.data.folders import description

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
# How people call the splits.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "selection"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
Key = Tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Example:
    """An image with the masks of its raters."""

    name: str  # of the image
    split: str  # train, val, test, or empty where no split is given
    group: str  # what must not be split; the name where nothing else is known
    image: pathlib.Path  # its file
    # A file for each of A raters; None for one who did not label it.
    masks: Tuple[Optional[pathlib.Path], ...]


def find(
    root: pathlib.Path, told: description.Description
) -> Tuple[List[Example], findings.Problems]:
    """Returns a folder's images with the masks of each, in order, and what is wrong.

    Images without any mask are among them; the problems are those that names tell.

    Raises:
      DataError: no image, or two files of one name.
    """
    paths = {path.relative_to(root): path for path in io.walk(root)}
    images = _matching(told.images.files, paths)
    by_rater = [_matching(rater.masks, paths) for rater in told.raters]
    # Masks may be divided as images are, or lie together.
    names = {*images, *((name, "") for name, _ in images)}
    masks = {path for found in by_rater for key, path in found.items() if key in names}
    images = {key: path for key, path in images.items() if path not in masks}
    if not images:
        raise io.DataError(f"{root}: {_nothing(told.images.files, paths)}")
    groups = _Groups(root, told.groups, [name for name, _ in images])
    problems, examples = findings.Problems(), []
    for (name, split), path in images.items():
        own = tuple(
            found.get((name, split)) or found.get((name, "")) for found in by_rater
        )
        group, given = groups.of(name)
        if split and given not in ("", split):
            words = f"lies in {split}, but is of {given} in {told.groups.table}"
            raise io.DataError(f"{path}: {words}: leave one")
        # Images of one name in two splits are two images.
        group = f"{split}/{name}" if split and group == name else group
        examples.append(Example(name, split or given, group, path, own))
        if not any(own):
            words = f"none of the {len(own)} raters labelled {path.name}"
            words += f" (such as {told.raters[0].masks})"
            problems.error("missing label", examples[-1].split, path, words)
    known, strays = {example.image for example in examples} | masks, set()
    for rater, found in zip(told.raters, by_rater):
        strays |= {path for path in found.values() if path not in known}
        if masks and masks.isdisjoint(found.values()):
            words = f"raters: wanted masks of {rater.name} at {rater.masks}, found "
            words += "none of any image: mend the path, or leave this rater out"
            problems.error("missing rater", "", root / description.FILE, words)
    for path in sorted(strays):
        words = "there is no image of this mask's name"
        problems.error("missing image", "", path, words)
    has_splits = any(example.split for example in examples)
    if has_splits and not all(example.split for example in examples):
        odd = next(example for example in examples if not example.split)
        raise io.DataError(f"{odd.image}: wanted a split for each image, got none")
    return examples, problems


def _nothing(pattern: str, paths: Dict) -> str:
    endings = sorted({path.suffix for path in paths if path.suffix} - {".json"})
    found = f"files in {', '.join(endings[:5])}" if endings else "none"
    return (
        f"wanted images {pattern} in {', '.join(ENDINGS)}, found {found}: convert what "
        f"is in other formats to PNG, or mend images.files in {description.FILE}"
    )


def _matching(
    pattern: str, paths: Dict[pathlib.PurePath, pathlib.Path]
) -> Dict[Key, pathlib.Path]:
    """Returns (image, split) -> file of a pattern, in order; refuses doubled names."""
    parts = re.split(r"({image}|{split})", pattern)
    words = {"{image}": r"(?P<image>.+)", "{split}": r"(?P<split>[^/]+)"}
    form = re.compile("".join(words.get(part, re.escape(part)) for part in parts))
    found: Dict[Key, pathlib.Path] = {}
    for relative, path in paths.items():
        if relative.suffix.lower() not in ENDINGS:
            continue
        match = form.fullmatch(relative.with_suffix("").as_posix())
        if not match:
            continue
        split = match.groupdict().get("split", "")
        if split:
            if split.lower() not in SPLIT_NAMES:
                raise io.DataError(
                    f"{path}: wanted one of train, val, test for {{split}} of "
                    f"{pattern}, got {split}"
                )
            split = SPLIT_NAMES[split.lower()]
        key = (match["image"], split)
        if key in found:
            raise io.DataError(
                f"{path}: goes by the same name as {found[key].name}: leave "
                f"one of the two"
            )
        found[key] = path
    return found


class _Groups:
    """Groups and splits of images, of a table or of their names."""

    def __init__(
        self, root: pathlib.Path, told: description.Groups, names: Sequence[str]
    ):
        self._told = told
        self._path = root / (told.table or description.FILE)
        if not told.table:
            return
        rows = read_table(self._path)
        for column in filter(None, (told.image, told.group, told.split)):
            if rows and column not in rows[0]:
                raise io.DataError(
                    f"{self._path}: wanted a column {column}, found "
                    f"{', '.join(str(name) for name in rows[0])}"
                )
        by_path: Dict[str, Dict[str, str]] = {}
        for row in rows:
            name = stem_of(row[told.image])
            kept = by_path.setdefault(name, row)
            for column in filter(None, (told.group, told.split)):
                if kept[column] != row[column]:
                    raise io.DataError(
                        f"{self._path}: wanted one {column} for {name}, got "
                        f"{kept[column]} and {row[column]}"
                    )
        self._rows = _by_image(by_path, names, self._path)

    def of(self, name: str) -> Tuple[str, str]:
        """Returns an image's group and split, empty for none, if table or pattern tell."""
        if self._told.table:
            row = self._rows[name]
            split = row[self._told.split] if self._told.split else ""
            if split and split.strip().lower() not in SPLIT_NAMES:
                raise io.DataError(
                    f"{self._path}: wanted train, val or test for {name}, got {split!r}"
                )
            group = row[self._told.group] if self._told.group else name
            return group, SPLIT_NAMES.get(split.strip().lower(), "")
        if self._told.pattern:
            match = re.search(self._told.pattern, name)
            if not match or not match.groups() or not match[1]:
                raise io.DataError(
                    f"{self._path}: groups.pattern: wanted a group in brackets of "
                    f"{name}, found none with {self._told.pattern!r}"
                )
            return match[1], ""
        folder = pathlib.PurePath(name).parent.as_posix()
        return (name if folder == "." else folder), ""


def _by_image(rows: Dict[str, Any], names: Sequence[str], table: Any) -> Dict[str, Any]:
    """Returns the row of each image, whose table calls it by a name or by any path.

    A name alone stands for all images of that name. Of paths the one that ends as the
    image's is meant, else one whose file has its name, if it is of this image alone.
    """
    by_name: Dict[str, List[str]] = {}
    for path in rows:
        by_name.setdefault(pathlib.PurePath(path).name, []).append(path)
    found, users = {}, {}
    for image in dict.fromkeys(names):
        own = pathlib.PurePath(image).name
        paths = by_name.get(own, [])
        ends = [path for path in paths if f"/{path}".endswith(f"/{image}")]
        ways = ([p for p in paths if p == image], ends, [p for p in paths if p == own])
        exact = next(filter(None, ways), [])
        hits = exact or paths
        if len(hits) != 1:
            got = " and ".join(hits[:2]) or "none"
            raise io.DataError(f"{table}: wanted a row for {image}, found {got}")
        other = image if exact else users.setdefault(hits[0], image)
        if other != image:
            words = f"wanted a row for each of {other} and {image}, found {hits[0]}"
            raise io.DataError(f"{table}: {words}")
        found[image] = rows[hits[0]]
    return found


def stem_of(name: str) -> str:
    """Returns a name in a table as images are called: without the ending of a file."""
    path = pathlib.PurePath(name.strip().replace("\\", "/"))
    is_file = path.suffix.lower() in ENDINGS
    return (path.with_suffix("") if is_file else path).as_posix()


def read_table(path: pathlib.Path) -> List[Dict[str, str]]:
    """Reads a csv file with a line of names, by commas, semicolons or tabs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise io.DataError(f"{path}: wanted a csv file ({error})") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    if not rows or any(None in row or None in row.values() for row in rows):
        raise io.DataError(
            f"{path}: wanted rows of as many values as the first line has names"
        )
    return rows


def divide(
    examples: Sequence[Example], *, seed: int, fraction: float
) -> Tuple[Dict[str, List[int]], str]:
    """Divides examples into those for training, selection and evaluation.

    Returns indices by name of the split: training, selection and evaluation, in this
    order; and how it was done, in words. `fraction` is the selection's, where splits
    are given but none for it.

    Raises:
      DataError: too few groups or splits.
    """
    given: Dict[str, List[int]] = {}
    for index, example in enumerate(examples):
        given.setdefault(example.split, []).append(index)
    groups = [example.group for example in examples]
    if "" in given:
        try:
            found = splits.split_by_group(groups, seed=seed, fractions=splits.FRACTIONS)
        except ValueError:
            raise io.DataError(
                f"wanted at least 3 groups for training, selection and test, found "
                f"{len(set(groups))}: give more images, or splits of your own"
            ) from None
        named = {"train": found["train"], "selection": found["val"]}
        words = f"splits drawn by group with seed {seed} (data.split_seed)"
        return {**named, "test": found["test"]}, words
    if set(given) == {"test"}:
        alone = {"train": [], "selection": [], "test": given["test"]}
        return alone, "test alone, to evaluate on"
    if "train" not in given or len(given) < 2:
        raise io.DataError(
            f"wanted a split train and one of val and test, found {', '.join(given)}: "
            "give the other, or write the folder's name for {split} in dataset.json to "
            "have splits drawn"
        )
    evaluation = "test" if "test" in given else "val"
    if len(given) == 3:
        return {name: given[name] for name in splits.SPLITS}, "splits as given"
    train = given["train"]
    own = sorted({groups[index] for index in train})
    if len(own) < 2:
        words = "wanted a split val for model selection, or two groups in train"
        raise io.DataError(words)
    shares = {"train": 1 - fraction, "selection": fraction}
    own = [groups[index] for index in train]
    found = splits.split_by_group(own, seed=seed, fractions=shares)
    divided = {name: [train[place] for place in found[name]] for name in shares}
    divided[evaluation] = given[evaluation]
    words = f"selection drawn from train by group with seed {seed} (data.split_seed)"
    return divided, words
