"""The paper's baseline cGAN+Lce: `lidc` with Lcal replaced by Lce.

Its samples collapse (CAR, Table 1). With Gumbel noise in G, as here, they begin as
draws from F and lose much of their variety within some hundred steps.

Cost: as `lidc`. Score of the same row of `table1 --config lidc_small` on 315 test crops,
three seeds: GED16 0.488, HM-IoU 0.476 (docs/lidc.md).
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("lidc"),
        name="lidc_lce",
        stage2={"pixel_loss": "cross_entropy"},
    )
