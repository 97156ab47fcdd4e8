"""What an export writes, how it appears, and who can load it."""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import exported
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.tools import saved_model_cli

from export import description, program, run, savedmodel, signatures, versions, warmup

ROOT = pathlib.Path(__file__).resolve().parents[2]


def export_again(folder, sampler, **changes):
    return run.export_run(
        exported.config(), sampler, exported.street_facts(), folder, **changes
    )


def test_the_folder_is_complete():
    folder = exported.version()
    assert folder.name == "1" and folder.parent.name == "tiny"
    labels = json.loads((folder / "assets" / "labels.json").read_text())
    assert labels["classes"][23] == {"id": 23, "name": "road2", "color": [80, 200, 190]}
    assert len(labels["classes"]) == 24
    # Road takes its other name in 4 of 17 images.
    assert labels["flips"][4]["original"] == 0 and labels["flips"][4]["flipped"] == 23
    assert labels["flips"][4]["probability"] == pytest.approx(4 / 17)
    want = {"num_classes": 19, "input": "labels", "embedded": False}
    assert labels["blackbox"] == want
    assert labels["trained_size"] == list(exported.SIZE) and labels["resizes"]
    assert labels["config"]["name"] == "tiny"
    card = (folder / "model_card.md").read_text()
    for words in ("- a note on the data", "| 23 | road2 |", "0.2353", "Not evaluated."):
        assert words in card
    assert '"noise_dim": 4' in card
    # No layer of Keras is stored, only variables.
    assert not (folder / "keras_metadata.pb").exists()
    assert not list(folder.parent.glob(".exporting-*"))


def test_the_card_names_no_folders_of_this_machine(tmp_path):
    labels = json.loads((exported.version() / "assets" / "labels.json").read_text())
    labels["config"]["data"]["data_dir"] = "/home/ann/my data/leaves"
    notes = ["maps in /srv/maps/leaves are taken for logits"]
    description.write_card(tmp_path, labels, notes=notes, results=[])
    card = (tmp_path / "model_card.md").read_text()
    assert '"data_dir": "leaves"' in card and "- maps in leaves are taken" in card
    assert "/home" not in card and "/srv" not in card


def check_fingerprint(folder):
    lines = (folder / "fingerprint").read_text().splitlines()
    assert lines[0].startswith("# content ")
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and path.name != "fingerprint"
    }
    listed = dict(reversed(line.split("  ")) for line in lines[1:])
    assert set(listed) == set(found) and "saved_model.pb" in found
    for name, path in found.items():
        assert listed[name] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_fingerprint_is_that_of_the_files():
    check_fingerprint(exported.version())


def test_only_core_operations_are_stored():
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((exported.version() / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    used = {node.op for node in graph.node}
    for function in graph.library.function:
        used |= {node.op for node in function.node_def}
    local = {function.signature.name for function in graph.library.function}
    foreign = {op for op in used - local if ">" in op or op.startswith("PyFunc")}
    assert not foreign and "EagerPyFunc" not in used
    assert set(saved.meta_graphs[0].signature_def) >= set(signatures.NAMES)
    for name in ("sample", "decode"):
        defaults = saved.meta_graphs[0].signature_def[name].defaults
        assert defaults["num_samples"].int_val == [exported.NUM_SAMPLES]
        assert set(defaults) == {"num_samples", "seed"}


def test_a_model_that_did_not_change_is_not_written_again(tmp_path):
    sampler = exported.build_sampler(exported.config(), exported.street_facts())
    content = []
    settings = program.Settings(exported.street_facts())
    for change in (0.0, 0.0, 1.0):
        sampler.refinement_net.logits_layer.bias.assign_add(tf.fill([24], change))
        labels = description.labels(
            settings,
            name="x",
            embedded=False,
            receptive_field=sampler.receptive_field,
            config=None,
        )
        content.append(description.content_hash(labels, sampler.variables, ()))
    assert content[0] == content[1] != content[2]
    again = run.export_run(
        exported.config(),
        exported.street_sampler(),
        exported.street_facts(),
        exported.version().parent.parent,
        num_samples=exported.NUM_SAMPLES,
        notes=["a note on the data"],
    )
    assert again == exported.version()


def test_saving_says_nothing(capfd, monkeypatch, tmp_path):
    class Loud:
        def save(self, *unused, **unused_too):
            tf.get_logger().warning("untraced functions")
            import absl.logging

            absl.logging.warning("untraced functions")
            absl.logging.info("renamed")

    with savedmodel.quiet():
        Loud().save()
    output = capfd.readouterr()
    assert output.out == "" and output.err == ""


def test_without_the_servers_messages_the_export_says_so(monkeypatch, tmp_path):
    for name in ("tensorflow_serving", "tensorflow_serving.apis"):
        monkeypatch.setitem(sys.modules, name, None)
    assert warmup.write(tmp_path, None, None, "x") is False


def test_wrong_names_are_refused(tmp_path):
    for name in ("", "../x", "a b", ".hidden"):
        with pytest.raises(versions.ExportError, match="--name: wanted"):
            versions.check_name(name)
        versions.check_name(versions.servable(name))
    assert versions.servable("my config") == "my_config"
    with pytest.raises(versions.ExportError, match="wanted a SavedModel"):
        versions.find(str(tmp_path))


def test_the_newest_version_is_found(tmp_path):
    for number in ("1", "9", "10", "old", ".exporting-x"):
        (tmp_path / "one" / number).mkdir(parents=True)
        (tmp_path / "one" / number / "saved_model.pb").touch()
    newest = tmp_path / "one" / "10"
    assert versions.find(str(tmp_path)) == newest
    assert versions.find(str(tmp_path / "one")) == newest
    assert versions.find(str(newest)) == newest
    (tmp_path / "two" / "1").mkdir(parents=True)
    with pytest.raises(versions.ExportError, match="found one, two: name one"):
        versions.find(str(tmp_path))


def test_a_server_is_told_of_all_models(tmp_path):
    for name in ("b", "a", "not one", "a/1", "b/3", "not one/1"):
        (tmp_path / name).mkdir()
    versions.list_for_server(tmp_path)
    text = (tmp_path / versions.MODELS_FILE).read_text()
    names = re.findall(r'name: "(\w+)" base_path: "/models/(\w+)"', text)
    assert names == [("a", "a"), ("b", "b")] and "not one" not in text
    # What somebody changed stays, until there is another model.
    (tmp_path / versions.MODELS_FILE).write_text("# mine\n" + text)
    versions.list_for_server(tmp_path)
    assert (tmp_path / versions.MODELS_FILE).read_text() == "# mine\n" + text
    (tmp_path / "c/1").mkdir(parents=True)
    versions.list_for_server(tmp_path)
    assert '"/models/c"' in (tmp_path / versions.MODELS_FILE).read_text()
    assert (exported.version().parent.parent / versions.MODELS_FILE).is_file()
    serving = pathlib.Path(versions.__file__).parent / "serving"
    for file in ("compose.yaml", "Dockerfile"):
        assert f"=/models/{versions.MODELS_FILE}" in (serving / file).read_text()


class Embedded(tf.Module):
    """A black box that finds one class everywhere."""

    def __init__(self, fingerprint):
        super().__init__()
        self.fingerprint = fingerprint

    def __call__(self, images, size):
        return tf.zeros([tf.shape(images)[0], *tf.unstack(size)], tf.uint8)


def test_an_embedded_black_box_is_part_of_the_content(tmp_path, monkeypatch):
    monkeypatch.setattr(savedmodel, "write", lambda *unused: None)
    sampler = exported.street_sampler()
    made = [
        export_again(tmp_path, sampler, blackbox_function=Embedded(fingerprint))
        for fingerprint in ("a", "a", "b")
    ]
    assert [folder.name for folder in made] == ["1", "1", "2"]
    assert len(set(map(description.read_content_hash, made))) == 2


def test_of_several_models_a_run_s_own_is_taken(tmp_path):
    with pytest.raises(versions.ExportError, match="no exported model yet"):
        versions.of_run(str(tmp_path), "my config")
    (tmp_path / "export" / "other" / "1").mkdir(parents=True)
    other = tmp_path / "export" / "other" / "1"
    assert versions.of_run(str(tmp_path), "my config") == other
    (tmp_path / "export" / "my_config" / "3").mkdir(parents=True)
    own = tmp_path / "export" / "my_config" / "3"
    assert versions.of_run(str(tmp_path), "my config") == own


# Writes a version, and is killed before it is told to: first while it writes, then after
# the last byte, then after the block, when the folder is being renamed.
KILLED = """
import os, pathlib, signal, sys
from export import versions
folder, moment = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def die(*unused):
    os.kill(os.getpid(), signal.SIGKILL)
if moment == 3:
    os.rename = die
with versions.locked(folder):
    with versions.new_version(folder) as work:
        if moment == 1:
            die()
        (work / "saved_model.pb").write_text("new")
        (work / "variables").mkdir()
        if moment == 2:
            die()
        (work / "variables" / "data").write_text("new")
"""


def test_an_export_that_is_killed_leaves_the_old_version_alone(tmp_path):
    def attempt(moment):
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path), str(moment)], cwd=ROOT
        ).returncode

    assert attempt(0) == 0
    assert versions.numbers(tmp_path) == [1]
    for moment in (1, 2, 3):
        assert attempt(moment) == -signal.SIGKILL
        assert versions.numbers(tmp_path) == [1]
        assert len(list(tmp_path.glob(".exporting-*"))) == 1
        assert (tmp_path / "1" / "variables" / "data").read_text() == "new"
    assert attempt(0) == 0
    assert versions.numbers(tmp_path) == [1, 2]
    assert not list(tmp_path.glob(".exporting-*"))
    assert (tmp_path / "2").stat().st_mode & 0o777 == 0o755


# Exports a model of other weights each time, and says when it begins.
EXPORTING = """
import sys
sys.path[:0] = [sys.argv[1]]
import exported, pathlib
from export import run
sampler = exported.street_sampler()
sampler.refinement_net.logits_layer.bias.assign([float(sys.argv[3])] * 24)
print("begins", flush=True)
run.export_run(
    exported.config(), sampler, exported.street_facts(), pathlib.Path(sys.argv[2])
)
print("ended", flush=True)
"""
NUM_KILLS = int(os.environ.get("CAR_TF_KILLS", "0"))


@pytest.mark.skipif(not NUM_KILLS, reason="CAR_TF_KILLS=20 kills so many exports")
def test_a_whole_export_killed_at_any_moment_leaves_old_or_new(tmp_path):
    tests = str(pathlib.Path(__file__).parents[1])

    def attempt(number, seconds=None):
        arguments = [tests, str(tmp_path), str(number)]
        process = subprocess.Popen(
            [sys.executable, "-c", EXPORTING, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout.readline() == "begins\n"
        start = time.monotonic()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        said = process.communicate()[0]
        return said == "ended\n", time.monotonic() - start

    start = time.monotonic()
    export_again(tmp_path, exported.street_sampler())
    duration = time.monotonic() - start
    rng, outcomes, newest = np.random.default_rng(), [], 0
    for number in range(1, NUM_KILLS + 1):
        before = versions.numbers(tmp_path / "tiny")
        complete, _ = attempt(number, rng.uniform(0, 1.1 * duration))
        after = versions.numbers(tmp_path / "tiny")
        new = after != before
        assert after == before + [before[-1] + 1] * new
        assert new or not complete
        outcomes.append((complete, new))
        for folder in (tmp_path / "tiny").glob("[0-9]*"):
            check_fingerprint(folder)
        newest = number if new else newest
    print(f"exports of {duration:.1f} s, killed or complete, new or not: {outcomes}")
    weights = tf.saved_model.load(str(versions.find(str(tmp_path)))).weights
    assert any(np.all(v.numpy() == newest) for v in weights if v.shape == [24])


def test_an_export_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        with versions.locked(tmp_path), versions.new_version(tmp_path):
            raise RuntimeError("disk full")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_saved_model_cli_runs_a_signature_with_defaults(tmp_path):
    inputs = exported.street_inputs(1, 16, 20)
    # Without number and seed, which have defaults.
    feed = {name: inputs[name] for name in ("image", "blackbox")}
    saved_model_cli.run_saved_model_with_feed_dict(
        str(exported.version()), "serve", "sample", feed, str(tmp_path), True
    )
    samples = np.load(tmp_path / "samples.npy")
    assert samples.shape == (1, exported.NUM_SAMPLES, 16, 20)


# Runs where neither this project nor the packages it builds on can be imported.
PLAIN = """
import importlib.abc, runpy, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("car_tf", "export", "tensorflow_addons",
                                  "tensorflow_probability", "tensorflow_serving"):
            raise ImportError(name + " must not be needed")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_plain_example_needs_nothing_but_tensorflow(tmp_path):
    image, ids = exported.images(1, 20, 30)[0], exported.labels(1, 20, 30)[0]
    (tmp_path / "image.png").write_bytes(tf.io.encode_png(image).numpy())
    (tmp_path / "ids.png").write_bytes(tf.io.encode_png(ids[..., None]).numpy())
    example = (ROOT / "export/examples/sample.py").read_text()
    (tmp_path / "sample.py").write_text(example)
    done = subprocess.run(
        [
            *(sys.executable, "-c", PLAIN, "sample.py", str(exported.version())),
            *("image.png", "ids.png"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr
    assert "8 samples; mean entropy" in done.stdout


def test_help_is_quick():
    for module in ("export", "car_tf.predict"):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", module, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert "--" in done.stdout
        assert "tensorflow" not in done.stderr
