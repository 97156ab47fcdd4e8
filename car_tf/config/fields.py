"""Sections of a configuration: checked, set from text, rebuilt from JSON, compared.

A configuration is a frozen pydantic model of frozen pydantic models, its sections,
whose fields are numbers, strings, booleans and tuples. Nothing here knows which.
"""

from __future__ import annotations

import difflib
import typing
from typing import Any, ClassVar, Iterable, Iterator, List, Literal, Tuple

import pydantic

_BOUNDS = {"gt": "above", "ge": "from", "le": "up to", "lt": "below"}


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field."""


class Section(pydantic.BaseModel):
    """A frozen group of fields, each held to its type and range.

    Types are not converted, so that `steps=True` and `steps="5"` are refused, but for
    lists, which become tuples, and whole numbers, which become floats.

    `class Data(Section, key="data")` is what error messages call it. Each field has a
    docstring below it, which `python -m car_tf.config NAME` prints.
    """

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
    SECTION: ClassVar[str]

    def __init_subclass__(cls, key: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.SECTION = key

    if not typing.TYPE_CHECKING:

        def __init__(self, /, **values: Any) -> None:
            for name, value in values.items():
                values[name] = tuple(value) if isinstance(value, list) else value
            try:
                super().__init__(**values)
            except pydantic.ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise ConfigError(_in_words(type(self), first)) from None

    def rules(self) -> Iterator[Tuple[bool, str]]:
        """Yields what must hold of the fields together, and what is said otherwise."""
        yield from ()

    @pydantic.model_validator(mode="after")
    def _obeys_rules(self) -> "Section":
        for holds, message in self.rules():
            require(holds, message)
        return self


def _in_words(kind: type, error: Any) -> str:
    """Returns one line on one of pydantic's errors."""
    if error["type"] == "value_error":  # of a validator, which names the field itself
        return str(error["ctx"]["error"])
    name = error["loc"][0]
    if error["type"] == "extra_forbidden":
        found = f"no field {short(key_of(kind, name))}; "
        return found + suggest(name, kind.model_fields)
    key, field = key_of(kind, name), kind.model_fields[name]
    absent = error["type"] == "missing" and len(error["loc"]) == 1
    got = "nothing" if absent else short(error["input"])
    if "too_long" in error["type"]:
        return f"{key}: {error['msg']}, got {got}"
    options = typing.get_args(field.annotation)
    if error["type"] == "literal_error":
        return f"{key}: {got}; " + suggest(str(error["input"]), options)
    return f"{key}: wanted {wanted(field.annotation, field.metadata)}, got {got}"


def key_of(kind: type, name: str) -> str:
    """Returns `section.field`."""
    return f"{kind.SECTION}.{name}".lstrip(".")


def short(value: Any) -> str:
    """Returns a value as Python writes it, in one line of limited length."""
    try:
        return f"{value!r:.80}"
    except (ValueError, RecursionError):  # a number of thousands of digits
        return f"a huge {type(value).__name__}"


def wanted(hint: Any, metadata: Iterable[Any] = ()) -> str:
    """Says for people what a field takes, such as `int from 0 up to 255`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__metadata__"):  # Annotated
        found = (getattr(item, "metadata", [item]) for item in hint.__metadata__)
        return wanted(args[0], [item for items in found for item in items])
    if is_section(hint):
        return f"a {hint.__name__}"
    if origin is Literal:
        return "one of " + ", ".join(args)
    if origin is tuple:
        some = f"{len(args)} values {','.join('abcdefgh'[: len(args)])}"
        some = "values a,b,..." if args[-1] is Ellipsis else some
        return f"{some}, each {wanted(args[0])}"
    name = {bool: "true or false", str: "text"}.get(hint) or hint.__name__
    bounds = [
        f"{word} {getattr(item, key)}"
        for item in metadata
        for key, word in _BOUNDS.items()
        if hasattr(item, key)
    ]
    return " ".join([name, *bounds])


def is_section(kind: Any) -> bool:
    """Whether the type of a field is a section."""
    return isinstance(kind, type) and issubclass(kind, Section)


def require(condition: bool, message: str) -> None:
    """Raises ConfigError with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def suggest(name: str, options: Iterable[str]) -> str:
    """Returns the end of a message: the option nearest to a name, and all of them."""
    options = sorted(options)
    close = difflib.get_close_matches(name, options, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}available: {', '.join(options)}"


def override(config: Any, texts: Iterable[str]) -> Any:
    """Returns a configuration with fields replaced, from `section.field=value` texts.

    All replacements of a section are made at once, so that fields that must agree can
    be changed together, in any order.
    """
    changes = {}
    for text in texts:
        key, separator, value = (part.strip() for part in text.partition("="))
        require(
            bool(separator), f"--set: wanted section.field=value, got {short(text)}"
        )
        section, _, name = key.partition(".")
        kind = _field(type(config), section, key).annotation
        require(is_section(kind), f"--set: {key} cannot be set: name a section's field")
        hint = _field(kind, name, key).annotation
        changes.setdefault(section, {})[name] = _parse(value, hint)
    return change(config, **changes)


def _field(kind: type, name: str, key: str) -> Any:
    if name not in kind.model_fields:
        found = f"--set: no field {short(key)}; "
        raise ConfigError(found + suggest(name, kind.model_fields))
    return kind.model_fields[name]


def _parse(text: str, hint: Any) -> Any:
    """Returns a text as the type of a field, or as it is where it is of no such type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hasattr(hint, "__metadata__"):
        return _parse(text, args[0])
    if origin is tuple:
        items = [item.strip() for item in text.strip("()[] ").split(",")]
        items = tuple(_parse(item, args[0]) for item in items if item)
        fits = args[-1] is Ellipsis or len(items) == len(args)
        return items if fits else text
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return hint(text) if hint in (int, float) else text
    except ValueError:
        return text


def change(config: Any, **changes: Any) -> Any:
    """Returns a configuration with other values: `change(config, train={"seed": 2})`.

    A section keeps the fields that its mapping does not name.

    Raises:
      ConfigError: also for a section as a whole, which would reset its other fields.
    """
    values = dict(config)
    for name, value in changes.items():
        old = values.get(name)
        if isinstance(old, Section):
            require(
                isinstance(value, dict),
                f"{name}: wanted a dict of the fields to change, got "
                f"{type(value).__name__}, which would reset the others",
            )
            value = type(old)(**{**dict(old), **value})
        values[name] = value
    return type(config)(**values)


def rebuild(kind: Any, values: Any) -> Any:
    """Makes a section, and those in it, of the dicts and lists that JSON holds.

    Raises:
      ConfigError: fields that it does not have or lacks, or values out of range.
    """
    if not isinstance(values, dict):
        found = f"wanted the fields of {kind.__name__}, got {short(values)}"
        raise ConfigError(found)
    arguments = dict(values)
    for name, field in kind.model_fields.items():
        if name in arguments and is_section(field.annotation):
            arguments[name] = rebuild(field.annotation, arguments[name])
    return kind(**arguments)


def differences(old: Any, new: Any) -> List[str]:
    """Returns lines `section.field: old -> new` for the fields in which two differ.

    Where a job trains, `train.devices`, makes no difference, nor what is done at errors
    in the data, `data.on_error`: that the data are the same is seen from them.
    """
    old, new = _flat(old), _flat(new)
    return [
        f"{key}: {value!r} -> {new.get(key)!r}"
        for key, value in old.items()
        if value != new.get(key) and key not in ("train.devices", "data.on_error")
    ]


def _flat(config: Any) -> dict:
    """Returns `section.field` -> value."""
    flat = {}
    for name, value in config:
        items = value if isinstance(value, Section) else [("", value)]
        flat.update({f"{name}.{field}".rstrip("."): item for field, item in items})
    return flat
