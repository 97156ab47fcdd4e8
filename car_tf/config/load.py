"""Frozen, typed configuration: loading, overriding and saving. No TensorFlow.

A configuration is a file with a function `get_config()` that returns a `Config`, whose
fields stand in `config_sections`. `load` finds it by name (in `configs/`) or by path and
applies `section.field=value` overrides, so that a wrong name, field or type stops a job
before TensorFlow starts.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import pathlib
import types
from typing import Any, Iterable

from car_tf.config import fields, schema

# All that a file in `configs/` needs is here.
Data = schema.Data
BlackBox = schema.BlackBox
CalibrationNet = schema.CalibrationNet
RefinementNet = schema.RefinementNet
Discriminator = schema.Discriminator
Stage1 = schema.Stage1
Stage2 = schema.Stage2
Train = schema.Train
Evaluation = schema.Evaluation
ConfigError = fields.ConfigError
change = fields.change


@fields.section
class Config:
    """A whole experiment."""

    name: str
    data: Data = Data()
    blackbox: BlackBox = BlackBox()
    calibration_net: CalibrationNet = CalibrationNet()
    refinement_net: RefinementNet = RefinementNet()
    discriminator: Discriminator = Discriminator()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()

    def __post_init__(self):
        is_lidc = self.data.dataset == "lidc"
        fields.require(
            not is_lidc or (self.blackbox.kind == "none" and not self.blackbox.path),
            "blackbox: there are no black boxes for LIDC; wanted blackbox.kind=none and "
            f"no blackbox.path, got {self.blackbox.kind} and "
            f"{self.blackbox.path or 'none'}",
        )
        fields.require(
            not is_lidc or self.data.size == self.data.crop_size,
            "data.size: LIDC is cropped at the centre, so wanted data.crop_size "
            f"{self.data.crop_size}, got {self.data.size}",
        )
        fields.require(
            self.calibration_net.kind != "blackbox_calibrator"
            or self.blackbox.kind != "none",
            "calibration_net.kind: blackbox_calibrator works on a black box, but "
            "blackbox.kind=none",
        )
        fields.require(
            self.calibration_net.kind != "true_distribution"
            or self.blackbox.kind == "truth",
            "calibration_net.kind: true_distribution takes the label in the black box's "
            f"place, so wanted blackbox.kind=truth, got {self.blackbox.kind}",
        )
        fields.require(
            self.calibration_net.kind != "segnet" or self.blackbox.kind == "none",
            "calibration_net.kind: segnet works on the image alone, so wanted "
            f"blackbox.kind=none, got {self.blackbox.kind}",
        )
        fields.require(
            not self.train.jit_compile
            or self.calibration_net.kind != "segnet"
            or self.calibration_net.decoder != "unpooling",
            "train.jit_compile: XLA has no max-pooling with indices, so wanted false, "
            "or calibration_net.decoder=skips",
        )
        fields.require(
            self.stage2.pixel_loss != "elbo" or self.refinement_net.noise == "standard",
            "refinement_net.noise: the prior of stage2.pixel_loss=elbo is N(0, I), so "
            f"wanted standard, got {self.refinement_net.noise}",
        )


def config_dirs() -> list:
    """Returns the folders in which configurations are looked up by name."""
    package = pathlib.Path(__file__).resolve().parents[1]
    return [
        folder
        for folder in (package.parent / "configs", package / "configs")
        if folder.is_dir()
    ]


def available() -> list:
    """Returns the sorted names of the configurations that can be loaded by name."""
    names = {
        path.stem
        for folder in config_dirs()
        for path in folder.glob("*.py")
        if not path.stem.startswith("_")
    }
    return sorted(names)


def load(name_or_path: str, overrides: Iterable[str] = ()) -> Config:
    """Loads a configuration by name or path and applies overrides.

    Args:
      name_or_path: a name in `configs/`, or the path of a Python file.
      overrides: strings `section.field=value`.

    Returns:
      The resolved configuration.

    Raises:
      ConfigError: unknown name, field or section, wrong type, or value out of range.
    """
    path = pathlib.Path(name_or_path)
    if path.suffix != ".py":
        found = [folder / f"{name_or_path}.py" for folder in config_dirs()]
        found = [candidate for candidate in found if candidate.is_file()]
        if not found:
            raise ConfigError(
                f"--config: no configuration {name_or_path!r}; "
                + fields.suggest(name_or_path, available())
            )
        path = found[0]
    elif not path.is_file():
        raise ConfigError(f"--config: no file {path}")
    spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ConfigError(f"--config: {path} is not valid Python: {error}") from error
    if not isinstance(getattr(module, "get_config", None), types.FunctionType):
        raise ConfigError(f"--config: {path} has no function get_config()")
    return fields.override(module.get_config(), overrides)


def to_json(config: Any) -> str:
    """Returns the configuration as indented JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_json(text: str, kind: type = Config) -> Config:
    """Rebuilds a configuration, of a class `kind`, from `to_json`'s text.

    Raises:
      ConfigError: text that does not describe a configuration of this version.
    """
    try:
        return fields.rebuild(kind, json.loads(text))
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"not a configuration of this version: {error}") from error
