"""Fields of a configuration: checked, set from text, rebuilt from JSON, compared.

A configuration is a frozen dataclass of frozen dataclasses, its sections, whose fields
are numbers, strings, booleans and tuples. Nothing here knows which.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from typing import Any, Iterable, List, Literal


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field."""


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
    sections = {
        section: dataclasses.replace(getattr(config, section), **fields)
        for section, fields in changes.items()
    }
    return dataclasses.replace(config, **sections)


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
