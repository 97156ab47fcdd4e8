"""Rows of `python -m car_tf.benchmark`, and what they share."""
