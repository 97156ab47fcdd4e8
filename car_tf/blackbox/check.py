"""Checks whether a black box is understood: its predictions of a split beside labels."""

import numpy as np

from car_tf import config as config_lib
from car_tf.blackbox import attach, postprocess, report
from car_tf.data import cache, examples, info
from car_tf.data import load as data_load

_NUM_ROWS = 6
_NUM_TRIED = 8


def check(
    config: config_lib.Config,
    *,
    split: str = "",
    num_images: int = 0,
    sheet_file: str = "",
    try_other_inputs: bool = True,
) -> None:
    """Predicts a split and prints what came of it.

    Args:
      split: its name; empty for the one that results are reported on.
      num_images: predicts the first alone; 0 for all.
      sheet_file: of a picture to draw; empty for none.
      try_other_inputs: whether to run it on some images that are given otherwise.

    Raises:
      ConfigError, DataError: see `data.load.read_data`, `attach.with_blackbox`.
    """
    dataset = data_load.read_data(config, [split])
    ((split, source),) = dataset.splits.items()
    names = dataset.info.class_names[: dataset.info.num_blackbox_classes]
    segmenter = attach.build_blackbox(config, len(names))
    source = source.take(range(len(source))[: num_images or None])
    notes = list(dataset.notes)
    if segmenter is not None:
        print(segmenter.describe(), flush=True)
    using = dict(segmenter=segmenter, num_classes=len(names), known={})
    source = attach.with_blackbox(config, source, notes=notes, **using)
    print("\n".join(notes), flush=True)
    predictions = postprocess.hard_labels(source.blackbox)
    size = " x ".join(map(str, config.data.size))
    print(f"{len(source)} images of {split}, compared at {size}:")
    counts = _compare(dataset.info, source, predictions)
    hints, order = report.findings(counts, names), report.order_hint(counts)
    if segmenter is not None and try_other_inputs and counts.any():
        chosen = examples.spread(len(source), _NUM_TRIED)
        asked, found = source.take(chosen), predictions[chosen]
        folder = cache.folder(config.data.cache_dir)
        tried = report.try_other_inputs(segmenter, asked, found, folder)
        print(f"pixel accuracy on {len(chosen)} images, by how they are given:")
        print("\n".join(f"  {np.nanmean(tried[words]):.3f} {words}" for words in tried))
        # Of images that are given wrongly, the order of classes cannot be told.
        order = report.input_hint(tried) or order
    hints += [order] if order else []
    print("\n".join(hints) or "no sign of a misunderstanding")
    if sheet_file:
        rows = examples.spread(len(source), _NUM_ROWS)
        picture = report.sheet(
            source.images[rows],
            source.labels[rows][:, 0],
            predictions[rows],
            class_names=names,
            class_colors=dataset.info.class_colors[: len(names)],
        )
        picture.save(sheet_file)
        print(f"sheet: {sheet_file}")


def _compare(
    dataset_info: info.DatasetInfo, source: examples.Examples, predictions: np.ndarray
) -> np.ndarray:
    """Prints how predictions agree with all raters; returns `report.confusion`."""
    names = dataset_info.class_names[: dataset_info.num_blackbox_classes]
    raters = dataset_info.rater_names or range(1, source.labels.shape[1] + 1)
    by_rater = [
        report.confusion(own, predictions, num_classes=len(names))
        for own in np.moveaxis(np.asarray(source.labels), 1, 0)
    ]
    print(report.table(sum(by_rater), names), flush=True)
    for rater, counts in zip(raters, by_rater) if len(by_rater) > 1 else ():
        found = report.accuracy(counts)
        print(f"pixel accuracy by {dataset_info.rater_word} {rater}: {found:.3f}")
    return sum(by_rater)
