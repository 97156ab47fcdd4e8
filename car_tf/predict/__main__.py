"""Predicts images with a trained run or an exported model.

    python -m car_tf.predict --workdir RUN --images DIR --output DIR
    python -m car_tf.predict --saved_model MODEL --images DIR --blackbox MODEL_OR_FOLDER
        --output DIR

Without --images, a run on drawn data draws some that it has not seen, to
OUTPUT/examples.

Writes for each image a folder with samples (class ids and coloured), their mean, the
entropy, an overview and statistics. The same command goes on where it was stopped. Of
several workers (TF_CONFIG), each predicts every n-th image.
"""

import pathlib
from typing import Any

from absl import flags, logging

from car_tf import config as config_lib
from car_tf.config import cli, data_sections, stage_sections
from car_tf.data.folders import files
from car_tf.runtime import run_dir, workers
from export import versions
from export.clients import common

FLAGS = flags.FLAGS
_NUM_EXAMPLES = 4

flags.DEFINE_string("workdir", "", "Run directory, whose exported model is used.")
flags.DEFINE_string("saved_model", "", "Exported model, or a folder of its versions.")
flags.DEFINE_multi_string(
    "images", [], "Images (PNG, JPEG, TIFF, BMP, WebP), or folders of such."
)
flags.DEFINE_string("output", None, "Folder to write to.", required=True)
flags.DEFINE_integer(
    "num_samples", 16, "Samples per image.", lower_bound=1, upper_bound=256
)
flags.DEFINE_integer(
    "seed", 0, "Seed of the samples.", lower_bound=-(2**31), upper_bound=2**31 - 1
)
flags.DEFINE_string(
    "size",
    "trained",
    "Size at which images are predicted: `trained`, `own`, or HEIGHT,WIDTH.",
)
flags.DEFINE_string(
    "blackbox",
    "",
    "Segmenter, or folder of its predictions, for a model that works on one (default: "
    "that of the training).",
)
flags.DEFINE_multi_string(
    "set",
    [],
    "Sets how --blackbox is understood, other than in training, such as "
    "blackbox.encoding=label_ids; may be repeated.",
)
flags.DEFINE_string(
    "devices",
    "",
    "What images are divided over: gpu:0,gpu:1, cpu, or 4xcpu; by default all GPUs, or "
    "the CPU.",
)


def _size() -> Any:
    if FLAGS.size in ("trained", "own"):
        return FLAGS.size
    parts = FLAGS.size.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise versions.ExportError(
            f"--size: wanted `trained`, `own` or HEIGHT,WIDTH, got {FLAGS.size!r}"
        )
    size = tuple(int(part) for part in parts)
    if min(size) < 1:
        raise versions.ExportError(f"--size: wanted positive numbers, got {FLAGS.size}")
    return size


def _drawn_data() -> config_lib.Config:
    """Returns the configuration of a run on drawn data, from which images are drawn."""
    config = run_dir.saved_config(FLAGS.workdir) if FLAGS.workdir else None
    if config is None or config.data.data_dir:
        words = "--images: wanted images or folders of them, got none"
        raise versions.ExportError(words)
    return config


def main() -> int:
    """Predicts; returns the exit code."""
    stage_sections.require_devices("--devices", FLAGS.devices)
    path, size = versions.of_flags(FLAGS.workdir, FLAGS.saved_model), _size()
    worker = workers.this_worker()
    if FLAGS.images:
        found = common.find_images(FLAGS.images, FLAGS.output, files.ENDINGS)
        images, drawn = found, None
    elif worker.num_workers > 1:
        raise versions.ExportError("--images: wanted images for several workers")
    else:
        images, drawn = {}, _drawn_data()
    logging.set_verbosity(logging.WARNING)
    # After the cheap checks.
    return _predict(path, size, images, drawn, worker)


def _predict(path, size, images, drawn, worker) -> int:
    from car_tf.predict import images as predict_images
    from car_tf.predict import predictor as predict_predictor
    from car_tf.predict import run as predict_run
    from car_tf.runtime import devices  # TensorFlow starts here.

    output, blackbox = pathlib.Path(FLAGS.output).expanduser(), FLAGS.blackbox
    if drawn is not None:
        folder = output / "examples"
        images, maps = predict_images.write_examples(drawn, folder, _NUM_EXAMPLES)
        blackbox = blackbox or maps
    options = predict_predictor.Options(
        num_samples=FLAGS.num_samples,
        seed=FLAGS.seed,
        size=size,
        blackbox=blackbox,
        blackbox_settings=data_sections.blackbox_settings(FLAGS.set),
    )
    strategy = devices.build_strategy(FLAGS.devices, workers.Worker())
    predictor = predict_predictor.Predictor(path, devices.names(strategy))
    failed = predict_run.predict(predictor, images, output, options, worker=worker)
    num_own = len(worker.share(list(images)))
    print(f"{num_own - len(failed)} images predicted: {FLAGS.output}")
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main, errors=(*run_dir.USER_ERRORS, versions.ExportError), then=cli.GOES_ON)
