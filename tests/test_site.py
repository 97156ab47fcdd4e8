"""The documentation builds as a site: offline, without warnings, with its reference."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_the_site_builds_offline_without_warnings(tmp_path):
    pytest.importorskip("mkdocs", reason="pip install -e '.[docs]'")
    nowhere = {"http_proxy": "http://nowhere:1", "https_proxy": "http://nowhere:1"}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    page = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for name in ("train.api.train", "predict.api.Sampler.sample", "metrics.arrays.ged"):
        assert f'id="car_tf.{name}"' in page, name
    # The tutorial's blocks, which `test_api.py` runs one after the other, as a notebook.
    notebook = json.loads((tmp_path / "tutorial.ipynb").read_text(encoding="utf-8"))
    code = [c["source"] for c in notebook["cells"] if c["cell_type"] == "code"]
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", tutorial, re.DOTALL)
    assert code == [block.strip() for block in blocks] and len(code) > 5
    page = (tmp_path / "tutorial" / "index.html").read_text(encoding="utf-8")
    assert 'href="../tutorial.ipynb"' in page
