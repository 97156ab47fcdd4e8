"""CAR: Calibrated Adversarial Refinement for stochastic semantic segmentation.

    import car_tf

    run = car_tf.train("cityscapes", stage2={"steps": 10})
    sampler = car_tf.load(run)              # or a path, or a SavedModel of `export`
    sampler.sample("image.png", 16)         # [16, H, W] class ids
    sampler.probabilities("image.png")      # F: [h, w, K]
    sampler.entropy("image.png")            # [h, w], bits
    sampler.level_sets("image.png", 16)     # what F alone gives
    car_tf.evaluate(run, split="val")       # a finished run again
    car_tf.score(samples, labels)           # any model's samples

`car_tf.metrics` and `car_tf.losses` serve other people's models; `car_tf.config` holds
every field of a run. TensorFlow starts when the first of these needs it.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any, List

from car_tf.config import cli

if TYPE_CHECKING:
    from car_tf import config as config
    from car_tf import losses as losses
    from car_tf import metrics as metrics
    from car_tf.evaluate.api import evaluate as evaluate
    from car_tf.predict.api import Sampler as Sampler
    from car_tf.predict.api import load as load
    from car_tf.score.arrays import score as score
    from car_tf.train.api import Run as Run
    from car_tf.train.api import train as train

__version__ = "0.2.0"

# Whoever imports TensorFlow after this package, such as for a Keras callback, has it start
# as it does here.
cli.prepare_tensorflow()

# Public name -> where it is.
_PUBLIC = {
    "load": ("car_tf.predict.api", "load"),
    "Sampler": ("car_tf.predict.api", "Sampler"),
    "Run": ("car_tf.train.api", "Run"),
}
# Packages and modules, and for those that are called as well what does it.
_MODULES = {
    "car_tf.config": None,
    "car_tf.losses": None,
    "car_tf.metrics": None,
    "car_tf.train": ("car_tf.train.api", "train"),
    "car_tf.evaluate": ("car_tf.evaluate.api", "evaluate"),
    "car_tf.score": ("car_tf.score.arrays", "score"),
    "car_tf.metrics.ged": ("car_tf.metrics.arrays", "ged"),
    "car_tf.metrics.realism": ("car_tf.metrics.realism", "auc"),
}

__all__ = [*_PUBLIC, "config", "losses", "metrics", "train", "evaluate", "score"]
__all__ += ["__version__"]


def _imported(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


class _Callable(types.ModuleType):
    """A module that is called too, whoever imports it first and how."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _imported(*_MODULES[self.__name__])(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # What `help` and `inspect.signature` show.
        if name == "__signature__":
            import inspect

            return inspect.signature(_imported(*_MODULES[self.__name__]))
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def make_callable(module: str) -> None:
    """Lets a module of this package be called as the function that it is named after."""
    sys.modules[module].__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return _imported(*_PUBLIC[name])
    if f"car_tf.{name}" in _MODULES:
        return importlib.import_module(f"car_tf.{name}")
    raise AttributeError(f"module 'car_tf' has no attribute {name!r}")


def __dir__() -> List[str]:
    return sorted(__all__)
