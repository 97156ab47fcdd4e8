"""What forked jobs find imported; see `job.fork`. Nothing of it starts a thread."""

from car_tf.config import cli

cli.prepare_tensorflow()  # As every command does, before TensorFlow is imported.

import tensorflow_probability as tfp  # noqa: E402

import car_tf.predict.predictor  # noqa: E402, F401
import car_tf.train.run  # noqa: E402, F401

tfp.distributions.Normal  # It loads itself when it is first used.
