"""Metrics on arrays: energy distance, IoU, calibration. No model, no files."""
