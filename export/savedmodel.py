"""Writes the sampler as a SavedModel that plain TensorFlow loads."""

import contextlib
import json
import logging
import pathlib
import tempfile
from typing import Any, Callable, Dict, Iterator

import absl.logging
import tensorflow as tf

from export import description, program, signatures, warmup


def write(
    folder: pathlib.Path,
    computation: program.Program,
    described: Dict[str, Any],
    log: Callable[[str], None],
) -> None:
    """Writes graph, variables, assets and warm-up requests, or says that those lack."""
    with tempfile.TemporaryDirectory() as temporary, quiet():
        labels_file = pathlib.Path(temporary) / description.LABELS_FILE
        labels_file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        module = signatures.ServedSampler(computation, labels_file)
        tf.saved_model.save(module, str(folder), signatures=module.functions())
    if not warmup.write(folder, module, computation, described["name"]):
        log(warmup.NOT_WRITTEN)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TensorFlow's remarks on saving, which concern its developers, off screen."""
    loggers = [tf.get_logger(), absl.logging.get_absl_logger()]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
