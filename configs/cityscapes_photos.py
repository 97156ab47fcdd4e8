"""`cityscapes` for a few hundred real photographs: seven thousand steps with D at work.

    python -m car_tf.train --config cityscapes_photos --data_dir camvid --blackbox MODEL \
        --set data.on_error=leakage

Cost: about an hour on one CPU core at 48 x 96.
Score on CamVid with a DeepLab, 101 held-out photographs, one seed (docs/method.md): a
judge's AUC 0.77 to 0.80 (0.85 to 0.92 before stage 2), GED16 0.240 (0.238 before it).
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.change(
        config_lib.load("cityscapes"),
        name="cityscapes_photos",
        data={"scale_range": (1.0, 1.5), "num_drawn": (300, 30, 60)},
        refinement_net={"draw_scale": 0.3},
        stage1={"steps": 1000},
        stage2={
            "steps": 7000,
            "batch_size": 4,
            "num_samples": 4,
            "labels_per_image": 2,
            "learning_rate": 1e-3,
            "warmup_steps": 400,
            "balance": (1.0, 1.15),
            "r1_gamma": 0.02,
            "r1_every": 8,
            "average_decay": 0.995,
        },
        train={"checkpoint_every": 500, "select_every": 7000},
        evaluation={"realism_steps": 1000},
    )
