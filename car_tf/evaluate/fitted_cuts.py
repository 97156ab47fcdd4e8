"""Level sets of F with fitted cuts: the stronger of the baselines that cost nothing."""

import itertools
from typing import Optional

import numpy as np

from car_tf.data import examples, info, io
from car_tf.evaluate import distances, sampling
from car_tf.metrics import baselines, iou
from car_tf.metrics import scores as metrics_scores
from car_tf.models import sampler

SCALES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4)
SHIFTS = (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5)
# As many level sets are fitted as the field compares.
NUM_SAMPLES = 16


def fit(
    model: sampler.Sampler,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    num_images: int,
    absent: str = iou.LEAVE_OUT,
) -> Optional[baselines.Cuts]:
    """Finds the cuts whose level sets have the lowest mean GED on the selection split.

    A cut is moved on the scale of F's logit: all by one scale and one shift, out of a
    grid, so that a few hundred images can tell them. What G gains by cutting elsewhere
    than F says, and no more, these level sets gain without training. None where there
    are not two classes of raters, which level sets take.

    Of `num_images` spread over images that the result is not reported on; 0 for all.
    """
    if dataset_info.flips or dataset_info.num_classes != 2:
        return None
    choices = [baselines.Cuts(*pair) for pair in itertools.product(SCALES, SHIFTS)]
    counts = [NUM_SAMPLES]
    scores = [metrics_scores.SampleScores(counts, matched=False) for _ in choices]
    indices = examples.spread(len(source), num_images)
    drawing = dict(num_samples=1, seed=0, indices=indices)
    stream, words = sampling.sample(model, source, **drawing), "fitting level sets"
    for sampled in io.progress(stream, words, "image", total=len(indices)):
        labels = np.asarray(source.labels[sampled.index])
        for cuts, score in zip(choices, scores):
            kind = dict(num_samples=NUM_SAMPLES, cuts=cuts)
            drawn = baselines.level_sets(sampled.probs, **kind)
            score.add(distances.label_distances(drawn, labels, dataset_info, absent))
    geds = [score.summaries()[NUM_SAMPLES]["ged"] for score in scores]
    return None if geds[0] is None else choices[int(np.argmin(geds))]
