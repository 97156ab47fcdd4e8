"""A test double of TensorFlow Serving: NOT the server, which is not used by any test.

Answers gRPC Predict and REST `:predict` requests on loopback as TensorFlow Serving is
documented to, from a SavedModel that Python loads. It knows no batching, no versions and
no model management. As a program it serves one SavedModel until it is ended:

    python serving_double.py MODEL_DIR

and prints the ports of gRPC and REST in one line.
"""

import base64
import concurrent.futures
import http.server
import json
import sys
import threading

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


class Model:
    """A SavedModel with the defaults of its signatures."""

    def __init__(self, folder):
        self.functions = tf.saved_model.load(folder).signatures
        saved = saved_model_pb2.SavedModel()
        with open(f"{folder}/saved_model.pb", "rb") as file:
            saved.ParseFromString(file.read())
        self.defs = saved.meta_graphs[0].signature_def

    def predict(self, signature, inputs):
        """Calls a signature; name -> TensorProto in, name -> array out."""
        if signature not in self.defs:
            raise tf.errors.FailedPreconditionError(
                None, None, f'Serving signature key "{signature}" not found.'
            )
        known = self.defs[signature]
        values = {**known.defaults, **inputs}
        if set(values) != set(known.inputs):
            raise tf.errors.InvalidArgumentError(
                None, None, f"input names do not match signature: {sorted(values)}"
            )
        typed = {}
        for name, proto in values.items():
            if proto.dtype != known.inputs[name].dtype:
                raise tf.errors.InvalidArgumentError(None, None, f"wrong type: {name}")
            typed[name] = tf.constant(tf.make_ndarray(proto))
        results = self.functions[signature](**typed)
        return {name: value.numpy() for name, value in results.items()}


class GrpcDouble(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The Predict call of the PredictionService."""

    def __init__(self, model):
        self._model = model

    def Predict(self, request, context):
        name = request.model_spec.signature_name or "serving_default"
        try:
            results = self._model.predict(name, dict(request.inputs))
        except tf.errors.OpError as error:
            codes = {code.value[0]: code for code in grpc.StatusCode}
            context.abort(codes[error.error_code], error.message)
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(request.model_spec)
        for key in request.output_filter or results:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(results[key]))
        return response


class RestDouble(http.server.BaseHTTPRequestHandler):
    """`:predict` in the columnar form: every input is wanted, strings are base64."""

    model = None

    def log_message(self, *unused):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = body.get("signature_name", "serving_default")
        try:
            known = self.model.defs[name].inputs
            missing = sorted(set(known) - set(body["inputs"]))
            if missing:
                raise tf.errors.InvalidArgumentError(
                    None, None, f"Missing named input: {missing[0]} in 'inputs' object."
                )
            inputs = {
                key: tf.make_tensor_proto(_from_json(value), known[key].dtype)
                for key, value in body["inputs"].items()
            }
            results = self.model.predict(name, inputs)
            outputs = {key: _to_json(key, value) for key, value in results.items()}
            self._answer(200, {"outputs": outputs})
        except tf.errors.OpError as error:
            self._answer(400, {"error": error.message})

    def _answer(self, code, content):
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _from_json(value):
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def _to_json(name, value):
    if value.dtype != object:
        return value.tolist()
    if isinstance(value, np.ndarray) and value.ndim:
        return [_to_json(name, np.asarray(item, object)) for item in value]
    assert name.endswith("_bytes"), "a server encodes strings of such names only"
    return {"b64": base64.b64encode(value.item()).decode()}


def serve(folder):
    """Starts both servers; returns them and their ports."""
    model = Model(folder)
    unlimited = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
    ]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=unlimited)
    add = prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server
    add(GrpcDouble(model), server)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    handler = type("Handler", (RestDouble,), {"model": model})
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    return server, rest, grpc_port, rest.server_address[1]


if __name__ == "__main__":
    started = serve(sys.argv[1])
    print(started[2], started[3], flush=True)
    started[0].wait_for_termination()
