"""Checks in a minute whether a black box is understood correctly.

    python -m car_tf.blackbox --path MODEL --data_dir DIR

Predicts a split of any data set that training knows, compares the predictions with the
labels of all raters, and draws them. The predictions stay in the cache for training.
"""

from absl import flags

from car_tf import config as config_lib
from car_tf.config import cli
from car_tf.data import layouts

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "path",
    "",
    "Black box: frozen graph (.pb or archive), SavedModel folder, Keras model, TFLite "
    "model, package.module:function, or a folder of predictions.",
)
flags.DEFINE_string(
    "data_dir", "", "Data set: street scenes, CT crops, or a folder with dataset.json."
)
flags.DEFINE_string("split", "", "Split; empty: the one that results are on.")
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


def main() -> int:
    """Runs the check; returns the exit code."""
    for name in ("path", "data_dir"):
        if not FLAGS[name].value:
            raise config_lib.ConfigError(f"--{name}: wanted a path, got none")
    config = layouts.config_to_read(
        FLAGS.data_dir, [*FLAGS.set, f"blackbox.path={FLAGS.path}"]
    )
    # TensorFlow starts here, after the cheap checks.
    from car_tf.blackbox import check

    check.check(
        config,
        split=FLAGS.split,
        num_images=FLAGS.num_images,
        sheet_file=FLAGS.sheet,
        try_other_inputs=FLAGS.try_other_inputs,
    )
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(ValueError, OSError), then=cli.GOES_ON)
