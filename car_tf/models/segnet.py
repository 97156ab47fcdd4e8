"""SegNet as F, the calibration network without a black box (CAR, A.3).

Badrinarayanan et al., 2017: the encoder is that of VGG-16 with batch norm, and the
decoder is its mirror image. What joins them is a choice: the indices of the max-pooling,
or the encoder's features as in a U-Net.
"""

from typing import Any, Dict, Optional

import tensorflow as tf

from car_tf.models import layers, recalibration, unpooling
from car_tf.models.keras_api import keras

# Convolutions of each level, and its channels as multiples of the first level's.
DEPTHS = (2, 2, 3, 3, 3)
WIDTHS = (1, 2, 4, 8, 8)
STRIDE = 2 ** len(DEPTHS)
MIRRORS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


class SegNet(keras.Model):
    """VGG-16's encoder and its mirror image; see the module's docstring."""

    def __init__(
        self,
        *,
        num_classes: int,
        channels: int = 64,
        dropout: float = 0.1,
        skips: bool = False,
        half_size: bool = False,
        symmetric: bool = False,
        recalibrated: bool = False,
        synchronized: bool = False,
        name: str = "calibration_net",
    ):
        """Creates the network; see the fields of `config.CalibrationNet`.

        With `skips` the decoder up-samples by transposed convolutions. `synchronized`
        batch statistics span all replicas.
        """
        super().__init__(name=name)
        self.skips = skips
        self.half_size = half_size
        self.symmetric = symmetric
        self.recalibration = recalibration.build(recalibrated)
        self.depths = DEPTHS[1:] if half_size else DEPTHS
        widths = [channels * width for width in WIDTHS[-len(self.depths) :]]
        salts = iter(range(100))
        shared = dict(dropout=dropout, synchronized=synchronized, slope=0.0)

        def block(width: int) -> layers.ConvBlock:
            salt = next(salts)
            return layers.ConvBlock(width, salt=salt, name=f"conv{salt}", **shared)

        self.encoder = [
            [block(width) for _ in range(depth)]
            for depth, width in zip(self.depths, widths)
        ]
        # Coarsest level first. The last convolution of a level narrows to the next
        # level's width; that of the finest gives the logits.
        self.decoder, self.ups = [], []
        for level in reversed(range(len(widths))):
            convs = [block(widths[level]) for _ in range(self.depths[level] - 1)]
            if level:
                convs.append(block(widths[level - 1]))
            self.decoder.append(convs)
            if skips:
                up = keras.layers.Conv2DTranspose(
                    widths[level], 2, strides=2, use_bias=False, name=f"up{level}"
                )
                self.ups.append(up)
        self.logits_layer = keras.layers.Conv2D(
            num_classes * (4 if half_size else 1), 3, padding="same", name="logits"
        )

    def trained_parts(self) -> Dict[str, Any]:
        """Returns what stage 1 trains, so all but the recalibration, by its names."""
        names = ("encoder", "decoder", "ups", "logits_layer")
        return {name: getattr(self, name) for name in names}

    @property
    def receptive_field(self) -> Optional[int]:
        """As of `BlackBoxCalibrator`."""
        if self.recalibration is not None:
            return None
        # Both ways through the levels, and from one end of a coarsest pixel to the other.
        first = int(self.half_size)
        one_way = sum(
            depth * 2**level for level, depth in enumerate(self.depths, first)
        )
        return 2 * one_way + STRIDE - 1

    def call(
        self,
        image: tf.Tensor,
        blackbox_probs: Optional[tf.Tensor] = None,
        training: bool = False,
        seed: Optional[tf.Tensor] = None,
    ) -> tf.Tensor:
        """Computes logits as `BlackBoxCalibrator`, of images of any size, alone."""
        if blackbox_probs is not None:
            raise ValueError("SegNet takes no black box, got its output")
        if training:  # Which ends before anything is recalibrated.
            return self._logits(image, training, seed)
        logits = self._symmetric_logits(image)
        return logits if self.recalibration is None else self.recalibration(logits)

    def _symmetric_logits(self, image) -> tf.Tensor:
        if not self.symmetric:
            return self._logits(image, False, None)
        transposed = tf.transpose(image, [0, 2, 1, 3])
        transposed = tf.transpose(self._mirrored_logits(transposed), [0, 2, 1, 3])
        return (self._mirrored_logits(image) + transposed) / 2.0

    def _mirrored_logits(self, image) -> tf.Tensor:
        """The mean over both mirrors: of logits, which scales with a temperature."""
        seen = [image[:, ::down, ::right] for down, right in MIRRORS]
        found = tf.split(self._logits(tf.concat(seen, 0), False, None), len(MIRRORS))
        back = [one[:, :: step[0], :: step[1]] for one, step in zip(found, MIRRORS)]
        return sum(back) / len(MIRRORS)

    def _logits(self, image, training, seed) -> tf.Tensor:
        height, width = tf.shape(image)[1], tf.shape(image)[2]
        features = layers.pad_to_multiple(image, STRIDE)
        if self.half_size:
            features = tf.nn.space_to_depth(features, 2)
        links = []
        for convs in self.encoder:
            for conv in convs:
                features = conv(features, training=training, seed=seed)
            link = features
            features, indices = unpooling.max_pool(features)
            links.append(link if self.skips else indices)
        for level, (convs, link) in enumerate(zip(self.decoder, reversed(links))):
            if self.skips:
                features = tf.concat([self.ups[level](features), link], axis=-1)
            else:
                features = unpooling.max_unpool(features, link)
            for conv in convs:
                features = conv(features, training=training, seed=seed)
        logits = self.logits_layer(features)
        if self.half_size:
            logits = tf.nn.depth_to_space(logits, 2)
        return logits[:, :height, :width]
