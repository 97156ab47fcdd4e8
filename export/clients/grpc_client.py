"""Samples from a server over gRPC.

    python -m export.clients.grpc_client --server HOST:8500 --model cityscapes \
        --images DIR --blackbox DIR --output DIR

Needs tensorflow and tensorflow-serving-api. Writes, for each image, class ids as PNG
files and the entropy of F; with --labels, which takes the labels.json of the export,
coloured samples too.
"""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any, Sequence, Tuple

import numpy as np
from absl import app, flags
from PIL import Image

import export
from export.clients import common

FLAGS = flags.FLAGS

flags.DEFINE_string("server", "localhost:8500", "Host and port.")
flags.DEFINE_string("model", None, "Name of the model.", required=True)
flags.DEFINE_integer("version", 0, "Version of the model; 0: the newest.")
flags.DEFINE_multi_string(
    "images", None, "Images, or folders of images.", required=True
)
flags.DEFINE_string("blackbox", "", "Folder of the black box's maps, by image name.")
flags.DEFINE_string("output", None, "Folder to write to.", required=True)
flags.DEFINE_string("labels", "", "labels.json of the export, for colours.")
flags.DEFINE_integer("num_samples", 16, "Samples per image.")
flags.DEFINE_integer("seed", 0, "Seed of the samples.")
flags.DEFINE_integer("channels", 3, "Channels of the images: 1 or 3.")
flags.DEFINE_float("timeout", 60.0, "Seconds that a request may take.")

# A server that is starting or that a load balancer replaces is asked again.
_RETRIES = """{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4,
"initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
"retryableStatusCodes": ["UNAVAILABLE"]}}]}"""


class Client:
    """Asks one model of a server."""

    def __init__(self, server: str, model: str, *, version: int = 0, timeout: float):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._model, self._version, self._timeout = model, version, timeout
        self._channel = grpc.insecure_channel(
            server,
            options=[
                # Messages of any size: 16 samples of 1024 x 2048 have 32 MB.
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.service_config", _RETRIES),
            ],
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def predict(
        self, signature: str, inputs: dict, outputs: Sequence[str] = ()
    ) -> dict:
        """Calls a signature.

        Args:
          signature: its name.
          inputs: name -> array.
          outputs: names of the wanted outputs; empty for all.

        Returns:
          name -> array.

        Raises:
          ClientError: the server refused, or did not answer in time.
        """
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = self._model
        request.model_spec.signature_name = signature
        if self._version:
            request.model_spec.version.value = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self._stub.Predict(request, timeout=self._timeout)
        except grpc.RpcError as error:
            words = error.details().split("\n")[0]
            raise common.ClientError(f"{error.code().name}: {words}") from None
        return {name: tf.make_ndarray(p) for name, p in response.outputs.items()}

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()


def read_map(path: pathlib.Path) -> np.ndarray:
    """Reads class ids from PNG, or ids or probabilities from .npy."""
    if path.suffix == ".npy":
        array = np.load(path, allow_pickle=False)
        return array.astype(np.float32 if array.dtype.kind == "f" else np.uint8)
    return np.asarray(Image.open(path))


def sample(
    client: Client,
    image: np.ndarray,
    blackbox: Any,
    *,
    num_samples: int,
    seed: Tuple[int, int],
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns samples `[M, H, W]` uint8 and entropy `[H, W]` in bits of one image."""
    inputs = {
        "image": image[None],
        "num_samples": np.array([num_samples], np.int32),
        "seed": np.array([seed], np.int32),
    }
    if blackbox is not None:
        inputs["blackbox"] = blackbox[None]
    drawn = client.predict("sample", inputs, ["samples", "entropy_bits"])
    return drawn["samples"][0], drawn["entropy_bits"][0]


def main(argv: Sequence[str]) -> int:
    """Samples; returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        found = common.find_images(FLAGS.images)
        colors = common.read_colors(FLAGS.labels)
    except common.ClientError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    client = Client(
        FLAGS.server, FLAGS.model, version=FLAGS.version, timeout=FLAGS.timeout
    )

    def handle(name: str) -> None:
        opened = Image.open(found[name]).convert("L" if FLAGS.channels == 1 else "RGB")
        image = np.atleast_3d(np.asarray(opened))
        path = common.map_file(FLAGS.blackbox, name)
        samples, entropy_bits = sample(
            client,
            image,
            None if path is None else read_map(path),
            num_samples=FLAGS.num_samples,
            seed=common.seed_for(FLAGS.seed, name),
        )
        levels = np.round(entropy_bits * export.ENTROPY_LEVELS_PER_BIT).astype(
            np.uint16
        )
        folder = pathlib.Path(FLAGS.output) / name
        common.write_results(folder, samples, levels, colors)

    try:
        return common.run(found, handle, (common.ClientError, OSError))
    finally:
        client.close()


if __name__ == "__main__":
    app.run(main)
