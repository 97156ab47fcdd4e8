"""How much closer proposals come to each rater than a single guess.

    python -m car_tf.evaluate.proposals --workdir RUN

Simulates raters on the split that a finished run reports on. Each wants a label map:
a rater's own of CT crops, and of a street scene its label with the classes flipped at
random, four draws an image. Each is shown samples and takes the best one whole, or mixes
them: in up to ten regions, the variant that suits best. Prints the mean IoU with what
each wanted beside that of F's arg-max, and the picks it takes, and writes
RUN/proposals.json, which the run's report then shows.
"""

import functools

from absl import flags

from car_tf.config import cli
from car_tf.data import io
from car_tf.runtime import run_dir

FLAGS = flags.FLAGS

flags.DEFINE_string("workdir", None, "Run directory.", required=True)
flags.DEFINE_string(
    "split", "", "Split; by default the one that results are reported on."
)
flags.DEFINE_integer("num_samples", 16, "Proposals per image.", lower_bound=1)
flags.DEFINE_integer(
    "num_images", 0, "How many images, spread over the split; 0: all.", lower_bound=0
)


def main() -> int:
    """Simulates; returns the exit code."""
    config = run_dir.saved_config(FLAGS.workdir)
    workdir = run_dir.RunDir(FLAGS.workdir, config)
    # TensorFlow starts here.
    from car_tf.evaluate import proposal_study, sampling, saved_run
    from car_tf.report import write

    dataset = saved_run.load_data(config, workdir, [FLAGS.split])
    split = FLAGS.split or dataset.evaluation
    summary = proposal_study.simulate(
        saved_run.load_sampler(config, dataset.info, workdir),
        sampling.some_of(dataset.splits[split], FLAGS.num_images),
        dataset.info,
        num_samples=FLAGS.num_samples,
        seed=config.evaluation.seed,
        progress=functools.partial(io.progress, desc="annotating", unit="image"),
    )
    summary = {"split": split, "data": dataset.info.title, **summary}
    workdir.write_json(proposal_study.RESULTS_FILE, summary)
    print(proposal_study.markdown(summary))
    write.write(workdir.path)
    return 0


if __name__ == "__main__":
    cli.run(main, errors=run_dir.USER_ERRORS)
