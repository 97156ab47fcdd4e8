"""TensorFlow set up once for the whole process: two logical devices, few threads."""

import os
import sys

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def pytest_collection_finish(session):
    # Devices cannot be divided after TensorFlow has started, and a run that collects no
    # test of TensorFlow should not wait for it.
    if "tensorflow" in sys.modules:
        _divide_cpu()


def _divide_cpu():
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu):
        return
    half = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(cpu, [half, half])
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)


@pytest.fixture(scope="session")
def two_replicas():
    """The process's one MirroredStrategy: new ones collide in CPU collectives."""
    import tensorflow as tf

    _divide_cpu()
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
