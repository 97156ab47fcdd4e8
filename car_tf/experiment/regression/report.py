"""The report's sections of a 1-D regression, whose directory holds other files."""

from __future__ import annotations

import pathlib
from typing import List

from car_tf.report import context, write

TABLE_FILE = "results.md"
_CAPTIONS = {
    "overview": (
        "Overview",
        "Left: log-likelihood of one sample per x under the true distribution, median "
        "and quartiles over the runs; higher is better. Others: data in black, samples "
        "in light blue. With Lcal they are to cover both modes, their mean on F; "
        "without it a mode may be lost. Red and blue: what D takes for real or "
        "generated.",
    ),
    "average": (
        "{weight}: mean over the seeds",
        "Log-likelihood per configuration. A curve that drops late has lost a mode.",
    ),
    "runs": (
        "{weight}: each run",
        "Log-likelihood of every run; those of one panel differ in their seed alone.",
    ),
}


def sections(workdir: pathlib.Path) -> List[write.Section]:
    """Returns what `report.write` shows of a regression's directory.

    Raises:
      run_dir.RunError: there is no run, or one of its files is not JSON.
    """
    run = context.read(workdir)
    config = run.config
    results = run.path / TABLE_FILE
    if not results.is_file():
        words = "The runs are not finished: the command at the end goes on with them."
        return [("results", "1-D bimodal regression", [words])]
    facts = [
        ("Stage 1", f"{config['stage1']['steps']} steps of F"),
        ("Stage 2", f"{config['stage2']['steps']} steps of G and D"),
        ("Seeds", ", ".join(str(seed) for seed in config["train"]["seeds"])),
    ]
    lines = results.read_text(encoding="utf-8").splitlines()
    heads, _, *rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    blocks = [
        "The paper's smallest example: for most x there are two right answers y. A "
        "sampler has to give both, each as often as it is right (CAR, Section 5.1).",
        {"facts": facts},
        "Per weight of Lcal (λ), share of the upper mode (π) and noise (σ). A "
        "collapsed run draws one mode alone; the weight of the upper mode should be π.",
        {"heads": heads, "rows": rows},
    ]
    kinds = ("average", "runs") if len(config["train"]["seeds"]) > 1 else ("runs",)
    names = ["overview"]
    for weight in config["stage2"]["calibration_weights"]:
        names += [f"curves_lambda{weight:g}_{kind}" for kind in kinds]
    pictures = []
    for name in filter(run.figure, names):
        title, caption = _CAPTIONS[name.rsplit("_", 1)[-1]]
        weight = name.split("lambda")[-1].split("_")[0]
        title = title.format(weight=f"λ = {weight}")
        pictures.append(
            {"picture": run.figure(name), "title": title, "caption": caption}
        )
    return [
        ("results", "1-D bimodal regression", blocks),
        ("figures", "Figures", pictures),
    ]
