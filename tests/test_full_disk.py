"""Full disks: what is said, what is kept, and that the same command goes on.

On a file system of one megabyte, where the tests may mount one.
"""

import subprocess

import numpy as np
import pytest

from car_tf.data import cache


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


# The cache


def test_a_full_disk_ends_caching_with_an_error_and_not_the_process(small_disk):
    # Written through memory without room, this would be a bus error.
    arguments = dict(
        key="k" * 64,
        cache_dir=small_disk,
        specs={"images": ((100, 1000), np.uint8)},
        read=lambda index: {"images": np.full((100, 1000), index, np.uint8)},
        what="reading",
    )
    with pytest.raises(OSError, match="No space left on device: .*images.npy"):
        cache.arrays(num=20, **arguments)
    assert list(small_disk.iterdir()) == []
    stored, kept = cache.arrays(num=5, **arguments)
    assert kept == (0, 1, 2, 3, 4) and stored["images"][4, 50, 500] == 4
