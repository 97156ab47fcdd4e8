"""The sampler as a SavedModel for TensorFlow Serving and other TensorFlow programs."""
