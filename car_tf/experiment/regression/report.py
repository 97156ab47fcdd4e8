"""The report's sections of a 1-D regression, whose directory holds other files."""

from __future__ import annotations

import base64
import html
import json
import pathlib
from typing import List, Tuple

from car_tf.experiment.regression import scores

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


def sections(run_dir: pathlib.Path) -> List[Tuple[str, str, str]]:
    """Returns (id, title, HTML) of what is not common to all reports."""
    results = run_dir / scores.RESULTS_FILE
    if not results.is_file():
        return [("results", "Results", f"<p>{_LEAD}</p>\n<p>{_UNFINISHED}</p>\n")]
    heads, *rows = scores.table(json.loads(results.read_text(encoding="utf-8")))
    table = _row("th", heads) + "".join(_row("td", cells) for cells in rows)
    pictures = [
        _picture(path, caption)
        for end, caption in _CAPTIONS.items()
        for path in sorted(run_dir.glob(f"figures/*{end}.png"))
    ]
    body = f"<p>{_LEAD}</p>\n<p>{_TABLE}</p>\n"
    body += f'<div class="scroll" tabindex="0"><table>\n{table}</table></div>\n'
    return [("results", "Results", body), ("figures", "Figures", "".join(pictures))]


def _row(tag: str, cells) -> str:
    inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{inner}</tr>\n"


def _picture(path: pathlib.Path, caption: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    image = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{content}">'
    return (
        f'<figure><div class="picture" tabindex="0">{image}</div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
    )
