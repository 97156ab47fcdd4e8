"""The paper's cVAE-GAN+Lcal: `lidc` with a Gaussian of z for each image.

A head of G's encoder gives its mean and standard deviation, trained by Ladv and Lcal
alone: no prior is needed, beta = 0 (CAR, B.2.3 and Table 4).

Cost: as `lidc`. Score of the same row of `table4 --config lidc_small` on 315 test crops:
GED16 0.297, HM-IoU 0.543 (docs/lidc.md).
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("lidc"),
        name="lidc_cvae",
        refinement_net={"noise": "encoded"},
    )
