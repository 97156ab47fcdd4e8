"""Where real data are, for the tests that need them."""

import os
import pathlib

import pytest


def folder(name):
    """Returns the folder of a real data set, or skips the test and says why."""
    checkout = pathlib.Path(__file__).resolve().parent.parent
    base = os.environ.get("CAR_TF_DATA") or checkout.parent / "shared" / "data"
    path = pathlib.Path(base) / name
    if not path.is_dir():
        pytest.skip(f"no real data in {path} (CAR_TF_DATA names the folder above)")
    return path
