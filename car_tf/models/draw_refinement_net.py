"""G on calibrated draws: redraws what F and a Gumbel variable per class have drawn.

The input of each sample is a *draw*: the softmax of log F plus a Gumbel variable of each
class that is the same in all pixels. By the Gumbel-max trick the arg-max of a draw is
distributed as F says, in every pixel, and whole regions decide together. A U-Net that
sees image, F and the draw adds a learned map, which starts at zero, to the draw's
logits: at first samples are the draws, calibrated and coherent; what D is there to teach
are the shapes. The draws remain the reference of the calibration loss
(`losses.paired_calibration`): a change that leaves their mean alone costs nothing.

Unlike in `refinement_net`, most of the network runs once per sample, because the draw is
its input. What does not depend on it, the first convolution's half of image and F, is
computed once per image.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple, Type

import tensorflow as tf
import tensorflow_probability as tfp

from car_tf.models import layers
from car_tf.models import noise as noise_lib
from car_tf.models import refiner
from car_tf.models.keras_api import keras

WIDTHS = (1, 2, 4, 6, 8)  # Channels of the levels, in units of the first.
STRIDE = 2 ** (len(WIDTHS) - 1)
# Below this a class of F is as good as impossible; its gradient stays finite.
LEAST_LOG_PROB = -12.0


class _Onto(keras.layers.Conv2D):
    """A convolution that is added to maps.

    The bias is added to the maps first. Else TensorFlow makes one kernel of convolution,
    bias and sum, in which threads that run it at the same time, such as two samples of a
    loop or two requests to a server, take each other's maps or crash (oneDNN, up to
    TensorFlow 2.21).
    """

    def call(self, features: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
        """Maps `[N, H, W, C]` and `[N, H, W, filters]` to `[N, H, W, filters]`."""
        maps = tf.nn.bias_add(maps, self.bias)
        return maps + self.convolution_op(features, self.kernel)


class _Down(keras.layers.Layer):
    """Halves the size, then convolves once more beside an identity."""

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.halve = _convolution(channels, strides=2, name="halve")
        self.mix = _convolution(channels, name="mix")

    def call(self, features: tf.Tensor) -> tf.Tensor:
        """Maps `[N, H, W, C]` to `[N, H/2, W/2, channels]`."""
        features = layers.pixel_norm(_leaky(self.halve(features)))
        return layers.pixel_norm(_leaky(self.mix(features)) + features)


class _Up(keras.layers.Layer):
    """Doubles the size, adds the skip, and lets the noise scale and shift channels."""

    def __init__(self, channels: int, *, last: bool, **kwargs):
        super().__init__(**kwargs)
        self.up = _convolution(channels, name="up")
        self.skip = _convolution(channels, _Onto, kernel_size=1, name="skip")
        self.inject = noise_lib.NoiseInjection(channels, name="noise")
        self.mix = None if last else _convolution(channels, _Onto, gain=0.2, name="mix")

    def call(self, features: tf.Tensor, skip: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Maps `[N, H, W, C]`, `[N, 2H, 2W, S]` and z `[N, Z]` to `[N, 2H, 2W, c]`."""
        merged = self.skip(skip, layers.upsample_nearest(self.up(features)))
        factor, residual = self.inject(noise[:, None])
        merged = layers.pixel_norm(merged) * factor[:, 0] + residual[:, 0]
        merged = _leaky(merged)
        return merged if self.mix is None else self.mix(merged, merged)


class DrawRefinementNet(refiner.Refiner):
    """U-Net over image, F and a calibrated draw; see the module's docstring."""

    def __init__(
        self,
        *,
        num_classes: int,
        base_channels: int = 16,
        noise_dim: int = 32,
        twins: Sequence[Tuple[int, int]] = (),
        draw_scale: float = 0.0,
        half_size: bool = False,
        name: str = "refinement_net",
    ):
        """Creates the network; see the fields of `config.RefinementNet`.

        Args:
          base_channels: at full size; `WIDTHS` times as many on the coarser levels.
          noise_dim: Z. The first K values of z decide the draw, so that classes are
            drawn independently of each other where Z is at least K. Smooth draws take
            as many more values as their waves need.
          twins: pairs of classes of which an image has one alone. F's share of each of
            the two is taken over the whole image, and both have one channel of the
            learned map.
        """
        super().__init__(name=name)
        self.block = 2 if half_size else 1
        self.noise_head = None
        self.twins = tuple(twins)
        second = {other: one for one, other in twins}
        firsts = [k for k in range(num_classes) if k not in second]
        self.shared = [firsts.index(second.get(k, k)) for k in range(num_classes)]
        self.fields = None
        if draw_scale:
            self.fields = noise_lib.GumbelFields(
                len(firsts), scale=draw_scale, name="gumbel_fields"
            )
            noise_dim = max(noise_dim, num_classes + self.fields.noise_dim)
        self.noise_dim = noise_dim
        self.class_gumbels = noise_lib.ClassGumbels(
            num_classes, noise_dim, name="class_gumbels", trainable=False
        )
        widths = [base_channels * width for width in WIDTHS]
        self.image_conv = _convolution(widths[0], name="image")
        self.draw_conv = _convolution(widths[0], use_bias=False, name="draw")
        self.downs = [
            _Down(width, name=f"down{level}") for level, width in enumerate(widths[1:])
        ]
        self.ups = [
            _Up(width, last=level == 0, name=f"up{level}")
            for level, width in reversed(list(enumerate(widths[:-1])))
        ]
        self.logits_layer = keras.layers.Conv2D(
            len(firsts) * self.block**2,
            3,
            padding="same",
            kernel_initializer="zeros",
            name="logits",
        )

    @property
    def receptive_field(self) -> Optional[int]:
        if self.twins or self.fields is not None:
            return None  # Shares of twins, and smooth maps, are the whole image's.
        # At scales 1, 2, 4, 8: 2 and 2 on the way down, 2 and 1 on the way up, and up to
        # 15 within a pixel of the coarsest scale: 121.
        return 8 * STRIDE * self.block

    def draws(self, log_probs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Computes the draws that samples start from.

        Maps log q(y | x) of F `[B, H, W, K]` and normal noise `[B, M, Z]` to
        log-probabilities `[B, M, H, W, K]`, whose arg-max is distributed as F says.
        """
        gumbels = self.class_gumbels(noise)[:, :, None, None]
        if self.fields is None:
            logits = self._with_whole_twins(log_probs)[:, None] + gumbels
            return tf.nn.log_softmax(logits)
        return tf.nn.log_softmax(self._local_draws(log_probs, noise, gumbels))

    def _local_draws(self, log_probs, noise, gumbels) -> tf.Tensor:
        """Draws classes by smooth maps, and which of two twins for the whole image."""
        shape = tf.shape(log_probs)
        # The first K values of z decide between twins.
        fields = self.fields(noise[..., len(self.shared) :], shape[1], shape[2])
        fields = tf.unstack(fields, axis=-1)
        classes = tf.unstack(log_probs, axis=-1)
        logits = [
            log_prob[:, None] + fields[self.shared[k]]
            for k, log_prob in enumerate(classes)
        ]
        for one, other in self.twins:
            both, areas = _together(classes[one], classes[other])
            both = both[:, None] + fields[self.shared[one]]
            ones = areas[0][:, None] + gumbels[..., one]
            others = areas[1][:, None] + gumbels[..., other]
            logits[one] = both - tf.nn.relu(others - ones)
            logits[other] = both - tf.nn.relu(ones - others)
        return tf.stack(logits, axis=-1)

    def _with_whole_twins(self, log_probs: tf.Tensor) -> tf.Tensor:
        """Gives the two of a pair the same log-odds in all pixels of an image."""
        classes = tf.unstack(log_probs, axis=-1)
        for one, other in self.twins:
            both, areas = _together(classes[one], classes[other])
            shares = tf.nn.log_softmax(tf.stack(areas, -1))
            classes[one] = both + shares[..., 0]
            classes[other] = both + shares[..., 1]
        return tf.stack(classes, axis=-1)

    def encode(self, image, log_probs, training=False, seed=None) -> List[tf.Tensor]:
        """Computes the first convolution's half of image and F, `[B, h, w, base]`.

        Of the next multiples of 16 of H and W, or with `half_size` half those of 32.
        """
        del training, seed
        probs = tf.cast(tf.exp(log_probs), image.dtype)
        return [self.image_conv(self._folded(tf.concat([image, probs], axis=-1)))]

    def _folded(self, maps: tf.Tensor) -> tf.Tensor:
        """Pads maps `[N, H, W, C]`, and makes channels of squares with `half_size`."""
        maps = layers.pad_to_multiple(maps, STRIDE * self.block)
        return maps if self.block == 1 else tf.nn.space_to_depth(maps, self.block)

    def decode(
        self, features, log_probs, noise, training=False, seed=None, at_once=0
    ) -> tf.Tensor:
        del seed
        (shared,) = features
        if training and 0 < at_once < noise.shape[1]:
            one = tf.recompute_grad(lambda part: self._decode(shared, log_probs, part))
            parts = tf.split(noise, noise.shape[1] // at_once, axis=1)
            return tf.concat([one(part) for part in parts], axis=1)
        return self._decode(shared, log_probs, noise)

    def _decode(self, shared, log_probs, noise) -> tf.Tensor:
        draws = self.draws(log_probs, noise)
        batch, num = tf.shape(draws)[0], tf.shape(draws)[1]
        height, width = tf.shape(draws)[2], tf.shape(draws)[3]
        seen = tf.cast(tf.exp(layers.merge_samples(draws)), shared.dtype)
        drawn = self.draw_conv(self._folded(seen))
        drawn = layers.split_samples(drawn, batch, num) + shared[:, None]
        features = _leaky(layers.merge_samples(drawn))
        skips = []
        for block in self.downs:
            skips.append(features)
            features = block(features)
        each = tf.cast(tf.reshape(noise, [-1, self.noise_dim]), features.dtype)
        for block in self.ups:
            features = block(features, skips.pop(), each)
        learned = tf.cast(self.logits_layer(features), tf.float32)
        if self.block > 1:
            learned = tf.nn.depth_to_space(learned, self.block)
        # A product, because the gradient of `tf.gather` is slow.
        spread = tf.one_hot(self.shared, learned.shape[-1], axis=0)
        learned = tf.tensordot(learned[:, :height, :width], spread, 1)
        learned = layers.split_samples(learned, batch, num)
        return tf.maximum(draws, LEAST_LOG_PROB) + learned


def _together(one: tf.Tensor, other: tf.Tensor) -> Tuple[tf.Tensor, List[tf.Tensor]]:
    """Returns the sum of two classes in each pixel, and the area of each, all as logs.

    Of log-probabilities `[B, H, W]` each: `[B, H, W]`, and two of `[B, 1, 1]`.
    """
    areas = [
        tf.reduce_logsumexp(each, axis=[1, 2], keepdims=True) for each in (one, other)
    ]
    return tfp.math.log_add_exp(one, other), areas


def _leaky(features: tf.Tensor) -> tf.Tensor:
    return tf.nn.leaky_relu(features, layers.LEAKY_SLOPE)


def _convolution(
    channels: int,
    layer: Type[keras.layers.Conv2D] = keras.layers.Conv2D,
    *,
    kernel_size: int = 3,
    strides: int = 1,
    gain: float = 2.0,
    use_bias: bool = True,
    name: str,
) -> keras.layers.Conv2D:
    return layer(
        channels,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(gain),
        name=name,
    )
