"""A client over REST, with encoded images both ways. No TensorFlow starts."""

import base64
import json
import pathlib
import urllib.error
import urllib.request
from typing import Optional, Tuple

import numpy as np

from export.clients import common


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
    return f"{error.code}: {common.sentence(text)}"


def _b64(content: bytes) -> dict:
    return {"b64": base64.b64encode(content).decode("ascii")}


def _blackbox_input(path: pathlib.Path) -> dict:
    if path.suffix == ".png":
        return {"blackbox_bytes": [_b64(path.read_bytes())]}
    array = common.read_map(path)
    if array.dtype == np.uint8:
        return {"blackbox_bytes": [_b64(common.encode_png(array))]}
    # Probabilities are numbers in JSON: 20 bytes each, so gRPC is the better way.
    return {"blackbox": [array.tolist()]}


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
        inputs.update(_blackbox_input(blackbox_file))
    drawn = client.predict("sample_bytes", inputs)
    samples = [
        common.decode_png(base64.b64decode(one["b64"]))
        for one in drawn["samples_bytes"][0]
    ]
    entropy = base64.b64decode(drawn["entropy_bytes"][0]["b64"])
    return np.stack(samples), common.decode_png(entropy)
