"""How entry points end."""

import subprocess
import sys

import job
import pytest

CODE = """
from car_tf import entry

def main(argv):
    {body}

entry.run(main, {then!r})
"""


@pytest.mark.parametrize(
    "body, then, code, said",
    [
        ("return 3", "x", 3, ""),
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
