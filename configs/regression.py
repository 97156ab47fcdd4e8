"""The 1-D bimodal regression, one distribution, with and without Lcal (CAR, Fig. 2)."""

from car_tf.experiment.regression import config as regression_config


def get_config() -> regression_config.Regression:
    return regression_config.Regression(name="regression")
