"""Draws samples for the images of a split, on one device or several replicas."""

import dataclasses
from typing import Callable, Dict, Iterator, Optional, Sequence

import numpy as np
import tensorflow as tf

from car_tf.data import examples
from car_tf.evaluate import tiles
from car_tf.models import sampler

# Float values of one batch's samples on a replica; bounds the memory that drawing takes,
# and that of drawn images which wait to be scored or are kept for figures.
MAX_VALUES = 2**26
# Images that are drawn together at most: more are no faster, and are not shared so well.
MAX_BATCH = 8
# Axis of the rows in what a sampler gives for a batch.
AXES = {"samples": 2, "probs": 1, "sample_mean": 1, "first_probs": 1}


@dataclasses.dataclass(frozen=True)
class SampledImage:
    """What a sampler says of one image."""

    index: int  # of the image in its split
    samples: np.ndarray  # `[S, H, W]` uint8 class ids
    probs: np.ndarray  # `[H, W, K]` of F
    sample_mean: np.ndarray  # `[H, W, K]`, mean of the samples' probabilities
    first_probs: np.ndarray  # `[H, W, K]`, one sample's probabilities


def some_of(source: examples.Examples, num: int) -> examples.Examples:
    """Returns `num` examples (0: all), evenly apart; see `examples.spread`."""
    return source.take(examples.spread(len(source), num)) if num else source


def sample(
    model: sampler.Sampler,
    source: examples.Examples,
    *,
    num_samples: int,
    seed: int,
    indices: Optional[Sequence[int]] = None,
) -> Iterator[SampledImage]:
    """Draws samples for all images of a split, or for those of `indices`.

    An image's samples depend on `seed` and its index, not on its neighbours. Networks
    that were built for several replicas share the images.
    """
    chosen = np.arange(len(source)) if indices is None else np.asarray(indices, int)
    height, width = source.images.shape[1:3]
    num_replicas = model.strategy.num_replicas_in_sync if model.strategy else 1
    for rows in batches(model, source, chosen, num_samples=num_samples):
        # No replica may be without an image: the first ones fill the last places.
        size = -(-len(rows) // num_replicas)
        parts = np.resize(rows, [num_replicas, size])
        sampled = tiles.compute(
            tiles.cut((height, width), model.receptive_field),
            lambda seen: _sample(model, source, parts, seen, num_samples, seed),
            AXES,
        )
        for offset, row in enumerate(rows):
            one = {name: value[offset] for name, value in sampled.items()}
            if len(rows) > 1:  # Whoever keeps an image is not to keep its batch.
                one = {name: value.copy() for name, value in one.items()}
            yield SampledImage(int(row), **one)


def batches(
    model: sampler.Sampler,
    source: examples.Examples,
    indices: np.ndarray,
    *,
    num_samples: int,
) -> Sequence[np.ndarray]:
    """Cuts indices of images into those that are drawn together."""
    height, width = source.images.shape[1:3]
    per_image = num_samples * height * width * num_classes(model)
    num_replicas = model.strategy.num_replicas_in_sync if model.strategy else 1
    size = int(np.clip(MAX_VALUES // per_image, 1, MAX_BATCH)) * num_replicas
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def _sample(model, source, parts, seen, num_samples, seed) -> Dict[str, np.ndarray]:
    """Draws for a rectangle of the images `parts` `[replicas, B]`."""
    blackbox = None
    if source.blackbox is not None:
        blackbox = _distribute(
            model, [source.blackbox[(part, *seen)] for part in parts]
        )
    seeds = [np.stack([np.full(len(part), seed), part], 1) for part in parts]
    arguments = (
        _distribute(model, [source.images[(part, *seen)] for part in parts]),
        blackbox,
        _distribute(model, np.array(seeds, np.int32)),
        tf.constant(num_samples),
    )
    function = _compiled(model)
    if model.strategy is None:
        # Traced for any number of images, or a smaller last batch would be traced anew.
        function.get_concrete_function(*map(_of_any_batch, arguments))
    sampled = function(*arguments)
    return {name: _collect(model, value) for name, value in sampled.items()}


def _of_any_batch(value: Optional[tf.Tensor]) -> Optional[tf.TensorSpec]:
    if value is None:
        return None
    shape = [None, *value.shape[1:]] if value.shape.rank else []
    return tf.TensorSpec(shape, value.dtype)


def _distribute(model: sampler.Sampler, parts: Sequence[np.ndarray]):
    """Gives each replica its part."""
    if model.strategy is None:
        return tf.constant(parts[0])
    return model.strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )


def _collect(model: sampler.Sampler, value) -> np.ndarray:
    """Joins what the replicas have computed."""
    if model.strategy is None:
        return np.asarray(value)  # TensorFlow's own memory.
    parts = model.strategy.experimental_local_results(value)
    return np.concatenate([part.numpy() for part in parts])


def _compiled(model: sampler.Sampler) -> Callable:
    """The sampler as one graph for all batch sizes, built once per sampler."""
    if not hasattr(model, "compiled_sample"):

        def on_replicas(*arguments):
            if model.strategy is None:
                return model.sample(*arguments)
            return model.strategy.run(model.sample, args=arguments)

        model.compiled_sample = tf.function(
            on_replicas, reduce_retracing=True, autograph=False
        )
    return model.compiled_sample


def num_classes(model: sampler.Sampler) -> int:
    """Returns K of a sampler."""
    return model.refinement_net.logits_layer.filters
