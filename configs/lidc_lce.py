"""The paper's baseline cGAN+Lce: `lidc` with Lcal replaced by Lce.

Cost: as `lidc`. Its samples collapse to one (CAR, Table 1).
"""

import dataclasses

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    base = config_lib.load("lidc")
    return dataclasses.replace(
        base,
        name="lidc_lce",
        stage2=dataclasses.replace(base.stage2, pixel_loss="cross_entropy"),
    )
