"""CAR on LIDC with the settings of the paper (CAR, A.1 and A.3).

Cost: days on a GPU; not run. It takes the real data, `--data_dir`, 8882 training crops
in the paper's split. Its 80,000 iterations are those of the refinement network; those
of the calibration network the paper does not tell.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.Config(
        name="lidc_paper",
        data=config_lib.Data(
            dataset="lidc",
            size=(128, 128),
            crop_size=(128, 128),
            scale_range=(1.0, 1.0),
        ),
        blackbox=config_lib.BlackBox(kind="none"),
        calibration_net=config_lib.CalibrationNet(kind="segnet", channels=64),
        refinement_net=config_lib.RefinementNet(
            base_channels=32, noise_dim=8, logits="scratch"
        ),
        discriminator=config_lib.Discriminator(base_channels=64),
        stage1=config_lib.Stage1(steps=40_000, batch_size=32, decay="halve"),
        stage2=config_lib.Stage2(steps=80_000, batch_size=32, num_samples=20),
        train=config_lib.Train(
            checkpoint_every=500, select_every=2000, num_selection_images=200
        ),
        evaluation=config_lib.Evaluation(num_samples=100),
    )
