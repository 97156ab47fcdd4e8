"""Writes the sampler as a SavedModel that plain TensorFlow loads."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
import platform
import tempfile
from typing import Any, Callable, Dict, Iterator, Optional, Sequence, Tuple

import absl.logging
import tensorflow as tf

from car_tf.data import info
from car_tf.models import sampler
from export import description, program, signatures, versions, warmup


def export(
    model: sampler.Sampler,
    dataset_info: info.DatasetInfo,
    output: pathlib.Path,
    *,
    name: str = "car",
    num_samples: int = program.NUM_SAMPLES,
    blackbox: str = program.LABELS,
    trained_size: Tuple[int, int] = (256, 512),
    resizes: bool = True,
    blackbox_function: Optional[program.BlackBoxFunction] = None,
    config: Optional[Dict[str, Any]] = None,
    notes: Sequence[str] = (),
    results: Sequence[str] = (),
    log: Callable[[str], None] = print,
) -> pathlib.Path:
    """Writes the SavedModel `output/name/version`, whole or not at all.

    A model that is the same as the newest version there is not written again.

    Args:
      model: the sampler.
      dataset_info: of its data set.
      output: the folder of served models.
      name: of the model.
      num_samples: M, where a request does not name it.
      blackbox: what the model takes of a black box: `labels` or `probabilities`.
      trained_size: (height, width) of the images that the model was trained on.
      resizes: whether training resized whole images to it, and did not cut them out.
      blackbox_function: a black box to embed, which computes `[B, H, W]` class ids or
        `[B, H, W, K]` probabilities from `[B, h, w, 3]` uint8 images and `[2]` int32,
        the size (H, W) that is wanted; the signatures then take images alone. Without
        an attribute `fingerprint`, it is taken for another one every time.
      config: the resolved configuration, for the model card and for prediction.
      notes: on the data, one sentence each.
      results: of the evaluation, one line each.
      log: takes lines for people.

    Returns:
      The version's folder.

    Raises:
      ExportError: a name that cannot be served.
    """
    versions.check_name(name)
    settings = program.Settings(
        dataset_info=dataset_info,
        num_samples=num_samples,
        blackbox=blackbox,
        trained_size=tuple(trained_size),
        resizes=resizes,
    )
    described = description.labels(
        settings,
        name=name,
        embedded=blackbox_function is not None,
        receptive_field=model.receptive_field,
        config=config,
    )
    # Its weights are not known here; what it is known by is.
    embedded = getattr(blackbox_function, "fingerprint", "")
    content = description.content_hash(
        described, model.variables, [*results, *([embedded] if embedded else [])]
    )
    folder = pathlib.Path(output) / name
    with versions.locked(folder):
        newest = versions.latest(folder)
        if newest is not None and (blackbox_function is None or embedded):
            if description.read_content_hash(newest) == content:
                return newest
        with versions.new_version(folder) as work:
            computation = program.Program(model, settings, blackbox_function)
            complete = _write(work, computation, described)
            if not complete:
                log(warmup.NOT_WRITTEN)
            card = description.card(
                described, notes=notes, results=results, made_with=_made_with()
            )
            card_file = work / description.CARD_FILE
            card_file.write_text(card, encoding="utf-8")
            description.write_fingerprint(work, content)
        return versions.latest(folder)


def _write(
    folder: pathlib.Path, computation: program.Program, described: Dict[str, Any]
) -> bool:
    """Writes graph, variables, assets and warm-up; False without the latter."""
    with tempfile.TemporaryDirectory() as temporary, quiet():
        labels_file = pathlib.Path(temporary) / description.LABELS_FILE
        labels_file.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        module = signatures.ServedSampler(computation, labels_file)
        tf.saved_model.save(module, str(folder), signatures=module.functions())
    return warmup.write(folder, module, computation, described["name"])


def _made_with() -> str:
    return f"TensorFlow {tf.__version__}, Python {platform.python_version()}."


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
