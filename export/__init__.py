"""The sampler as a SavedModel for TensorFlow Serving and other TensorFlow programs."""

# Entropies travel as PNG files of 16 bits, in this part of a bit: 8 bits, the entropy of
# 256 classes that are equally likely, are 64000.
ENTROPY_LEVELS_PER_BIT = 8000

SERVING_MISSING = "tensorflow-serving-api is not installed: pip install tensorflow-serving-api, in the version of TensorFlow"
