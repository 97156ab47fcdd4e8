"""What every form of G is to its users: `encode` once per image, `decode` per sample."""

from __future__ import annotations

from typing import List, Optional

import tensorflow as tf

from car_tf.models.keras_api import keras


class Refiner(keras.Model):
    """Base of the forms of G; what it is given and gives is the same for all."""

    noise_dim: int
    # Gives each image its own Gaussian of z; None where z is standard normal. Without a
    # value here: Keras takes what the class has for a property, and would not track it.
    noise_head: Optional[keras.layers.Layer]

    @property
    def receptive_field(self) -> Optional[int]:
        """Pixels away from which the input can change a sample's pixel.

        None where a sample depends on the whole image.
        """
        raise NotImplementedError

    def encode(
        self,
        image: tf.Tensor,
        log_probs: tf.Tensor,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
    ) -> List[tf.Tensor]:
        """Computes what all samples of an image share: features for `decode`.

        Of images `[B, H, W, C]` float32 in [-1, 1], any H and W, and log q(y | x) of F,
        `[B, H, W, K]`; `seed`, `[2]` int32, is of the dropout masks, None for no
        dropout.
        """
        raise NotImplementedError

    def decode(
        self,
        features: List[tf.Tensor],
        log_probs: tf.Tensor,
        noise: tf.Tensor,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
        at_once: int = 0,
    ) -> tf.Tensor:
        """Draws one sample per noise vector: logits `[B, M, H, W, K]`.

        Args:
          log_probs: `[B, H, W, K]`, as given to `encode`.
          noise: `[B, M, Z]`, standard normal.
          at_once: in training, samples whose features are kept at the same time, a
            divisor of M: less memory, more work, the same result but for the masks of
            dropout; 0 for all.
        """
        raise NotImplementedError

    def call(
        self,
        image: tf.Tensor,
        log_probs: tf.Tensor,
        noise: tf.Tensor,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
        at_once: int = 0,
    ) -> tf.Tensor:
        """Encodes once and decodes every noise vector; see `encode` and `decode`."""
        shared = dict(training=training, seed=seed)
        features = self.encode(image, log_probs, **shared)
        return self.decode(features, log_probs, noise, at_once=at_once, **shared)
