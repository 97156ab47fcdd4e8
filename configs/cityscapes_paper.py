"""The paper's Cityscapes experiment at its own sizes and schedule (CAR, A.1 and A.4).

Cost: days on one GPU; not run yet by us. The paper reports GED16 0.164 +- 0.01 with
predictions of DeepLab xception71 as the black box.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.Config(
        name="cityscapes_paper",
        refinement_net=config_lib.RefinementNet(logits="scratch"),
        stage1=config_lib.Stage1(steps=20_000, decay="halve"),
        train=config_lib.Train(checkpoint_every=1000, select_every=5000),
    )
