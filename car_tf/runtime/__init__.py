"""The machine around a job: run directory, checkpoints, devices, workers and stop signals."""
