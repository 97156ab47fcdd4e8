"""Keeps from the screen what TensorFlow says whenever it starts.

Its C++ code writes these lines past its own log level: while it is imported, while it
looks for devices, and when it first rewrites the graph of a training step. For that
long, file descriptor 2 goes through another process, which drops the lines that are known
to mean nothing and passes the rest on at once: what is said before a crash is not lost
with this process.
"""

import contextlib
import importlib.abc
import importlib.util
import os
import subprocess
import sys
from typing import Iterator

# Regular expressions, one of which a dropped line holds.
MEANINGLESS = (
    r"Unable to register cu(BLAS|DNN|FFT) factory",
    r"computation placer already registered",
    r"log messages before absl::InitializeLog\(\) is called",
    r"oneDNN custom operations are on",
    r"Could not find cuda drivers on your machine",
    # No driver; others are errors of one that is there.
    r"failed call to cuInit: .*UNKNOWN ERROR \((34|303)\)",
    r"(binary is optimized to use|To enable the following instructions)",
    r"TF-TRT Warning: Could not find TensorRT",
    # A slower kernel is taken.
    r"oneDNN supports DT_INT32 only on platforms with AVX-512",
    # An optimisation that is given up: the graph stays as it was.
    r"remapper failed: INVALID_ARGUMENT: Mutation::Apply error",
)
_FILTER = """
import re, sys
known = re.compile(sys.argv[1].encode())
screen, rest = sys.stdout.buffer, b""
while True:
    chunk = sys.stdin.buffer.read1(65536)
    # A bar of progress ends in \\r.
    *lines, rest = re.split(rb"(?<=[\\r\\n])", rest + chunk)
    if not chunk:
        lines.append(rest)
    screen.write(b"".join(line for line in lines if not known.search(line)))
    screen.flush()
    if not chunk:
        break
"""


@contextlib.contextmanager
def filtered() -> Iterator[None]:
    """Drops known lines that anything in this process writes to its standard error.

    Not where all is asked for by TF_CPP_MIN_LOG_LEVEL.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") in ("0", "1"):
        yield
        return
    sys.stderr.flush()
    command = [sys.executable, "-I", "-S", "-c", _FILTER, "|".join(MEANINGLESS)]
    # In a session of its own: Ctrl-C is not meant for it.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=2, start_new_session=True
    )
    screen = os.dup(2)
    os.dup2(process.stdin.fileno(), 2)
    process.stdin.close()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        process.wait()


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TensorFlow as others do, once, and filters what its import says."""

    def find_spec(self, name, path, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            run = spec.loader.exec_module

            def exec_module(module):
                with filtered():
                    run(module)
                    module.config.list_physical_devices()

            spec.loader.exec_module = exec_module
        return spec


def install() -> None:
    """Filters TensorFlow's start, whenever it comes."""
    is_there = any(isinstance(finder, _Finder) for finder in sys.meta_path)
    if "tensorflow" not in sys.modules and not is_there:
        sys.meta_path.insert(0, _Finder())
