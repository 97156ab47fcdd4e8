"""Samplers that need no G, from F's probabilities of one image alone.

What G is worth is its distance from them. `class_flips.flip_oracle` is another.
"""

from typing import NamedTuple

import numpy as np

# Samples that share the intervals of stratified noise, as in `models.sampler`.
BLOCK = 16


class Cuts(NamedTuple):
    """Where level sets are cut: the levels' logits times a scale, plus a shift."""

    scale: float = 1.0
    shift: float = 0.0


def argmax(probs: np.ndarray) -> np.ndarray:
    """Returns the most probable map `[1, H, W]` uint8 of `[H, W, K]`: always the same.

    The first of equals is taken.
    """
    return probs.argmax(axis=-1)[None].astype(np.uint8)


def independent_pixels(
    probs: np.ndarray, *, num_samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws every pixel by itself: as likely as F says everywhere, never coherent.

    Of probabilities `[H, W, K]`: class ids `[S, H, W]` uint8.
    """
    cumulative = probs.cumsum(axis=-1)[..., :-1]
    samples = np.empty((num_samples, *probs.shape[:2]), np.uint8)
    for sample in samples:
        # Scaled: rounding must not give a class of probability 0.
        draws = rng.random(probs.shape[:2]) * probs.sum(axis=-1)
        sample[:] = (cumulative <= draws[..., None]).sum(axis=-1)
    return samples


def level_sets(
    probs: np.ndarray, *, num_samples: int, cuts: Cuts = Cuts()
) -> np.ndarray:
    """Returns where class 1 exceeds 1/2S, 3/2S, ...: coherent, always nested.

    Of probabilities `[H, W, 2]`; other numbers of classes are a ValueError. Returns
    `[S, H, W]` uint8 of 0 and 1; `cuts` are other levels than these.
    """
    if probs.shape[-1] != 2:
        raise ValueError(f"level sets need two classes, got {probs.shape[-1]}")
    levels = (np.arange(num_samples) + 0.5) / num_samples
    if cuts != Cuts():
        logits = cuts.scale * np.log(levels / (1 - levels)) + cuts.shift
        levels = 1 / (1 + np.exp(-logits))
    return (probs[..., 1] > levels[:, None, None]).astype(np.uint8)


def gumbel_draws(
    probs: np.ndarray,
    *,
    num_samples: int,
    rng: np.random.Generator,
    stratified: bool = False,
) -> np.ndarray:
    """Adds one Gumbel variable per class to log F, the same in all pixels of a sample.

    By the Gumbel-max trick a pixel's arg-max is distributed as F says, and whole
    regions switch together. Of probabilities `[H, W, K]`: class ids `[S, H, W]` uint8.
    `stratified`: every 16 samples are a Latin hypercube, as G's noise may be.
    """
    shape = (num_samples, probs.shape[-1])
    uniform = rng.random(shape)
    if stratified:
        blocks = rng.random((-(-num_samples // BLOCK), BLOCK, shape[1]))
        strata = blocks.argsort(axis=1).reshape(-1, shape[1])[:num_samples]
        uniform = (strata + uniform) / BLOCK
    # p * exp(Gumbel) has the arg-max of log p + Gumbel.
    factors = (-1 / np.log(uniform)).astype(np.float32)
    return np.stack([(probs * one).argmax(axis=-1) for one in factors]).astype(np.uint8)
