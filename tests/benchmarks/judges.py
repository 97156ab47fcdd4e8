"""Asks several judges how real a run's samples are: one alone knows it to about 0.05.

    python -m tests.benchmarks.judges --workdir RUN [--before] [--judges 3]

Each is trained as in `car_tf.evaluate.realism`, from another seed, on the same samples
of the training images, and asked on the split that results are reported on. Prints the
AUC of each, and their mean as its last line; 0.5 is the best.
"""

import numpy as np
from absl import flags

from car_tf.config import cli
from car_tf.runtime import run_dir

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "Run directory.", required=True)
flags.DEFINE_bool("before", False, "Whether to judge G as before stage 2.")
flags.DEFINE_integer("judges", 3, "How many.", lower_bound=1)
flags.DEFINE_integer("steps", 600, "Training steps of each.", lower_bound=1)

SEED = 1


def main() -> int:
    """Asks the judges; returns the exit code."""
    from car_tf.evaluate import before_stage2, judge, realism, saved_run

    config = run_dir.saved_config(FLAGS.workdir)
    workdir = run_dir.RunDir(FLAGS.workdir, config, writes=False)
    data = saved_run.load_data(config, workdir, ["train", ""])
    model = saved_run.load_sampler(config, data.info, workdir)
    before = before_stage2.initial_sampler(config, data.info, model, workdir.path)
    splits = data.splits["train"], data.splits[data.evaluation]
    shown = realism.shown(model, before, splits, data.info, SEED)
    arrays = shown["before_stage2" if FLAGS.before else realism.OWN]
    found = []
    for index in range(FLAGS.judges):
        judging = dict(seed=SEED + index, steps=FLAGS.steps)
        told = judge.realism(*arrays, num_classes=data.info.num_classes, **judging)
        found.append(told["auc"])
        print(f"judge {index + 1}: AUC {told['auc']:.3f}", flush=True)
    print(f"mean AUC {np.mean(found):.3f}")
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(run_dir.RunError,))
