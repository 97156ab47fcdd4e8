"""The paper's baseline cGAN+Lce: `cityscapes_sampler` with Lcal replaced by Lce.

G has no Gumbel noise here, as in the paper, and its samples collapse to one (CAR, Table
2). docs/cityscapes.md also has Lcal in that form, and Lce with the noise.
Cost: as `cityscapes_sampler`.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("cityscapes_sampler"),
        name="cityscapes_lce",
        refinement_net={"logits": "residual"},
        stage2={"pixel_loss": "cross_entropy"},
    )
