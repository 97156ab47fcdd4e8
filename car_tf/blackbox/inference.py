"""Runs a black box on a split once and keeps what it says."""

from __future__ import annotations

import pathlib
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from car_tf.blackbox import (
    base,
    frozen_graph,
    keras_model,
    prediction_cache,
    python_function,
    saved_model,
    segmenter,
    tflite,
)
from car_tf.data import cache, io

_SAVED_MODEL_FILE = "saved_model.pb"
# Images that are decoded before they are needed: 50 MB of 1024 x 2048.
_NUM_AHEAD = 8


def is_model(path: str) -> bool:
    """Tells what is run on images from a folder of predictions."""
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        return True
    graphs = (_SAVED_MODEL_FILE, frozen_graph.GRAPH_NAME)
    return any((folder / name).is_file() for name in graphs)


def load(
    path: str,
    *,
    num_classes: int,
    output: str = base.LABELS,
    class_map: Sequence[int] = (),
    input_size: Optional[Tuple[int, int]] = None,
    channels: str = "rgb",
    pixel_scale: str = "0..255",
    signature: str = "",
    input_name: str = "",
    output_name: str = "",
) -> segmenter.Segmenter:
    """Finds the black box that lies at a path, told by its kind of file.

    The model itself is opened when it is first needed.

    Args:
      path: frozen graph (`.pb`, archive, folder), TFLite, SavedModel folder, Keras
        model or `package.module:function`.
      num_classes: of the data set.
      output: and what follows: see `base.Options`.

    Raises:
      DataError: nothing there, or a kind that is not supported.
    """
    options = base.Options(
        num_classes=num_classes,
        output=output,
        class_map=tuple(class_map),
        input_size=None if input_size is None else tuple(input_size),
        channels=channels,
        pixel_scale=pixel_scale,
        signature=signature,
        input_name=input_name,
        output_name=output_name,
    )
    file = pathlib.Path(path).expanduser()
    if python_function.is_name(path) and not file.exists():
        opener, content_hash = python_function, python_function.content_hash(path)
        return _segmenter(path, content_hash, options, opener)
    if not file.exists():
        raise io.DataError(f"{path}: does not exist")
    if file.name == _SAVED_MODEL_FILE:
        file = file.parent
    if file.is_dir():
        is_saved_model = (file / _SAVED_MODEL_FILE).is_file()
        if not is_saved_model and not (file / frozen_graph.GRAPH_NAME).is_file():
            raise io.DataError(
                f"{path}: wanted a model, found a folder without {_SAVED_MODEL_FILE} or "
                + frozen_graph.GRAPH_NAME
            )
        opener = saved_model if is_saved_model else frozen_graph
        return _segmenter(str(file), base.folder_hash(str(file)), options, opener)
    openers = {
        ".tflite": tflite,
        **{ending: keras_model for ending in keras_model.ENDINGS},
        **{ending: frozen_graph for ending in (".pb", *frozen_graph.ARCHIVE_ENDINGS)},
    }
    opener = next((o for ending, o in openers.items() if path.endswith(ending)), None)
    if opener is None:
        raise io.DataError(
            f"{path}: wanted a SavedModel folder, a file ending in "
            f"{', '.join(openers)}, package.module:function, or a folder of predictions"
        )
    return _segmenter(str(file), io.file_hash(str(file)), options, opener)


def _segmenter(path, content_hash, options, opener) -> segmenter.Segmenter:
    return segmenter.Segmenter(
        path=path,
        content_hash=content_hash,
        options=options,
        open_backend=opener.open_backend,
    )


def predictions(
    blackbox: segmenter.Segmenter,
    *,
    image_files: Sequence[pathlib.Path],
    size: Tuple[int, int],
    cache_dir: pathlib.Path,
) -> np.ndarray:
    """Predicts a split, or takes the predictions from the cache.

    Args:
      blackbox: the segmenter.
      image_files: N images.
      size: working (height, width) of the maps.
      cache_dir: the cache folder.

    Returns:
      Memory-mapped `[N, H, W]` uint8 class ids, 255 for none, or `[N, H, W, K]`
      float16 probabilities, off by 1 / 510 at most.

    Raises:
      DataError: an unreadable image, or a black box that fails on one; naming it.
        What was predicted before is kept, and a rerun goes on from there.
    """
    kept = prediction_cache.Store(
        cache_dir, fingerprint=blackbox.fingerprint, size=size
    )
    hashes = cache.content_hashes(image_files, cache_dir)

    def read_one(index: int) -> Dict[str, np.ndarray]:
        return {"blackbox": kept.read(hashes[index])}

    _predict_missing(blackbox, image_files, hashes, size, kept)
    first = kept.read(hashes[0])
    spec = (first.shape, np.uint8 if first.ndim == 2 else np.float16)
    key = f"live|{cache.FORMAT_VERSION}|{kept.key}|{hashes}"
    stored, _ = cache.arrays(
        key=key,
        cache_dir=cache_dir,
        specs={"blackbox": spec},
        num=len(image_files),
        read=read_one,
        what="collecting predictions",
    )
    return stored["blackbox"]


def _predict_missing(
    blackbox: segmenter.Segmenter,
    image_files: Sequence[pathlib.Path],
    hashes: Sequence[str],
    size: Tuple[int, int],
    kept: prediction_cache.Store,
) -> None:
    """Predicts, in order, the images that have no prediction yet."""
    missing = {h: i for i, h in reversed(list(enumerate(hashes))) if not kept.has(h)}
    indices = sorted(missing.values())
    if not indices:
        return
    paths = [image_files[index] for index in indices]
    bar = io.progress(
        total=len(hashes),
        initial=len(hashes) - len(indices),
        desc="running the black box",
        unit="image",
    )
    done = 0
    with bar:
        images = io.read_ahead(read_image, paths, num_ahead=_NUM_AHEAD)
        for batch in _batches(images, blackbox):
            here = paths[done : done + len(batch)]
            for prediction in _predict_each(blackbox, batch, size, here):
                kept.write(hashes[indices[done]], prediction)
                done += 1
                bar.update()


def read_image(path: pathlib.Path) -> np.ndarray:
    """Reads an image at its own size, `[H, W, 3]` uint8 RGB."""
    return np.asarray(io.read_png(path, mode="RGB"))


def _batches(
    images: Iterator[np.ndarray], blackbox: segmenter.Segmenter
) -> Iterator[np.ndarray]:
    """Yields `[B, h, w, 3]` batches of neighbours that have one size."""
    batch: List[np.ndarray] = []
    try:
        for image in images:
            if batch and image.shape != batch[0].shape:
                yield np.stack(batch)
                batch = []
            batch.append(image)
            if len(batch) == blackbox.batch_size(image.shape[:2]):
                yield np.stack(batch)
                batch = []
    except io.DataError:
        # What came before an unreadable image is predicted and kept.
        if batch:
            yield np.stack(batch)
        raise
    if batch:
        yield np.stack(batch)


def _predict_each(
    blackbox: segmenter.Segmenter,
    images: np.ndarray,
    size: Tuple[int, int],
    paths: Sequence[pathlib.Path],
) -> Iterator[np.ndarray]:
    """Yields the predictions of a batch; image by image where the batch fails.

    So the images before a bad one are kept, and the message names the bad one.
    """
    try:
        predicted = blackbox.predict(images, size)
    except Exception as error:  # Functions and graphs raise whatever they like.
        if len(images) == 1:
            is_known = isinstance(error, io.DataError)
            reason = error if is_known else base.first_line(error)
            raise io.DataError(
                f"{paths[0]}: the black box {blackbox.path} failed on this image "
                f"({reason}); the predictions before it are kept"
            ) from error
        predicted = None
    if predicted is not None:
        yield from predicted
        return
    for image, path in zip(images, paths):
        yield from _predict_each(blackbox, image[None], size, [path])
