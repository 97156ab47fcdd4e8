"""Trains both stages for some steps on some devices, for the tests of `devices`.

    python replicas.py OUTPUT STEPS DEVICES...

Writes the trained weights after STEPS steps on each of DEVICES (`train.devices`, such
as 4xcpu) to OUTPUT; with TF_CONFIG, on the workers that it names.
"""

import sys

import numpy as np
import tensorflow as tf
import tiny_trainers as tiny

from car_tf.runtime import devices, workers

# What 1, 2, 3 and 4 replicas can share.
BATCH_SIZE = 12


def trained(strategy, num_steps):
    """Trains both stages under a strategy; returns their weights by name."""
    # Fused batch norm, which one replica has by default, divides variances by n - 1.
    first = tiny.stage_1(strategy, synchronized=True)
    second = tiny.stage_2(
        strategy, calibration_net=first.calibration_net, synchronized=True
    )
    for trainer in (first, second):
        batches = tiny.batches(num_steps, batch_size=BATCH_SIZE)
        trainer.fit(
            devices.distribute(strategy, batches, BATCH_SIZE),
            epochs=1,
            steps_per_epoch=num_steps,
            verbose=0,
        )
    nets = (first.calibration_net, second.refinement_net, second.discriminator)
    found = {
        f"{net.name}/{i}": w for net in nets for i, w in enumerate(tiny.trained(net))
    }
    found["updates_of_d"] = second.discriminator_optimizer.iterations.numpy()
    return found


def main(output, num_steps, *names):
    # Optimising graphs takes longer than running them twenty times.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    worker = workers.this_worker()
    for name in names:
        if worker.num_workers > 1:
            strategy = devices.build_strategy(name, worker)
        else:
            strategy = logical(name)
        devices.require_agreement(strategy, "steps", num_steps)
        if worker.is_chief:
            path = f"{output}/{name}-{worker.num_workers}.npz"
            np.savez(path, **trained(strategy, int(num_steps)))
        else:
            trained(strategy, int(num_steps))


def logical(name):
    """Several strategies in one process, which the job never has."""
    num = int(name.partition("x")[0])
    cpus = tf.config.list_physical_devices("CPU")
    if not tf.config.get_logical_device_configuration(cpus[0]):
        parts = [tf.config.LogicalDeviceConfiguration()] * 4
        tf.config.set_logical_device_configuration(cpus[0], parts)
    if num == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy(
        [f"CPU:{index}" for index in range(num)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
