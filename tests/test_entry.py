"""How entry points end."""

import subprocess
import sys

import job
import pytest

CODE = """
from car_tf import entry

def main(argv):
    {body}

entry.run(main, errors=(OSError,), then={then!r})
"""


@pytest.mark.parametrize(
    "body, then, code, said",
    [
        ("return 3", "x", 3, ""),
        ("raise OSError('no room')", "x", 1, "error: no room\n"),
        ("raise KeyboardInterrupt", "", 130, "interrupted\n"),
        ("raise KeyboardInterrupt", "it goes on", 130, "interrupted; it goes on\n"),
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
