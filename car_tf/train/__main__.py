"""The main job: data, both stages, evaluation, figures and an exported SavedModel.

    python -m car_tf.train --config cityscapes
    python -m car_tf.train --config cityscapes --data_dir DIR --blackbox MODEL

Everything lands in one run directory. The same command with the same --workdir goes on
where an interrupted run stopped. A finished one goes on with more steps of stage 2, unless
its learning rates have fallen to zero (stage2.decay=linear); another run may begin with
its networks:

    python -m car_tf.train --config cityscapes_photos --workdir RUN --set stage2.steps=MORE
    python -m car_tf.train --config cityscapes --init_from RUN --set stage1.steps=0
"""

from absl import flags, logging

from car_tf import config as config_lib
from car_tf.config import cli
from car_tf.runtime import run_dir
from car_tf.train import api

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "config",
    "cityscapes",
    f"Configuration: {', '.join(config_lib.available())}, the path of a Python file, or "
    "of the config.json of a run. With --data_dir, by default what reads that.",
)
flags.DEFINE_multi_string(
    "set",
    [],
    "Overrides one field, such as train.seed=2; may be repeated. `python -m "
    "car_tf.config NAME` prints all fields of a configuration and what they mean.",
)
flags.DEFINE_string(
    "data_dir", "", "Data set on disk; without it, an embedded one is drawn."
)
flags.DEFINE_string(
    "blackbox",
    "",
    "Segmenter to build on: a model file, or a folder of its predictions.",
)
flags.DEFINE_string(
    "init_from",
    "",
    "Run directory with whose F this run begins; with --set train.init_networks=both "
    "also with its G. --set stage1.steps=0 keeps F as it is.",
)
flags.DEFINE_string(
    "workdir", "", "Run directory, new or to be resumed (default runs/<config>-<time>)."
)


def main() -> int:
    """Runs the job; returns the exit code."""
    config = api.resolve(
        FLAGS.config if FLAGS["config"].present else None,
        FLAGS.set,
        data_dir=FLAGS.data_dir,
        blackbox=FLAGS.blackbox,
        init_from=FLAGS.init_from,
        workdir=FLAGS.workdir,
    )
    logging.set_verbosity(logging.WARNING)  # TensorFlow tells much in an export.
    api.run_job(config, FLAGS.workdir, log=lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    cli.run(main, errors=run_dir.USER_ERRORS)
