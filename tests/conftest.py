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

# Files that take longest and show nothing of a stack that others do not.
LONG = (
    *("app/test_app_page.py", "benchmarks/test_benchmarks.py", "data/test_check.py"),
    *("experiment/test_regression.py", "experiment/test_tables.py"),
    *("export/test_clients.py", "runtime/test_full_disk.py"),
    *("runtime/test_workers_job.py", "test_docs.py", "test_site.py"),
)


def pytest_collection_modifyitems(items):
    """Marks the tests of LONG."""
    for item in items:
        if item.path.as_posix().endswith(LONG):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def two_replicas():
    """The process's one MirroredStrategy: new ones collide in CPU collectives."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
