"""Keras 2's API and TensorFlow Addons, as the installed stack has them.

The one place that knows of two stacks (docs/stacks.md): TensorFlow 2.15 with Keras 2 and
Addons, and a later one whose Keras is version 3, beside which `tf_keras` keeps the API of
Keras 2. The choice is made by name: the variable TF_USE_LEGACY_KERAS would change the
Keras of a black box in the same process too.
"""

import importlib.metadata
import warnings

# Read without an import, which takes Keras 3 a second.
KERAS_MAJOR = int(importlib.metadata.version("keras").split(".")[0])

if KERAS_MAJOR == 2:
    import keras
    from keras.src.saving import serialization_lib
else:
    import tf_keras as keras
    from tf_keras.src.saving import serialization_lib

try:
    with warnings.catch_warnings():
        # Addons announces at import that it is no longer developed.
        warnings.simplefilter("ignore")
        import tensorflow_addons as addons
except ImportError:
    addons = None

__all__ = ["KERAS_MAJOR", "addons", "keras", "serialization_lib"]
