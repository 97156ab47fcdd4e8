"""G against tile-and-run, and against the time that its arithmetic must take."""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple

import tensorflow as tf

from car_tf.models import refinement_net, sampler
from tests.benchmarks import report, timing

NUM_CLASSES = 24
NOISE_DIM = 32
# Size of the image, base channels and number of samples of the row.
LARGE, SMALL = ((256, 512), 32, 16), ((32, 48), 4, 3)
SEED = [3, 4]


def build(
    *, num_classes: int, base_channels: int, size: Tuple[int, int]
) -> Tuple[refinement_net.RefinementNet, tf.Tensor, tf.Tensor]:
    """Returns G with untrained weights, one uint8 image and log-probabilities."""
    net = refinement_net.RefinementNet(
        num_classes=num_classes,
        base_channels=base_channels,
        noise_dim=NOISE_DIM,
    )
    pixels = tf.random.stateless_uniform([1, *size, 3], SEED, maxval=256.0)
    logits = tf.random.stateless_normal([1, *size, num_classes], SEED)
    log_probs = tf.nn.log_softmax(logits)
    net(pixels, log_probs, tf.zeros([1, 1, NOISE_DIM]))
    return net, tf.cast(pixels, tf.uint8), log_probs


def sampling_sides(
    net: refinement_net.RefinementNet, image: tf.Tensor, log_probs: tf.Tensor, num: int
) -> Dict[str, Callable[[], tf.Tensor]]:
    """Returns two ways to draw the same `num` samples of one image, `[num, H, W]`.

    `ours` is what evaluation, prediction and the export run; `tiled` calls the network
    on `num` copies of the image with one noise vector each.
    """
    model = sampler.Sampler(
        calibration_net=None, refinement_net=net, num_blackbox_classes=0
    )
    noise = tf.random.stateless_normal([1, num, NOISE_DIM], SEED)

    @tf.function
    def ours(image: tf.Tensor, log_probs: tf.Tensor) -> tf.Tensor:
        features = model.encode(image, log_probs)
        return model.draw(features, log_probs, noise)[0]

    @tf.function
    def tiled(image: tf.Tensor, log_probs: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(tf.repeat(image, num, axis=0), tf.float32) / 127.5 - 1.0
        logits = net(pixels, tf.repeat(log_probs, num, axis=0), noise[0][:, None])
        return tf.cast(tf.argmax(logits[:, 0], -1, output_type=tf.int32), tf.uint8)

    return {
        "ours": lambda: ours(image, log_probs),
        "tiled": lambda: tiled(image, log_probs),
    }


def multiply_adds(
    net: refinement_net.RefinementNet, size: Tuple[int, int], num_samples: int
) -> Dict[str, float]:
    """Counts G's multiply-adds for one image, those of the noise's layers left out.

    Args:
      net: built.
      size: (height, width) of the image.
      num_samples: M.

    Returns:
      `ours`, with all that knows no noise once per image, and `tiled`, with all of it
      once per sample.
    """
    stride = refinement_net.STRIDE
    height, width = (-(-side // stride) * stride for side in size)
    once = each = 0.0
    area = height * width
    for block in net.down_blocks:
        area //= 4
        once += area * _weights(block.conv)
    for index, block in enumerate(net.up_blocks):
        # The up-sampled half is convolved before it is enlarged; in the first block
        # it has met no noise yet.
        half = area * _weights(block.up)
        once, each = (once + half, each) if index == 0 else (once, each + half)
        area *= 4
        once += area * _weights(block.skip)
    each += area * _weights(net.logits_layer)
    return {
        "ours": once + num_samples * each,
        "tiled": num_samples * (once + each),
    }


def _weights(layer) -> int:
    return int(tf.size(layer.kernel))


def of_row(
    small: bool,
) -> Tuple[refinement_net.RefinementNet, Dict[str, Callable[[], tf.Tensor]]]:
    """Returns G of the row, and the two sides of it."""
    size, base, num = SMALL if small else LARGE
    net, image, log_probs = build(
        num_classes=NUM_CLASSES, base_channels=base, size=size
    )
    return net, sampling_sides(net, image, log_probs, num)


def row(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `sampling`: time, ratio, and the share of the convolution's peak."""
    size, base, num = SMALL if small else LARGE
    net, sides = of_row(small)
    same = tf.reduce_mean(tf.cast(sides["ours"]() == sides["tiled"](), tf.float32))
    seconds = timing.medians(
        {name: timing.clock(side) for name, side in sides.items()},
        repeats=3 if small else 9,
    )
    counts = multiply_adds(net, size, num)
    rows = []
    for name in sides:
        least = counts[name] / peaks["convolution"]
        rows.append(
            [
                name,
                1e3 * seconds[name],
                counts[name] / 1e9,
                1e3 * least,
                least / seconds[name],
                seconds["tiled"] / seconds[name],
            ]
        )
    return [
        report.Table(
            f"G, {num} samples of one {size[0]}x{size[1]} image, {NUM_CLASSES} classes, "
            f"base {base}",
            (
                *("", "ms", "multiply-adds, 1e9", "ms at the convolution's peak"),
                *("share of the peak", "times as fast as tiled"),
            ),
            rows,
            (f"{100 * float(same):.2f} % of the pixels of both sides are equal.",),
        )
    ]
