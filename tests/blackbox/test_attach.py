"""The output of a black box on images that are no files of their own."""

import time
import types

import numpy as np

from car_tf.blackbox import attach
from car_tf.data import examples


def test_a_model_is_run_by_one_thread_at_a_time_and_not_again(tmp_path):
    calls, running = [], []

    def predict(images, size):
        running.append(None)
        assert len(running) == 1, "models may not run in two threads"
        time.sleep(0.01)
        calls.append(int(images[0, 0, 0, 0]))
        running.pop()
        return np.full([1, *size], calls[-1], np.uint8)

    images = np.arange(6, dtype=np.uint8)[:, None, None, None] + np.zeros(
        [1, 4, 5, 1], np.uint8
    )
    names = tuple("abcdef")
    split = examples.Examples(names, names, images, images[:, None, :, :, 0])
    segmenter = types.SimpleNamespace(fingerprint="f", predict=predict)
    for _ in range(2):
        maps = attach._on_arrays(segmenter, split, tmp_path)
        np.testing.assert_array_equal(maps, images[..., 0])
    assert sorted(calls) == list(range(6))
