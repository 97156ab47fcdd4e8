"""Fields of a configuration: checked, set from text, rebuilt from JSON, compared.

A configuration is a frozen dataclass of frozen dataclasses, its sections, whose fields
are numbers, strings, booleans and tuples. Nothing here knows which.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import math
import typing
from typing import Any, Iterable, List, Literal


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field."""


def section(cls: type) -> type:
    """Makes a frozen dataclass that holds its fields to their types.

    A field that is misspelt in a file or in a run's `config.json` is refused like one
    that is misspelt on the command line, before the ranges (`__post_init__`) are looked
    at.
    """
    check_ranges = getattr(cls, "__post_init__", lambda self: None)

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(cls)
        for name, hint in hints.items():
            if typing.get_origin(hint) is typing.ClassVar:
                continue
            _check_type(f"{cls.__name__}.{name}", getattr(self, name), hint)
        check_ranges(self)

    cls.__post_init__ = __post_init__
    return dataclasses.dataclass(frozen=True)(cls)


def _check_type(key: str, value: Any, hint: Any) -> None:
    """Raises ConfigError unless a value is of the annotated type of its field."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{key}: {value!r}; " + suggest(str(value), args))
    elif origin is tuple:
        require(
            isinstance(value, tuple)
            and (args[-1] is Ellipsis or len(value) == len(args)),
            f"{key}: wanted {_words(hint)}, got {value!r:.80}",
        )
        for item in value:
            _check_type(key, item, args[0])
    else:
        kinds = (int, float) if hint is float else (hint,)
        # True is an int to Python.
        good = isinstance(value, kinds) and isinstance(value, bool) == (hint is bool)
        require(good, f"{key}: wanted {_words(hint)}, got {value!r:.80}")


def _words(hint: Any) -> str:
    """Names a type for people."""
    if typing.get_origin(hint) is tuple:
        args = typing.get_args(hint)
        many = "some" if args[-1] is Ellipsis else len(args)
        return f"a tuple of {many} {args[0].__name__}"
    return hint.__name__


def require(condition: bool, message: str) -> None:
    """Raises ConfigError with a message unless a condition holds."""
    if not condition:
        raise ConfigError(message)


def require_positive(section: str, **values: float) -> None:
    """Raises ConfigError unless all values, named as their fields, are above 0."""
    for name, value in values.items():
        good = math.isfinite(value) and value > 0
        require(good, f"{section}.{name}: wanted a number above 0, got {value}")


def require_not_negative(section: str, **values: float) -> None:
    """Raises ConfigError unless all values are finite and at least 0."""
    for name, value in values.items():
        good = math.isfinite(value) and value >= 0
        require(good, f"{section}.{name}: wanted a number from 0 on, got {value}")


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
        require(bool(separator), f"--set: wanted section.field=value, got {text!r}")
        section, _, name = key.partition(".")
        _check_field(section, type(config), key)
        if not dataclasses.is_dataclass(getattr(config, section)):
            raise ConfigError(f"--set: {key} cannot be set: name a section's field")
        kind = type(getattr(config, section))
        _check_field(name, kind, key)
        hint = typing.get_type_hints(kind)[name]
        changes.setdefault(section, {})[name] = _parse(value, hint, key)
    return change(config, **changes)


def change(config: Any, **changes: Any) -> Any:
    """Returns a configuration with other values: `change(config, train={"seed": 2})`.

    A mapping changes fields of its section, anything else is the new value itself.
    """
    for name, value in changes.items():
        if isinstance(value, collections.abc.Mapping):
            changes[name] = dataclasses.replace(getattr(config, name), **value)
    return dataclasses.replace(config, **changes)


def _check_field(name: str, kind: type, key: str) -> None:
    fields = [field.name for field in dataclasses.fields(kind)]
    if name not in fields:
        raise ConfigError(f"--set: no field {key!r}; " + suggest(name, fields))


def _parse(text: str, kind: Any, key: str) -> Any:
    """Parses `text` as the annotated type of a field."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        require(text in args, f"--set: {key}: {text!r}; " + suggest(text, args))
        return text
    if origin is tuple:
        items = [item.strip() for item in text.strip("()[] ").split(",")]
        items = [item for item in items if item]
        if args[-1] is Ellipsis:
            args = (args[0],) * len(items)
        require(
            len(items) == len(args),
            f"--set: {key}: wanted {len(args)} values with commas between, got {text!r}",
        )
        return tuple(_parse(item, arg, key) for item, arg in zip(items, args))
    if kind is bool:
        require(
            text.lower() in ("true", "false"),
            f"--set: {key}: wanted true or false, got {text!r}",
        )
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(
            f"--set: {key}: wanted {kind.__name__}, got {text!r}"
        ) from None


def rebuild(kind: Any, values: Any) -> Any:
    """Makes a dataclass, and those in it, of the dicts and lists that JSON holds.

    Raises:
      TypeError: fields that it does not have or lacks.
      ConfigError: values out of range.
    """
    if not isinstance(values, dict):
        raise TypeError(f"wanted the fields of {kind.__name__}, got {values!r:.80}")
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise TypeError(f"{kind.__name__} has no field {name!r}")
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints.get(name)):
            value = rebuild(hints[name], value)
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return kind(**arguments)


def differences(old: Any, new: Any) -> List[str]:
    """Returns lines `section.field: old -> new` for the fields in which two differ.

    Where a job trains, `train.devices`, makes no difference.
    """
    lines = []
    old, new = dataclasses.asdict(old), dataclasses.asdict(new)
    for section in old:
        if not isinstance(old[section], dict):
            old[section], new[section] = {"": old[section]}, {"": new[section]}
        for name, value in old[section].items():
            key = f"{section}.{name}".rstrip(".")
            if value != new[section][name] and key != "train.devices":
                lines.append(f"{key}: {value!r} -> {new[section][name]!r}")
    return lines
