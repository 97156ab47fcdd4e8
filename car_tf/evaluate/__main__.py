"""Evaluates a finished run again: another split, another number of samples, other data.

python -m car_tf.evaluate --workdir RUN [--split val] [--num_samples 16]
    [--noise_sampling stratified] [--absent count_as_one] [--realism_steps 1000]
    [--samples PEER.npz] [--data_dir OTHER [--blackbox MODEL]] [--anew]

What differs from the run's own evaluation goes into files of its own, such as
`metrics_val_50.json` and `figures_val_50/`; the run's report, which is written anew
without what `car_tf.report --compare` put beside it, lists them all. A data set of
--data_dir must have the classes that the run was trained with. Of several workers
(TF_CONFIG), each draws and scores a share of the images, and the first one writes.

A file of --samples holds another model's `samples` [images, S, H, W] of the same images
at the run's working size, and `names` [images] or `labels` [images, raters, H, W], by
which that is seen; its scores stand beside the run's in metrics and report.
"""

from absl import flags, logging

from car_tf.config import cli
from car_tf.evaluate import api
from car_tf.runtime import run_dir

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "Run directory.", required=True)
flags.DEFINE_string(
    "split", "", "Split; by default the one that results are reported on."
)
flags.DEFINE_integer(
    "num_samples",
    0,
    "Samples per image, at most 1000; 0: as configured.",
    lower_bound=0,
    upper_bound=1000,
)
flags.DEFINE_enum(
    "noise_sampling",
    None,
    ["independent", "stratified"],
    "How z is drawn; by default as configured (evaluation.noise_sampling).",
)
flags.DEFINE_enum(
    "absent",
    None,
    ["leave_out", "count_as_one"],
    "What a class is worth that occurs in neither of two maps of raters of more than two "
    "classes; by default as configured (evaluation.absent).",
)
flags.DEFINE_multi_string(
    "samples", [], "A file with another model's samples; may be repeated."
)
flags.DEFINE_string(
    "data_dir", "", "Another data set with labels; without it, the run's own."
)
flags.DEFINE_string("blackbox", "", "Segmenter for it; by default the run's.")
flags.DEFINE_integer(
    "realism_steps",
    None,
    "Training steps of the judges of realism, 0 for none; by default as configured, and "
    "none for other data. They need the training images. Of a run on drawn data whose "
    "weights and code have not changed, what was measured before is kept by default.",
    lower_bound=0,
)
flags.DEFINE_string(
    "devices",
    "",
    "Where to draw: gpu:0,gpu:1, cpu, or 4xcpu; by default all GPUs, or the CPU.",
)
flags.DEFINE_bool(
    "anew",
    False,
    "Whether to do a second time what was evaluated before with the same weights, data, "
    "options, packages and code; judges of realism apart, see --realism_steps.",
)


def main() -> int:
    """Evaluates; returns the exit code."""
    logging.set_verbosity(logging.WARNING)
    names = ["split", "num_samples", "noise_sampling", "absent", "samples", "data_dir"]
    names += ["blackbox", "realism_steps", "devices", "anew"]
    api.evaluate(FLAGS.workdir, **{name: FLAGS[name].value for name in names})
    return 0


if __name__ == "__main__":
    cli.run(main, errors=run_dir.USER_ERRORS)
