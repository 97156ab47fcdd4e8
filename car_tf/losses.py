"""Losses of both stages as functions of tensors that return one value per image.

The likelihoods are TensorFlow Probability distributions, so that one set of functions
serves the categorical likelihood of segmentation (CAR, Eq. 1) and the Gaussian one of
the 1-D regression (CAR, A.2). Every loss returns `[B]`: averaging over the global
batch is the trainer's, by `tf.nn.compute_average_loss`.
"""

from typing import Optional, Sequence

import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions


def masked_mean(values: tf.Tensor, valid_mask: Optional[tf.Tensor]) -> tf.Tensor:
    """Means over everything but the batch axis, counting valid entries alone.

    Args:
      values: `[B, ...]` float.
      valid_mask: `[B, ...]` float of 0 and 1 in the shape of `values`, or None if
        everything is valid.

    Returns:
      `[B]`; 0 for an image without a valid entry. Values under the mask are not
      read, so that they may be anything, NaN included.
    """
    axes = list(range(1, values.shape.rank))
    if valid_mask is None:
        return tf.reduce_mean(values, axes) if axes else values
    total = tf.reduce_sum(tf.math.multiply_no_nan(values, valid_mask), axes)
    return tf.math.divide_no_nan(total, tf.reduce_sum(valid_mask, axes))


def cross_entropy(
    likelihood: tfd.Distribution,
    target: tf.Tensor,
    valid_mask: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Lce: negative log-likelihood of the target (CAR, Eq. 2).

    Args:
      likelihood: batch shape `[B, ...]`, one distribution per pixel.
      target: `[B, ...]`, class ids (any in-range id under the mask) or real values.
      valid_mask: `[B, ...]` of 0 and 1, or None.

    Returns:
      `[B]`, nats, mean over the valid pixels.
    """
    return masked_mean(-likelihood.log_prob(target), valid_mask)


def calibration(
    sample_mean: tfd.Distribution,
    target: tfd.Distribution,
    valid_mask: Optional[tf.Tensor] = None,
) -> tf.Tensor:
    """Lcal: KL of the samples' mean distribution from F's (CAR, Eq. 6).

    Args:
      sample_mean: q_phi, batch shape `[B, ...]`: see `categorical_mean`.
      target: q_theta, F's distribution, of the same batch shape.
      valid_mask: `[B, ...]` of 0 and 1, or None.

    Returns:
      `[B]`, nats, mean over the valid pixels. For unit Gaussians this is half the
      squared difference of the means (CAR, Eq. 17).
    """
    return masked_mean(tfd.kl_divergence(sample_mean, target), valid_mask)


def paired_calibration(
    samples: tf.Tensor,
    draws: tf.Tensor,
    probs: tf.Tensor,
    valid_mask: Optional[tf.Tensor] = None,
    *,
    floor: float = 0.05,
) -> tf.Tensor:
    """Lcal without the bias of few samples, for samples that are redrawn draws of F.

    Eq. 6 takes the KL of the mean of M samples from F. The mean of M honest samples
    varies, so that its expected KL is not zero: Eq. 6 pushes rare answers down, the
    more the fewer samples there are. Near F the KL is half the squared difference of
    the means over F, and this estimates that without bias: each sample i is held
    against the draw that it was made of, whose expectation is F, and of the product of
    the two means only pairs of different samples are kept,

        1/2 sum_k sum_{i != j} (s_i - d_i)_k (s_j - d_j)_k / (M (M - 1) (F_k + floor)).

    A change of shapes that leaves the mean alone costs nothing on average.

    Args:
      samples: `[B, M, ..., K]` probabilities or one-hot maps; M at least 2.
      draws: `[B, M, ..., K]` one-hot maps whose expectation is `probs`.
      probs: `[B, ..., K]` of F.
      valid_mask: `[B, ...]` of 0 and 1, or None.
      floor: added to F, so that a class that F all but excludes does not outweigh all.

    Returns:
      `[B]`, nats to second order, mean over the valid pixels; may be negative.
    """
    num = _several(samples)
    change = samples - draws
    pairs = tf.square(tf.reduce_sum(change, 1)) - tf.reduce_sum(tf.square(change), 1)
    each = tf.reduce_sum(pairs / (probs + floor), axis=-1) / (2 * num * (num - 1))
    return masked_mean(each, valid_mask)


def _several(samples: tf.Tensor) -> int:
    """Returns M of samples `[B, M, ...]`; ValueError where there are no pairs."""
    num = samples.shape[1]
    if num < 2:
        raise ValueError(f"samples: wanted at least 2 per image, got {num}")
    return num


def energy(samples: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The squared energy distance of samples and raters, as a loss (cf. CAR, Eq. 19).

    Twice the mean distance of a sample and a rater, less that of two samples; without
    the distance of two raters, which no sample changes, and without pairs of a sample
    with itself, so that few samples cost no more than many. The distance is 1 - IoU:
    of the foreground, where there are two classes, else the mean over the classes that
    occur in either map. Of one-hot maps it is that of `metrics.ged`, but for one pixel
    that is added to each overlap and union: it gives empty maps a gradient.

    Args:
      samples: `[B, M, H, W, K]` one-hot maps, zero in ignored pixels; M at least 2.
      labels: `[B, R, H, W, K]` likewise, of R raters.

    Returns:
      `[B]`; may be negative.

    Raises:
      ValueError: there is one sample per image.
    """
    num = _several(samples)
    if samples.shape[-1] == 2:
        samples, labels = samples[..., 1:], labels[..., 1:]
    within = _jaccard_distances(samples, samples)
    # A sample has no distance from itself, but would have a gradient.
    within = tf.linalg.set_diag(within, tf.zeros_like(within[..., 0]))
    within = tf.reduce_sum(within, [1, 2])
    between = tf.reduce_mean(_jaccard_distances(samples, labels), [1, 2])
    return 2.0 * between - within / (num * (num - 1))


def level_energy(
    shares: tf.Tensor, areas: tf.Tensor, distances: tf.Tensor, num_samples: int
) -> tf.Tensor:
    """The generalised energy distance of drawn level sets from raters, in expectation.

    As `energy`, but of masks that are level sets of one map, each with its probability,
    which has a gradient: how often a mask should be drawn. Of two nested masks the
    smaller one is the overlap, and the larger one the union.

    Args:
      shares: `[B, L]`, probabilities of the L masks.
      areas: `[B, L]`, their pixels.
      distances: `[B, L]`, their mean distances from the raters' masks, 1 - IoU.
      num_samples: S independent draws, of which `metrics.ged` counts all S * S pairs,
        also of a draw with itself.

    Returns:
      `[B]`, up to what depends on the raters alone.
    """
    smaller = tf.minimum(areas[:, :, None], areas[:, None])
    larger = tf.maximum(areas[:, :, None], areas[:, None])
    # Two empty masks are equal.
    within = 1.0 - tf.where(larger > 0, tf.math.divide_no_nan(smaller, larger), 1.0)
    between = tf.reduce_sum(shares * distances, -1)
    spread = tf.einsum("bk,bkl,bl->b", shares, within, shares)
    return 2.0 * between - (1.0 - 1.0 / num_samples) * spread


def _jaccard_distances(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """Returns `[B, M, N]` of maps `[B, M, H, W, C]` and `[B, N, H, W, C]`."""
    shared = tf.einsum("bmhwc,bnhwc->bmnc", one, other)
    areas = tf.reduce_sum(one, [2, 3]), tf.reduce_sum(other, [2, 3])
    union = areas[0][:, :, None] + areas[1][:, None] - shared
    if one.shape[-1] == 1:
        occurs = tf.ones_like(union)
    else:
        occurs = tf.cast(tf.stop_gradient(union) > 0.5, union.dtype)
    each = occurs * (1.0 - (shared + 1.0) / (union + 1.0))
    return tf.math.divide_no_nan(tf.reduce_sum(each, -1), tf.reduce_sum(occurs, -1))


def categorical_mean(sample_log_probs: tf.Tensor) -> tfd.Distribution:
    """The mean over samples of their class probabilities (CAR, Eq. 5).

    Computed as the log-mean-exp of log-probabilities, so that gradients survive
    samples that are saturated in float32.

    Args:
      sample_log_probs: `[B, M, ..., K]`, log-softmax of the samples' logits.

    Returns:
      A categorical distribution of batch shape `[B, ...]`.
    """
    return tfd.Categorical(logits=tfp.math.reduce_logmeanexp(sample_log_probs, axis=1))


def complexity(mean: tf.Tensor, std: tf.Tensor) -> tf.Tensor:
    """KL of a Gaussian posterior of z from the prior N(0, I) (CAR, Eq. 20).

    Args:
      mean: `[B, Z]`.
      std: `[B, Z]`, positive.

    Returns:
      `[B]`, nats, sum over the dimensions of z.
    """
    prior = tfd.Normal(tf.zeros_like(mean), tf.ones_like(std))
    kl = tfd.kl_divergence(tfd.Normal(mean, std), prior)
    return tf.reduce_sum(kl, axis=1)


def adversarial(fake_logits: tf.Tensor) -> tf.Tensor:
    """Ladv: the non-saturating loss softplus(-D) over all samples (CAR, Eq. 3).

    Args:
      fake_logits: `[B, M, ...]`, D's logits of generated pairs, and of their patches.

    Returns:
      `[B]`, nats; ln 2 where D is at chance.
    """
    return masked_mean(tf.nn.softplus(-fake_logits), None)


def discriminator(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of D on real and generated pairs (CAR, Eq. 4).

    Args:
      real_logits: `[B]`, D's logits of real pairs.
      fake_logits: `[B, M]`, D's logits of generated pairs.

    Returns:
      `[B]`, nats; 2 ln 2 where D is at chance.
    """
    return real_logits_loss(real_logits) + fake_logits_loss(fake_logits)


def real_logits_loss(logits: tf.Tensor) -> tf.Tensor:
    """The part of real pairs in D's loss, `[B]` nats, of logits `[B, ...]`."""
    return masked_mean(tf.nn.softplus(-logits), None)


def fake_logits_loss(logits: tf.Tensor) -> tf.Tensor:
    """The part of generated pairs in D's loss, `[B]` nats, of logits `[B, M, ...]`."""
    return masked_mean(tf.nn.softplus(logits), None)


def r1_penalty(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Half the squared norm of D's input gradient (Mescheder et al., 2018, Eq. 9).

    Args:
      gradients: `[B, ...]` each: gradients of D's logit on real pairs with respect
        to the parts of D's input.

    Returns:
      `[B]`; multiply by gamma.
    """
    return 0.5 * sum(
        tf.reduce_sum(tf.square(gradient), axis=list(range(1, gradient.shape.rank)))
        for gradient in gradients
    )
