"""Samples from a server that offers an exported model.

    python -m export.clients --model cityscapes --images DIR --blackbox DIR --output DIR
    python -m export.clients --protocol rest --server http://HOST:8501 ...

Writes, for each image, class ids as PNG files and the entropy of F; with --labels, which
takes the labels.json of the export, coloured samples too. gRPC needs tensorflow and
tensorflow-serving-api (`pip install` it in the version of TensorFlow), REST neither.
"""

import functools
import os
import pathlib
import sys
from typing import Callable, Sequence, Tuple

import numpy as np
from absl import app, flags

from export.clients import common

FLAGS = flags.FLAGS

flags.DEFINE_enum("protocol", "grpc", ["grpc", "rest"], "How to speak to the server.")
flags.DEFINE_string(
    "server", "", "Address (default: localhost:8500, or http://localhost:8501)."
)
flags.DEFINE_string("model", None, "Name of the model.", required=True)
flags.DEFINE_integer("version", 0, "Version of the model; 0: the newest.")
flags.DEFINE_multi_string(
    "images", None, "Images, or folders of images.", required=True
)
flags.DEFINE_string("blackbox", "", "Folder of the black box's maps, by image name.")
flags.DEFINE_string("output", None, "Folder to write to.", required=True)
flags.DEFINE_string("labels", "", "labels.json of the export, for colours.")
flags.DEFINE_integer("num_samples", 16, "Samples per image.")
flags.DEFINE_integer(
    "seed", 0, "Seed of the samples.", lower_bound=-(2**31), upper_bound=2**31 - 1
)
flags.DEFINE_enum("channels", "3", ["1", "3"], "Channels of the images, over gRPC.")
flags.DEFINE_float("timeout", 60.0, "Seconds that a request may take.")


def main(argv: Sequence[str]) -> int:
    """Samples; returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    try:
        found = common.find_images(FLAGS.images, FLAGS.output)
        colors = common.read_colors(FLAGS.labels)
        sample = _sampling()
    except common.ClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    def handle(name: str) -> None:
        samples, levels = sample(
            found[name],
            common.map_file(FLAGS.blackbox, name),
            num_samples=FLAGS.num_samples,
            seed=common.seed_for(FLAGS.seed, name),
        )
        folder = pathlib.Path(FLAGS.output) / name
        common.write_results(folder, samples, levels, colors)

    return common.run(found, handle, (ValueError, OSError))


def _sampling() -> Callable[..., Tuple[np.ndarray, np.ndarray]]:
    """Returns `sample` of the protocol's client, for the server of the flags."""
    options = dict(version=FLAGS.version, timeout=FLAGS.timeout)
    if FLAGS.protocol == "grpc":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        from export.clients import grpc_client  # TensorFlow starts here.

        server = FLAGS.server or "localhost:8500"
        client = grpc_client.Client(server, FLAGS.model, **options)
        channels = int(FLAGS.channels)
        return functools.partial(grpc_client.sample, client, channels=channels)
    from export.clients import rest_client

    server = FLAGS.server or "http://localhost:8501"
    client = rest_client.Client(server, FLAGS.model, **options)
    return functools.partial(rest_client.sample, client)


if __name__ == "__main__":
    app.run(main)
