"""TensorFlow set up once for the whole process: two logical devices, few threads."""

import os

from car_tf.config import cli

for _name, _value in {**cli.TENSORFLOW, "TF_CPP_MIN_LOG_LEVEL": "3"}.items():
    os.environ.setdefault(_name, _value)

import pytest
import tensorflow as tf

# Before anything starts TensorFlow, because devices cannot be divided afterwards.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration(), tf.config.LogicalDeviceConfiguration()],
)
tf.config.threading.set_intra_op_parallelism_threads(2)
tf.config.threading.set_inter_op_parallelism_threads(2)


@pytest.fixture(scope="session")
def two_replicas():
    """The process's one MirroredStrategy: new ones collide in CPU collectives."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
