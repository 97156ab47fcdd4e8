"""The paper's baseline cGAN+Lce: `lidc` with Lcal replaced by Lce.

Cost and score: as `lidc` at the best step, GED16 0.311, but 0.412 after 1000 steps
(docs/lidc.md). Its samples collapse (CAR, Table 1); with Gumbel noise in G, as here,
they begin as draws from F and lose their variety step by step.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("lidc"),
        name="lidc_lce",
        stage2={"pixel_loss": "cross_entropy"},
    )
