"""The clients against a test double of the server, on loopback."""

import concurrent.futures
import contextlib
import dataclasses
import os
import subprocess
import sys

import exported
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from car_tf.data import io as data_io
from export import run
from export.clients import common

pytest.importorskip("tensorflow_serving", reason="tensorflow-serving-api is missing")

from export.clients import grpc_client, rest_client  # noqa: E402

# CAR_TF_STRESS_REQUESTS=1000 for the whole measurement.
NUM_REQUESTS = int(os.environ.get("CAR_TF_STRESS_REQUESTS", "120"))
NUM_CLIENTS = 8


def test_without_the_servers_messages_grpc_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    words = "pip install tensorflow-serving-api"
    with pytest.raises(common.ClientError, match=words):
        grpc_client.Client("localhost:1", "x", timeout=1.0)


def test_files_that_would_be_altered_are_not_sent(tmp_path):
    exif, image = Image.Exif(), np.zeros((2, 3, 3), np.uint8)
    exif[0x0112] = 3
    Image.fromarray(image).save(tmp_path / "turned.jpg", exif=exif)
    Image.fromarray(image + np.uint8([1, 2, 3])).save(tmp_path / "colours.png")
    Image.fromarray(image[..., 0].astype(np.uint16) + 700).save(tmp_path / "deep.png")
    for name, words in (
        ("turned.jpg", "turned.jpg: wanted upright"),
        ("colours.png", "colours.png: wanted grey"),
        ("deep.png", "deep.png: wanted 8 bits"),
    ):
        with pytest.raises(data_io.DataError, match=words):
            common.read_image(tmp_path / name, 1)
    np.save(tmp_path / "ids.npy", np.int64([[0, 256]]))
    with pytest.raises(common.ClientError, match="ids.npy: wanted class ids 0 to 255"):
        common.read_map(tmp_path / "ids.npy")


@contextlib.contextmanager
def serving(folder):
    """Runs the test double; yields its process and the addresses of gRPC and REST."""
    script = os.path.join(
        os.path.dirname(os.path.dirname(__file__)), "serving_double.py"
    )
    process = subprocess.Popen(
        [sys.executable, script, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    try:
        ports = process.stdout.readline().split()
        yield process, f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def double():
    with serving(exported.version()) as started:
        yield started


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Images and black-box maps as files, one pair in a folder of its own."""
    root = tmp_path_factory.mktemp("client")
    for index, name in enumerate(("a", "b", "deep/c")):
        height, width = 24 + index, 32
        for kind, array in (
            ("images", exported.images(1, height, width)[0]),
            ("maps", exported.labels(1, height, width)[0]),
        ):
            path = root / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
    return root


def expected(folders, name, num_samples, seed):
    image = np.asarray(Image.open(folders / "images" / f"{name}.png"))
    ids = np.asarray(Image.open(folders / "maps" / f"{name}.png"))
    return exported.call(
        "sample",
        image=image[None],
        blackbox=ids[None],
        num_samples=np.int32(num_samples),
        seed=np.array([common.seed_for(seed, name)], np.int32),
    )


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_a_client_writes_the_samples_of_the_server(double, folders, tmp_path, kind):
    _, grpc_address, rest_address = double
    address = grpc_address if kind == "grpc" else rest_address
    done = subprocess.run(
        [
            *(sys.executable, "-m", "export.clients", f"--protocol={kind}"),
            *(f"--server={address}", "--model=tiny"),
            *(f"--images={folders}/images", f"--blackbox={folders}/maps"),
            *(f"--output={tmp_path}", "--num_samples=4", "--seed=3"),
            f"--labels={exported.version()}/assets/labels.json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3/3" in done.stderr
    for name in ("a", "b", "deep/c"):
        want = expected(folders, name, 4, 3)
        for index in range(4):
            sample = Image.open(tmp_path / name / f"sample_{index:02d}.png")
            np.testing.assert_array_equal(sample, want["samples"][0, index])
        levels = np.asarray(Image.open(tmp_path / name / "entropy.png"))
        np.testing.assert_allclose(levels / 8000, want["entropy_bits"][0], atol=1e-4)
        assert Image.open(tmp_path / name / "sample_00_color.png").mode == "RGB"


def test_clients_of_a_model_on_probabilities_send_arrays(tmp_path, folders):
    """In .npy files: probabilities for such a model, and class ids for the other."""
    dataset_info = dataclasses.replace(
        exported.street_facts(), blackbox_output="probabilities"
    )
    sampler = exported.street_sampler()
    folder = run.export_run(exported.config("scores"), sampler, dataset_info, tmp_path)
    image_file = folders / "images" / "a.png"
    image = np.asarray(Image.open(image_file))
    scores = np.random.default_rng(0).random([*image.shape[:2], 19])
    np.save(tmp_path / "scores.npy", scores / scores.sum(-1, keepdims=True))
    probs = common.read_map(tmp_path / "scores.npy")
    assert probs.dtype == np.float32
    seed = (3, 4)
    want = sampler.sample(
        *(tf.constant(value[None]) for value in (image, probs)),
        tf.constant([seed]),
        tf.constant(2),
    )
    with serving(folder) as (_, grpc_address, rest_address):
        for client_of, address in (
            (grpc_client, grpc_address),
            (rest_client, rest_address),
        ):
            client = client_of.Client(address, "scores", timeout=60.0)
            samples, _ = client_of.sample(
                client, image_file, tmp_path / "scores.npy", num_samples=2, seed=seed
            )
            assert np.mean(samples != want["samples"][0]) < 1e-3
            ids = folders / "maps" / "a.png"
            with pytest.raises(common.ClientError):
                client_of.sample(client, image_file, ids, num_samples=2, seed=seed)


def test_class_ids_may_be_arrays(double, folders, tmp_path):
    image_file = folders / "images" / "a.png"
    np.save(tmp_path / "a.npy", np.asarray(Image.open(folders / "maps" / "a.png")))
    want = expected(folders, "a", 2, 3)["samples"][0]
    for client_of, address in ((grpc_client, double[1]), (rest_client, double[2])):
        client = client_of.Client(address, "tiny", timeout=60.0)
        samples, _ = client_of.sample(
            client,
            image_file,
            common.map_file(tmp_path, "a"),
            num_samples=2,
            seed=common.seed_for(3, "a"),
        )
        np.testing.assert_array_equal(samples, want)


def test_a_refusal_reaches_the_user_as_a_sentence(double, folders):
    _, grpc_address, rest_address = double
    image, ids = (folders / kind for kind in ("images/a.png", "maps/b.png"))
    client = grpc_client.Client(grpc_address, "tiny", timeout=60.0)
    with pytest.raises(common.ClientError, match="INVALID_ARGUMENT.*as large as the"):
        grpc_client.sample(client, image, ids, num_samples=2, seed=(1, 2))
    with pytest.raises(common.ClientError, match="FAILED_PRECONDITION.*not found"):
        client.predict("nonsense", {})
    client.close()
    path = folders / "maps" / "a.png"
    client = rest_client.Client(rest_address, "tiny", timeout=60.0)
    with pytest.raises(common.ClientError, match="400.*wanted 1 to 256, got .0"):
        rest_client.sample(client, path, path, num_samples=0, seed=(1, 2))
    with pytest.raises(common.ClientError, match="400.*Missing named input"):
        client.predict("sample_bytes", {"image_bytes": []})


def test_a_server_that_is_not_there_is_said_so():
    client = rest_client.Client("http://127.0.0.1:9", "tiny", timeout=2.0)
    with pytest.raises(common.ClientError, match="127.0.0.1:9.*refused"):
        client.predict("calibrate", {})
    client = grpc_client.Client("127.0.0.1:9", "tiny", timeout=2.0)
    with pytest.raises(common.ClientError, match="UNAVAILABLE|DEADLINE_EXCEEDED"):
        client.predict("calibrate", {"image": exported.images(1, 4, 4)})


def memory(process):
    with open(f"/proc/{process.pid}/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def random_request(rng):
    """Returns the inputs of `sample` and whether they are valid."""
    batch, height, width = rng.integers(1, [4, 50, 50])
    inputs = exported.street_inputs(batch, height, width)
    inputs["num_samples"] = np.int32(rng.integers(1, 6))
    fault = rng.integers(0, 10)
    if fault == 0:
        inputs["image"] = inputs["image"][..., : rng.integers(0, 3)]
    elif fault == 1:
        inputs["blackbox"] = inputs["blackbox"][:, 1:]
    elif fault == 2:
        inputs["blackbox"] = np.full_like(inputs["blackbox"], rng.integers(19, 255))
    elif fault == 3:
        inputs["num_samples"] = np.int32(rng.choice([-5, 0, 257, 2**31 - 1]))
    elif fault == 4:
        inputs["seed"] = inputs["seed"][:, :1]
    return inputs, fault > 4


def test_many_clients_get_right_answers_and_memory_is_steady(double):
    process, address, _ = double

    def client_of(number):
        rng = np.random.default_rng(number)
        client = grpc_client.Client(address, "tiny", timeout=300.0)
        wrong = 0
        for _ in range(NUM_REQUESTS // NUM_CLIENTS):
            inputs, valid = random_request(rng)
            try:
                drawn = client.predict("sample", inputs)["samples"]
            except common.ClientError as error:
                wrong += valid or "INVALID_ARGUMENT" not in str(error)
            else:
                wrong += not valid or not np.array_equal(
                    drawn, exported.call("sample", **inputs)["samples"]
                )
        client.close()
        return wrong

    used = []
    for _ in range(2):
        with concurrent.futures.ThreadPoolExecutor(NUM_CLIENTS) as pool:
            assert sum(pool.map(client_of, range(NUM_CLIENTS))) == 0
        used.append(memory(process))
    print(f"memory of the double after each round: {used[0] >> 20}, {used[1] >> 20} MB")
    assert process.poll() is None
    # The second round sends the same requests again.
    assert used[1] < used[0] * 1.15 + (20 << 20)


def test_the_sentence_of_a_check_is_found_in_an_error():
    text = "Graph execution error:\n\nassertion failed: [a: wanted [B], got [2 3]]\n\t [[{{"
    assert common.sentence(text) == "a: wanted [B], got [2 3]"
    assert common.sentence("plain\nmore") == "plain"
