"""Run directories: locks, configurations, atomic files, logs and stop signals."""

import importlib.metadata
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.data import io as data_io
from car_tf.runtime import environment, run_dir, stop_signal

CONFIG = config_lib.Config(name="one")
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def fails(*words):
    """Expects a RunError of one line that holds all the words."""
    pattern = "".join(f"(?=.*{re.escape(str(word))})" for word in words)
    return pytest.raises(run_dir.RunError, match=f"^{pattern}[^\n]*$")


@pytest.fixture
def run(tmp_path):
    run = run_dir.RunDir(str(tmp_path / "run"), CONFIG)
    run.begin(CONFIG)
    yield run
    run.close()


def test_a_new_run_writes_its_configuration_and_environment(run):
    assert run_dir.saved_config(str(run.path)) == CONFIG
    environment = run.read_json("environment.json")
    assert environment["packages"]["tensorflow"] == importlib.metadata.version(
        "tensorflow"
    )
    assert {"git_revision", "git_changes", "command", "python"} <= set(environment)


def test_what_commands_leave_in_a_checkout_is_no_change_of_the_code(
    tmp_path, monkeypatch
):
    module = tmp_path / "car_tf" / "runtime" / "environment.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(environment, "__file__", str(module))
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "sheet.png").write_text("")
    assert environment.describe()["git_changes"] is False
    (tmp_path / "car_tf" / "new.py").write_text("")
    assert environment.describe()["git_changes"] is True


def test_a_run_of_another_tensorflow_says_so(run):
    assert run.other_tensorflow() == ""
    environment = run.read_json("environment.json")
    environment["packages"]["tensorflow"] = "2.3.1"
    run.write_json("environment.json", environment)
    assert run.other_tensorflow().startswith("this run was begun with TensorFlow 2.3.1")


def test_the_same_configuration_resumes(run):
    started = run.read_json("environment.json")
    run.close()
    again = run_dir.RunDir(str(run.path), CONFIG)
    again.begin(CONFIG)
    assert again.read_json("environment.json") == started
    again.close()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    program = (
        "import os, pathlib, sys\nfrom car_tf.data import io\n"
        "with io.atomic_file(pathlib.Path(sys.argv[1])):\n    os._exit(9)"
    )
    for name in ("figures/a.png", "b.json"):
        subprocess.run([sys.executable, "-c", program, tmp_path / name], check=False)
    written = "**/.*.new"
    assert len(list(tmp_path.glob(written))) == 2
    with data_io.atomic_file(tmp_path / "c.json"):  # of a process that lives
        run_dir.RunDir(str(tmp_path), config_lib.load("cityscapes")).close()
        assert [path.name[:8] for path in tmp_path.glob(written)] == [".c.json."]


def test_a_second_run_in_the_same_directory_is_refused(run):
    with fails("another run", run.path):
        run_dir.RunDir(str(run.path), CONFIG)
    run.close()
    run_dir.RunDir(str(run.path), CONFIG).close()


def test_another_configuration_is_refused_and_its_fields_named(run):
    run.close()
    other = fields.override(CONFIG, ["train.seed=5", "stage2.num_samples=3"])
    with fails(run.path, "train.seed: 1 -> 5", "stage2.num_samples: 7 -> 3"):
        run_dir.RunDir(str(run.path), other)
    assert run_dir.saved_config(str(run.path)) == CONFIG


def test_more_steps_of_stage_2_go_on(run):
    run.write_json(run_dir.ENDED_EARLY_FILE, {"stage1": 3, "stage2": 4})
    run.finish(CONFIG)
    run.close()
    more = fields.override(CONFIG, ["stage2.steps=200000"])
    again = run_dir.RunDir(str(run.path), more)
    assert not again.finished(more)
    again.begin(more)
    assert run_dir.saved_config(str(run.path)) == more
    (recorded,) = again.read_json("environment.json")["extended"]
    assert recorded["stage2_steps"] == 200_000 and "git_revision" in recorded
    # Stage 2 is not at its end any more.
    assert again.read_json(run_dir.ENDED_EARLY_FILE) == {"stage1": 3}
    again.close()
    with fails("stage2.steps: 200000 -> 120000", f"--init_from {run.path}"):
        run_dir.RunDir(str(run.path), CONFIG)
    other = fields.override(more, ["stage2.steps=300000", "train.seed=5"])
    with fails("train.seed: 1 -> 5"):
        run_dir.RunDir(str(run.path), other)


def test_more_steps_than_learning_rates_last_are_refused(tmp_path):
    config = fields.override(CONFIG, ["stage2.decay=linear"])
    run = run_dir.RunDir(str(tmp_path), config)
    run.begin(config)
    run.close()
    more = fields.override(config, ["stage2.steps=200000"])
    with fails("from stage2.steps=120000 to 200000", f"--init_from {tmp_path}"):
        run_dir.RunDir(str(tmp_path), more)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file", "file/run"):
        with fails("cannot write", tmp_path / place):
            run_dir.RunDir(str(tmp_path / place), CONFIG)


@pytest.mark.parametrize("name", ["run [1]", "a\\b"])
def test_paths_that_tensorflow_takes_for_patterns_are_refused(tmp_path, name):
    with fails("--workdir", name, "choose another directory"):
        run_dir.RunDir(str(tmp_path / name), CONFIG)
    assert not list(tmp_path.iterdir())
    run_dir.RunDir(str(tmp_path / "a run? {1} * ü"), CONFIG).close()


def test_a_run_of_another_kind_is_named(tmp_path):
    config = config_lib.to_json(config_lib.load("regression"))
    (tmp_path / "config.json").write_text(config)
    with fails(tmp_path / "config.json", "not a configuration", "no field"):
        run_dir.saved_config(str(tmp_path))


def test_a_run_that_never_began_leaves_nothing(tmp_path):
    run = run_dir.RunDir(str(tmp_path / "run"), CONFIG)
    run.close()
    assert list(tmp_path.iterdir()) == []
    # Nor does it bind the directory to its configuration, nor remove what others left.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    run_dir.RunDir(str(tmp_path / "run"), CONFIG).close()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_no_run_to_evaluate(tmp_path):
    with fails("config.json", tmp_path):
        run_dir.saved_config(str(tmp_path))


def test_files_are_written_whole_and_nan_is_refused(run):
    run.write_json("sub/some.json", {"a": 1})
    assert run.read_json("sub/some.json") == {"a": 1}
    with pytest.raises(ValueError):
        run.write_json("sub/some.json", {"a": float("nan")})
    assert run.read_json("sub/some.json") == {"a": 1}
    run.write_json("sub/some.json", {"a": 2})
    assert [p.name for p in (run.path / "sub").iterdir()] == ["some.json"]
    assert run.read_json("absent.json") is None


def test_a_log_forgets_what_a_killed_run_had_done_after_its_checkpoint(run):
    for step in (2, 4, 6):
        run.append_line("log", {"step": step, "loss": step / 2})
    with open(run.path / "log", "a", encoding="utf-8") as file:
        file.write('{"step": 8, "lo')
    assert [line["step"] for line in run.read_lines("log")] == [2, 4, 6]
    assert [line["step"] for line in run.read_lines("log", last_step=4)] == [2, 4]
    run.append_line("log", {"step": 6})
    lines = (run.path / "log").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]
    assert run.read_lines("absent", last_step=3) == []


SIGNALLED = """
import hashlib, os, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
from car_tf.runtime import stop_signal

signal.signal(signal.SIGINT, signal.default_int_handler)
def send():
    for number in (signal.SIGTERM, signal.{second}):
        time.sleep(0.3)
        os.kill(os.getpid(), number)

with stop_signal.StopSignal() as stop:
    threading.Thread(target=send).start()
    # In C, without returning to Python.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)
"""


@pytest.mark.parametrize("second", ["SIGTERM", "SIGINT"])
def test_a_second_signal_always_ends_the_process(second):
    code = SIGNALLED.replace("{second}", second)
    done = subprocess.run(
        [sys.executable, "-c", code, str(CHECKOUT)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 130
    assert done.stderr.strip().startswith("stopping after this step")


def test_the_first_signal_sets_a_flag_or_stops_where_nothing_is_unsaved():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with stop_signal.StopSignal() as stop:
        assert stop.number is None
        os.kill(os.getpid(), signal.SIGTERM)
        while stop.number is None:
            time.sleep(0.01)
        assert stop.number == signal.SIGTERM
    with stop_signal.StopSignal() as stop:
        stop.unsaved, stop.message = False, "stopped before the first step"
        with pytest.raises(stop_signal.Stopped, match="before the first step"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
