"""What a run records of the code, packages and machine that made it."""

import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any, Dict, Optional

from car_tf.config import cli

PACKAGES = (
    *("tensorflow", "keras", "tf_keras"),
    *("tensorflow-addons", "tensorflow-probability"),
    *("numpy", "scipy", "pillow"),
)

# What of a checkout a run depends on: what else lies there changes nothing.
CODE = ("car_tf", "export", "configs", "setup.py")


def describe() -> Dict[str, Any]:
    """Describes code, packages and machine, for the provenance of a run."""
    root = pathlib.Path(__file__).resolve().parents[2]
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "git_revision": _git(root, "rev-parse", "HEAD"),
        "git_changes": bool(_git(root, "status", "--porcelain", "--", *CODE)),
        "variables": {name: os.environ.get(name) for name in cli.TENSORFLOW},
        "python": platform.python_version(),
        "packages": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def versions() -> Dict[str, Optional[str]]:
    """Returns package -> installed version, None where it is not installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _git(root: pathlib.Path, *arguments: str) -> Optional[str]:
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
