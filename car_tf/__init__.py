"""Calibrated Adversarial Refinement (CAR) for stochastic semantic segmentation."""

__version__ = "0.1.0"
