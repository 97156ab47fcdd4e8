"""Checks in a minute whether a black box is understood correctly.

    python -m car_tf.blackbox --path MODEL --data_dir DIR

Predicts a split of a data set in Cityscapes' layout, compares the predictions with the
labels, and draws them. The predictions stay in the cache for training.
"""

from __future__ import annotations

from absl import flags

from car_tf import config as config_lib
from car_tf.config import cli, fields

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "path",
    "",
    "Black box: frozen graph (.pb or archive), SavedModel folder, Keras model, TFLite "
    "model, package.module:function, or a folder of predictions.",
)
flags.DEFINE_string("data_dir", "", "Folder that holds leftImg8bit and gtFine.")
flags.DEFINE_string("split", "val", "Folder in leftImg8bit and gtFine.")
flags.DEFINE_integer("num_images", 0, "Predict the first images alone; 0: all.")
flags.DEFINE_string("sheet", "blackbox.png", "Picture to draw; empty: none.")
flags.DEFINE_multi_string(
    "set",
    [],
    "Overrides one field of the configuration, such as blackbox.channels=bgr or "
    "data.size=128,256; may be repeated, and works likewise in training.",
)

flags.DEFINE_boolean(
    "try_other_inputs",
    True,
    "Run the black box on eight images with other channel orders, ranges and sizes.",
)

_NUM_ROWS = 6
_NUM_TRIED = 8


def _resolved() -> config_lib.Config:
    for name in ("path", "data_dir"):
        if not FLAGS[name].value:
            raise config_lib.ConfigError(f"--{name}: wanted a path, got none")
    # Nothing is cropped here, so that no crop limits the size.
    data = config_lib.Data(crop_size=(16, 16), scale_range=(1.0, 1.0))
    overrides = [f"data.data_dir={FLAGS.data_dir}", f"blackbox.path={FLAGS.path}"]
    return fields.override(
        config_lib.Config(name="blackbox", data=data), [*FLAGS.set, *overrides]
    )


def _evenly(num: int, wanted: int) -> list:
    """Returns at most `wanted` indices below `num`, spread evenly."""
    wanted = min(num, wanted)
    return [index * num // wanted for index in range(wanted)]


def check(
    config: config_lib.Config, split: str, num_images: int, sheet_file: str
) -> None:
    """Predicts a split and prints what came of it."""
    import numpy as np

    from car_tf.blackbox import attach, postprocess, report
    from car_tf.data import cache, cityscapes

    dataset_info = cityscapes.dataset_info(config.data.data_dir)
    names = dataset_info.class_names[: dataset_info.num_blackbox_classes]
    segmenter = attach.build_blackbox(config, len(names))
    source = cityscapes.read(
        config.data.data_dir,
        split,
        size=config.data.size,
        cache_dir=cache.folder(config.data.cache_dir),
        on_error=config.data.on_error,
    )
    if num_images:
        source = source.take(range(min(num_images, len(source))))
    if segmenter is not None:
        print(segmenter.describe(), flush=True)
    notes = []
    source, _ = attach.with_blackbox(
        config, source, notes=notes, segmenter=segmenter, num_classes=len(names)
    )
    print("\n".join(notes), flush=True)

    labels, predictions = source.labels[:, 0], postprocess.hard_labels(source.blackbox)
    counts = report.confusion(labels, predictions, num_classes=len(names))
    height, width = config.data.size
    print(f"{len(source)} images of {split}, compared at {height} x {width}:")
    print(report.table(counts, names), flush=True)
    hints = [*report.findings(counts, names), report.order_hint(counts)]
    if segmenter is not None and FLAGS.try_other_inputs and counts.any():
        chosen = _evenly(len(source), _NUM_TRIED)
        tried = report.try_other_inputs(
            segmenter,
            [source.image_files[i] for i in chosen],
            labels[chosen],
            predictions[chosen],
            cache.folder(config.data.cache_dir),
        )
        print(f"pixel accuracy on {len(chosen)} images, by how they are given:")
        for words, values in tried.items():
            print(f"  {np.nanmean(values):.3f} {words}")
        hints.append(report.input_hint(tried))
    print("\n".join(hint for hint in hints if hint) or "no sign of a misunderstanding")
    if sheet_file:
        rows = _evenly(len(source), _NUM_ROWS)
        picture = report.sheet(
            source.images[rows],
            labels[rows],
            predictions[rows],
            class_names=names,
            class_colors=dataset_info.class_colors[: len(names)],
        )
        picture.save(sheet_file)
        print(f"sheet: {sheet_file}")


def main() -> int:
    """Runs the check; returns the exit code."""
    config = _resolved()
    # TensorFlow starts here, after the cheap checks.
    check(config, FLAGS.split, FLAGS.num_images, FLAGS.sheet)
    return 0


if __name__ == "__main__":
    cli.run(
        main,
        errors=(ValueError, OSError),
        then="the same command goes on where it stopped",
    )
