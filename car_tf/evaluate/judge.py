"""A judge of realism: a fresh discriminator, trained to tell samples from labels.

D of stage 2 cannot say how real G's samples are: G was trained to please it. The judge
is trained for itself, after G, on the training split, and is asked on held-out images.
Its recipe is fixed, so that the results of samplers can be compared; one that is
trained for longer sees more.
"""

from __future__ import annotations

from typing import Any, Dict, Tuple

import numpy as np
import tensorflow as tf

from car_tf.config import quiet
from car_tf.data import info, io
from car_tf.metrics import realism as metrics_realism
from car_tf.models import averages as weight_averages
from car_tf.models import discriminator, layers
from car_tf.models.keras_api import keras

CHANNELS = 24
BATCH_SIZE = 8
LEARNING_RATE = 1e-3
# Of the running average of the judge's weights, which is asked: the last step's depend on
# the last few batches, and on rounding, by several hundredths of AUC.
AVERAGE_DECAY = 0.99


def realism(
    train_images: np.ndarray,
    train_labels: np.ndarray,
    train_samples: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    test_samples: np.ndarray,
    *,
    num_classes: int,
    seed: int,
    steps: int,
) -> Dict[str, Any]:
    """Trains a judge on some images and asks it on others.

    A step shows one label and one sample of each of 8 images, mirrored at random.

    Args:
      train_images, test_images: `[I, H, W, C]` uint8, and others, held out.
      train_labels, test_labels: `[I, A, H, W]` uint8 class ids of A labels of each
        image, of which a step takes one by chance; 255 is hidden in image and maps.
      train_samples, test_samples: `[I, S, H, W]` uint8 class ids, likewise.
      seed: of the judge's weights and of what it is shown.

    Returns:
      `auc`, `paired_accuracy` (see `metrics.realism`; 0.5 is the best for a sampler)
      and `steps`.
    """
    net = _build(train_images.shape[1:], num_classes, seed)
    shown = (train_images, train_labels, train_samples)
    rng = np.random.default_rng(seed)
    with quiet.filtered():  # Of the training step's graph.
        _train(net, shown, num_classes=num_classes, rng=rng, steps=steps)
    scores = _scores(net, test_images, test_labels, test_samples, num_classes)
    return {
        "auc": metrics_realism.auc(*scores),
        "paired_accuracy": metrics_realism.paired_accuracy(*scores),
        "steps": steps,
    }


def _build(
    shape: Tuple[int, int, int], num_classes: int, seed: int
) -> discriminator.Discriminator:
    """Builds the judge for images `[H, W, C]`."""
    keras.utils.set_random_seed(seed)
    height, width, channels = shape
    net = discriminator.Discriminator(
        input_size=(height, width), base_channels=CHANNELS, name="judge"
    )
    image = tf.zeros([1, height, width, channels])
    net(image, tf.zeros([1, 1, height, width, num_classes]))
    return net


def _train(net, arrays, *, num_classes, rng, steps) -> None:
    optimizer = keras.optimizers.Adam(LEARNING_RATE, beta_1=0.5)
    optimizer.build(net.trainable_variables)
    averages = [tf.Variable(variable) for variable in net.trainable_variables]

    @tf.function(autograph=False)
    def step(images: tf.Tensor, maps: tf.Tensor, index: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            logits = _logits(net, images, maps, num_classes)
            # Cross entropy: the first map is the label, the second the sample.
            loss = tf.reduce_mean(tf.nn.softplus(logits * [-1.0, 1.0]))
        variables = net.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        weight_averages.update(averages, variables, decay=AVERAGE_DECAY, step=index)

    with io.progress(range(steps), "training a judge", "step") as bar:
        for index in bar:
            step(*_batch(*arrays, rng), tf.constant(index))
    for variable, average in zip(net.trainable_variables, averages):
        variable.assign(average)


def _batch(images, labels, samples, rng) -> Tuple[np.ndarray, np.ndarray]:
    """Draws images `[B, H, W, C]` with a label and a sample each, `[B, 2, H, W]`."""
    shown, pairs = [], []
    for index in rng.integers(len(images), size=BATCH_SIZE):
        label = labels[index, rng.integers(labels.shape[1])]
        sample = samples[index, rng.integers(samples.shape[1])]
        turn = rng.choice([1, -1])
        shown.append(images[index, :, ::turn])
        pairs.append(np.stack([label, sample])[:, :, ::turn])
    return np.stack(shown), np.stack(pairs)


def _logits(
    net: keras.Model, images: tf.Tensor, maps: tf.Tensor, num_classes: int
) -> tf.Tensor:
    """Judges maps `[B, M, H, W]`; what one leaves unlabelled is hidden in all."""
    valid = tf.reduce_all(tf.not_equal(maps, info.IGNORE_LABEL), axis=1)[..., None]
    valid = tf.cast(valid, tf.float32)
    one_hot = tf.one_hot(tf.cast(maps, tf.int32), num_classes) * valid[:, None]
    return net(layers.image_to_float(images) * valid, one_hot)


def _scores(net, images, labels, samples, num_classes) -> Tuple[np.ndarray, np.ndarray]:
    """Returns the judge's logits of labels `[J, A]` and of samples `[J, S]`."""
    judge = tf.function(
        lambda *batch: _logits(net, *batch, num_classes), autograph=False
    )
    scores = [
        judge(image[None], np.concatenate([label, sample])[None])[0].numpy()
        for image, label, sample in zip(images, labels, samples)
    ]
    return np.split(np.stack(scores), [labels.shape[1]], axis=1)
