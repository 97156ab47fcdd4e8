"""The paper's baseline cGAN+Lce: `lidc` with Lcal replaced by Lce.

Cost: as `lidc`. Its samples collapse (CAR, Table 1); with Gumbel noise in G, as here,
they begin as draws from F and lose their variety step by step.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("lidc"),
        name="lidc_lce",
        stage2={"pixel_loss": "cross_entropy"},
    )
