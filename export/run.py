"""From a run to a SavedModel: the fields of a configuration become arguments here."""

import json
import pathlib
from typing import Any, Callable, Dict, Optional, Sequence

from car_tf import config as config_lib
from car_tf.blackbox import attach
from car_tf.data import info
from car_tf.evaluate import evaluation, saved_run
from car_tf.models import sampler
from car_tf.runtime import run_dir
from export import description, program, savedmodel, versions

FOLDER = "export"


def export_run(
    config: config_lib.Config,
    model: sampler.Sampler,
    dataset_info: info.DatasetInfo,
    output: pathlib.Path,
    *,
    name: str = "",
    num_samples: int = program.NUM_SAMPLES,
    notes: Sequence[str] = (),
    metrics: Optional[Dict[str, Any]] = None,
    blackbox_function: Optional[program.BlackBoxFunction] = None,
    own_size: bool = False,
    log: Callable[[str], None] = print,
) -> pathlib.Path:
    """Writes the SavedModel `output/name/version`, whole or not at all; returns it.

    A model that is the same as the newest version there is not written again.
    `output/models.config` names it to TensorFlow Serving.

    Args:
      output: the folder of served models.
      name: of the model; empty for the configuration's.
      num_samples, own_size: see `program.Settings`.
      notes, metrics: on the data; of the evaluation, None before it.
      blackbox_function: a black box to embed, see `program.BlackBoxFunction`; without
        an attribute `fingerprint`, it is taken for another one every time.

    Raises:
      ExportError: a name that cannot be served.
    """
    versions.check_name(name := name or versions.servable(config.name))
    settings = program.Settings(dataset_info, num_samples, config.data.size, own_size)
    described = description.labels(
        settings,
        name=name,
        embedded=blackbox_function is not None,
        receptive_field=model.receptive_field,
        config=_as_read(config, dataset_info),
    )
    results = _results(config, metrics, dataset_info)
    # Its weights are not known here; what it is known by is.
    embedded = getattr(blackbox_function, "fingerprint", "")
    content = description.content_hash(
        described, model.variables, [*results, *([embedded] if embedded else [])]
    )
    folder = pathlib.Path(output) / name
    with versions.locked(folder):
        newest = versions.latest(folder)
        is_there = newest is not None and (blackbox_function is None or embedded)
        if not is_there or description.read_content_hash(newest) != content:
            with versions.new_version(folder) as work:
                computation = program.Program(model, settings, blackbox_function)
                savedmodel.write(work, computation, described, log)
                description.write_card(work, described, notes=notes, results=results)
                description.write_fingerprint(work, content)
    versions.list_for_server(folder.parent)
    return versions.latest(folder)


def _as_read(
    config: config_lib.Config, dataset_info: info.DatasetInfo
) -> Dict[str, Any]:
    """Returns the configuration for JSON, with what `auto` chose for maps on disk."""
    if dataset_info.blackbox_encoding:
        chosen = {"encoding": dataset_info.blackbox_encoding}
        config = config_lib.change(config, blackbox=chosen)
    return json.loads(config_lib.to_json(config))


def _results(config, metrics, dataset_info: info.DatasetInfo) -> Sequence[str]:
    """Returns the evaluation in words, unless it drew its samples in another way."""
    noise = (metrics or {}).get("noise_sampling", "independent")
    if not metrics or noise != config.evaluation.noise_sampling:
        return ()
    return evaluation.summary_lines(metrics, dataset_info)


def export_workdir(
    config: config_lib.Config,
    workdir: run_dir.RunDir,
    *,
    output: str = "",
    name: str = "",
    num_samples: int = program.NUM_SAMPLES,
    embed_blackbox: bool = False,
    own_size: bool = False,
) -> pathlib.Path:
    """Exports a finished run; see `export_run`.

    Raises:
      RunError: the run has no trained networks yet.
      ConfigError: a black box is to be embedded, but the run was trained on none that
        is a model.
    """
    dataset_info, notes = saved_run.data_of(config, workdir)
    if own_size and not (embed_blackbox and dataset_info.resizes):
        raise config_lib.ConfigError(
            "--own_size: the maps have the image's size already, unless a black box is "
            "inside (--embed_blackbox) and training resized its images"
        )
    blackbox_function = None
    if embed_blackbox:
        # As in training, whatever `auto` would choose now.
        segmenter = attach.build_blackbox(
            attach.as_trained(config, dataset_info.blackbox_output),
            dataset_info.num_blackbox_classes,
        )
        if segmenter is None:
            raise config_lib.ConfigError(
                "--embed_blackbox: wanted a run that was trained on a model as its "
                f"black box, got blackbox.kind={config.blackbox.kind} and "
                f"blackbox.path={config.blackbox.path or 'none'}"
            )
        blackbox_function = segmenter.as_module()
    return export_run(
        config,
        saved_run.load_sampler(config, dataset_info, workdir),
        dataset_info,
        pathlib.Path(output).expanduser() if output else workdir.path / FOLDER,
        name=name,
        num_samples=num_samples,
        notes=notes,
        metrics=workdir.read_json("metrics.json"),
        blackbox_function=blackbox_function,
        own_size=own_size,
    )
