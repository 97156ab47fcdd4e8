"""A model of four proposals for the tests of the proposal page, and its server."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

SIZE = 32
LEFT, RIGHT, BOTH = np.zeros((3, SIZE, SIZE), np.uint8)
LEFT[8:24, 4:12] = BOTH[8:24, 4:12] = 1
RIGHT[8:24, 20:28] = BOTH[8:24, 20:28] = 1
LABELS = {
    "name": "lesions",
    "title": "CT <crops>",
    "classes": [
        {"id": 0, "name": "background", "color": [0, 0, 0]},
        {"id": 1, "name": "lesion", "color": [255, 255, 255]},
    ],
    "flips": [],
    "image_channels": 1,
    "trained_size": [SIZE, SIZE],
    "resizes": True,
    "blackbox": None,
    "config": None,
}


class Predictor:
    """Draws left, left, right, both, and again; remembers what it was asked."""

    labels, needs_blackbox = LABELS, False

    def __init__(self):
        self.num_encoded, self.seeds = 0, []

    def encode(self, image, blackbox):
        assert image.shape == (SIZE, SIZE, 1) and blackbox is None
        self.num_encoded += 1
        return {"log_probs": tf.math.log(tf.fill([1, SIZE, SIZE, 2], 0.5))}

    def decode(self, encoded, *, num_samples, seed):
        self.seeds.append(seed)
        return np.stack([(LEFT, LEFT, RIGHT, BOTH)[i % 4] for i in range(num_samples)])


def png(height=40, width=50, **options):
    """A grey image as a file's content."""
    content = io.BytesIO()
    image = Image.fromarray(np.full((height, width, 3), 90, np.uint8))
    image.save(content, "PNG", **options)
    return content.getvalue()
