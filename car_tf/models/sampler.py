"""F and G together: from an image to samples, the same for every seed and batch.

Evaluation, prediction and the exported SavedModel all draw through this module.
"""

from __future__ import annotations

from typing import Dict, List, Optional

import keras
import tensorflow as tf

from car_tf.models import layers


class Sampler(tf.Module):
    """Draws label maps for uint8 images with trained networks in inference mode."""

    def __init__(
        self,
        *,
        calibration_net: keras.Model,
        refinement_net: keras.Model,
        num_blackbox_classes: int,
    ):
        super().__init__(name="sampler")
        self.calibration_net = calibration_net
        self.refinement_net = refinement_net
        self.num_blackbox_classes = num_blackbox_classes

    def log_probs(
        self, image: tf.Tensor, blackbox: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """Computes log q(y | x) of F.

        Args:
          image: `[B, H, W, C]` uint8.
          blackbox: `[B, H, W]` integer class ids or `[B, H, W, Kb]` probabilities,
            or None where F works from the image alone.

        Returns:
          `[B, H, W, K]` float32, nats.
        """
        if blackbox is not None:
            blackbox = layers.blackbox_to_probs(blackbox, self.num_blackbox_classes)
        logits = self.calibration_net(layers.image_to_float(image), blackbox)
        return tf.nn.log_softmax(tf.cast(logits, tf.float32))

    def noise(self, seed: tf.Tensor, num_samples: tf.Tensor) -> tf.Tensor:
        """Draws z, `[B, M, Z]`, each image's from its own row of `seed` `[B, 2]`."""
        noise_dim = self.refinement_net.noise_dim

        def draw(key: tf.Tensor) -> tf.Tensor:
            return tf.random.stateless_normal([num_samples, noise_dim], key)

        spec = tf.TensorSpec([None, noise_dim], tf.float32)
        return tf.map_fn(draw, seed, fn_output_signature=spec)

    def encode(self, image: tf.Tensor, log_probs: tf.Tensor) -> List[tf.Tensor]:
        """Computes G's features of `[B, H, W, C]` uint8 images, once for all samples."""
        return self.refinement_net.encode(layers.image_to_float(image), log_probs)

    def decode(
        self, features: List[tf.Tensor], log_probs: tf.Tensor, noise: tf.Tensor
    ) -> Dict[str, tf.Tensor]:
        """Draws one sample per noise vector.

        Args:
          features: of `encode`.
          log_probs: `[B, H, W, K]` of `log_probs`.
          noise: `[B, M, Z]`.

        Returns:
          `samples` `[B, M, H, W]` uint8, arg-maxed; `sample_mean` `[B, H, W, K]`, the
          mean of the samples' probabilities; `first_probs` `[B, H, W, K]`, one
          sample's probabilities.
        """
        logits = self.refinement_net.decode(features, log_probs, noise)
        # Of the logits, so that who wants samples alone does not pay for a softmax.
        samples = tf.argmax(logits, -1, output_type=tf.int32)
        probs = tf.nn.softmax(logits)
        return {
            "samples": tf.cast(samples, tf.uint8),
            "sample_mean": tf.reduce_mean(probs, axis=1),
            "first_probs": probs[:, 0],
        }

    def sample(
        self,
        image: tf.Tensor,
        blackbox: Optional[tf.Tensor],
        seed: tf.Tensor,
        num_samples: tf.Tensor,
    ) -> Dict[str, tf.Tensor]:
        """Draws samples; a row of `seed` and its image decide them, not the batch.

        Args:
          image: `[B, H, W, C]` uint8.
          blackbox: as in `log_probs`.
          seed: `[B, 2]` int32.
          num_samples: M, scalar int32.

        Returns:
          What `decode` returns, and `probs` `[B, H, W, K]` of F.
        """
        log_probs = self.log_probs(image, blackbox)
        features = self.encode(image, log_probs)
        drawn = self.decode(features, log_probs, self.noise(seed, num_samples))
        return {**drawn, "probs": tf.exp(log_probs)}


def entropy_bits(probs: tf.Tensor) -> tf.Tensor:
    """Entropy of `[..., K]` probabilities in bits, `[...]`."""
    return -tf.reduce_sum(tf.math.xlogy(probs, probs), axis=-1) / tf.math.log(2.0)
