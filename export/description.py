"""What lies beside the graph: labels, model card and fingerprint."""

import dataclasses
import hashlib
import json
import pathlib
import platform
from typing import Any, Dict, List, Optional, Sequence

import tensorflow as tf

import car_tf
from car_tf.data import info, io
from export import checks, program

LABELS_FILE = "labels.json"
CARD_FILE = "model_card.md"
FINGERPRINT_FILE = "fingerprint"


def labels(
    settings: program.Settings,
    *,
    name: str,
    embedded: bool,
    receptive_field: Optional[int],
    config: Optional[Dict[str, Any]],
) -> Dict[str, Any]:
    """Returns what a program must know to use the samples, ready for JSON."""
    dataset_info = settings.dataset_info
    blackbox = None
    if dataset_info.num_blackbox_classes:
        blackbox = {
            "num_classes": dataset_info.num_blackbox_classes,
            "input": settings.blackbox,
            "embedded": embedded,
            # What its scores were taken for, where that is known.
            **({"scores": scores} if (scores := dataset_info.blackbox_scores) else {}),
        }
    return {
        "name": name,
        "title": dataset_info.title,
        "classes": [
            {"id": index, "name": class_name, "color": list(color)}
            for index, (class_name, color) in enumerate(
                zip(dataset_info.class_names, dataset_info.class_colors)
            )
        ],
        "flips": [dataclasses.asdict(flip) for flip in dataset_info.flips],
        "ignored_id": info.IGNORE_LABEL,
        "image_channels": dataset_info.image_channels,
        "image_range": list(dataset_info.image_range),
        "trained_size": list(settings.trained_size),
        "resizes": settings.resizes,
        # Without it, exports of before are the same as today's.
        **({"own_size": True} if settings.own_size else {}),
        # Pixels away from which an image can change a sample's pixel, null for all:
        # what lies deeper inside a tile that begins at multiples of 32 is as in the whole.
        "reach": None if embedded else receptive_field,
        "blackbox": blackbox,
        "num_samples": settings.num_samples,
        "limits": {
            "samples_per_image": checks.MAX_SAMPLES,
            "pixels_per_request": checks.MAX_PIXELS,
            "sample_pixels_per_request": checks.MAX_VALUES,
            "sides_counted_to_multiples_of": checks.SIDE_STEP,
        },
        "config": config,
    }


def write_card(
    folder: pathlib.Path,
    described: Dict[str, Any],
    *,
    notes: Sequence[str],
    results: Sequence[str],
) -> None:
    """Writes the model card, with sentences on the data and lines of the evaluation."""
    height, width = described["trained_size"]
    twins = {flip["original"]: flip for flip in described["flips"]}
    rows = ["| id | class | takes the name | with probability |", "|---|---|---|---|"]
    for entry in described["classes"]:
        flip = twins.get(entry["id"])
        other, chance = "", ""
        if flip is not None:
            other = described["classes"][flip["flipped"]]["name"]
            chance = f"{flip['probability']:.4f}"
        rows.append(f"| {entry['id']} | {entry['name']} | {other} | {chance} |")
    config = json.dumps(described["config"], indent=2)
    parts = [
        f"# {described['name']}",
        "Draws samples of whole segmentation maps for an image, and gives each pixel's "
        "class probabilities: Calibrated Adversarial Refinement (CAR).",
        "## Data",
        f"Trained on {described['title']}, at {height} x {width} pixels.",
        *[f"- {note}" for note in notes],
        "\n".join(rows),
        "## Results",
        *([f"- {line}" for line in results] or ["Not evaluated."]),
        "## Limits",
        *[f"- {line}" for line in _limits(described)],
        "## Configuration",
        f"```json\n{config}\n```" if described["config"] else "Not recorded.",
        "## Made with",
        f"TensorFlow {tf.__version__}, Python {platform.python_version()}.",
    ]
    # A program that needs the paths finds them in the labels' file.
    sections = (described["config"] or {}).values()
    fields = [part.values() for part in sections if isinstance(part, dict)]
    paths = io.absolute_paths([str(value) for part in fields for value in part])
    text = io.without_folders("\n\n".join(parts) + "\n", paths)
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def _limits(described: Dict[str, Any]) -> List[str]:
    height, width = described["trained_size"]
    limits, blackbox = described["limits"], described["blackbox"]
    lines = [
        f"Any image size is taken, but objects should be as large, in pixels, as in "
        f"training at {height} x {width}; elsewhere the results are untested.",
        "The samples show the disagreement that the training data hold, on images like "
        "those; they say nothing of what such data lack.",
        f"A request may ask for at most {limits['samples_per_image']} samples per image "
        f"and hold at most {limits['pixels_per_request']} pixels, pixels times samples "
        f"at most {limits['sample_pixels_per_request']}, where each side is counted up "
        f"to a multiple of {limits['sides_counted_to_multiples_of']}.",
        "Not for decisions on people without a validation on data of the place of use.",
    ]
    if not blackbox:
        return lines
    if not blackbox["embedded"]:
        scores = blackbox.get("scores")
        taken = f", whose scores were taken for {scores}" if scores else ""
        needs = (
            f"Needs the {blackbox['input']} of the segmenter that it was trained on top "
            f"of ({blackbox['num_classes']} classes{taken}); another one's errors are "
            "others."
        )
        return [needs, *lines]
    own = "of the image" if described.get("own_size") else f"{height} x {width}"
    return [f"The maps have the size {own}."] * described["resizes"] + lines


def content_hash(
    described: Dict[str, Any], variables: Sequence[Any], results: Sequence[str]
) -> str:
    """Returns a SHA-256 over what decides an export: facts, weights and code."""
    digest = hashlib.sha256(json.dumps([described, list(results)]).encode())
    for variable in variables:
        array = variable.numpy()
        digest.update(f"{variable.name}|{array.dtype}|{array.shape}".encode())
        digest.update(array.tobytes())
    package = pathlib.Path(car_tf.__file__).parent
    for folder in (package / "models", pathlib.Path(__file__).parent):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def write_fingerprint(folder: pathlib.Path, content: str) -> None:
    """Writes the hash of the content and those of all files, for `sha256sum --check`."""
    lines = [f"# content {content}"]
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            lines.append(f"{io.file_hash(path)}  {path.relative_to(folder).as_posix()}")
    (folder / FINGERPRINT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_content_hash(folder: pathlib.Path) -> Optional[str]:
    """Returns the hash of the content of an export, None where it has none."""
    try:
        first = (folder / FINGERPRINT_FILE).read_text(encoding="utf-8").split("\n")[0]
    except OSError:
        return None
    return first.split(" ")[-1]
