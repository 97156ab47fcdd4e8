"""Evaluates a sampler on a split: metrics, figures and files in the run directory."""

import functools
import hashlib
import itertools
import json
import pathlib
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence

from car_tf import config as config_lib
from car_tf.data import io
from car_tf.data import load as data_load
from car_tf.evaluate import before_stage2, evaluated, evaluation, fitted_cuts
from car_tf.evaluate import realism, sampling
from car_tf.metrics import baselines
from car_tf.models import sampler
from car_tf.report import before_after, figures
from car_tf.runtime import checkpoints, gathering, run_dir

NUM_BEFORE_AFTER = 3


def evaluate_run(
    config: config_lib.Config,
    dataset: data_load.Dataset,
    model: sampler.Sampler,
    workdir: run_dir.RunDir,
    log: Callable[[str], None],
    *,
    split: str = "",
    num_samples: int = 0,
    absent: str = "",
    samples: Sequence[str] = (),
    other_data: str = "",
    team: gathering.Gathering = gathering.Gathering(),
    judged: Optional[Dict[str, Any]] = None,
    identity: str = "",
) -> Dict[str, Any]:
    """Evaluates a sampler on a split, writes metrics and figures, returns the metrics.

    Args:
      dataset: its data, or others with the same classes.
      workdir: its directory: `metrics.json` and `figures/` are written, under other
        names for what differs from the configured.
      split: name of the split; empty for the one that results are reported on.
      num_samples, absent: 0 and empty for what is configured.
      samples: files with other models' samples of the same images.
      other_data: what the data are called where they are not the run's.
      team: the workers that share the images; the chief alone writes.
      identity: of the evaluation, see `evaluated.key_of`.
      judged: realism that need not be measured again, see `evaluated.find_realism`.
    """
    settings = config.evaluation
    split, absent = split or dataset.evaluation, absent or settings.absent
    drawing = dict(num_samples=num_samples or settings.num_samples, seed=settings.seed)
    noise = "stratified" if model.stratified else "independent"
    log(f"evaluation: {drawing['num_samples']} samples on {split}, {noise} noise")
    source = sampling.some_of(dataset.splits[split], settings.num_images)
    before = before_stage2.initial_sampler(config, dataset.info, model, workdir.path)
    cuts = _cuts(config, dataset, model, workdir, split, absent)
    metrics, gallery = evaluation.evaluate(
        *(model, source, dataset.info),
        **dict(before=before, absent=absent, cuts=cuts, sample_files=samples),
        **dict(progress=_progress, team=team, **drawing),
        key=_key(team, (model, before), source, [drawing, noise, absent, cuts]),
    )
    if not team.worker.is_chief:
        return {}
    if judged is None and evaluated.needs_training_images(config, split):
        judged = _judged(config, dataset, (model, before), source, log)
        judged["key"] = evaluated.realism_key(config, workdir, split, noise)
    about = {"split": split, "data": dataset.info.title, "notes": dataset.notes}
    metrics = {**about, "noise_sampling": noise, **metrics}
    metrics.update({"realism": judged} if judged else {})
    metrics["verdict"] = before_after.verdict(metrics)
    suffix = _suffix(settings, dataset, metrics, absent, other_data)
    drawn = model, source, drawing, gallery
    folder = _write(metrics, drawn, dataset, workdir, suffix, identity)
    told = [*evaluation.summary_lines(metrics, dataset.info), metrics["verdict"]]
    for line in [*told, f"figures: {folder}"]:
        log(line)
    return metrics


def _judged(config, dataset, models, source, log) -> Dict[str, Any]:
    """Trains judges of realism, and asks them on the images of `source`."""
    shown = *models, dataset.splits["train"], source, dataset.info
    settings = config.evaluation
    judging = dict(steps=settings.realism_steps, seed=settings.seed)
    return realism.measure(*shown, **judging, log=log)


def _progress(stream: Iterable[Any], total: int) -> Iterable[Any]:
    return io.progress(iterable=stream, total=total, desc="evaluating", unit="image")


def _key(team, models, source, options) -> str:
    """Identifies what several workers evaluate: weights, images and options."""
    if team.worker.num_workers == 1:
        return ""
    digest = hashlib.sha256(json.dumps([options, source.fingerprint()]).encode())
    nets = [models[0].calibration_net, *(model.refinement_net for model in models)]
    for variable in (variable for net in nets for variable in net.variables):
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _cuts(config, dataset, model, workdir, split, absent) -> Optional[baselines.Cuts]:
    """Fits the cuts of level sets, or takes those that the run's training has fitted.

    The training has the selection split at hand; who evaluates anew reads less, or
    reports on that split itself.
    """
    source = dataset.splits.get(dataset.selection)
    if source is None or split == dataset.selection:
        known = (workdir.read_json("metrics.json") or {}).get("baselines", {})
        fitted = known.get("fitted_level_sets")
        return fitted and baselines.Cuts(**fitted["cuts"])
    num_images = config.train.num_selection_images
    return fitted_cuts.fit(
        model, source, dataset.info, num_images=num_images, absent=absent
    )


def _suffix(settings, dataset, metrics, absent, other_data) -> str:
    """Returns what is added to names of files where an evaluation is not the run's."""
    drawn = metrics["split"], metrics["num_samples"]
    chosen = {"noise_sampling": metrics["noise_sampling"], "absent": absent}
    changed = [v for name, v in chosen.items() if v != getattr(settings, name)]
    is_own = drawn == (dataset.evaluation, settings.num_samples)
    if is_own and not changed and not other_data:
        return ""
    return "".join(f"_{part}" for part in [other_data, *drawn, *changed] if part)


def _write(metrics, drawn_of, dataset, workdir, suffix, identity) -> pathlib.Path:
    """Completes the metrics and writes them, then figures; returns their folder."""
    model, source, drawing, gallery = drawn_of
    geds = metrics["ged_per_image"]
    cases = evaluation.extremes(geds)
    metrics["best"] = workdir.read_json(run_dir.BEST_FILE)
    metrics["cases"] = {
        kind: [{"name": source.names[i], "ged": geds[i]} for i in indices]
        for kind, indices in cases.items()
    }
    workdir.write_json(f"metrics{suffix}.json", metrics)

    def drawn(indices: Sequence[int]) -> List[figures.Shown]:
        found = {item.index: item for item in gallery}
        rest = [index for index in indices if index not in found]
        for one in sampling.sample(model, source, indices=rest, **drawing):
            found[one.index] = evaluation.shown(one, source, dataset.info)
        return [found[index] for index in indices]

    galleries = {"samples": lambda: gallery}
    for kind, indices in cases.items():
        if indices:
            galleries[kind] = functools.partial(drawn, indices)
    figures_of = figures.run_figures(
        metrics,
        galleries,
        class_names=dataset.info.class_names,
        curves={s: workdir.read_lines(f"stage{s}_{run_dir.LOG_FILE}") for s in (1, 2)},
    )
    paired = before_after.before_after_figure(gallery[:NUM_BEFORE_AFTER])
    folder = workdir.path / f"figures{suffix}"
    with checkpoints.writing(folder):
        figures.save_all(
            itertools.chain(figures_of, [("before_after", paired)]), folder
        )
    if identity:  # Last: then all files are there.
        there = sorted(path.name for path in folder.glob("*.png"))
        metrics["evaluated"] = {"key": identity, "figures": there}
        workdir.write_json(f"metrics{suffix}.json", metrics)
    return folder
