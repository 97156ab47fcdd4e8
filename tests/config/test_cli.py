"""How entry points end."""

import os
import signal
import subprocess
import sys

import job
import pytest

CODE = """
from car_tf.config import cli

def main():
    {body}

cli.run(main, errors=(OSError,), then={then!r})
"""
# A thread that does not end.
STANDING = (
    "import threading, time; cli.END_SECONDS = 1; "
    "threading.Thread(target=time.sleep, args=(60,)).start(); raise KeyboardInterrupt"
)


@pytest.mark.parametrize(
    "body, then, code, said",
    [
        ("return 3", "x", 3, ""),
        ("raise OSError('no room')", "x", 1, "error: no room\n"),
        ("raise KeyboardInterrupt", "", 130, "interrupted\n"),
        ("raise KeyboardInterrupt", "it goes on", 130, "interrupted; it goes on\n"),
        ("raise KeyboardInterrupt('all is saved')", "x", 130, "all is saved\n"),
        (STANDING, "", -signal.SIGALRM, "interrupted\n"),
    ],
)
def test_an_entry_point_ends_in_its_code_or_in_one_line(body, then, code, said):
    text = CODE.format(body=body, then=then)
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=job.CHECKOUT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_a_mistake_of_the_program_is_not_taken_for_the_user_s():
    text = CODE.format(body="raise ValueError('bug')", then="")
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=job.CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_what_the_environment_says_to_tensorflow_counts():
    body = "import os; print([os.environ[name] for name in cli.TENSORFLOW])"
    text = CODE.format(body=body, then="")
    for changes, said in (({}, "['2', '1']"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "'0']")):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
        done = subprocess.run(
            [sys.executable, "-c", text],
            cwd=job.CHECKOUT,
            env={**environment, **changes},
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip().endswith(said)


def test_arguments_are_refused_where_none_is_wanted():
    done = job.run("runs/a", module="tests.benchmarks")
    assert done.returncode == 1 and "unexpected arguments: runs/a" in done.stderr
