"""The report's sections of a 1-D regression, whose directory holds other files."""

import pathlib
from typing import List

from car_tf.experiment.regression import scores
from car_tf.report import write
from car_tf.runtime import run_dir

_LEAD = (
    "The paper's smallest example: for most x there are two right answers y. A sampler "
    "has to give both, each as often as it is right (CAR, Section 5.1). F predicts the "
    "mean of y, G draws samples, D tells them from data, and the calibration loss Lcal, "
    "with the weight λ, asks that the samples' mean be F's."
)
_UNFINISHED = "The runs are not finished: the command at the end goes on with them."
_TABLE = (
    "Per weight of Lcal (λ), share of the upper mode (π) and noise (σ). A collapsed run "
    "draws one mode alone; the weight of the upper mode should be π."
)
# End of a figure's name: how to read it.
_CAPTIONS = {
    "overview": "Left: log-likelihood of one sample per x under the true distribution, "
    "median and quartiles over the runs; higher is better. Others: data in black, "
    "samples in light blue. With Lcal they are to cover both modes, their mean on F; "
    "without it a mode may be lost. Red and blue: what D takes for real or generated.",
    "average": "Log-likelihood per distribution, mean over the seeds. A curve that drops "
    "late has lost a mode.",
    "runs": "Log-likelihood of every run; those of one panel differ in their seed alone.",
}


def sections(workdir: pathlib.Path) -> List[write.Section]:
    """Returns what `report.write` shows of a regression's directory."""
    results = run_dir.read_json(workdir / scores.RESULTS_FILE)
    if results is None:
        return [("results", "Results", [_LEAD, _UNFINISHED])]
    heads, *rows = scores.table(results)
    pictures = [
        {"picture": path, "title": path.stem.replace("_", " "), "caption": caption}
        for end, caption in _CAPTIONS.items()
        for path in sorted(workdir.glob(f"figures/*{end}.png"))
    ]
    blocks = [_LEAD, _TABLE, {"heads": heads, "rows": rows}]
    return [("results", "Results", blocks), ("figures", "Figures", pictures)]
