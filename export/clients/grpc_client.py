"""A client over gRPC. Needs tensorflow and tensorflow-serving-api."""

import pathlib
from typing import Optional, Sequence, Tuple

import numpy as np

import export
from export.clients import common

# A server that is starting or that a load balancer replaces is asked again.
_RETRIES = """{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4,
"initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
"retryableStatusCodes": ["UNAVAILABLE"]}}]}"""


class Client:
    """Asks one model of a server.

    Raises:
      ClientError: the package with TensorFlow Serving's messages is missing.
    """

    def __init__(self, server: str, model: str, *, version: int = 0, timeout: float):
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError:
            raise common.ClientError(export.SERVING_MISSING) from None

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
        """Calls a signature for some outputs (by default all); returns arrays by name.

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
            words = common.sentence(error.details())
            raise common.ClientError(f"{error.code().name}: {words}") from None
        return {name: tf.make_ndarray(p) for name, p in response.outputs.items()}

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()


def sample(
    client: Client,
    image_file: pathlib.Path,
    blackbox_file: Optional[pathlib.Path],
    *,
    num_samples: int,
    seed: Tuple[int, int],
    channels: int = 3,
) -> Tuple[np.ndarray, np.ndarray]:
    """Returns samples `[M, H, W]` uint8 and entropy levels `[H, W]` of one image."""
    inputs = {
        "image": common.read_image(image_file, channels)[None],
        "num_samples": np.array([num_samples], np.int32),
        "seed": np.array([seed], np.int32),
    }
    if blackbox_file is not None:
        inputs["blackbox"] = common.read_map(blackbox_file)[None]
    drawn = client.predict("sample", inputs, ["samples", "entropy_bits"])
    levels = np.round(drawn["entropy_bits"][0] * export.ENTROPY_LEVELS_PER_BIT)
    return drawn["samples"][0], levels.astype(np.uint16)
