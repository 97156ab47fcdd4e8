"""Metrics on arrays: distances between distributions of label maps, calibration."""
