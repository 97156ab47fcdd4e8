"""Evaluation of a sampler on a split: metrics as a dict, pictures as a gallery."""

from __future__ import annotations

import concurrent.futures
import functools
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.blackbox import postprocess
from car_tf.data import examples, info
from car_tf.evaluate import accumulators, distances, sampling, tiles
from car_tf.evaluate import sample_files as sample_files_lib
from car_tf.metrics import baselines, iou, merging, raters
from car_tf.metrics import scores as metrics_scores
from car_tf.models import layers, sampler
from car_tf.models.keras_api import keras
from car_tf.report import context, figures
from car_tf.runtime import gathering

MAX_WAITING = 2


def mean_ged(
    model: sampler.Sampler,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    num_samples: int,
    seed: int,
    num_images: int = 0,
    absent: str = iou.LEAVE_OUT,
    watch: Callable[[sampling.SampledImage], None] = lambda sampled: None,
) -> Optional[float]:
    """Computes the mean GED alone, for model selection; None where no image has one.

    Of `num_images` spread over the split (0: all); `watch` sees what is sampled of
    each.
    """
    indices = examples.spread(len(source), num_images)
    scores = metrics_scores.SampleScores([num_samples], matched=False)
    for sampled in sampling.sample(
        model, source, num_samples=num_samples, seed=seed, indices=indices
    ):
        watch(sampled)
        labels = np.asarray(source.labels[sampled.index])
        pairs = distances.label_distances(sampled.samples, labels, dataset_info, absent)
        scores.add(pairs)
    return scores.summaries()[num_samples]["ged"]


def cross_entropies(
    calibration_net: keras.Model,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    temperatures: np.ndarray,
    num_images: int = 0,
) -> np.ndarray:
    """Computes Lce of F, in expectation over flips and raters, at temperatures of F.

    Of `num_images`, spread over the split (0: all). Returns `[T]`, nats; means over the
    images of means over their labelled pixels, their logits divided by the temperature.
    """
    logits_of = tf.function(
        lambda image, blackbox: calibration_net(layers.image_to_float(image), blackbox),
        reduce_retracing=True,
        autograph=False,
    )

    @tf.function(reduce_retracing=True, autograph=False)
    def losses_of(logits, target, at):  # `[T]`, of `[H, W, K]` at temperatures `[T]`
        labelled = tf.maximum(tf.reduce_sum(target), 1.0)
        return tf.map_fn(
            lambda t: -tf.reduce_sum(target * tf.nn.log_softmax(logits / t)) / labelled,
            at,
        )

    table = np.zeros([256, dataset_info.num_classes], np.float32)
    table[: dataset_info.num_classes] = dataset_info.flip_table()
    size = source.images.shape[1:3]
    pieces = tiles.cut(size, calibration_net.receptive_field)
    total, indices = 0.0, examples.spread(len(source), num_images)
    for index in indices:

        def compute(seen: tiles.Slices) -> Dict[str, np.ndarray]:
            blackbox = source.blackbox
            if blackbox is not None:
                blackbox = layers.blackbox_to_probs(
                    tf.constant(blackbox[([index], *seen)]),
                    dataset_info.num_blackbox_classes,
                )
            image = tf.constant(source.images[([index], *seen)])
            return {"probs": logits_of(image, blackbox).numpy()}

        logits = tiles.compute(pieces, compute, {"probs": 1})["probs"][0]
        # Ignored pixels have a target of zeros.
        target = tf.constant(table[source.labels[index]].mean(axis=0))
        at = tf.constant(temperatures, tf.float32)
        total += losses_of(tf.constant(logits), target, at).numpy()
    return total / len(indices)


def evaluate(
    model: sampler.Sampler,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    num_samples: int,
    seed: int,
    before: Optional[sampler.Sampler] = None,
    absent: str = iou.LEAVE_OUT,
    cuts: Optional[baselines.Cuts] = None,
    sample_files: Sequence[str] = (),
    gallery_size: int = 6,
    progress: Callable = lambda stream, total: stream,
    team: gathering.Gathering = gathering.Gathering(),
    key: str = "",
) -> Tuple[Dict[str, Any], List[figures.Shown]]:
    """Evaluates a sampler on a split; returns the metrics, and images for figures.

    Of several workers, each draws and scores every n-th batch, and all but the chief
    return empty metrics.

    Args:
      seed: of the samples and of what the baselines draw.
      before: the sampler before stage 2, to be scored with the same noise.
      sample_files: other models' samples of the same images, see `sample_files.score`.
      cuts: see `fitted_cuts.fit`; None for no such baseline.
      gallery_size: images, evenly spread, to return; fewer if very large.
      team: the workers, who must agree in `key`.
    """
    stratified = getattr(model, "stratified", False)
    options = (dataset_info, num_samples, seed, stratified, absent, cuts)
    begin = functools.partial(accumulators.SplitAccumulator, *options)
    metrics, total = begin(), len(source)
    files = sample_files if team.worker.is_chief else ()
    # Before the work, so that a file that does not fit costs nothing.
    others = sample_files_lib.score(
        files, source, dataset_info, metrics.counts, absent=absent
    )
    num_shown = min(gallery_size, max(1, _num_held(model, source)), total)
    chosen = set(np.linspace(0, total - 1, num_shown).astype(int))
    drawing = dict(num_samples=num_samples, seed=seed)
    batches = sampling.batches(model, source, np.arange(total), num_samples=num_samples)
    own = [index for batch in team.worker.share(batches) for index in batch]
    stream = _scored((model, before), source, begin, indices=own, **drawing)
    found, gallery = {}, []
    for sampled, earlier, counted in progress(stream, total=len(own)):
        found[str(sampled.index)] = counted
        if sampled.index in chosen:
            gallery.append(shown(sampled, source, dataset_info, earlier))
    joined = team.join(key, found)
    if joined is None:
        return {}, []
    for index in range(total):
        merging.add(metrics, joined.pop(str(index)))
    rest = sorted(chosen.difference(own))
    for sampled, earlier in _drawn((model, before), source, indices=rest, **drawing):
        gallery.append(shown(sampled, source, dataset_info, earlier))
    gallery.sort(key=lambda item: item.index)
    return metrics.report(source.groups, others), gallery


def shown(
    sampled: sampling.SampledImage,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    before: Optional[np.ndarray] = None,
) -> figures.Shown:
    """Paints for figures what was drawn of an image of `source`.

    `before` are samples before stage 2, `[S, H, W]`.
    """
    index, maps = sampled.index, source.blackbox
    return figures.Shown.of(
        sampled,
        image=source.images[index],
        labels=np.asarray(source.labels[index]),
        blackbox=None if maps is None else postprocess.hard_labels(maps[index]),
        class_colors=dataset_info.class_colors,
        before=before,
    )


def _num_held(model: sampler.Sampler, source: examples.Examples) -> int:
    """Returns of how many images the maps are held in memory at most."""
    height, width = source.images.shape[1:3]
    return sampling.MAX_VALUES // (3 * height * width * sampling.num_classes(model))


def _drawn(
    models, source, **drawing
) -> Iterator[Tuple[sampling.SampledImage, Optional[np.ndarray]]]:
    """Yields images in turn, and their samples before stage 2, if any."""
    model, before = models
    earlier = before and sampling.sample(before, source, **drawing)
    for sampled in sampling.sample(model, source, **drawing):
        yield sampled, next(earlier).samples if earlier else None


def _scored(
    models, source, begin, **drawing
) -> Iterator[Tuple[sampling.SampledImage, Optional[np.ndarray], Any]]:
    """Yields what `_drawn` does, and what an accumulator of `begin()` counts of each.

    Scoring runs in a second thread while the next images are being sampled.
    """
    waiting = min(MAX_WAITING, _num_held(models[0], source))
    pending: List[Tuple[Any, concurrent.futures.Future]] = []

    def score(sampled, first):
        blackbox = None
        if source.blackbox is not None:
            blackbox = postprocess.hard_labels(source.blackbox[sampled.index])
        one = begin()
        one.add(sampled, source.labels[sampled.index], blackbox, first)
        return merging.counted(one)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for drawn in _drawn(models, source, **drawing):
            pending.append((drawn, pool.submit(score, *drawn)))
            # A short queue, so that samples do not pile up in memory.
            if len(pending) > waiting:
                done, future = pending.pop(0)
                yield (*done, future.result())
        for done, future in pending:
            yield (*done, future.result())


def extremes(
    ged_per_image: Sequence[Optional[float]], num_cases: int = 3
) -> Dict[str, List[int]]:
    """Returns which images have the highest and the lowest GED, no image in both.

    `worst`, highest first, and `best`, lowest first, at most `num_cases` each, of the
    GED of the first images of a split; None where undefined.
    """
    defined = [i for i, value in enumerate(ged_per_image) if value is not None]
    ranked = sorted(defined, key=lambda i: (ged_per_image[i], i))
    num_cases = min(num_cases, len(ranked) // 2)
    return {"worst": ranked[::-1][:num_cases], "best": ranked[:num_cases]}


def summary_lines(
    metrics: Dict[str, Any], dataset_info: info.DatasetInfo
) -> Sequence[str]:
    """Returns the result in a few lines for people."""
    lines = [_scores_line(n, one) for n, one in metrics["by_num_samples"].items()]
    lines[-1] += f" on {metrics['num_images']} images"
    if metrics["num_undefined_images"]:
        lines[-1] += f", {metrics['num_undefined_images']} of them undefined"
    compared = {**metrics.get("baselines", {}), **metrics.get("samplers", {})}
    compared.pop("flip_oracle", None)  # Of which there are several, below.
    for name, scores in compared.items():
        count, values = list(scores["by_num_samples"].items())[0]
        words = f"for comparison, {context.BASELINES.get(name, name)}"
        lines.append(f"{words}: {_scores_line(count, values)}")
    if "raters" in metrics:
        lines += _rater_lines(metrics["raters"], dataset_info)
    lines += _difference_lines(metrics)
    oracles = [
        f"{_shown(value)} over {name.removeprefix('ged_flip_oracle_')}"
        for name, value in metrics.items()
        if name.startswith("ged_flip_oracle_")
    ]
    if oracles:
        lines.append(f"GED of the flip oracle: {', '.join(oracles)}")
    line = f"ECE of F {_shown(metrics['ece'])}"
    if "ece_marked" in metrics:
        line += f", {_shown(metrics['ece_marked'])} {_marked(dataset_info)}"
    if "g_mean" in metrics:
        line += f", of the mean of G {_shown(metrics['g_mean']['ece'])}"
    lines.append(line)
    return lines + _flip_lines(metrics, dataset_info)


def _shown(value: Optional[float]) -> str:
    # Adding 0 makes -0.000 0.000.
    return "undefined" if value is None else f"{round(value, 3) + 0.0:.3f}"


def _within(interval: Optional[Sequence[float]]) -> List[str]:
    """Returns a 95 % interval in words, if there is one."""
    return [] if interval is None else [f"95 % {' to '.join(map(_shown, interval))}"]


def _scores_line(count: str, scores: Dict[str, Any]) -> str:
    """Returns GED and HM-IoU with a number of samples, and their intervals."""
    line = f"GED{count} {_shown(scores['ged'])}"
    words = [
        f"unbiased {_shown(scores['ged_unbiased'])}",
        *_within(scores.get("ged_interval")),
    ]
    line += f" ({', '.join(words)})"
    if "hm_iou" in scores:
        line += f", HM-IoU {_shown(scores['hm_iou'])}"
        within = _within(scores.get("hm_iou_interval"))
        line += "".join(f" ({words})" for words in within)
    return line


def _difference_lines(metrics: Dict[str, Any]) -> List[str]:
    """Returns paired differences of G from what costs nothing, and over what."""
    lines = []
    names = ("before_stage2", "level_sets", "fitted_level_sets", "gumbel_draws")
    for name in [*names, *metrics.get("samplers", {})]:
        by_count = metrics.get("differences", {}).get(name, {})
        # The smallest number of samples is what the field compares.
        for count, scores in list(by_count.items())[:1]:
            change, words = scores["ged"], context.BASELINES.get(name, name)
            if change is not None and change["interval"] is not None:
                lines.append(
                    f"GED{count} less that of {words}: {_shown(change['mean'])} "
                    f"({_within(change['interval'])[0]})"
                )
    if lines:
        num = metrics["bootstrap"]["num_groups"]
        lines.append(f"95 % intervals are over {num} groups of images")
    return lines


def _flip_lines(metrics: Dict[str, Any], dataset_info: info.DatasetInfo) -> List[str]:
    lines = []
    for net, table in metrics.get("calibration", {}).items():
        entries = ", ".join(
            f"{dataset_info.class_names[entry['flipped']]} "
            f"{_shown(entry['flip_probability'])}"
            f" (true {entry['true_probability']:.3f})"
            for entry in table["classes"]
        )
        worst, mean = table["worst_flip_offset"], table["mean_flip_offset"]
        lines.append(
            f"flip probabilities of {net}: {entries}; "
            f"offset mean {_shown(mean)}, worst {_shown(worst)}"
        )
    return lines


def _marked(dataset_info: info.DatasetInfo) -> str:
    return f"where any {dataset_info.rater_word} marked any {dataset_info.object_word}"


def _rater_lines(result: Dict[str, Any], dataset_info: info.DatasetInfo) -> List[str]:
    rater, marked = dataset_info.rater_word, _marked(dataset_info)
    names = {
        "leave_one_out": f"the other {rater}s against each",
        "readers_drawn": f"the {rater}s' own maps, drawn",
    }
    lines = [
        f"for comparison, {words}: GED{raters.NUM_SAMPLES} "
        f"{result['comparisons'][name]['ged']:.3f}, "
        f"HM-IoU {result['comparisons'][name]['hm_iou']:.3f}"
        for name, words in names.items()
        if name in result["comparisons"]
    ]
    differences = result["mean_difference"]
    if "calibration_net_marked_pixels" in differences:
        lines.append(
            f"mean difference from the {rater}s' shares {marked}: "
            f"F {differences['calibration_net_marked_pixels']:.3f}, "
            f"mean of G {differences['refinement_net_marked_pixels']:.3f}"
        )
        lines.append(
            f"mean of at most {raters.NUM_SAMPLES} samples against F: mean difference "
            f"{differences['samples_marked_pixels']:.3f} {marked}, "
            f"{differences['samples_all_pixels']:.4f} over all pixels"
        )
    return lines
