"""What proposals are worth to a rater: a simulation on a run's own split."""

import dataclasses
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from car_tf.data import class_flips, examples, info
from car_tf.evaluate import sampling
from car_tf.metrics import baselines, ged, iou, proposals
from car_tf.models import sampler

RESULTS_FILE = "proposals.json"
# Raters whose draws of the flips stand for people, per image.
NUM_DRAWN = 4
MAX_REGIONS = 10
# Of the image's pixels; what is smaller is not clicked on.
LEAST_SHARE = 0.001

METHODS = {
    "argmax": "one guess: F's arg-max",
    "one_sample": "one sample of G, unchosen",
    "thresholds": "best of {num} thresholds of F",
    "gumbel_draws": "best of {num} draws of F, one Gumbel variable per class",
    "best": "best of {num} samples of G",
    "mixture": "samples of G mixed per region",
}


def simulate(
    model: sampler.Sampler,
    source: examples.Examples,
    dataset_info: info.DatasetInfo,
    *,
    num_samples: int,
    seed: int,
    progress: Callable = lambda stream, total: stream,
) -> Dict[str, Any]:
    """Lets raters choose among proposals, and compares with a single guess.

    Each rater's map is what one rater wants, as far as it knows the pixels; a rater who
    did not label an image wants nothing of it. Where classes flip there is one label
    per image: `NUM_DRAWN` raters want it with flips of their own, drawn from the true
    probabilities.

    Returns:
      `methods`: for each of `METHODS`, `iou`, `wrong_pixels` and `picks` as means over
      `num_targets` pairs of image and rater; where there are raters, `marked` has
      the same over those who marked something. `closer`: share of the pairs in which
      the proposals are closer than the single guess. `table`: all of it as text, the
      heads first. Ready for JSON.
    """
    rows: List[Dict[str, proposals.Effort]] = []
    marked: List[bool] = []
    total = len(source)
    stream = sampling.sample(model, source, num_samples=num_samples, seed=seed)
    for drawn in progress(stream, total=total):
        labels = source.labels[drawn.index]
        rng = np.random.default_rng([seed, drawn.index])
        for label in wanted(labels, dataset_info, rng):
            rows.append(_compare(drawn, label, dataset_info, seed))
            marked.append(bool(((label != 0) & (label != info.IGNORE_LABEL)).any()))
    words = {name: text.format(num=num_samples) for name, text in METHODS.items()}
    summary = {
        "num_images": total,
        "num_targets": len(rows),
        "num_samples": num_samples,
        "object": dataset_info.object_word,
        "max_regions": MAX_REGIONS,
        "words": words,
        "methods": _means(rows),
        # Share of pairs in which proposals have a higher IoU than the single guess.
        "closer": {
            name: float(np.mean([row[name].iou > row["argmax"].iou for row in rows]))
            for name in ("best", "mixture")
            if rows
        },
    }
    if not dataset_info.flips:
        chosen = [row for row, any_ in zip(rows, marked) if any_]
        summary["marked"] = {"num_targets": len(chosen), "methods": _means(chosen)}
    summary["table"] = table(summary)
    return summary


def wanted(
    labels: np.ndarray, dataset_info: info.DatasetInfo, rng: np.random.Generator
) -> np.ndarray:
    """Returns the maps `[A, H, W]` that raters want, of labels `[N, H, W]`."""
    if not dataset_info.flips:
        labels = np.asarray(labels)
        return labels[(labels != info.IGNORE_LABEL).any(axis=(1, 2))]
    return class_flips.flip_oracle(
        labels[0], flips=dataset_info.flips, num_samples=NUM_DRAWN, rng=rng
    )


def thresholded(probs: np.ndarray, num: int) -> np.ndarray:
    """Returns masks `[num, H, W]` of class 1's probability above i / (num + 1).

    The cheapest set of proposals that F gives by itself.
    """
    levels = np.arange(1, num + 1) / (num + 1)
    return (probs[..., 1] > levels[:, None, None]).astype(np.uint8)


def _compare(drawn, label, dataset_info, seed) -> Dict[str, proposals.Effort]:
    """All methods for one image and one rater."""
    num_classes, has_raters = dataset_info.num_classes, not dataset_info.flips
    # As in the distance: the background of two classes is no class to be scored.
    classes, _ = ged.counted_classes(num_classes, iou.LEAVE_OUT)
    classes = classes if has_raters else range(num_classes)
    target = proposals.Target(label, num_classes=num_classes, classes=classes)
    guess = drawn.probs.argmax(-1).astype(np.uint8)
    where = proposals.regions(
        drawn.samples,
        guess,
        least_pixels=max(1, round(LEAST_SHARE * guess.size)),
        max_regions=MAX_REGIONS,
    )
    counts = target.everywhere(drawn.samples)
    each = [target.effort(one, 0) for one in counts]
    result = {
        "argmax": target.effort(target.everywhere(guess[None])[0], 0),
        "one_sample": proposals.Effort(
            iou=float(np.mean([effort.iou for effort in each])),
            wrong_pixels=float(np.mean([effort.wrong_pixels for effort in each])),
            picks=0,
        ),
        "best": proposals.best_sample(target, drawn.samples)[1],
        "mixture": proposals.mixture(target, drawn.samples, where)[1],
    }
    num = len(drawn.samples)
    if has_raters and num_classes == 2:
        masks = thresholded(drawn.probs, num)
        result["thresholds"] = proposals.best_sample(target, masks)[1]
    elif has_raters:
        rng = np.random.default_rng([seed, drawn.index])
        draws = baselines.gumbel_draws(drawn.probs, num_samples=num, rng=rng)
        result["gumbel_draws"] = proposals.best_sample(target, draws)[1]
    return result


def _means(
    rows: Sequence[Dict[str, proposals.Effort]],
) -> Dict[str, Optional[Dict[str, float]]]:
    means, fields = {}, [field.name for field in dataclasses.fields(proposals.Effort)]
    for name in METHODS:
        found = [dataclasses.astuple(row[name]) for row in rows if name in row]
        if found:
            means[name] = dict(zip(fields, np.mean(found, axis=0).tolist()))
    return means


def table(summary: Dict[str, Any]) -> List[List[str]]:
    """Returns the result as rows of cells, the heads first."""
    several = "marked" in summary
    heads = ["proposals", "IoU"]
    heads += [f"IoU where any {summary['object']} is marked"] if several else []
    rows = [[*heads, "pixels left to correct", "picks", "closer than one guess"]]
    for name, values in summary["methods"].items():
        closer = summary["closer"].get(name)
        cells = [summary["words"][name], f"{values['iou']:.3f}"]
        if several:
            found = summary["marked"]["methods"].get(name)
            cells.append("—" if found is None else f"{found['iou']:.3f}")
        cells.append(f"{100 * values['wrong_pixels']:.2f} %")
        cells.append(f"{values['picks']:.1f}")
        cells.append("—" if closer is None else f"{100 * closer:.0f} %")
        rows.append(cells)
    return rows


def markdown(summary: Dict[str, Any]) -> str:
    """Returns the result as a Markdown table with a line of what it is over."""
    heads, *rows = summary["table"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    where = f"{summary['num_targets']} pairs of image and rater"
    return f"{where}, {summary['num_images']} images\n\n{text}"
