"""Samples from a server over REST, with encoded images both ways.

    python -m export.clients.rest_client --server http://HOST:8501 --model cityscapes \
        --images DIR --blackbox DIR --output DIR

Needs no TensorFlow: NumPy, Pillow and tqdm. Writes what the gRPC client writes.
"""

from __future__ import annotations

import base64
import json
import pathlib
import sys
import urllib.error
import urllib.request
from typing import Optional, Sequence, Tuple

import numpy as np
from absl import app, flags

from export.clients import common

FLAGS = flags.FLAGS

flags.DEFINE_string("server", "http://localhost:8501", "Address.")
flags.DEFINE_string("model", None, "Name of the model.", required=True)
flags.DEFINE_integer("version", 0, "Version of the model; 0: the newest.")
flags.DEFINE_multi_string(
    "images", None, "Images, or folders of images.", required=True
)
flags.DEFINE_string(
    "blackbox", "", "Folder of the black box's PNG maps, by image name."
)
flags.DEFINE_string("output", None, "Folder to write to.", required=True)
flags.DEFINE_string("labels", "", "labels.json of the export, for colours.")
flags.DEFINE_integer("num_samples", 16, "Samples per image.")
flags.DEFINE_integer("seed", 0, "Seed of the samples.")
flags.DEFINE_float("timeout", 60.0, "Seconds that a request may take.")


class Client:
    """Asks one model of a server."""

    def __init__(self, server: str, model: str, *, version: int = 0, timeout: float):
        place = f"{server.rstrip('/')}/v1/models/{model}"
        if version:
            place += f"/versions/{version}"
        self._url, self._timeout = f"{place}:predict", timeout

    def predict(self, signature: str, inputs: dict) -> dict:
        """Calls a signature with JSON values; the server wants every input.

        Raises:
          ClientError: the server refused, or did not answer in time.
        """
        body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
        request = urllib.request.Request(
            self._url, body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                return json.load(response)["outputs"]
        except urllib.error.HTTPError as error:
            raise common.ClientError(_reason(error)) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise common.ClientError(f"{self._url}: {reason}") from None


def _reason(error: urllib.error.HTTPError) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        text = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        pass
    return f"{error.code}: {text}".split("\n")[0]


def _b64(content: bytes) -> dict:
    return {"b64": base64.b64encode(content).decode("ascii")}


def sample(
    client: Client,
    image_file: pathlib.Path,
    blackbox_file: Optional[pathlib.Path],
    *,
    num_samples: int,
    seed: Tuple[int, int],
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns samples `[M, H, W]` uint8 and entropy levels `[H, W]` of one image."""
    inputs = {
        "image_bytes": [_b64(image_file.read_bytes())],
        "num_samples": [num_samples],
        "seed": [list(seed)],
    }
    if blackbox_file is not None:
        inputs["blackbox_bytes"] = [_b64(blackbox_file.read_bytes())]
    drawn = client.predict("sample_bytes", inputs)
    samples = [
        common.decode_png(base64.b64decode(one["b64"]))
        for one in drawn["samples_bytes"][0]
    ]
    entropy = base64.b64decode(drawn["entropy_bytes"][0]["b64"])
    return np.stack(samples), common.decode_png(entropy)


def main(argv: Sequence[str]) -> int:
    """Samples; returns the exit code."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
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
        samples, levels = sample(
            client,
            found[name],
            common.map_file(FLAGS.blackbox, name),
            num_samples=FLAGS.num_samples,
            seed=common.seed_for(FLAGS.seed, name),
        )
        folder = pathlib.Path(FLAGS.output) / name
        common.write_results(folder, samples, levels, colors)

    return common.run(found, handle, (common.ClientError, OSError))


if __name__ == "__main__":
    app.run(main)
