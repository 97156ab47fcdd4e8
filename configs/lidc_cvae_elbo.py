"""The paper's baseline cVAE-GAN: `lidc` with Lcal replaced by the negative ELBO.

beta is `stage2.kl_weight`, 0.1, 1 or 10 in the paper; its samples show little
diversity whichever (CAR, B.2.3 and Table 4). The ELBO's first term is Lce, so a mean
over the pixels like all pixel losses here; its second a sum over the 8 dimensions of z.

Cost: as `lidc`. Score of the same row of `table4 --config lidc_small` on 315 test crops:
GED16 0.498, HM-IoU 0.473 (docs/lidc.md).
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("lidc"),
        name="lidc_cvae_elbo",
        stage2={"pixel_loss": "elbo", "kl_weight": 1.0},
    )
