"""The paper's baseline cGAN+Lce: `lidc` with Lcal replaced by Lce.

Cost: as `lidc`. Its samples collapse (CAR, Table 1); with Gumbel noise in G, as here,
they begin as draws from F and lose their variety step by step.
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
