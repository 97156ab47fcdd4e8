"""A folder of images and raters with the draft of its description."""

import leaves
import pytest


@pytest.fixture
def root(tmp_path):
    folder = leaves.write(tmp_path / "leaves")
    leaves.drafted(folder)
    return folder
