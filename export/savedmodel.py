"""Writes the sampler as a SavedModel that plain TensorFlow loads."""

from __future__ import annotations

import os
import pathlib
import shutil

import tensorflow as tf

from car_tf.data import info
from car_tf.models import sampler


class ExportedSampler(tf.Module):
    """The sampler's signatures: uint8 images in, samples and uncertainty out."""

    def __init__(self, model: sampler.Sampler, facts: info.DatasetInfo):
        super().__init__(name="car")
        self.model = model
        image = tf.TensorSpec(
            [None, None, None, facts.image_channels], tf.uint8, "image"
        )
        blackbox = tf.TensorSpec([None, None, None], tf.uint8, "blackbox")
        inputs = [image] + ([blackbox] if facts.num_blackbox_classes else [])
        self.sample = tf.function(
            self._sample,
            input_signature=[
                *inputs,
                tf.TensorSpec([], tf.int32, "num_samples"),
                tf.TensorSpec([None, 2], tf.int32, "seed"),
            ],
        )

    def _sample(self, *arguments: tf.Tensor):
        *inputs, num_samples, seed = arguments
        image, blackbox = inputs[0], inputs[1] if len(inputs) > 1 else None
        drawn = self.model.sample(image, blackbox, seed, num_samples)
        return {
            "samples": drawn["samples"],
            "probabilities": drawn["probs"],
            "entropy_bits": sampler.entropy_bits(drawn["probs"]),
        }


def export(
    model: sampler.Sampler, facts: info.DatasetInfo, output: pathlib.Path
) -> pathlib.Path:
    """Writes the SavedModel `output/1`, whole or not at all.

    Its signature `sample` takes `image` `[B, H, W, C]` uint8, with a black box
    `blackbox` `[B, H, W]` uint8 train ids, `num_samples` int32 and `seed` `[B, 2]`
    int32; it gives `samples` `[B, M, H, W]` uint8, `probabilities` `[B, H, W, K]` of F
    and `entropy_bits` `[B, H, W]`.

    Returns:
      The SavedModel's folder.
    """
    target = output / "1"
    work = output / ".new"
    shutil.rmtree(work, ignore_errors=True)
    module = ExportedSampler(model, facts)
    tf.saved_model.save(module, str(work), signatures={"sample": module.sample})
    shutil.rmtree(target, ignore_errors=True)
    os.replace(work, target)
    return target
