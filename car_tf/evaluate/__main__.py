"""Evaluates a finished run again: another split, another number of samples.

python -m car_tf.evaluate --workdir RUN [--split val] [--num_samples 16]
    [--noise_sampling stratified] [--realism_steps 1000]

What differs from the run's own evaluation goes into files of its own, such as
`metrics_val_50.json` and `figures_val_50/`; the run's report, which is written anew
without what `car_tf.report --compare` put beside it, lists them all.
"""

from __future__ import annotations

from absl import flags, logging

from car_tf import config as config_lib
from car_tf.config import cli, stage_sections
from car_tf.runtime import run_dir, workers

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
flags.DEFINE_integer(
    "realism_steps",
    None,
    "Training steps of the judges of realism, 0 for none; by default as configured.",
    lower_bound=0,
)
flags.DEFINE_string(
    "devices",
    "",
    "Where to draw: gpu:0,gpu:1, cpu, or 4xcpu; by default all GPUs, or the CPU.",
)


def main() -> int:
    """Evaluates; returns the exit code."""
    config = run_dir.saved_config(FLAGS.workdir)
    if FLAGS.realism_steps is not None:
        steps = FLAGS.realism_steps
        config = config_lib.change(config, evaluation={"realism_steps": steps})
    stage_sections.require_devices("--devices", FLAGS.devices)
    workdir = run_dir.RunDir(FLAGS.workdir, config)
    logging.set_verbosity(logging.WARNING)
    # TensorFlow starts here.
    from car_tf.blackbox import attach
    from car_tf.evaluate import run as evaluate_run
    from car_tf.evaluate import saved_run
    from car_tf.report import write
    from car_tf.runtime import devices

    strategy = devices.build_strategy(FLAGS.devices, workers.Worker())
    dataset = attach.load(config)
    saved_run.require_same_images(workdir, dataset)
    split = dataset.split_to_report(FLAGS.split)
    noise_sampling = FLAGS.noise_sampling or config.evaluation.noise_sampling
    drawing = config_lib.change(config, evaluation={"noise_sampling": noise_sampling})
    model = saved_run.load_sampler(drawing, dataset.info, workdir, strategy)
    evaluate_run.evaluate_run(
        config,
        dataset,
        model,
        workdir,
        print,
        split=split,
        num_samples=FLAGS.num_samples,
    )
    print(f"report: {write.write(workdir.path)}")
    return 0


if __name__ == "__main__":
    cli.run(main, errors=run_dir.USER_ERRORS)
