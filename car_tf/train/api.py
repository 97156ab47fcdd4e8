"""`car_tf.train`: from a configuration and overrides to a run, as the command does."""

import dataclasses
import functools
import importlib
import os
import pathlib
import time
from typing import Any, Callable, Dict, Iterable
from typing import List, Mapping, Optional, Sequence, Union

from car_tf import config as config_lib
from car_tf.config import data_sections
from car_tf.data import layouts, requirements
from car_tf.runtime import run_dir, workers

# `section.field` -> value, section -> {field: value}, or texts `section.field=value`.
Overrides = Union[Mapping[str, Any], Iterable[str]]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that is finished; it can stand where the path of a run can.

    Attributes:
      path: the run directory.
      metrics: what `metrics.json` holds: `ged`, `hm_iou`, `ece`, `by_num_samples`, ...
    """

    path: pathlib.Path
    metrics: Dict[str, Any] = dataclasses.field(repr=False)

    def __fspath__(self) -> str:
        return str(self.path)

    @functools.cached_property
    def sampler(self) -> Any:
        """The `car_tf.Sampler` of the run."""
        from car_tf.predict import api

        return api.load(self.path)


def train(
    config: Union[str, os.PathLike, config_lib.Job, None] = None,
    *,
    workdir: Union[str, os.PathLike] = "",
    data_dir: Union[str, os.PathLike] = "",
    blackbox: Union[str, os.PathLike] = "",
    init_from: Union[str, os.PathLike] = "",
    set: Overrides = (),
    callbacks: Sequence[Any] = (),
    log: Callable[[str], None] = print,
    **sections: Mapping[str, Any],
) -> Run:
    """Runs both stages, evaluation, export and report, or what is left of them.

    Args:
      config: a name in `configs/`, the path of a Python file or of a run's
        `config.json`, or a configuration; by default `cityscapes`, or `lidc` or
        `folders` where `data_dir` is laid out like that.
      workdir: the run directory, new or to be resumed; by default
        `runs/<config>-<time>`.
      data_dir: the data set; without it, an embedded one is drawn.
      blackbox: the segmenter to build on, or a folder of its predictions.
      init_from: a run with whose F this one begins; with
        `set={"train.init_networks": "both"}` also with its G. `stage1={"steps": 0}`
        keeps F as it is.
      set: fields to change: `{"stage2.steps": 10}`, `{"stage2": {"steps": 10}}`, or
        texts as of `--set`.
      callbacks: Keras callbacks, given to `fit` in both stages. An epoch is the steps
        between two checkpoints; the losses, and in stage 2 `selection_ged` where G was
        compared, are in its logs. `EarlyStopping` ends the stage that it watches.
      log: takes lines for people; `lambda line: None` for silence.
      **sections: fields to change, by section: `stage2={"steps": 10}`.

    Raises:
      ConfigError: a field, name or value that does not exist, or missing inputs.
      DataError: data that cannot be read.
      RunError: a run that cannot start or go on.
    """
    config = os.fspath(config) if isinstance(config, os.PathLike) else config
    overrides = _by_section(set)
    for section, fields in sections.items():
        overrides.setdefault(section, {}).update(fields)
    texts = list(set) if not isinstance(set, Mapping) else []
    resolved = resolve(
        config,
        texts,
        data_dir=os.fspath(data_dir),
        blackbox=os.fspath(blackbox),
        init_from=os.fspath(init_from),
        workdir=os.fspath(workdir),
        changes=overrides,
    )
    return run_job(resolved, os.fspath(workdir), log=log, callbacks=callbacks)


def _by_section(overrides: Overrides) -> Dict[str, Dict[str, Any]]:
    """Returns section -> field -> value of dotted and of nested overrides."""
    result: Dict[str, Dict[str, Any]] = {}
    items = overrides.items() if isinstance(overrides, Mapping) else ()
    for key, value in items:
        section, dot, field = key.partition(".")
        fields = {field: value} if dot else value
        if not isinstance(fields, Mapping):
            words = "set: wanted a dict of fields, or section.field, got"
            raise config_lib.ConfigError(f"{words} {key}={value!r}")
        result.setdefault(section, {}).update(fields)
    return result


def resolve(
    config: Union[str, config_lib.Job, None],
    overrides: Sequence[str] = (),
    *,
    data_dir: str = "",
    blackbox: str = "",
    init_from: str = "",
    workdir: str = "",
    changes: Optional[Mapping[str, Mapping[str, Any]]] = None,
) -> config_lib.Job:
    """Returns the configuration of a job whose inputs are there.

    Arguments as of `train`; `overrides` are texts `section.field=value`, and `changes`,
    section -> field -> value, come after them. A run that was begun needs no inputs any
    more. Raises ConfigError as `train` does.
    """
    root, found = pathlib.Path(data_dir).expanduser(), ""
    if data_dir and root.exists():  # Else see below.
        ask = layouts.known_dataset_at if config is None else layouts.dataset_at
        found = ask(root)
    config = (found or "cityscapes") if config is None else config
    if isinstance(config, str):
        config = config_lib.load(config)
    given = []
    for flag, field, value in (
        ("--data_dir", "data.data_dir", data_dir),
        ("--blackbox", "blackbox.path", blackbox),
        ("--init_from", "train.init_from", init_from),
    ):
        if not value:
            continue
        if not isinstance(config, config_lib.Config):
            raise config_lib.ConfigError(f"{flag}: {config.name} takes none")
        # A run may be resumed from elsewhere; what is no path, such as
        # package.module:function, stays as it is.
        path = os.path.abspath(os.path.expanduser(value))
        value = value if ":" in value and not os.path.exists(path) else path
        given.append(f"{field}={value}")
    # What a user sets comes last.
    asked: List[str] = []
    if isinstance(config, config_lib.Config):
        asked = layouts.overrides(config, data_dir, found)
        if blackbox and config.blackbox.kind == "none":
            asked += ["blackbox.kind=auto", "calibration_net.kind=blackbox_calibrator"]
    config = config_lib.override(config, [*asked, *given, *overrides])
    config = config_lib.change(config, **(changes or {}))
    saved = os.path.join(os.path.expanduser(workdir), "config.json")
    begun = workdir and os.path.exists(saved)
    if isinstance(config, config_lib.Config) and not begun:
        is_asked = config.data.data_dir == os.path.abspath(root)
        _require_inputs(config, found if is_asked else "")
    return config


def _require_inputs(config: config_lib.Config, found: str) -> None:
    """Raises ConfigError where what a new run starts from is not there.

    `found` is the data set at `data.data_dir`; empty where nobody looked.
    """
    data_dir, segmenter = config.data.data_dir, config.blackbox.path
    if data_dir and not os.path.exists(os.path.expanduser(data_dir)):
        raise config_lib.ConfigError(f"--data_dir: no file or folder {data_dir}")
    if data_dir and not found:
        found = layouts.dataset_at(pathlib.Path(data_dir).expanduser())
    if found and found != config.data.dataset:
        raise config_lib.ConfigError(
            f"--data_dir: {config.name} reads {config.data.dataset}, but {data_dir} holds "
            f"{found}; --config {found} reads it"
        )
    is_read = config.blackbox.kind in ("auto", "live", "predictions")
    if is_read and segmenter and not data_sections.is_segmenter_here(segmenter):
        raise config_lib.ConfigError(
            f"--blackbox: no file or folder {segmenter}, and no package.module:function"
        )
    if config.data.data_dir and config.blackbox.kind == "auto" and not segmenter:
        raise config_lib.ConfigError(
            f"--blackbox: wanted a segmenter for the images in {config.data.data_dir}, "
            "or a folder of its predictions, got none (--set "
            "blackbox.kind=imitation degrades the labels to stand for one)"
        )
    requirements.check(config)


def run_job(
    config: config_lib.Job,
    path: str,
    *,
    log: Callable[[str], None],
    callbacks: Sequence[Any] = (),
) -> Run:
    """Runs a job in a directory, by default a new one in `runs/`.

    TensorFlow starts after the cheap checks.
    """
    worker = workers.this_worker()
    is_segmentation = isinstance(config, config_lib.Config)
    if worker.num_workers > 1 and not is_segmentation:
        raise run_dir.RunError(f"TF_CONFIG: {config.name} trains in one process")
    if callbacks and not is_segmentation:
        raise config_lib.ConfigError(f"callbacks: {config.name} takes none")
    log = log if worker.is_chief else lambda line: None
    if worker.num_workers > 1 and not path:
        raise run_dir.RunError(
            f"--workdir: wanted a directory that all {worker.num_workers} workers of "
            "TF_CONFIG share, got none"
        )
    path = path or f"runs/{config.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    workdir = run_dir.RunDir(path, config, writes=worker.is_chief)
    log = workdir.logged(log)
    try:
        log(f"run directory: {workdir.path}")
        if worker.num_workers > 1:
            log(f"waiting for {worker.num_workers} workers")
        if is_segmentation and workdir.finished(config):
            return _finished(workdir, config, log)
        more = {"callbacks": callbacks} if callbacks else {}
        job = importlib.import_module(config.JOB)
        metrics = job.run(config, workdir, log=log, **more)
    except KeyboardInterrupt as stop:
        goes_on = f"interrupted; the same command with --workdir {workdir.path} goes on"
        stop.args = stop.args or (goes_on,)
        workdir.note(str(stop))
        raise
    except Exception as error:
        workdir.note(f"{type(error).__name__}: {error}")
        raise
    finally:
        workdir.close()
    return Run(workdir.path, metrics or {})


def _finished(
    workdir: run_dir.RunDir, config: config_lib.Config, log: Callable[[str], None]
) -> Run:
    """Answers for a run that has nothing left to do."""
    metrics = workdir.read_json("metrics.json")
    scores = [(name, metrics.get(name)) for name in ("ged", "hm_iou", "ece")]
    words = [f"{name} {value:.3f}" for name, value in scores if value is not None]
    log(f"finished before: {', '.join(words)} on {metrics['split']}; see report.html")
    more = "it goes on with --set stage2.steps=MORE and the same --workdir"
    if config.stage2.decay == "linear":  # The learning rates are zero now.
        more = f"a new run begins with its networks: --init_from {workdir.path}"
    log(more)
    return Run(workdir.path, metrics)
