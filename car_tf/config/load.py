"""Configurations in files: found by name or path, overridden, and saved as JSON.

A configuration is a file with a function `get_config()`, or the `config.json` of a run.
`load` applies `section.field=value` overrides to it, so that a wrong name, field or
type stops a job before TensorFlow starts.
"""

import ast
import importlib.util
import json
import pathlib
import traceback
import types
from typing import Any, Dict, Iterable, List

from car_tf.config import fields, schema


def config_dirs() -> List[pathlib.Path]:
    """Returns the folders in which configurations are looked up by name."""
    package = pathlib.Path(__file__).resolve().parents[1]
    folders = (package.parent / "configs", package / "configs")
    return [folder for folder in folders if folder.is_dir()]


def _files() -> Dict[str, pathlib.Path]:
    """Returns name -> file of the configurations that can be loaded by name."""
    found = {}
    for folder in config_dirs():
        for path in sorted(folder.glob("[!_]*.py")):
            found.setdefault(path.stem, path)
    return found


def available() -> List[str]:
    """Returns the sorted names of the configurations that can be loaded by name."""
    return sorted(_files())


def summaries() -> Dict[str, str]:
    """Returns name -> first line of the file's docstring, for those `available`."""
    docs = {
        name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for name, path in sorted(_files().items())
    }
    return {name: doc.split("\n")[0] for name, doc in docs.items()}


def _find(name_or_path: str) -> pathlib.Path:
    """Returns the file of a configuration.

    Raises:
      ConfigError: there is none.
    """
    path, named = pathlib.Path(name_or_path).expanduser(), _files()
    if path.suffix not in (".py", ".json"):
        fields.require(
            name_or_path in named,
            f"--config: no configuration {fields.short(name_or_path)}; "
            + fields.suggest(name_or_path, named),
        )
        return named[name_or_path]
    fields.require(path.is_file(), f"--config: no file {path}")
    return path


def load(name_or_path: str, overrides: Iterable[str] = ()) -> Any:
    """Loads a `Config`, or another kind of `Job`, and applies overrides.

    `name_or_path` is a name in `configs/`, or the path of a Python file or of a run's
    `config.json`; overrides are texts `section.field=value`.

    Raises:
      ConfigError: unknown name, field or section, wrong type, value out of range, or a
        file that is no configuration.
    """
    path = _find(name_or_path)
    config = _of_run(path) if path.suffix == ".json" else _of_python(path)
    return fields.override(config, overrides)


def _of_run(path: pathlib.Path) -> Any:
    """Rebuilds what a run saved, as the kind of configuration that its name tells."""
    try:
        text = path.read_text(encoding="utf-8")
        name = _parse(text).get("name")
        named = _files().get(name) if isinstance(name, str) else None
        return from_json(text, type(_of_python(named)) if named else schema.Config)
    except ValueError as error:  # also text in another encoding
        raise fields.ConfigError(f"--config: {path}: {error}") from None


def _of_python(path: pathlib.Path) -> Any:
    """Returns what `get_config()` of a Python file returns."""
    # Python 3.9 takes the path as it is for the name of the code's file.
    absolute = path.absolute()
    spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", absolute)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        get_config = getattr(module, "get_config", None)
        fields.require(
            isinstance(get_config, types.FunctionType), "no function get_config()"
        )
        config = get_config()
        fields.require(
            isinstance(config, schema.Job),
            f"get_config() returned {fields.short(config)}, not a configuration",
        )
        return config
    except SyntaxError as error:
        words = f"{path} is not valid Python: {error}"
    except Exception as error:  # whatever a user's file raises
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if f.filename == str(absolute)]
        where = f"{path}, line {lines[-1]}" if lines else str(path)
        kind = "" if isinstance(error, fields.ConfigError) else type(error).__name__
        words = f"{where}: {kind}{': ' if kind else ''}{error}"
    raise fields.ConfigError("--config: " + " ".join(words.split()))


def to_json(config: schema.Job) -> str:
    """Returns the configuration as indented JSON."""
    return json.dumps(config.model_dump(), indent=2)


def from_json(text: str, kind: type = schema.Config) -> Any:
    """Rebuilds a configuration of a kind from `to_json`'s text.

    Fields that the text lacks, since they are newer than it, take their defaults.

    Raises:
      ConfigError: text that does not describe a configuration of this version.
    """
    try:
        return fields.rebuild(kind, _parse(text))
    except fields.ConfigError as error:
        words = f"not a configuration of this version: {error}"
        raise fields.ConfigError(words) from None


def _parse(text: str) -> Dict[str, Any]:
    try:
        content = json.loads(text)
    except RecursionError:
        raise fields.ConfigError("JSON that is nested too deeply") from None
    except ValueError as error:
        raise fields.ConfigError(f"not JSON: {error}") from None
    fields.require(
        isinstance(content, dict), f"wanted fields in {{}}, got {fields.short(content)}"
    )
    return content
