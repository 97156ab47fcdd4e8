"""G, the refinement network: coherent samples from F's distribution (CAR, Section 5.2).

Noise enters in the decoder alone. `encode` computes all that does not depend on it,
once per image: the encoder, the first decoder level up to its noise, and the half of
every other decoder convolution that acts on a skip connection (a convolution of a
concatenation is the sum of two). `decode` computes the rest, once per sample.

Noise may also add a Gumbel variable to the log-probability of each class, the same in
all pixels of a sample. By the Gumbel-max trick a pixel's arg-max is then distributed as
F says, whole regions decide together and classes independently, before any training,
which is left to find better shapes. The paper has no such term, and in its form
training must find all of that: the classes first switch along one direction of z,
together, where the truth has them independent.
"""

from typing import List, Optional

import tensorflow as tf

from car_tf.models import layers
from car_tf.models import noise as noise_lib
from car_tf.models import recompute, refiner
from car_tf.models.keras_api import keras

NUM_BLOCKS = layers.NUM_DOWN_BLOCKS
STRIDE = 2**NUM_BLOCKS


class UpBlock(keras.layers.Layer):
    """Up-sampling by 2 with a skip, batch norm, noise, leaky ReLU and dropout.

    The up-sampled half is convolved before it is enlarged, at a quarter of the work;
    the skip half is a 3x3 convolution per image. (A transposed convolution is cheaper
    still, but lets the four pixels that it makes of one decide differently: samples
    with chequered objects.)
    """

    def __init__(
        self, channels: int, *, dropout: float, salt: int, synchronized: bool, **kwargs
    ):
        super().__init__(**kwargs)
        shape = dict(filters=channels, kernel_size=3, padding="same", use_bias=False)
        self.up = keras.layers.Conv2D(name="up", **shape)
        self.skip = keras.layers.Conv2D(name="skip", **shape)
        self.norm = layers.batch_norm(synchronized=synchronized, name="norm")
        self.inject = noise_lib.NoiseInjection(channels, name="noise")
        self.activation = keras.layers.LeakyReLU(layers.LEAKY_SLOPE)
        self.dropout = layers.SeededDropout(dropout, salt=salt)

    def build(self, input_shape) -> None:
        """Creates the normalisation's variables, which inference reads."""
        with tf.name_scope(self.norm.name):
            self.norm.build([None, None, None, self.skip.filters])
        super().build(input_shape)

    def merge(
        self, features: tf.Tensor, skip_term: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Computes what comes before the noise, normalised: `[B, M, 2H, 2W, channels]`.

        Of features `[B, M, H, W, C]`, M = 1 where nothing depends on noise yet, and
        `self.skip` of the skip connection, `[B, 2H, 2W, channels]`.
        """
        batch, num = tf.shape(features)[0], tf.shape(features)[1]
        merged = layers.upsample_nearest(self.up(layers.merge_samples(features)))
        merged = layers.split_samples(merged, batch, num) + skip_term[:, None]
        merged = self.norm(layers.merge_samples(merged), training=training)
        return layers.split_samples(merged, batch, num)

    def modulate(
        self, merged: tf.Tensor, noise: tf.Tensor, seed: Optional[tf.Tensor] = None
    ) -> tf.Tensor:
        """Adds the noise `[B, M, Z]` to what `merge` gave, in its shape."""
        factor, residual = self.inject(noise)
        return self._activate(merged * factor + residual, seed)

    def call(
        self,
        features: tf.Tensor,
        skip_term: tf.Tensor,
        noise: tf.Tensor,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
    ) -> tf.Tensor:
        """Computes one decoder level, of the arguments of `merge` and `modulate`."""
        if training:
            merged = self.merge(features, skip_term, training=True)
            return self.modulate(merged, noise, seed)
        # Normalisation is linear here, so it is done together with the noise, and
        # before the features are enlarged: a third of the passes at full size.
        batch, num = tf.shape(features)[0], tf.shape(features)[1]
        factor, residual = self.inject(noise)
        scale, offset = (
            tf.cast(value, factor.dtype) for value in layers.as_linear(self.norm)
        )
        residual += offset * factor
        factor *= scale
        raised = self.up(layers.merge_samples(features))
        raised = layers.split_samples(raised, batch, num) * factor + residual
        raised = layers.upsample_nearest(layers.merge_samples(raised))
        raised = layers.split_samples(raised, batch, num)
        return self._activate(raised + skip_term[:, None] * factor, seed)

    def _activate(self, features: tf.Tensor, seed: Optional[tf.Tensor]) -> tf.Tensor:
        return self.dropout(self.activation(features), seed=seed)


class RefinementNet(refiner.Refiner):
    """U-Net with noise in every up block; see the module's docstring."""

    def __init__(
        self,
        *,
        num_classes: int,
        base_channels: int = 32,
        noise_dim: int = 32,
        dropout: float = 0.1,
        logits: str = "gumbel",
        temperature: float = 0.2,
        encoded_noise: bool = False,
        synchronized: bool = False,
        name: str = "refinement_net",
    ):
        """Creates the network; see the fields of `config.RefinementNet`.

        Of `logits`, `scratch` converges more than ten times slower than the others.
        `encoded_noise` gives each image its own Gaussian of z (the cVAE; CAR, B.2.3).
        """
        super().__init__(name=name)
        self.noise_dim = noise_dim
        self.logits = logits
        self.temperature = temperature
        self.down_blocks = layers.down_blocks(base_channels, dropout, synchronized)
        self.noise_head = (
            layers.GaussianHead(noise_dim, name="noise_head") if encoded_noise else None
        )
        widths = [base_channels * 2**level for level in range(NUM_BLOCKS)]
        shared = dict(dropout=dropout, synchronized=synchronized)
        self.up_blocks = [
            UpBlock(width, salt=NUM_BLOCKS + level, name=f"up{level}", **shared)
            for level, width in enumerate([*widths[-2::-1], base_channels])
        ]
        if logits == "gumbel":
            self.class_gumbels = noise_lib.ClassGumbels(
                num_classes, noise_dim, name="class_gumbels"
            )
        self.logits_layer = keras.layers.Conv2D(
            num_classes,
            1,
            kernel_initializer="glorot_uniform" if logits == "scratch" else "zeros",
            name="logits",
        )

    @property
    def receptive_field(self) -> Optional[int]:
        if self.noise_head is not None:
            return None  # z depends on the whole image.
        # Stride-2 convolutions reach 2 * (1 + 2 + 4 + 8) to the right, and a 3x3
        # convolution at each of the coarser scales as far again.
        return 4 * (STRIDE - 1)

    def encode(self, image, log_probs, training=False, seed=None) -> List[tf.Tensor]:
        """Computes all that does not depend on the noise, as in `Refiner`.

        Returns the first up block's features before the noise, `[B, 2h, 2w, 4 * base]`
        (h = ceil(H / 16)), the skip terms of the others, coarsest first, and, with
        encoded noise, its mean and standard deviation, `[B, Z]` each.
        """
        # Keras casts the first argument alone to the precision of the layers.
        probs = tf.cast(tf.exp(log_probs), image.dtype)
        features = layers.pad_to_multiple(tf.concat([image, probs], axis=-1), STRIDE)
        skips = []
        for block in self.down_blocks:
            skips.append(features)
            features = block(features, training=training, seed=seed)
        skip_terms = [
            block.skip(skip) for block, skip in zip(self.up_blocks, reversed(skips))
        ]
        first = self.up_blocks[0].merge(
            features[:, None], skip_terms[0], training=training
        )
        gaussian = [] if self.noise_head is None else self.noise_head(features)
        return [first[:, 0], *skip_terms[1:], *gaussian]

    def decode(
        self, features, log_probs, noise, training=False, seed=None, at_once=0
    ) -> tf.Tensor:
        first, *skip_terms = features
        if self.noise_head is not None:
            *skip_terms, mean, std = skip_terms
            noise = layers.reparameterize(mean, std, noise)
        decoded = self.up_blocks[0].modulate(first[:, None], noise, seed)
        blocks = list(zip(self.up_blocks[1:], skip_terms))
        if training and 0 < at_once < noise.shape[1]:
            logits = self._decode_in_turn(decoded, blocks, noise, seed, at_once)
        else:
            for block, skip_term in blocks:
                decoded = block(decoded, skip_term, noise, training=training, seed=seed)
            batch, num = tf.shape(decoded)[0], tf.shape(decoded)[1]
            logits = self.logits_layer(layers.merge_samples(decoded))
            logits = layers.split_samples(logits, batch, num)
        logits = tf.cast(logits, tf.float32)
        height, width = tf.shape(log_probs)[1], tf.shape(log_probs)[2]
        logits = logits[:, :, :height, :width]
        if self.logits == "scratch":
            return logits
        if self.logits == "residual":
            return logits + log_probs[:, None]
        gumbels = self.class_gumbels(noise)[:, :, None, None]
        return logits + (log_probs[:, None] + gumbels) / self.temperature

    def _decode_in_turn(self, decoded, blocks, noise, seed, at_once) -> tf.Tensor:
        num_parts = noise.shape[1] // at_once
        parts = tf.split(decoded, num_parts, axis=1)
        noise = tf.split(noise, num_parts, axis=1)
        for block, skip_term in blocks:
            top = self.logits_layer if block is self.up_blocks[-1] else None
            parts = recompute.up_block(
                block, parts, skip_term, noise, seed=seed, logits_layer=top
            )
        return tf.concat(parts, axis=1)
