"""CAR on 2,000 CT crops with four raters: F at full size, and no selection of it.

Cost: a quarter to half an hour on one CPU core.
Score on the 315 test crops of docs/lidc.md, three seeds: GED16 0.295, HM-IoU 0.550.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    return config_lib.Config(
        name="lidc_small",
        data=config_lib.Data(
            dataset="lidc",
            size=(128, 128),
            crop_size=(128, 128),
            scale_range=(1.0, 1.0),
            symmetries="square",
            num_drawn=(400, 60, 100),
        ),
        blackbox=config_lib.BlackBox(kind="none"),
        calibration_net=config_lib.CalibrationNet(
            kind="segnet", channels=12, dropout=0.0, decoder="skips"
        ),
        refinement_net=config_lib.RefinementNet(
            base_channels=16, noise_dim=8, dropout=0.0, temperature=0.05
        ),
        discriminator=config_lib.Discriminator(base_channels=16),
        stage1=config_lib.Stage1(
            steps=3000,
            batch_size=8,
            labels_per_image=4,
            learning_rate=2e-3,
            l2=0.0,
        ),
        stage2=config_lib.Stage2(
            steps=400,
            batch_size=2,
            num_samples=20,
            average_decay=0.98,
            noise_sampling="stratified",
            calibration_weight=1000.0,
            learning_rate=2e-3,
            discriminator_learning_rate=1e-3,
            discriminator_active=1,
            discriminator_period=1,
            r1_gamma=0.1,
            decay="linear",
            l2=0.0,
        ),
        train=config_lib.Train(
            checkpoint_every=100, select_every=400, num_selection_images=60
        ),
        evaluation=config_lib.Evaluation(num_samples=100),
    )
