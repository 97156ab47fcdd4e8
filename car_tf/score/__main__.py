"""Scores any model's samples: `python -m car_tf.score --protocol NAME FILE.npz`.

Protocols:
  class_flips: `samples` [images, S, H, W] class ids 0..23 against `labels`
    [images, H, W] Cityscapes' train ids 0..18 (255 ignored). Five classes flip, in
    samples to an id of their own: sidewalk 1 to 19 in 8/17 of the images, person 11 to
    20 in 7/17, car 13 to 21 in 6/17, vegetation 8 to 22 in 5/17, road 0 to 23 in 4/17.
  multi_rater: `samples` [images, S, H, W] against `labels` [images, N, H, W], all of
    class ids below --num_classes; 255 in a label hides a pixel for its rater alone.
    Where all labels are 0 or 255, they are masks, and 255 is class 1.
"""

import contextlib
import json
import pathlib
from typing import Any, Dict, Iterable, List, Optional

from absl import flags

from car_tf.config import cli
from car_tf.score import arrays

FLAGS = flags.FLAGS

flags.DEFINE_enum(
    "protocol",
    None,
    ["class_flips", "multi_rater"],
    "What the labels are: maps whose classes flip, or masks of several raters.",
)
flags.DEFINE_integer(
    "num_classes",
    0,
    "Classes of raters' maps; 0: one more than the highest id of the labels.",
    lower_bound=0,
    upper_bound=255,
)
flags.DEFINE_enum(
    "absent",
    "leave_out",
    ["leave_out", "count_as_one"],
    "What a class is worth that occurs in neither of two maps, of more than two classes.",
)
flags.DEFINE_string("json", None, "File to write the scores to.")
flags.DEFINE_list(
    "num_samples",
    None,
    "Numbers of samples to score, separated by commas, the first ones of each image. "
    "By default all. The figures of the largest stand at the top of the JSON.",
)


flags.DEFINE_enum(
    "axes",
    "auto",
    ["auto", *arrays.AXES],
    "Axes of the samples: Images, Samples, Height, Width; raters of labels lie where "
    "the samples do. By default as the shapes tell.",
)


def score_file(path: str, protocol: str, **options: Any) -> Dict[str, Any]:
    """Scores an .npz file with a progress bar on the standard error.

    Takes the options of `arrays.score`.

    Raises:
      ValueError: the file is not what the protocol wants; names it.
    """
    from car_tf.data import io, npz

    def progress(images: Iterable[int]) -> Iterable[int]:
        bar = io.progress(images, protocol, "image", delay=0.0)
        return stack.enter_context(bar)

    try:
        # The stack ends the bar's line before an error is printed.
        with contextlib.ExitStack() as stack:
            return arrays.score(
                npz.NpzArray(path, "samples"),
                npz.NpzArray(path, "labels"),
                protocol=protocol,
                progress=progress,
                **options,
            )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def table(scores: Dict[str, Any]) -> str:
    """The scores as aligned text, one row per number of samples."""
    titles = {
        "num_samples": "samples",
        "ged": "GED",
        "ged_unbiased": "GED unbiased",
        "hm_iou": "HM-IoU",
        "sample_diversity": "sample diversity",
        "label_diversity": "label diversity",
    }
    names = [name for name in titles if name in scores]
    rows = [[titles[name] for name in names]]
    for row in scores.get("by_num_samples", {"": scores}).values():
        rows.append([_cell(row[name]) for name in names])
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows
    ]
    lines.append(
        f"{scores['num_images']} images of {scores['size'][0]} x {scores['size'][1]} "
        f"pixels, {scores['num_undefined_images']} undefined (left out of the means)"
    )
    if "distance" in scores:
        kind = scores["distance"]
        lines.append(
            f"d = {kind['is']} of classes {', '.join(map(str, kind['classes']))}; "
            f"absent={kind['absent']}; labels read as {kind['labels']}"
        )
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def parse_counts(texts: Optional[List[str]]) -> Optional[List[int]]:
    """The values of --num_samples, or None where it is absent."""
    if texts is None:
        return None
    try:
        return [int(text) for text in texts]
    except ValueError:
        raise ValueError(
            f"--num_samples must be integers separated by commas, got {','.join(texts)}"
        ) from None


def main(argv: List[str]) -> int:
    if len(argv) != 2:
        raise ValueError(f"wanted one FILE.npz, got {len(argv) - 1} files")
    if FLAGS.protocol is None:
        raise ValueError("--protocol must be class_flips or multi_rater")
    options = {name: FLAGS[name].value for name in ("num_classes", "absent", "axes")}
    options["sample_counts"] = parse_counts(FLAGS.num_samples)
    scores = score_file(argv[1], FLAGS.protocol, **options)
    print(table(scores))
    if FLAGS.json:
        from car_tf.data import io

        text = json.dumps(scores, indent=1, allow_nan=False) + "\n"
        io.write_text(pathlib.Path(FLAGS.json), text)
    return 0


if __name__ == "__main__":
    cli.run(main, errors=(ValueError, OSError), takes_arguments=True)
