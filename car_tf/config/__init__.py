"""Typed configuration: every field, its range, and how files and `--set` change it.

No TensorFlow. A file in `configs/` needs nothing but this package:
`from car_tf import config`. Sections are made whole in a configuration that starts from
nothing, and changed by `change`, which keeps the fields that it does not name.
"""

from car_tf.config.data_sections import BlackBox, Data
from car_tf.config.fields import ConfigError, change, override
from car_tf.config.load import available, config_dirs, from_json, load, summaries
from car_tf.config.load import to_json
from car_tf.config.network_sections import CalibrationNet, Discriminator, RefinementNet
from car_tf.config.schema import Config, Job
from car_tf.config.stage_sections import Evaluation, Stage1, Stage2, Train

__all__ = ["BlackBox", "CalibrationNet", "Config", "Data", "Discriminator"]
__all__ += ["Evaluation", "Job", "RefinementNet", "Stage1", "Stage2", "Train"]
__all__ += ["ConfigError", "available", "change", "config_dirs", "from_json", "load"]
__all__ += ["override", "summaries", "to_json"]
