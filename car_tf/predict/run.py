"""Predicts folders of images: PNG files and statistics, what is there already left alone."""

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
import sys
from typing import Callable, Dict, List

import tensorflow as tf

from car_tf.data import io
from car_tf.predict import black_boxes as predict_black_boxes
from car_tf.predict import images as predict_images
from car_tf.predict import output as predict_output
from car_tf.predict import predictor as predict_predictor
from car_tf.runtime import workers
from export.clients import common


def predict(
    predictor: predict_predictor.Predictor,
    images: Dict[str, pathlib.Path],
    output: pathlib.Path,
    options: predict_predictor.Options,
    log: Callable[[str], None] = print,
    worker: workers.Worker = workers.Worker(),
) -> List[str]:
    """Predicts images into `output/<name>/`; what is there already is left.

    Of several workers, each predicts every n-th image. Returns the names of images that
    failed; each was reported.

    Raises:
      DataError: a black box that is needed and missing.
    """
    black_boxes = predict_black_boxes.BlackBoxes(predictor, images, options)
    for note in black_boxes.notes:
        log(f"note: {note}")
    own, todo, failed = worker.share(list(images)), [], []
    for name in own:
        key = _key(predictor, images[name], black_boxes.content(name), options)
        if predict_output.recorded_key(output / name) != key:
            todo.append((name, key))
    if len(todo) < len(own):
        log(f"{len(own) - len(todo)} of {len(own)} images were predicted before")
    bar = io.progress(total=len(todo), desc="predicting", unit="image")

    labels, limits = predictor.labels, predictor.labels.get("image_range", ())

    def one(name: str, key: str) -> None:
        file, seed = images[name], common.seed_for(options.seed, name)
        opened = predict_images.read_image(file, labels["image_channels"], limits)
        image = predict_images.at_working_size(opened, labels, options)
        maps = black_boxes.of(name, opened, image.shape[:2])
        drawn = predictor.sample(
            image, maps, num_samples=options.num_samples, seed=seed
        )
        result = predict_output.Result(file, opened, *drawn, seed=seed, labels=labels)
        result.write(output / name, key)

    # One image more than devices is under way: it is read or written meanwhile.
    pool = concurrent.futures.ThreadPoolExecutor(predictor.num_devices + 1)
    try:
        names = {pool.submit(one, name, key): name for name, key in todo}
        for future in concurrent.futures.as_completed(names):
            try:
                future.result()
            except (io.DataError, tf.errors.InvalidArgumentError) as error:
                name = names[future]
                failed.append(name)
                words = common.sentence(str(error))
                bar.write(f"error: {name}: {words}", file=sys.stderr)
            bar.update()
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    return [name for name in images if name in failed]


def _key(predictor, file, blackbox, options) -> str:
    """Identifies a result: model, image, black box and options."""
    try:
        content = io.file_hash(file)
    except io.DataError as error:
        content = str(error)
    parts = [predictor.content, content, blackbox, dataclasses.asdict(options)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
