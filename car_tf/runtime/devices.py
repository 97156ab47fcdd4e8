"""Where a job runs: one device, several of one machine, or several machines."""

import functools
import re
import zlib
from typing import Callable, Dict, List, Optional, Sequence

import tensorflow as tf

from car_tf.runtime import run_dir, workers


@functools.lru_cache(maxsize=None)
def build_strategy(devices: str, worker: workers.Worker) -> tf.distribute.Strategy:
    """Chooses devices and how to train on them; call it before anything else runs.

    Runs in one process share the strategy, since devices are divided but once.

    Args:
      devices: `train.devices`: empty for all GPUs, or the CPU where there is none;
        `cpu`; `gpu:0,gpu:1` for some GPUs; `2xcpu` for two logical devices on the CPU.
      worker: this process among all; several make a MultiWorkerMirroredStrategy, in
        which each contributes its chosen devices. Waits until all have started.

    Raises:
      RunError: no such devices here.
    """
    gpus = tf.config.list_physical_devices("GPU")
    logical_cpus = 0
    if devices:
        match = re.fullmatch(r"(?:(\d+)x)?cpu", devices)
        logical_cpus = int(match[1] or 1) if match else 0
        chosen = [] if match else [int(i) for i in re.findall(r"\d+", devices)]
        if chosen and max(chosen) >= len(gpus):
            raise run_dir.RunError(
                f"devices: wanted {devices}, but TensorFlow sees {len(gpus)} GPUs"
            )
        gpus = [gpus[index] for index in chosen]
        tf.config.set_visible_devices(gpus, "GPU")
    if logical_cpus > 1:
        if worker.num_workers > 1:
            raise run_dir.RunError(
                f"devices: {devices} is for one process, but TF_CONFIG names "
                f"{worker.num_workers} workers; wanted cpu"
            )
        cpu, *_ = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * logical_cpus
        tf.config.set_logical_device_configuration(cpu, parts)
        names_of_cpus = [f"CPU:{index}" for index in range(logical_cpus)]
        return tf.distribute.MirroredStrategy(names_of_cpus)
    if worker.num_workers > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def describe(strategy: tf.distribute.Strategy, worker: workers.Worker) -> str:
    """Returns what is trained on, in words."""
    num, machines = strategy.num_replicas_in_sync, worker.num_workers
    where = f" of {machines} workers" if machines > 1 else ""
    return f"devices: {num} replica{'s' * (num > 1)}{where}"


def names(strategy: tf.distribute.Strategy) -> Sequence[Optional[str]]:
    """Returns its devices by name; None, TensorFlow's choice, where there is but one."""
    several = strategy.num_replicas_in_sync > 1
    return strategy.extended.worker_devices if several else (None,)


def check_batch_size(strategy: tf.distribute.Strategy, **sizes: int) -> None:
    """Raises RunError where batches do not divide, which would weigh images unlike."""
    num = strategy.num_replicas_in_sync
    for name, size in sizes.items():
        if size % num:
            raise run_dir.RunError(
                f"{name}.batch_size: wanted a multiple of {num}, the number of "
                f"replicas, got {size}"
            )


def check_compilation(strategy: tf.distribute.Strategy, jit_compile: bool) -> None:
    """Raises RunError for XLA on several replicas, which was never tried."""
    if jit_compile and strategy.num_replicas_in_sync > 1:
        raise run_dir.RunError(
            "train.jit_compile: wanted one device (train.devices), got "
            f"{strategy.num_replicas_in_sync} replicas"
        )


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset, batch_size: int
):
    """Returns global batches as what `fit` takes under a strategy.

    Keras divides a batch over the replicas of one process. Of several processes it
    would give each batches of its own, so that here each cuts its part from the same.
    """
    if not has_workers(strategy):
        return batches

    def part(context: tf.distribute.InputContext) -> tf.data.Dataset:
        size = context.get_per_replica_batch_size(batch_size)
        num_local = context.num_replicas_in_sync // context.num_input_pipelines
        start = context.input_pipeline_id * num_local * size

        def cut(batch: Dict[str, tf.Tensor]) -> tf.data.Dataset:
            parts = {
                name: tf.reshape(
                    value[start : start + num_local * size],
                    [num_local, size, *value.shape[1:]],
                )
                for name, value in batch.items()
            }
            return tf.data.Dataset.from_tensor_slices(parts)

        # Endless, because TensorFlow forgets the batch size of what may end.
        return batches.flat_map(cut).repeat().prefetch(2 * num_local)

    return strategy.distribute_datasets_from_function(part)


def has_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether other processes take part."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def gather(strategy: tf.distribute.Strategy, value: int) -> List[int]:
    """Returns this number of all replicas, in order; every worker must ask for it."""
    return _collector(strategy)(tf.constant(value, tf.int32)).numpy().tolist()


@functools.lru_cache(maxsize=1)
def _collector(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function
    def collect(value: tf.Tensor) -> tf.Tensor:
        def own() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            return context.all_gather(value[None], axis=0)

        return strategy.experimental_local_results(strategy.run(own))[0]

    return collect


def require_agreement(strategy: tf.distribute.Strategy, what: str, value: str) -> None:
    """Raises RunError where workers differ, before they diverge or wait forever."""
    if not has_workers(strategy):
        return
    found = gather(strategy, zlib.crc32(value.encode()) & 0x7FFFFFFF)
    if len(set(found)) > 1:
        raise run_dir.RunError(
            f"the workers differ in {what}; wanted the same command, data and run "
            "directory (on a file system that all share) on each"
        )
