"""Typed configuration: every field, its range, and how files and `--set` change it.

No TensorFlow. A file in `configs/` needs nothing but this package:
`from car_tf import config`.
"""

from car_tf.config.fields import ConfigError, change
from car_tf.config.load import (
    Config,
    available,
    config_dirs,
    from_json,
    load,
    to_json,
)
from car_tf.config.schema import (
    BlackBox,
    CalibrationNet,
    Data,
    Discriminator,
    Evaluation,
    RefinementNet,
    Stage1,
    Stage2,
    Train,
)

__all__ = [
    "BlackBox",
    "CalibrationNet",
    "Config",
    "ConfigError",
    "Data",
    "Discriminator",
    "Evaluation",
    "RefinementNet",
    "Stage1",
    "Stage2",
    "Train",
    "available",
    "change",
    "config_dirs",
    "from_json",
    "load",
    "to_json",
]
