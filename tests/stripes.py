"""Street labels in stripes, and a sampler that reads them from its image."""

import types

import numpy as np
import tensorflow as tf

from car_tf.data import cityscapes, examples, info

FLIP_FACTS = cityscapes.dataset_info("stripes")
K = FLIP_FACTS.num_classes


class KnownSampler:
    """Reads the label from the image's red, and never flips it."""

    receptive_field = 0

    def __init__(self, num_classes=K, flips=FLIP_FACTS.flips):
        layer = types.SimpleNamespace(filters=num_classes)
        self.refinement_net = types.SimpleNamespace(logits_layer=layer)
        self.strategy = None
        self.table = np.eye(num_classes, dtype=np.float32)
        for flip in flips:
            self.table[flip.original, flip.original] = 1 - flip.probability
            self.table[flip.original, flip.flipped] = flip.probability
        self.batches = []

    def sample(self, image, blackbox, seed, num_samples):
        tf.py_function(lambda s: self.batches.append(s.numpy().tolist()), [seed], [])
        label = image[..., 0]
        probs = tf.gather(self.table, tf.cast(label, tf.int32))
        samples = tf.tile(label[:, None], [1, num_samples, 1, 1])
        return {
            "samples": samples,
            "probs": probs,
            "sample_mean": probs,
            "first_probs": probs,
        }


def examples_of(num=3, *, ids=(0, 1, 8, 11, 13, 10), ignored=()):
    label = np.tile(np.repeat(np.array(ids, np.uint8), 4), (num, 8, 1))
    images = np.zeros((*label.shape, 3), np.uint8)
    images[..., 0] = label
    for index in ignored:
        label[index] = info.IGNORE_LABEL
    names = tuple(str(i) for i in range(num))
    return examples.Examples(
        names, names, images, label[:, None], blackbox=label.copy()
    )


def leaves():
    """Two images of three classes and raters, and what they are of.

    The sampler sees [0 0 1 2] and [0 0 1 1]. The second rater does not know the last
    pixel; the third labelled nothing.
    """
    dataset_info = info.DatasetInfo(
        title="leaves",
        class_names=("ground", "leaf", "spot"),
        class_colors=((0, 0, 0), (0, 255, 0), (255, 0, 0)),
        num_raters=3,
        object_word="leaf",
    )
    images = np.zeros((2, 1, 4, 3), np.uint8)
    images[:, 0, :, 0] = [[0, 0, 1, 2], [0, 0, 1, 1]]
    maps = np.array([[[0, 0, 1, 1]], [[0, 1, 1, 255]], [[255] * 4]], np.uint8)
    labels = np.stack([maps, maps])
    return examples.Examples(("a", "b"), ("p", "q"), images, labels), dataset_info
