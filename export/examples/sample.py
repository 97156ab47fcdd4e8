"""Draws samples with an exported model and nothing but TensorFlow.

    python sample.py MODEL_DIR IMAGE [BLACKBOX_MAP]

MODEL_DIR is the folder of one version. Copy this file anywhere: it imports nothing of
the project that made the model. Prints, for each class, the share of the image that it
covers in the samples.
"""

import json
import sys

import tensorflow as tf


def main():
    folder, image_file, *map_file = sys.argv[1:]
    model = tf.saved_model.load(folder)
    labels = json.loads(tf.io.read_file(model.labels.asset_path).numpy())

    channels = labels["image_channels"]
    image = tf.io.decode_image(tf.io.read_file(image_file), channels=channels)
    inputs = {"image": image[None]}
    if map_file:
        ids = tf.io.decode_png(tf.io.read_file(map_file[0]), channels=1)
        inputs["blackbox"] = ids[None, ..., 0]

    # Through the function, defaults hold; `model.signatures` wants every input.
    drawn = model.sample(
        **inputs, num_samples=tf.constant(8), seed=tf.constant([[1, 2]])
    )
    samples = drawn["samples"][0]
    for entry in labels["classes"]:
        shares = tf.reduce_mean(
            tf.cast(samples == entry["id"], tf.float32), axis=[1, 2]
        )
        if tf.reduce_max(shares) > 0:
            low, high = tf.reduce_min(shares), tf.reduce_max(shares)
            print(f"{entry['name']:>16}  {low:7.2%} to {high:7.2%}")
    bits = tf.reduce_mean(drawn["entropy_bits"])
    print(f"{len(samples)} samples; mean entropy {bits:.3f} bits per pixel")


if __name__ == "__main__":
    main()
