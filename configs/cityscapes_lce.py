"""The paper's baseline cGAN+Lce: `cityscapes` with Lcal replaced by Lce.

Cost: as `cityscapes`. Its samples collapse to one (CAR, Table 2) with
refinement_net.class_shift=0, the paper's form of G; docs/cityscapes.md has both.
"""

import dataclasses

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    base = config_lib.load("cityscapes")
    return dataclasses.replace(
        base,
        name="cityscapes_lce",
        stage2=dataclasses.replace(base.stage2, pixel_loss="cross_entropy"),
    )
