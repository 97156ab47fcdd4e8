"""F and G together: from an image to samples, the same for every seed and batch.

Evaluation, prediction and the exported SavedModel all draw through this module. Samples
are computed one at a time, of which two may overlap, and not as one batch: that needs
the memory of two, however many are asked for, and on a CPU it is faster.
"""

from __future__ import annotations

from typing import Dict, List, Optional

import tensorflow as tf

from car_tf.models import layers
from car_tf.models.keras_api import keras

AT_ONCE = 2
# Samples that share the intervals of stratified noise.
BLOCK = 16


class Sampler(tf.Module):
    """Draws label maps for uint8 images with trained networks in inference mode."""

    def __init__(
        self,
        *,
        calibration_net: keras.Model,
        refinement_net: keras.Model,
        num_blackbox_classes: int,
        strategy: Optional[tf.distribute.Strategy] = None,
        stratified: bool = False,
        one_hot: bool = False,
    ):
        """Joins the networks.

        Args:
          num_blackbox_classes: of the black box, 0 for none.
          strategy: in whose scope both were built, for evaluation to share images
            among its replicas; None for one device.
          stratified: whether every 16 vectors z of an image are a Latin hypercube
            instead of independent: each alone is N(0, I) as before, and a few samples
            show F's shares more exactly.
          one_hot: whether G was trained by its arg-maxed maps (`stage2.sample_maps`): then
            a sample's probabilities are 0 and 1, because those of the softmax were
            calibrated by nobody.
        """
        super().__init__(name="sampler")
        self.calibration_net = calibration_net
        self.refinement_net = refinement_net
        self.num_blackbox_classes = num_blackbox_classes
        self.strategy = strategy
        self.stratified = stratified
        self.one_hot = one_hot

    @property
    def receptive_field(self) -> Optional[int]:
        """As of `Refiner`, of both networks together."""
        nets = self.refinement_net, self.calibration_net
        found = [net.receptive_field for net in nets]
        return None if None in found else sum(found)

    def log_probs(
        self, image: tf.Tensor, blackbox: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """Computes log q(y | x) of F, `[B, H, W, K]` float32 in nats.

        Of images `[B, H, W, C]` uint8 and class ids `[B, H, W]` or probabilities `[B,
        H, W, Kb]` of the black box, None where F works from the image alone.
        """
        if blackbox is not None:
            blackbox = layers.blackbox_to_probs(blackbox, self.num_blackbox_classes)
        logits = self.calibration_net(layers.image_to_float(image), blackbox)
        return tf.nn.log_softmax(tf.cast(logits, tf.float32))

    def noise(self, seed: tf.Tensor, num_samples: tf.Tensor) -> tf.Tensor:
        """Draws z, `[B, M, Z]`, each image's from its own row of `seed` `[B, 2]`."""
        noise_dim = self.refinement_net.noise_dim

        def block(key: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
            key = tf.random.experimental.stateless_fold_in(key, index)
            return layers.latin_hypercube([1, BLOCK, noise_dim], key)[0]

        def draw(key: tf.Tensor) -> tf.Tensor:
            if not self.stratified:
                return tf.random.stateless_normal([num_samples, noise_dim], key)
            # Whole blocks, so that fewer samples are the first of more.
            blocks = tf.map_fn(
                lambda index: block(key, index),
                tf.range(-(-num_samples // BLOCK)),
                fn_output_signature=tf.TensorSpec([BLOCK, noise_dim], tf.float32),
            )
            return tf.reshape(blocks, [-1, noise_dim])[:num_samples]

        spec = tf.TensorSpec([None, noise_dim], tf.float32)
        return tf.map_fn(draw, seed, fn_output_signature=spec)

    def encode(self, image: tf.Tensor, log_probs: tf.Tensor) -> List[tf.Tensor]:
        """Computes G's features of `[B, H, W, C]` uint8 images, once for all samples."""
        return self.refinement_net.encode(layers.image_to_float(image), log_probs)

    def draw(
        self, features: List[tf.Tensor], log_probs: tf.Tensor, noise: tf.Tensor
    ) -> tf.Tensor:
        """Draws one sample per noise vector `[B, M, Z]` and nothing beside them.

        Returns `[B, M, H, W]` uint8, arg-maxed.
        """
        samples = tf.map_fn(
            lambda one: _maximum(self._logits(features, log_probs, one)),
            tf.transpose(noise, [1, 0, 2]),
            fn_output_signature=tf.TensorSpec([None, None, None], tf.uint8),
            parallel_iterations=AT_ONCE,
        )
        return tf.transpose(samples, [1, 0, 2, 3])

    def decode(
        self, features: List[tf.Tensor], log_probs: tf.Tensor, noise: tf.Tensor
    ) -> Dict[str, tf.Tensor]:
        """Draws as `draw` does, with figures on the samples' probabilities.

        Returns `samples` `[B, M, H, W]` uint8, arg-maxed; `sample_mean` `[B, H, W, K]`,
        the mean of the samples' probabilities, and `first_probs`, those of one sample.
        """
        num = tf.shape(noise)[1]

        def step(index, samples, total):
            logits = self._logits(features, log_probs, noise[:, index])
            sample = _maximum(logits)
            samples = samples.write(index, sample)
            if self.one_hot:
                probs = tf.one_hot(tf.cast(sample, tf.int32), tf.shape(logits)[-1])
            else:
                probs = tf.nn.softmax(logits)
            return index + 1, samples, total + probs

        samples = tf.TensorArray(tf.uint8, num, element_shape=[None, None, None])
        zeros = tf.zeros_like(log_probs)
        start = step(tf.constant(0), samples, zeros)
        first_probs = start[-1]
        _, samples, total = tf.while_loop(
            lambda index, *unused: index < num,
            step,
            start,
            shape_invariants=(tf.TensorShape([]), None, log_probs.shape),
            parallel_iterations=AT_ONCE,
        )
        return {
            "samples": tf.transpose(samples.stack(), [1, 0, 2, 3]),
            "sample_mean": total / tf.cast(num, tf.float32),
            "first_probs": first_probs,
        }

    def _logits(
        self, features: List[tf.Tensor], log_probs: tf.Tensor, noise: tf.Tensor
    ) -> tf.Tensor:
        """Returns logits `[B, H, W, K]` of one sample, of noise `[B, Z]`."""
        return self.refinement_net.decode(features, log_probs, noise[:, None])[:, 0]

    def sample(
        self,
        image: tf.Tensor,
        blackbox: Optional[tf.Tensor],
        seed: tf.Tensor,
        num_samples: tf.Tensor,
    ) -> Dict[str, tf.Tensor]:
        """Draws samples; a row of `seed` and its image decide them, not the batch.

        Takes what `log_probs` takes, seeds `[B, 2]` int32 and the number M. Returns
        what `decode` returns, and `probs` `[B, H, W, K]` of F.
        """
        log_probs = self.log_probs(image, blackbox)
        features = self.encode(image, log_probs)
        drawn = self.decode(features, log_probs, self.noise(seed, num_samples))
        return {**drawn, "probs": tf.exp(log_probs)}


def _maximum(logits: tf.Tensor) -> tf.Tensor:
    """Returns the class ids with the largest of `[B, H, W, K]` logits, uint8.

    The first of equals, as with `tf.argmax`, which takes twice as long on a CPU.
    """
    return tf.cast(tf.math.top_k(logits, 1, sorted=False).indices[..., 0], tf.uint8)


def entropy_bits(probs: tf.Tensor) -> tf.Tensor:
    """Entropy of `[..., K]` probabilities in bits, `[...]`."""
    return -tf.reduce_sum(tf.math.xlogy(probs, probs), axis=-1) / tf.math.log(2.0)
