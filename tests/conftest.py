"""TensorFlow set up once for the whole process: two logical devices, few threads."""

import os

from car_tf.config import cli

for _name, _value in {**cli.TENSORFLOW, "TF_CPP_MIN_LOG_LEVEL": "3"}.items():
    os.environ.setdefault(_name, _value)

import pytest

# Files that take longest and show nothing of a stack that others do not.
LONG = (
    *("app/test_app_page.py", "benchmarks/test_benchmarks.py", "data/test_check.py"),
    *("config/test_train_flags.py", "test_own_data.py"),
    *("experiment/test_regression.py", "experiment/test_tables.py"),
    *("export/test_clients.py", "runtime/test_full_disk.py"),
    *("runtime/test_workers_job.py", "test_docs.py", "test_site.py"),
    *("app/test_app.py", "evaluate/test_before_stage2.py"),
)
# What takes longest comes first, so that no process is left alone with it at the end.
FIRST = (
    *("train/test_train_job.py", "train/test_trainers.py", "test_own_data.py"),
    *("train/test_execution.py", "test_api.py", "evaluate/test_before_stage2.py"),
    *("export/test_signatures.py", "export/test_savedmodel.py", "export/test_cpp.py"),
    *("experiment/test_regression.py", "experiment/test_tables.py"),
    *("export/test_clients.py", "benchmarks/test_benchmarks.py"),
    *("runtime/test_workers_job.py", "evaluate/test_workers.py", "app/test_app.py"),
    *("app/test_app_page.py", "models/test_cvae.py", "train/test_stage2.py"),
    *("predict/test_predict.py", "train/test_recalibration.py"),
)


def pytest_configure(config):
    """Sets TensorFlow up, before anything starts it, where tests run."""
    if config.option.dist != "no":
        return  # Its workers run them: they need not wait until it is imported here.
    import tensorflow as tf

    device = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [device, device]
    )
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.threading.set_inter_op_parallelism_threads(2)
    # Optimising graphs takes longer than running them some times; so, too, in `job.fork`.
    # The job of tests/test_own_data.py has what users have.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_collection_modifyitems(items):
    """Marks the tests of LONG, and puts those of FIRST first."""
    ranks = {}
    for item in items:
        path = item.path.as_posix()
        if path.endswith(LONG):
            item.add_marker(pytest.mark.long)
        if path not in ranks:
            found = [rank for rank, end in enumerate(FIRST) if path.endswith(end)]
            ranks[path] = found[0] if found else len(FIRST)
    items.sort(key=lambda item: ranks[item.path.as_posix()])


@pytest.fixture(scope="module")
def shallow_generators():
    """Every G has one level: see `shallow`."""
    import shallow

    with shallow.generators():
        yield


@pytest.fixture(scope="session")
def two_replicas():
    """The process's one MirroredStrategy: new ones collide in CPU collectives."""
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
