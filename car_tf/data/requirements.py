"""What each data set can have, checked before files are read. No TensorFlow."""

from __future__ import annotations

import dataclasses

from car_tf import config as config_lib


@dataclasses.dataclass(frozen=True)
class _Offer:
    """What a data set offers.

    Attributes:
      title: what messages call it.
      has_blackbox: whether there are segmenters to build on.
      has_crops: whether training crops may be smaller than the images.
    """

    title: str
    has_blackbox: bool = True
    has_crops: bool = True


_OFFERS = {
    "cityscapes": _Offer("Cityscapes"),
    "lidc": _Offer("LIDC", has_blackbox=False, has_crops=False),
}


def check(config: config_lib.Config) -> None:
    """Raises ConfigError where a configuration asks for what its data set lacks."""
    offer, blackbox = _OFFERS[config.data.dataset], config.blackbox
    if not offer.has_blackbox and (blackbox.kind != "none" or blackbox.path):
        raise config_lib.ConfigError(
            f"blackbox: there are no black boxes for {offer.title}; wanted "
            f"blackbox.kind=none and no blackbox.path, got {blackbox.kind} and "
            f"{blackbox.path or 'none'}"
        )
    if not offer.has_crops and config.data.size != config.data.crop_size:
        raise config_lib.ConfigError(
            f"data.size: {offer.title} is cropped at the centre, so wanted "
            f"data.crop_size {config.data.crop_size}, got {config.data.size}"
        )
