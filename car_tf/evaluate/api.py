"""`car_tf.evaluate`: a finished run again, on another split or with other samples."""

import contextlib
import os
import re
from typing import Any, Callable, Dict, Optional, Sequence, Union

from car_tf import config as config_lib
from car_tf.config import stage_sections
from car_tf.runtime import gathering, run_dir, workers


def evaluate(
    run: Union[str, os.PathLike],
    *,
    split: str = "",
    num_samples: int = 0,
    noise_sampling: Optional[str] = None,
    absent: Optional[str] = None,
    samples: Sequence[str] = (),
    data_dir: Union[str, os.PathLike] = "",
    blackbox: Union[str, os.PathLike] = "",
    realism_steps: Optional[int] = None,
    devices: str = "",
    anew: bool = False,
    log: Callable[[str], None] = print,
) -> Dict[str, Any]:
    """Evaluates a finished run again and writes its report anew.

    What was evaluated before, with the same weights, data, options and code, is not
    evaluated again. What differs from the run's own evaluation goes into files of its
    own, such as `metrics_val_50.json` and `figures_val_50/`. Of several workers
    (`TF_CONFIG`), the chief alone writes and returns metrics.

    Args:
      run: the run directory, or what `car_tf.train` returned.
      split: by default the one that results are reported on.
      num_samples: S, samples per image; 0: as configured.
      noise_sampling: `independent` or `stratified`; by default as configured.
      absent: what absent classes are worth; by default as configured.
      samples: .npz files with other models' samples of the same images.
      data_dir: another data set with the same classes; by default the run's own.
      blackbox: the segmenter for it; by default the run's.
      realism_steps: training steps of the judges, 0 for none; by default as configured,
        unless of the same weights, drawn scenes and code, and none for other data.
      devices: where to draw, as of `train.devices`.
      anew: whether to do a second time what was done before.
      log: takes lines for people.

    Returns:
      The metrics, as `metrics.json` holds them.

    Raises:
      ConfigError, DataError, RunError: no such run, split or value, or unreadable data.
    """
    saved = config = run_dir.saved_config(os.fspath(run))
    steps = 0 if data_dir and realism_steps is None else realism_steps
    if steps is not None:
        config = config_lib.change(config, evaluation={"realism_steps": steps})
    _check(config, num_samples, devices, data_dir, blackbox)
    noise = dict(noise_sampling=noise_sampling or config.evaluation.noise_sampling)
    drawing = config_lib.change(config, evaluation=noise)
    worker = workers.this_worker()
    workdir = run_dir.RunDir(os.fspath(run), saved, writes=worker.is_chief)
    with contextlib.closing(workdir), gathering.Gathering(worker) as team:
        options = dict(split=split, num_samples=num_samples, absent=absent or "")
        options.update(samples=samples, team=team, log=workdir.logged(log))
        places = os.fspath(data_dir), os.fspath(blackbox), devices
        wanted = anew or worker.num_workers > 1, realism_steps is not None
        return _evaluate((config, drawing), workdir, places, wanted, options)


def _check(config, num_samples, devices, data_dir, blackbox) -> None:
    if num_samples:  # Checked like the field.
        config_lib.change(config, evaluation={"num_samples": num_samples})
    stage_sections.require_devices("--devices", devices)
    if blackbox and not data_dir:
        raise config_lib.ConfigError("--blackbox: wanted --data_dir with it")


def _known(metrics, workdir, log) -> Dict[str, Any]:
    """Answers for what was evaluated before, and sees to its report."""
    scores = [(name, metrics.get(name)) for name in ("ged", "hm_iou", "ece")]
    words = [f"{name} {value:.3f}" for name, value in scores if value is not None]
    log(
        f"evaluated before, with the same weights, data and code: {', '.join(words)} on "
        f"{metrics['split']} (--anew: again)"
    )
    report, files = workdir.path / "report.html", workdir.path.glob("metrics*.json")
    written = report.stat().st_mtime if report.is_file() else 0.0
    if written < max(file.stat().st_mtime for file in files):
        from car_tf.report import write

        report = write.write(workdir.path)
    log(f"report: {report}")
    return metrics


def _evaluate(configs, workdir, places, wanted, options) -> Dict[str, Any]:
    """Answers for what was evaluated before, or evaluates."""
    from car_tf.evaluate import evaluated

    (config, drawing), (anew, judges) = configs, wanted
    asked = {k: v for k, v in options.items() if k not in ("team", "log")}
    asked.update(noise=drawing.evaluation.noise_sampling, places=places)

    def find(dataset=None):
        identity = evaluated.key_of(config, workdir, dataset, **asked)
        return identity, None if anew or judges else evaluated.find(workdir, identity)

    if evaluated.is_drawn(config) and not places[0]:
        # Known without being drawn, and before TensorFlow starts.
        _, known = find()
        if known is not None:
            return _known(known, workdir, options["log"])
    return _evaluate_data(configs, workdir, places, judges, find, options)


def _evaluate_data(configs, workdir, places, judges, find, options) -> Dict[str, Any]:
    # TensorFlow starts here.
    from car_tf.evaluate import evaluated, saved_run
    from car_tf.evaluate import run as evaluate_run
    from car_tf.report import write
    from car_tf.runtime import devices

    data_dir, blackbox, devices_text = places
    strategy = devices.build_strategy(devices_text, workers.Worker())
    (config, drawing), split = configs, options["split"]
    is_chief, judged = options["team"].worker.is_chief, None
    is_judged = is_chief and evaluated.needs_training_images(config, split)
    if is_judged and not judges:
        noise = drawing.evaluation.noise_sampling
        judged = evaluated.find_realism(config, workdir, split, noise)
    if judged is not None:
        words = f"AUC {judged['auc']:.3f}, measured before (--realism_steps: anew)"
        options["log"](f"realism: {words}")
    only = [split, *(["train"] if is_judged and judged is None else [])]
    if data_dir:
        others = dict(data_dir=data_dir, blackbox=blackbox)
        dataset = saved_run.load_other(config, workdir, only, **others)
        for note in dataset.notes:
            options["log"](f"note: {note}")
    else:
        dataset = saved_run.load_data(config, workdir, only)
    identity, known = find(dataset) if is_chief else ("", None)
    if known is not None:
        return _known(known, workdir, options["log"])
    # Names its files.
    other = os.path.basename(os.path.abspath(data_dir)) if data_dir else ""
    model = saved_run.load_sampler(drawing, dataset.info, workdir, strategy)
    metrics = evaluate_run.evaluate_run(
        config,
        dataset,
        model,
        workdir,
        other_data=re.sub(r"\W+", "_", other),
        judged=judged,
        identity=identity,
        **options,
    )
    if is_chief:
        options["log"](f"report: {write.write(workdir.path)}")
    return metrics
