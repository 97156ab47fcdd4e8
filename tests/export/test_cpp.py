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


def run(program, folder):
    done = subprocess.run(
        [str(program), str(exported.version()), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr


def read_outputs(folder):
    assert not (folder / "error.txt").exists(), (folder / "error.txt").read_text()
    results = {}
    for path in folder.glob("*.out.pb"):
        proto = tf.make_tensor_proto(0)
        proto.ParseFromString(path.read_bytes())
        results[path.name[: -len(".out.pb")]] = tf.make_ndarray(proto)
    return results


def test_every_signature_gives_what_python_gives(program, tmp_path):
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
    requests = {
        "sample": inputs,
        "calibrate": seen,
        "encode": seen,
        "decode": {**encoded, **drawn},
        "sample_bytes": {**sent, **drawn},
    }
    for signature, request in requests.items():
        write_request(tmp_path / f"1.{signature}", **request)
    write_request(tmp_path / "1.serving_default", **seen)
    # What has a default may be left out.
    write_request(tmp_path / "2.sample", **seen)
    write_request(tmp_path / "3.sample", **{**inputs, "image": inputs["image"][0]})
    write_request(tmp_path / "4.sample", **{**inputs, "num_samples": np.int32(0)})
    write_request(tmp_path / "5.sample", **inputs)
    run(program, tmp_path)

    for signature, request in requests.items():
        got = read_outputs(tmp_path / f"1.{signature}")
        want = exported.call(signature, **request)
        assert set(got) == set(want)
        for name, value in want.items():
            if value.dtype == np.float32:
                np.testing.assert_allclose(got[name], value, atol=1e-5, rtol=1e-4)
            elif name != "entropy_bytes":  # whose last level may round differently
                np.testing.assert_array_equal(got[name], value)
    for folder in ("1.serving_default", "2.sample"):
        samples = read_outputs(tmp_path / folder)["samples"]
        assert samples.shape == (2, exported.NUM_SAMPLES, 37, 50)
    for folder, words in (
        ("3.sample", "image: wanted [B, H, W, 3] with at least one pixel"),
        ("4.sample", "num_samples: wanted 1 to 256, got 0"),
    ):
        text = (tmp_path / folder / "error.txt").read_text()
        assert text.startswith("INVALID_ARGUMENT") and words in text
    # The session lives on after a refusal.
    last = read_outputs(tmp_path / "5.sample")["samples"]
    np.testing.assert_array_equal(last, read_outputs(tmp_path / "1.sample")["samples"])


def test_the_warm_up_requests_run(program, tmp_path):
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    records = tf.data.TFRecordDataset(str(exported.version() / warmup.FILE))
    seen = []
    for index, record in enumerate(records.as_numpy_iterator()):
        log = apis.PredictionLog.FromString(record)
        request = log.predict_log.request
        name = request.model_spec.signature_name
        seen.append((name, tuple(request.output_filter)))
        folder = tmp_path / f"{index}.{name}"
        write_request(folder, **dict(request.inputs))
    slim = ("samples", "entropy_bits")
    names = [
        "serving_default",
        "sample",
        "calibrate",
        "encode",
        "decode",
        "sample_bytes",
    ]
    assert seen == [(name, ()) for name in names] + [
        ("serving_default", slim),
        ("sample", slim),
    ]
    run(program, tmp_path)
    for index, (name, _) in enumerate(seen):
        outputs = read_outputs(tmp_path / f"{index}.{name}")
        assert all(len(value) == 1 for value in outputs.values()) and outputs
