"""The C++ example: the functions behind TensorFlow Serving's predict path."""

import os
import shutil
import subprocess
import sys

import exported
import numpy as np
import pytest
import tensorflow as tf

from export import warmup

EXAMPLES = exported.pathlib.Path(__file__).resolve().parents[2] / "export/examples"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the C++ example with")
    path = tmp_path_factory.mktemp("cpp") / "run_savedmodel"
    script = str(EXAMPLES / "build.sh")
    done = subprocess.run(
        ["sh", script, sys.executable, str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return path


def write_request(folder, **inputs):
    folder.mkdir()
    for name, value in inputs.items():
        is_proto = hasattr(value, "SerializeToString")
        proto = value if is_proto else tf.make_tensor_proto(value)
        (folder / f"{name}.pb").write_bytes(proto.SerializeToString())


def read_outputs(folder):
    assert not (folder / "error.txt").exists(), (folder / "error.txt").read_text()
    results = {}
    for path in folder.glob("*.out.pb"):
        proto = tf.make_tensor_proto(0)
        proto.ParseFromString(path.read_bytes())
        results[path.name[: -len(".out.pb")]] = tf.make_ndarray(proto)
    return results


def requests_of_all_signatures():
    inputs = exported.street_inputs(2, 37, 50)
    seen = {name: inputs[name] for name in ("image", "blackbox")}
    drawn = {name: inputs[name] for name in ("num_samples", "seed")}
    sent = {
        "image_bytes": [tf.io.encode_png(i).numpy() for i in inputs["image"]],
        "blackbox_bytes": [
            tf.io.encode_png(ids[..., None]).numpy() for ids in inputs["blackbox"]
        ],
    }
    encoded = exported.call("encode", **seen)
    return {
        "sample": inputs,
        "calibrate": seen,
        "encode": seen,
        "decode": {**encoded, **drawn},
        "sample_bytes": {**sent, **drawn},
    }


def warm_up_requests():
    """Signature, wanted outputs and inputs of each; None without their messages."""
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError:
        return None
    found = []
    records = tf.data.TFRecordDataset(str(exported.version() / warmup.FILE))
    for record in records.as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        name, wanted = request.model_spec.signature_name, tuple(request.output_filter)
        found.append((name, wanted, dict(request.inputs)))
    return found


@pytest.fixture(scope="module")
def answered(program, tmp_path_factory):
    """A folder of answered requests, those of all signatures and the warm-up's."""
    folder = tmp_path_factory.mktemp("requests")
    requests, warm_up = requests_of_all_signatures(), warm_up_requests()
    for signature, request in requests.items():
        write_request(folder / f"1.{signature}", **request)
    inputs, seen = requests["sample"], requests["calibrate"]
    write_request(folder / "1.serving_default", **seen)
    # What has a default may be left out.
    write_request(folder / "2.sample", **seen)
    write_request(folder / "3.sample", **{**inputs, "image": inputs["image"][0]})
    write_request(folder / "4.sample", **{**inputs, "num_samples": np.int32(0)})
    write_request(folder / "5.sample", **inputs)
    for index, (signature, _, request) in enumerate(warm_up or []):
        write_request(folder / f"warm{index}.{signature}", **request)
    done = subprocess.run(
        [str(program), str(exported.version()), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    return folder, requests, warm_up


def test_every_signature_gives_what_python_gives(answered):
    folder, requests, _ = answered
    for signature, request in requests.items():
        got = read_outputs(folder / f"1.{signature}")
        want = exported.call(signature, **request)
        assert set(got) == set(want)
        for name, value in want.items():
            if value.dtype == np.float32:
                np.testing.assert_allclose(got[name], value, atol=1e-5, rtol=1e-4)
            elif name != "entropy_bytes":  # whose last level may round differently
                np.testing.assert_array_equal(got[name], value)
    for name in ("1.serving_default", "2.sample"):
        samples = read_outputs(folder / name)["samples"]
        assert samples.shape == (2, exported.NUM_SAMPLES, 37, 50)
    for name, words in (
        ("3.sample", "image: wanted [B, H, W, 3] with at least one pixel"),
        ("4.sample", "num_samples: wanted 1 to 256, got 0"),
    ):
        text = (folder / name / "error.txt").read_text()
        assert text.startswith("INVALID_ARGUMENT") and words in text
    # The session lives on after a refusal.
    last = read_outputs(folder / "5.sample")["samples"]
    np.testing.assert_array_equal(last, read_outputs(folder / "1.sample")["samples"])


def test_the_warm_up_requests_run(answered):
    folder, _, warm_up = answered
    if warm_up is None:
        pytest.skip("the package with TensorFlow Serving's messages is missing")
    slim = ("samples", "entropy_bits")
    names = ["serving_default", "sample", "calibrate", "encode", "decode"]
    plain = [(name, ()) for name in [*names, "sample_bytes"]]
    found = [(name, wanted) for name, wanted, _ in warm_up]
    assert found == [*plain, ("serving_default", slim), ("sample", slim)]
    for index, (name, _) in enumerate(found):
        outputs = read_outputs(folder / f"warm{index}.{name}")
        assert all(len(value) == 1 for value in outputs.values()) and outputs
