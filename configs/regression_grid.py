"""The 1-D bimodal regression: nine distributions, five seeds, two weights of Lcal."""

from car_tf.experiment.regression import config as regression_config


def get_config() -> regression_config.Regression:
    return regression_config.Regression(
        name="regression_grid",
        data=regression_config.Bimodal(
            mode_probabilities=(0.5, 0.6, 0.9), mode_noises=(0.01, 0.02, 0.03)
        ),
        train=regression_config.Train(seeds=(1, 2, 3, 4, 5)),
    )
