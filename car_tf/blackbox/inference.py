"""Runs a black box on a split once and keeps what it says.

One file per image, named by the image's content, in a folder named by the black box:
a changed image or black box never meets an old prediction, an interrupted run goes on
where it stopped, and splits that share images, and working sizes, share predictions.
"""

import functools
import hashlib
import pathlib
import time
import zipfile
from typing import Any, Iterator, List, Sequence, Tuple

import numpy as np
import tensorflow as tf

from car_tf.blackbox import archive, base, frozen_graph, postprocess
from car_tf.blackbox import python_function, saved_models, segmenter, tflite
from car_tf.data import cache, examples, io
from car_tf.runtime import workers

_SAVED_MODEL_FILE = "saved_model.pb"
_OPENERS = {
    ".tflite": tflite,
    **dict.fromkeys(saved_models.KERAS_ENDINGS, saved_models),
    **dict.fromkeys((".pb", *archive.ENDINGS), frozen_graph),
}
# Images that are decoded before they are needed: 50 MB of 1024 x 2048.
_NUM_AHEAD = 8
_FORMAT_VERSION = 2
# Probabilities are kept in steps of 1 / 255, so that each is off by 1 / 510 at most.
_STEPS = 255
# Seconds without a new prediction of the other workers after which they are given up.
_PATIENCE = 120.0


def is_model(path: str) -> bool:
    """Tells what is run on images from a folder of predictions."""
    folder = pathlib.Path(path).expanduser()
    names = (_SAVED_MODEL_FILE, frozen_graph.GRAPH_NAME)
    return not folder.is_dir() or any((folder / name).is_file() for name in names)


def load(path: str, **options: Any) -> segmenter.Segmenter:
    """Finds the black box that lies at a path, to be opened when it is first needed.

    A frozen graph (`.pb`, archive, folder), TFLite, SavedModel folder, Keras model or
    `package.module:function`; `options` are those of `base.Options`.

    Raises:
      DataError: nothing there, or a kind that is not supported.
    """
    file = pathlib.Path(path).expanduser()
    if file.name == _SAVED_MODEL_FILE:
        file = file.parent
    if python_function.NAME.fullmatch(path) and not file.exists():
        opener, content_hash = python_function, python_function.content_hash(path)
        file = path
    elif not file.exists():
        raise io.DataError(f"{path}: does not exist")
    elif file.is_dir():
        if not is_model(str(file)):
            raise io.DataError(
                f"{path}: wanted a model, found a folder without {_SAVED_MODEL_FILE} or "
                + frozen_graph.GRAPH_NAME
            )
        is_saved_model = (file / _SAVED_MODEL_FILE).is_file()
        opener = saved_models if is_saved_model else frozen_graph
        content_hash = base.folder_hash(file)
    else:
        opener = next((_OPENERS[end] for end in _OPENERS if path.endswith(end)), None)
        if opener is None:
            raise io.DataError(
                f"{path}: wanted a SavedModel folder, a file ending in "
                f"{', '.join(_OPENERS)}, package.module:function, or a folder of "
                "predictions"
            )
        content_hash = io.file_hash(file)
    return segmenter.Segmenter(
        path=str(file),
        content_hash=content_hash,
        options=base.Options(**options),
        open_backend=opener.open_backend,
    )


class Store:
    """The predictions of one black box, which serve all working sizes but large ones.

    Attributes:
      key: identifies black box, use and form.
      folder: holds a file for each image.
    """

    def __init__(
        self,
        cache_dir: pathlib.Path,
        *,
        fingerprint: str,
        size: Tuple[int, int],
        exact: bool = False,
    ):
        """Names the folder; nothing is written yet.

        `fingerprint` is of the black box and how it is used, `size` the working
        (height, width), see `postprocess.kept_size`; `exact` keeps probabilities as
        float16.
        """
        is_large = size[0] * size[1] > postprocess.MAX_SHARED_PIXELS
        own = tuple(size) if is_large else ""
        self._dtype = np.float16 if exact else np.uint8
        text = f"{_FORMAT_VERSION}|{fingerprint}|{own}" + "|exact" * exact
        self.key = hashlib.sha256(text.encode()).hexdigest()
        self.folder = cache_dir / "blackbox" / self.key[:32]

    def file(self, image_hash: str) -> pathlib.Path:
        """Returns where the prediction of an image lies, by the image's SHA-256."""
        return self.folder / f"{image_hash[:32]}.npz"

    def kind(self, found: str = "") -> str:
        """Returns the kind of the scores kept here, as first found; empty of labels."""
        file = self.folder / "kind"
        if found and not file.is_file():
            io.write_text(file, found)
        return file.read_text("utf-8") if file.is_file() else ""

    def has(self, image_hash: str) -> bool:
        """Tells whether an image's prediction is there and whole."""
        # A file that a full disk or a crash cut short lacks the directory at its end.
        return zipfile.is_zipfile(self.file(image_hash))

    def write(self, image_hash: str, prediction: np.ndarray) -> None:
        """Writes `[H, W]` uint8 ids or `[H, W, K]` probabilities, whole or not at all."""
        if prediction.dtype != np.uint8:
            steps = np.rint(_STEPS * prediction)
            prediction = steps if self._dtype == np.uint8 else prediction
            prediction = prediction.astype(self._dtype)
        with io.atomic_file(self.file(image_hash)) as file:
            np.savez_compressed(file, prediction=prediction)

    def read(self, image_hash: str, size: Tuple[int, int]) -> np.ndarray:
        """Reads a prediction at a size, `[H, W]` uint8 or `[H, W, K]` float16."""
        path = self.file(image_hash)
        try:
            with zipfile.ZipFile(path) as stored:
                whole = io.decode_array(stored.read("prediction.npy"))
        except Exception as error:  # NumPy and zlib raise many types.
            raise io.DataError(
                f"{path}: damaged prediction in the cache; delete it ({error})"
            ) from error
        if whole.ndim == 3:
            scale = 1 / _STEPS if whole.dtype == np.uint8 else 1.0
            whole = whole * np.float32(scale)
        if whole.shape[:2] != tuple(size):
            whole = postprocess.resize(tf.constant(whole[None]), size)[0].numpy()
        return whole if whole.ndim == 2 else whole.astype(np.float16)


def predictions(
    blackbox: segmenter.Segmenter,
    split: examples.Examples,
    *,
    size: Tuple[int, int],
    cache_dir: pathlib.Path,
) -> np.ndarray:
    """Predicts a split, or takes the predictions from the cache.

    The segmenter is given the images' files at their own size, or else the N examples
    themselves, of which probabilities are kept as they are. Returns maps of a working
    `size`: memory-mapped `[N, H, W]` uint8 class ids, 255 for none, or `[N, H, W, K]`
    float16 probabilities, those of files off by 1 / 510 at most. Of several workers
    that share the cache, each predicts every n-th image, and those of workers that are
    gone at last.

    Raises:
      DataError: an unreadable image, or a black box that fails on one; naming it.
        What was predicted before is kept, and a rerun goes on from there.
    """
    is_files = bool(split.image_files)
    kept = Store(
        cache_dir, fingerprint=blackbox.fingerprint, size=size, exact=not is_files
    )
    hashes = (
        cache.content_hashes(split.image_files, cache_dir)
        if is_files
        else cache.digests(split.images, cache_dir)
    )
    blackbox.scores = kept.kind() or blackbox.scores
    worker = workers.this_worker()
    own = worker.share(range(len(hashes)))
    _predict_missing(blackbox, split, hashes, size, kept, own)
    if worker.num_workers > 1:
        _wait_for_others(hashes, kept)
        _predict_missing(blackbox, split, hashes, size, kept, range(len(hashes)))
    return cache.array(
        lambda index: kept.read(hashes[index], size),
        len(split),
        key=f"live|{kept.key}|{tuple(size)}|{hashes}",
        cache_dir=cache_dir,
        what="collecting predictions",
    )


def _predict_missing(
    blackbox: segmenter.Segmenter,
    split: examples.Examples,
    hashes: Sequence[str],
    size: Tuple[int, int],
    kept: Store,
    indices: Sequence[int],
) -> None:
    """Predicts, in order, those of the images `indices` that have no prediction yet."""
    asked = reversed([(index, hashes[index]) for index in indices])
    missing = {h: index for index, h in asked if not kept.has(h)}
    num_asked, indices = len(indices), sorted(missing.values())
    if not indices:
        return
    names = [(split.image_files or split.names)[index] for index in indices]
    counts, done = dict(total=num_asked, initial=num_asked - len(indices)), 0
    bar = io.progress(None, "running the black box", "image", **counts)
    with bar:
        read = functools.partial(read_image, split)
        images = io.read_ahead(read, indices, num_ahead=_NUM_AHEAD)
        for batch in _batches(images, blackbox):
            here = names[done : done + len(batch)]
            for prediction in _predict_each(blackbox, batch, size, here):
                kept.kind(blackbox.scores)
                kept.write(hashes[indices[done]], prediction)
                done += 1
                bar.update()


def _wait_for_others(hashes: Sequence[str], kept: Store) -> None:
    """Waits for other workers' predictions, as long as new ones arrive."""
    missing = [h for h in dict.fromkeys(hashes) if not kept.has(h)]
    if not missing:
        return
    words, last = "waiting for other workers", time.monotonic()
    bar = io.progress(None, words, "image", total=len(missing))
    with bar:
        while missing and time.monotonic() - last < _PATIENCE:
            time.sleep(1.0)
            left = [h for h in missing if not kept.has(h)]
            if len(left) < len(missing):
                bar.update(len(missing) - len(left))
                missing, last = left, time.monotonic()
        if missing:
            bar.write(
                f"{kept.folder}: no prediction of another worker in {_PATIENCE:.0f} s; "
                f"the {len(missing)} images that are left are predicted here"
            )


def read_image(split: examples.Examples, index: int) -> np.ndarray:
    """Returns an image as a black box is given it, `[H, W, 3]` uint8 RGB."""
    if split.image_files:
        return np.asarray(io.read_png(split.image_files[index], mode="RGB"))
    image = np.asarray(split.images[index])
    return np.repeat(image, 3, -1) if image.shape[-1] == 1 else image


def _batches(
    images: Iterator[np.ndarray], blackbox: segmenter.Segmenter
) -> Iterator[np.ndarray]:
    """Yields `[B, h, w, 3]` batches of neighbours that have one size.

    An unreadable image is raised after a batch of what came before it.
    """
    batch: List[np.ndarray] = []
    failure = None
    while True:
        try:
            image = next(images, None)
        except io.DataError as error:
            image, failure = None, error
        if batch:
            size = batch[0].shape
            is_full = len(batch) == blackbox.batch_size(size[:2])
            if is_full or image is None or image.shape != size:
                yield np.stack(batch)
                batch = []
        if failure is not None:
            raise failure
        if image is None:
            return
        batch.append(image)


def _predict_each(
    blackbox: segmenter.Segmenter,
    images: np.ndarray,
    size: Tuple[int, int],
    names: Sequence[Any],
) -> Iterator[np.ndarray]:
    """Yields the predictions of a batch; image by image where the batch fails.

    So the images before a bad one are kept, and the message names the bad one.
    """
    predicted = None
    try:
        predicted = blackbox.predict_whole(images, size)
    except Exception as error:  # Functions and graphs raise whatever they like.
        if len(images) == 1:
            is_known = isinstance(error, io.DataError)
            reason = error if is_known else base.first_line(error)
            raise io.DataError(
                f"{names[0]}: the black box {blackbox.path} failed on this image "
                f"({reason}); the predictions before it are kept"
            ) from error
    if predicted is not None:
        yield from predicted
        return
    for image, name in zip(images, names):
        yield from _predict_each(blackbox, image[None], size, [name])
