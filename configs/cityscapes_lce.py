"""The paper's baseline cGAN+Lce: `cityscapes` with Lcal replaced by Lce.

G has no Gumbel noise here, as in the paper, and its samples collapse to one (CAR, Table
2). docs/cityscapes.md also has Lcal in that form, and Lce with the noise.
Cost: as `cityscapes`.
"""

import dataclasses

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    base = config_lib.load("cityscapes")
    return dataclasses.replace(
        base,
        name="cityscapes_lce",
        refinement_net=dataclasses.replace(base.refinement_net, logits="residual"),
        stage2=dataclasses.replace(base.stage2, pixel_loss="cross_entropy"),
    )
