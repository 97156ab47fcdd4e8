"""F, the calibration networks: pixelwise class distributions q(y | x) (CAR, Eq. 1).

Each takes `(image, blackbox_probs, training=, seed=)` and returns logits, so that
whatever stands below G is built, trained, evaluated and exported alike.
"""

from typing import Any, Dict, Optional

import numpy as np
import tensorflow as tf

from car_tf.models import layers, recalibration
from car_tf.models.keras_api import keras


class BlackBoxCalibrator(keras.Model):
    """Five convolution blocks on a black box's output and the image (CAR, A.4)."""

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int = 64,
        dropout: float = 0.1,
        recalibrated: bool = False,
        synchronized: bool = False,
        name: str = "calibration_net",
    ):
        super().__init__(name=name)
        self.recalibration = recalibration.build(recalibrated)
        shared = dict(dropout=dropout, synchronized=synchronized)
        self.blocks = [
            layers.ConvBlock(channels, salt=salt, name=f"block{salt}", **shared)
            for salt in range(5)
        ]
        self.logits_layer = keras.layers.Conv2D(num_classes, 1, name="logits")

    def trained_parts(self) -> Dict[str, Any]:
        """Returns what stage 1 trains, so all but the recalibration, by its names."""
        return {"blocks": self.blocks, "logits_layer": self.logits_layer}

    @property
    def receptive_field(self) -> Optional[int]:
        """Pixels away from which the input can change a pixel of the result.

        None where that depends on the whole image.
        """
        return len(self.blocks) if self.recalibration is None else None

    def call(
        self,
        image: tf.Tensor,
        blackbox_probs: tf.Tensor,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
    ) -> tf.Tensor:
        """Computes the logits `[B, H, W, K]` of q(y | x).

        Of images `[B, H, W, C]` float32 in [-1, 1] and the black box's one-hot labels
        or probabilities `[B, H, W, Kb]`; `seed`, `[2]` int32, is of the dropout masks,
        None for no dropout.
        """
        # Keras casts the first argument alone to the precision of the layers.
        features = tf.concat([tf.cast(blackbox_probs, image.dtype), image], axis=-1)
        for block in self.blocks:
            features = block(features, training=training, seed=seed)
        logits = self.logits_layer(features)
        if training or self.recalibration is None:
            return logits
        return self.recalibration(logits)


class TrueDistribution(keras.Model):
    """The known distribution of the flipped labels, in F's place (CAR, Table 2, gt).

    Its black box is the label before the flips. The true distribution has exact
    zeros, where Lcal would be infinite, so `uniform` of it is spread over all classes.
    """

    receptive_field = 0

    def __init__(self, *, table: np.ndarray, uniform: float = 1e-3):
        """Takes the distribution `[K - F, K]` of the flipped classes for each class."""
        super().__init__(name="calibration_net")
        self._table = table.astype(np.float32)
        self._uniform = uniform

    def call(self, image, blackbox_probs, training=False, seed=None) -> tf.Tensor:
        """Returns log-probabilities; arguments as in `BlackBoxCalibrator`."""
        probs = tf.tensordot(blackbox_probs, self._table, axes=1)
        uniform = self._uniform / self._table.shape[1]
        return tf.math.log((1 - self._uniform) * probs + uniform)
