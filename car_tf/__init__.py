"""CAR: Calibrated Adversarial Refinement for stochastic semantic segmentation.

    import car_tf

    sampler = car_tf.load("runs/a")         # or a SavedModel of `python -m export`
    sampler.sample("image.png", 16)         # [16, H, W] class ids
    sampler.probabilities("image.png")      # F: [h, w, K]
    sampler.entropy("image.png")            # [h, w], bits
    sampler.level_sets("image.png", 16)     # what F alone gives

`car_tf.losses` and `car_tf.metrics` serve other people's models; `car_tf.config` holds
every field of a run. TensorFlow starts when the first of these needs it.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

# Public name -> where it is.
_PUBLIC = {
    "load": ("car_tf.predict.api", "load"),
    "Sampler": ("car_tf.predict.api", "Sampler"),
}
_PACKAGES = ("config", "losses", "metrics")

__all__ = [*_PUBLIC, *_PACKAGES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        return getattr(importlib.import_module(module), attribute)
    if name in _PACKAGES:
        return importlib.import_module(f"car_tf.{name}")
    raise AttributeError(f"module 'car_tf' has no attribute {name!r}")


def __dir__() -> list:
    return sorted(__all__)
