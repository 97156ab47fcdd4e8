"""A data set of Cityscapes' size with probabilities: memory, start and input rate."""

from __future__ import annotations

import pathlib
import tempfile
import threading
import time
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
from PIL import Image

from tests.benchmarks import processes, report

NUM_IMAGES = {"train": 2975, "val": 500}
SIZE, SMALL_SIZE = (256, 512), (32, 64)
NUM_EVALUATED = 16
_CELLS = (8, 16)
_NUM_CLASSES = 19


def write_scenes(
    root: pathlib.Path, nums: Dict[str, int], size: Tuple[int, int]
) -> None:
    """Writes scenes of coloured rectangles in Cityscapes' layout, of whatever size."""
    from car_tf.data import cityscapes

    ids = np.flatnonzero(cityscapes.label_id_table() < 255)[:_NUM_CLASSES]
    for split, num in nums.items():
        for kind in ("leftImg8bit", "gtFine"):
            (root / kind / split / split).mkdir(parents=True)
        for index in range(num):
            rng = np.random.default_rng([len(split), index])
            classes = rng.integers(0, _NUM_CLASSES, _CELLS)
            shades = rng.integers(0, 12, (*_CELLS, 3), np.uint8)
            for kind, ending, cells in (
                ("leftImg8bit", "leftImg8bit", _colors()[classes] + shades),
                ("gtFine", "gtFine_labelIds", ids[classes].astype(np.uint8)),
            ):
                name = f"{split}_{index:06d}_000019_{ending}.png"
                image = Image.fromarray(_enlarged(cells, size))
                image.save(root / kind / split / split / name, compress_level=1)


def _enlarged(cells: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Makes rectangles of `[8, 16, ...]` cells."""
    rows = cells.repeat(size[0] // _CELLS[0], axis=0)
    return rows.repeat(size[1] // _CELLS[1], axis=1)


def _colors() -> np.ndarray:
    """Returns `[19, 3]` uint8 colours that `segment` can tell apart."""
    steps = np.arange(_NUM_CLASSES)
    return np.stack([steps * 12, steps * 5 % 19 * 12, steps * 7 % 19 * 12], 1).astype(
        np.uint8
    )


def segment(images: np.ndarray) -> np.ndarray:
    """Is the black box: `[B, H, W, 3]` uint8 to `[B, H, W, 19]` probabilities."""
    size = images.shape[1:3]
    steps = [side // cells for side, cells in zip(size, _CELLS)]
    cells = images[:, steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1], None]
    differences = cells - (_colors().astype(np.float32) + 6)
    scores = np.exp(-(differences**2).sum(-1) / 2000)
    scores /= scores.sum(-1, keepdims=True)
    return np.stack([_enlarged(image, size) for image in scores])


def config_of(folder: str, small: bool):
    """Returns the paper's configuration of street scenes at batch 4."""
    from car_tf import config as config_lib

    texts = [
        *(f"data.data_dir={folder}/data", f"data.cache_dir={folder}/cache"),
        f"blackbox.path={segment.__module__}:segment",
        *("stage1.batch_size=4", "stage1.steps=20"),
        *("stage2.batch_size=4", "stage2.steps=20"),
        *("train.checkpoint_every=20", "train.select_every=20"),
        f"evaluation.num_images={2 if small else NUM_EVALUATED}",
        *("train.num_selection_images=2", "evaluation.realism_steps=0"),
    ]
    if small:
        texts += ["data.size=32,64", "data.crop_size=16,16", "stage1.steps=2"]
        texts += ["stage2.steps=2", "stage2.num_samples=2"]
        texts += ["train.checkpoint_every=2", "train.select_every=2"]
        texts += ["calibration_net.channels=2", "refinement_net.base_channels=2"]
        texts += ["discriminator.base_channels=2"]
    return config_lib.load("cityscapes_paper", texts)


class _Memory:
    """Watches what a process holds; pages of mapped files can be taken back."""

    def __init__(self):
        self.own = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            text = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
            held = text.split("RssAnon:")[1].split()[0]
            self.own = max(self.own, int(held) / 2**10)

    def peaks(self) -> Dict[str, float]:
        """Ends the watch; returns peaks in MiB of own pages, and of all."""
        self._ended.set()
        self._thread.join()
        return {"own": self.own, "all": processes.resident_megabytes()}


def _measured(work: Callable[[], Dict[str, float]]) -> Dict[str, Any]:
    memory, started = _Memory(), time.perf_counter()
    found = work()
    seconds = time.perf_counter() - started
    return {**found, "seconds": seconds, "work": time.process_time(), **memory.peaks()}


def fill(folder: str, small: bool) -> Dict[str, Any]:
    """Reads the data set and runs the black box, into the cache, as a first job does."""

    def work() -> Dict[str, float]:
        from car_tf.blackbox import attach

        config = config_of(folder, small)
        attach.load(config).describe(pathlib.Path(config.data.cache_dir))
        return {}

    return _measured(work)


def train(folder: str, small: bool) -> Dict[str, Any]:
    """Runs the whole job; returns seconds until its first step, and of its steps."""
    started = time.perf_counter()

    def work() -> Dict[str, float]:
        import car_tf
        from car_tf.models.keras_api import keras

        ends: List[List[Tuple[float, float]]] = []

        class Clock(keras.callbacks.Callback):
            """Notes when steps end, stage by stage, and the processor's time by then."""

            def on_train_begin(self, logs=None):
                ends.append([])

            def on_train_batch_end(self, batch, logs=None):
                ends[-1].append((time.perf_counter(), time.process_time()))

        config = config_of(folder, small)
        car_tf.train(config, workdir=f"{folder}/run", callbacks=[Clock()], log=_silent)
        steps = np.diff(ends[1], axis=0)
        return {
            "first step": ends[0][0][0] - started,
            "work to first step": ends[0][0][1],
            "step": float(np.median(steps[:, 0])),
            "work of a step": float(np.median(steps[:, 1])),
        }

    return _measured(work)


def evaluate(folder: str, small: bool) -> Dict[str, Any]:
    """Evaluates the run anew."""
    del small

    def work() -> Dict[str, float]:
        import car_tf

        car_tf.evaluate(f"{folder}/run", anew=True, log=_silent)
        return {}

    return _measured(work)


def feed(folder: str, small: bool) -> Dict[str, Any]:
    """Draws batches of stage 2 alone; returns the seconds of each."""

    def work() -> Dict[str, float]:
        from car_tf.blackbox import attach
        from car_tf.train import build

        config, num = config_of(folder, small), 5 if small else 200
        dataset = attach.load(config, ["train"])
        source = build.build_batches(
            config, dataset, stage=2, first_step=0, num_steps=num + 1
        )
        batches = iter(source)
        next(batches)
        started, worked = time.perf_counter(), time.process_time()
        for _ in range(num):
            next(batches)
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        return {"batch": seconds / num, "work of a batch": work / num}

    return _measured(work)


def _silent(line: str) -> None:
    del line


def row(peaks: Dict[str, float], small: bool) -> List[report.Table]:
    """Row `full_size`: a process each for the cold cache, the job and its parts.

    The folder of temporary files (`TMPDIR`) needs 20 GB.
    """
    del peaks
    nums = {"train": 8, "val": 2} if small else NUM_IMAGES
    size = SMALL_SIZE if small else SIZE
    with tempfile.TemporaryDirectory() as folder:
        write_scenes(pathlib.Path(folder) / "data", nums, size)
        parts = {
            each.__name__: processes.call(each, folder, small)
            for each in (fill, train, evaluate, feed)
        }
    return tables(parts, nums, size)


def tables(
    parts: Dict[str, Dict[str, Any]], nums: Dict[str, int], size: Tuple[int, int]
) -> List[report.Table]:
    """Returns the row's tables of what its parts returned."""
    words = {
        "fill": "black box run, cache filled",
        "train": "the whole job, from that cache",
        "evaluate": "evaluate",
    }
    columns = ("s", "s of processors", "MiB of its own", "MiB with mapped files")
    keys = ("seconds", "work", "own", "all")
    job, feeding = parts["train"], parts["feed"]
    return [
        report.Table(
            f"{nums['train']} + {nums['val']} images of {size[0]}x{size[1]} with "
            f"probabilities of {_NUM_CLASSES} classes, networks of `cityscapes_paper`, "
            "batch 4",
            ("process", *columns),
            [
                [text, *(parts[name][key] for key in keys)]
                for name, text in words.items()
            ],
            (
                "Peaks; what is mapped is taken back when others need the memory. "
                f"{NUM_EVALUATED} images are evaluated, without judges of realism.",
            ),
        ),
        report.Table(
            "From the cache to the first step",
            columns[:2],
            [[job["first step"], job["work to first step"]]],
        ),
        report.Table(
            "A batch, alone, against a step of stage 2 with its batch",
            ("", "batch, ms", "step, ms", "ratio"),
            [
                [what, 1e3 * batch, 1e3 * step, step / batch]
                for what, batch, step in (
                    ("by the clock", feeding["batch"], job["step"]),
                    (
                        "of processors",
                        feeding["work of a batch"],
                        job["work of a step"],
                    ),
                )
            ],
        ),
    ]
