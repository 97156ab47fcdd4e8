"""What `dataset.json` says of a folder of images and raters. No TensorFlow."""

import json
import pathlib
import re
from typing import Annotated, Any, Dict, List, Literal, Optional, Tuple, Union

import pydantic
from pydantic import Field

from car_tf.config import fields
from car_tf.data import class_flips, info, io

FILE = "dataset.json"
MAX_RATERS = 12
ONE_RATER = (
    "one rater and no class flips: such data teach uncertainty about shapes alone, not "
    "about what people disagree on"
)

Byte = Annotated[int, Field(ge=0, le=255)]
Color = Tuple[Byte, Byte, Byte]
Value = Union[Byte, Color]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Side = Annotated[int, Field(ge=16, le=2**16)]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)


class Images(_Part):
    """Where images lie and how they are read."""

    files: Word = "images/{image}"
    """Path below the folder without its ending; `{image}` is the image's name, and
    `{split}` is train, val or test."""
    kind: Literal["grey", "rgb", "grey16"] = "rgb"
    """`grey16` is grey of more than 8 bits, or of floats."""
    range: Optional[Tuple[float, float]] = None
    """Of `grey16`: the values that become 0 and 255."""


class Rater(_Part):
    """Who labelled images."""

    name: Word
    masks: Word
    """Path of the masks, as `images.files`: `masks/anna/{image}`."""


class Class(_Part):
    """A class of the label maps."""

    name: Word
    color: Color
    values: Tuple[Value, ...] = ()
    """What the class is in mask files: ids or grey values, or colours; none for the
    twin of a flip."""


class Groups(_Part):
    """What must not be split: a patient, slide or video."""

    table: str = ""
    """A csv file with one row for each image; empty for none."""
    image: str = "image"
    """Its column of image names."""
    group: str = ""
    """Its column of groups; empty where it has none."""
    split: str = ""
    """Its column of train, val or test; empty for a seeded split by group."""
    pattern: str = ""
    """Without a table: a regular expression whose first bracket is the group in an
    image's name, such as `(.*)_`."""

    @pydantic.field_validator("pattern")
    @classmethod
    def _is_one(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"groups.pattern: {pattern!r} is no regular expression ({error})"
            ) from None
        return pattern


class Flip(_Part):
    """A class that takes the name of its twin in a share of the images."""

    name: Word
    twin: Word
    share: Annotated[float, Field(ge=0, le=1)]


class Description(_Part):
    """All of `dataset.json`."""

    title: Word
    object_word: Word = "object"
    rater_word: Word = "rater"
    images: Images = Images()
    raters: Annotated[Tuple[Rater, ...], Field(min_length=1, max_length=MAX_RATERS)]
    classes: Annotated[Tuple[Class, ...], Field(min_length=2, max_length=200)]
    ignore: Tuple[Value, ...] = ()
    """Mask values of pixels that count nowhere."""
    masks_of_other_size: Literal["refuse", "nearest"] = "refuse"
    """`nearest` resizes a mask that is larger or smaller than its image."""
    size: Tuple[Side, Side]
    """(height, width) in pixels that networks work at."""
    fit: Literal["resize", "pad", "tiles"] = "resize"
    """How images come to `size`: resized, padded where they are smaller, or cut in tiles
    side by side."""
    groups: Groups = Groups()
    flips: Tuple[Flip, ...] = ()
    known_leakage: Tuple[str, ...] = ()
    """Groups that may lie in several splits."""
    questions: Tuple[str, ...] = ()
    """Of the draft: what must be answered before this is read."""

    @pydantic.model_validator(mode="after")
    def _parts_agree(self) -> "Description":
        for where, pattern in [("images.files", self.images.files)] + [
            (f"raters: {rater.name}", rater.masks) for rater in self.raters
        ]:
            _check_pattern(where, pattern)
        for what in ("raters", "classes"):
            names = [item.name for item in getattr(self, what)]
            double = {name for name in names if names.count(name) > 1}
            fields.require(not double, f"{what}: {sorted(double)} occur twice")
        fields.require(
            not self.flips or len(self.raters) == 1,
            f"flips: wanted none with {len(self.raters)} raters: class flips stand in "
            "for raters, so leave one rater, or no flips",
        )
        _check_values(self)
        kind, limits = self.images.kind, self.images.range
        fields.require(
            (kind == "grey16") == (limits is not None),
            "images.range: wanted two numbers with images.kind grey16, the values that "
            f"become 0 and 255, and null otherwise, got kind {kind} and {limits}",
        )
        fields.require(
            limits is None or limits[0] < limits[1],
            f"images.range: wanted low < high, got {limits}",
        )
        return self

    @property
    def uses_colors(self) -> bool:
        """Whether masks hold colours; else ids or grey values."""
        return any(isinstance(v, tuple) for c in self.classes for v in c.values)

    def facts(self) -> info.DatasetInfo:
        """Returns what networks, metrics and figures need to know."""
        limits = self.images.range
        ids = {entry.name: index for index, entry in enumerate(self.classes)}
        return info.DatasetInfo(
            title=self.title,
            class_names=tuple(ids),
            class_colors=tuple(entry.color for entry in self.classes),
            flips=tuple(
                class_flips.ClassFlip(ids[flip.name], ids[flip.twin], flip.share)
                for flip in self.flips
            ),
            image_channels=3 if self.images.kind == "rgb" else 1,
            num_raters=len(self.raters),
            rater_names=tuple(rater.name for rater in self.raters),
            rater_word=self.rater_word,
            object_word=self.object_word,
            num_blackbox_classes=len(self.classes) - len(self.flips),
            resizes=self.fit == "resize",
            image_range=() if limits is None else limits,
        )


def _check_pattern(where: str, pattern: str) -> None:
    found = re.findall(r"{(.*?)}", pattern)
    fields.require(
        found.count("image") == 1 and set(found) <= {"image", "split"},
        f"{where}: wanted a path with {{image}} once and no other brackets than "
        f"{{split}}, got {pattern!r}",
    )
    fields.require(
        not pathlib.PurePath(pattern).is_absolute() and ".." not in pattern,
        f"{where}: wanted a path below the folder of {FILE}, got {pattern!r}",
    )


def _check_values(told: Description) -> None:
    """Raises ConfigError where mask values do not tell classes apart."""
    seen: Dict[Any, str] = {}
    named = [(entry.name, entry.values) for entry in told.classes]
    for name, values in [*named, ("ignore", told.ignore)]:
        for value in values:
            fields.require(
                value not in seen,
                f"classes: value {value} is of {seen.get(value)} and of {name}",
            )
            seen[value] = name
    kinds = {isinstance(value, tuple) for value in seen}
    fields.require(
        len(kinds) == 1, "classes: wanted values all ids or all colours, got both"
    )
    names = [entry.name for entry in told.classes]
    twins = [flip.twin for flip in told.flips]
    for flip in told.flips:
        for name in (flip.name, flip.twin):
            fields.require(name in names, f"flips: {name} is none of the classes")
    without = [entry.name for entry in told.classes if not entry.values]
    fields.require(
        sorted(without) == sorted(twins),
        "classes: wanted values for each class but the twins of flips, got none for "
        f"{without or 'none'} and twins {twins or 'none'}",
    )
    fields.require(
        not twins or names[-len(twins) :] == without,
        "classes: wanted the twins of flips after all other classes",
    )


def read(root: pathlib.Path) -> Description:
    """Reads the `dataset.json` of a folder.

    Raises:
      DataError: none, with questions that are not answered, or wrong; naming the field.
    """
    path = root / FILE
    content = content_of(root)
    if not root.is_dir():
        raise io.DataError(f"{root}: wanted a folder, found none")
    if content is None:
        raise io.DataError(
            f"{path}: wanted what the folder holds, found no such file: "
            f"`python -m car_tf.data describe {root}` writes a draft"
        )
    questions = content.get("questions")
    if isinstance(questions, list) and questions:
        raise io.DataError(
            f"{path}: {len(questions)} open questions, the first: {questions[0]} "
            "Answer them in the file and empty `questions`."
        )
    try:
        return Description.model_validate_json(json.dumps(content))
    except pydantic.ValidationError as error:
        raise io.DataError(f"{path}: {_in_words(error)}") from None


def content_of(root: pathlib.Path) -> Optional[Dict[str, Any]]:
    """Returns what a folder's `dataset.json` holds, unchecked; None without one."""
    path = root / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        raise io.DataError(f"{path}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise io.DataError(
            f"{path}: wanted fields in {{}}, got {fields.short(content)}"
        )
    return content


def write(root: pathlib.Path, content: Dict[str, Any]) -> None:
    """Writes a folder's `dataset.json`, short lists, such as colours, in one line."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    short = re.compile(r"\[\s+((?:-?[\d.]+,?\s+)+)\]")
    text = short.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text)
    io.write_text(root / FILE, text + "\n")


def known_leakage(root: pathlib.Path) -> Tuple[str, ...]:
    """Returns the groups that may lie in several splits, of any kind of data set."""
    return tuple((content_of(root) or {}).get("known_leakage", ()))


def _in_words(error: pydantic.ValidationError) -> str:
    """Returns one line on the first of pydantic's errors that says most."""
    errors = error.errors(include_url=False)
    # Of a mask value, pydantic says what is wrong with it as an id, then as a colour.
    first = errors[0]
    if first["type"] in ("value_error", "assertion_error"):
        return str(first["ctx"]["error"])
    where = _path([p for p in first["loc"] if p not in ("int", "tuple")])
    if first["type"] == "extra_forbidden":
        known = _fields_at(first["loc"])
        return f"no field {where}; {fields.suggest(str(first['loc'][-1]), known)}"
    if first["type"] == "too_long":
        found = first["ctx"]
        words = f"wanted at most {found['max_length']}, got {found['actual_length']}"
        return f"{where}: {words}"
    got = "nothing" if first["type"] == "missing" else fields.short(first["input"])
    if "values" in first["loc"] or "ignore" in first["loc"]:
        return f"{where}: wanted ids 0 to 255, or colours [r, g, b], got {got}"
    return f"{where}: {first['msg']}, got {got}"


def _path(location: List[Any]) -> str:
    text = ""
    for part in location:
        is_index = isinstance(part, int)
        text += f"[{part}]" if is_index else f".{part}" if text else str(part)
    return text


def _fields_at(location: Tuple[Any, ...]) -> List[str]:
    parts = {"images": Images, "raters": Rater, "classes": Class, "groups": Groups}
    kind = {**parts, "flips": Flip}.get(location[0], Description)
    return list((kind if len(location) > 1 else Description).model_fields)
