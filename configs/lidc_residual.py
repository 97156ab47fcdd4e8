"""`lidc_small` without Gumbel noise: as in the paper, the variety of samples is learned.

Before any training all samples of an image are F's own probabilities. Ladv asks for
sure ones, and Lcal lets them differ as much as F is unsure. With M vectors z that are
`independent` (`stage2.noise_sampling`), as in the paper, it does so the better the
larger M is (Table 3 in docs/lidc.md).

Cost: as `lidc_small`, and five to ten minutes more for stage 2.
Score on the 315 test crops of docs/lidc.md, three seeds: GED16 0.304, HM-IoU 0.528.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("lidc_small"),
        name="lidc_residual",
        refinement_net={"logits": "residual", "base_channels": 8},
        discriminator={"base_channels": 8},
        stage2={
            "steps": 1500,
            "batch_size": 4,
            "learning_rate": 1e-3,
        },
        train={"select_every": 100},
    )
