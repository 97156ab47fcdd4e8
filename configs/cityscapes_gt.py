"""The paper's upper bound: G conditioned on the true distribution in F's place.

The black box is the true label before its flips, and the flips' probabilities are
known (CAR, Table 2, last row). Stage 1 has nothing to train.

Cost: as `cityscapes_sampler`.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("cityscapes_sampler"),
        name="cityscapes_gt",
        blackbox={"kind": "truth"},
        calibration_net={"kind": "true_distribution"},
    )
