"""What TensorFlow says when it starts, and what of it is shown."""

import os
import subprocess
import sys

import job
import pytest

START = """
import os
os.write(2, b"1 E cuda_dnn.cc] Unable to register cuDNN factory: Attempting to\\n")
os.write(2, b"2 E cuda.cc] failed call to cuInit: UNKNOWN ERROR (303)\\n")
os.write(2, b"3 E cuda.cc] failed call to cuInit: CUDA_ERROR_OUT_OF_MEMORY\\n")
{body}
class config:
    def list_physical_devices():
        os.write(2, b"4 I port.cc] oneDNN custom operations are on. You may see\\n5 new\\n")
"""
COMMAND = """
from car_tf.config import quiet  # The package is imported: enough for what is next.
import json, tensorflow, sys, os
os.write(2, b"6 oneDNN custom operations are on, says who may\\n")
"""


def start(folder, body="", **variables):
    """Runs a program that imports a TensorFlow with `body` in it."""
    (folder / "tensorflow.py").write_text(START.format(body=body))
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    return subprocess.run(
        [sys.executable, "-c", COMMAND],
        env={**clean, "PYTHONPATH": f"{folder}:{job.CHECKOUT}", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def shown(done):
    return [line[0] for line in done.stderr.splitlines() if line[0].isdigit()]


def test_known_lines_are_dropped_and_others_shown(tmp_path):
    done = start(tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown(done) == ["3", "5", "6"]


def test_who_asks_for_everything_sees_it(tmp_path):
    assert shown(start(tmp_path, TF_CPP_MIN_LOG_LEVEL="0")) == list("123456")


def test_lines_go_through_whole_and_bars_at_once(tmp_path):
    code = COMMAND.split("import json")[0] + """
import os, select
read, write = os.pipe()
os.dup2(write, 2)

def arrived():
    assert select.select([read], [], [], 20)[0]
    return os.read(read, 1000)

with quiet.filtered():
    os.write(2, b"30 %\\r40")
    assert arrived() == b"30 %\\r"
    os.write(2, b" %\\r1 remapper failed: INVALID")
    assert arrived() == b"40 %\\r"
    os.write(2, b"_ARGUMENT: Mutation::Apply error: fanout\\nend")
assert arrived() == b"end"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=job.CHECKOUT, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "body, says",
    [
        ("import no_such_library", "No module named 'no_such_library'"),
        ("os.write(2, b'compiled to use AVX'); os.abort()", "compiled to use AVX"),
    ],
)
def test_why_tensorflow_cannot_start_is_shown(tmp_path, body, says):
    done = start(tmp_path, body)
    assert done.returncode != 0 and says in done.stderr
    assert "cuDNN" not in done.stderr


def test_a_missing_tensorflow_is_missing_as_ever():
    code = "import sys; sys.modules['tensorflow'] = None\n"
    code += COMMAND.replace("json, tensorflow", "tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(job.CHECKOUT)},
        capture_output=True,
        text=True,
    )
    assert "ModuleNotFoundError: import of tensorflow halted" in done.stderr
