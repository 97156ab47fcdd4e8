"""CAR on CT crops with four raters (CAR, Section 5.2.1), sized for a laptop.

F works at half the size and is trained on crops that are turned, enlarged and changed in
their grey levels; its weights are averages, chosen by `val`; its temperature fits `val`, its
logits are means over the symmetries of the square, and it is recalibrated image by image.
`lidc_small` is a short job.

Cost: about an hour of CPU for F on one core that multiplies bfloat16 (`--set
train.mixed_precision=mixed_bfloat16`), and some for the rest.
Score on 951 test crops (docs/lidc.md), three seeds: GED16 0.262, HM-IoU 0.596, as before
stage 2; level sets of F, evenly apart, 0.231 to 0.234 and 0.605 to 0.610.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("lidc_small"),
        name="lidc",
        data={"scale_range": (1.0, 1.25), "grey_jitter": 0.15},
        calibration_net={
            "channels": 16,
            "half_size": True,
            "symmetric": True,
            "recalibrated": True,
        },
        stage1={
            "steps": 8000,
            "batch_size": 16,
            "average_decay": 0.995,
            "select_every": 500,
            "temperature_scaling": True,
        },
        stage2={"steps": 500},
        train={
            "checkpoint_every": 500,
            "select_every": 500,
            "num_selection_images": 250,
        },
    )
