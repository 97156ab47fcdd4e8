"""q(z | x, y): the posterior of the noise in the cVAE-GAN (CAR, B.2.3)."""

from typing import Optional, Tuple

import tensorflow as tf

from car_tf.models import layers
from car_tf.models.keras_api import keras


class PosteriorNet(keras.Model):
    """q(z | x, y) of the ELBO: G's encoder, which sees the label too (CAR, B.2.3)."""

    def __init__(
        self,
        *,
        base_channels: int = 32,
        noise_dim: int = 32,
        dropout: float = 0.1,
        synchronized: bool = False,
        name: str = "posterior_net",
    ):
        super().__init__(name=name)
        self.down_blocks = layers.down_blocks(base_channels, dropout, synchronized)
        self.head = layers.GaussianHead(noise_dim, name="head")

    def call(
        self,
        image: tf.Tensor,
        log_probs: tf.Tensor,
        label: tf.Tensor,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
    ) -> Tuple[tf.Tensor, tf.Tensor]:
        """Computes mean and standard deviation, `[B, Z]` each, of each image's z.

        Takes what `Refiner.encode` takes and the label, `[B, H, W, K]` one-hot, zero
        where ignored.
        """
        others = [tf.cast(value, image.dtype) for value in (tf.exp(log_probs), label)]
        features = tf.concat([image, *others], axis=-1)
        for block in self.down_blocks:
            features = block(features, training=training, seed=seed)
        return self.head(features)
