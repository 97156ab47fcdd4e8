"""Exports a trained run for TensorFlow Serving and other TensorFlow programs.

    python -m export --workdir RUN --output DIR

Writes DIR/<model>/<version>, which TensorFlow Serving loads as it stands.
"""

import pathlib

from absl import flags, logging

from car_tf import config as config_lib
from car_tf.config import cli
from car_tf.runtime import run_dir

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "Run directory.", required=True)
flags.DEFINE_string(
    "output", "", "Folder of served models (default: `export` in the run directory)."
)
flags.DEFINE_string("name", "", "Name of the model (default: the configuration's).")
flags.DEFINE_integer(
    "num_samples", 16, "Samples per image where a request does not say."
)
flags.DEFINE_enum(
    "noise_sampling",
    None,
    ["independent", "stratified"],
    "How z is drawn; by default as in the run (evaluation.noise_sampling).",
)
flags.DEFINE_bool(
    "embed_blackbox",
    False,
    "Puts the black box that the run was trained on inside, so that the model takes "
    "images alone.",
)
flags.DEFINE_bool(
    "own_size",
    False,
    "With --embed_blackbox: brings the maps back to the size of the image; else they "
    "have the size of the training images.",
)


def main() -> int:
    """Exports; returns the exit code."""
    config = run_dir.saved_config(FLAGS.workdir)
    if FLAGS.output:
        output = pathlib.Path(FLAGS.output).expanduser().resolve()
        run_dir.refuse_patterns("--output", output)
    # Elsewhere, nothing of the run is written, which may be of others.
    workdir = run_dir.RunDir(FLAGS.workdir, config, writes=not FLAGS.output)
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells much in an export.
    from export import run  # TensorFlow starts here.

    noise_sampling = FLAGS.noise_sampling or config.evaluation.noise_sampling
    path = run.export_workdir(
        config_lib.change(config, evaluation={"noise_sampling": noise_sampling}),
        workdir,
        output=FLAGS.output,
        name=FLAGS.name,
        num_samples=FLAGS.num_samples,
        embed_blackbox=FLAGS.embed_blackbox,
        own_size=FLAGS.own_size,
    )
    print(f"exported: {path}")
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(*run_dir.USER_ERRORS, ValueError))
