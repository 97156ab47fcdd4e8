"""Label maps in the formats that other tools read: Cityscapes' JSON and COCO."""

import json
from typing import Any, Dict, List, Optional, Sequence, Tuple

import contourpy
import numpy as np
import scipy.ndimage

from car_tf.data import load as data_load


def originals(labels: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Returns of each class the one that it is a twin of, or itself."""
    classes = list(labels["classes"])
    for flip in labels["flips"]:
        classes[flip["flipped"]] = labels["classes"][flip["original"]]
    return classes


def label_ids(labels: Dict[str, Any]) -> Optional[np.ndarray]:
    """Returns the label id of each class, `[K]` uint8; None for other data sets."""
    return data_load.label_ids([entry["name"] for entry in originals(labels)])


def mask_ids(labels: Dict[str, Any]) -> np.ndarray:
    """Returns what masks for training hold of each class, `[256]` uint8, 255 for none.

    Those are Cityscapes' label ids, or the classes' numbers; a twin has its original's.
    """
    table = np.full(256, 255, np.uint8)
    found = label_ids(labels)
    numbers = [entry["id"] for entry in originals(labels)] if found is None else found
    table[: len(numbers)] = numbers
    return table


def to_cityscapes(
    ids: np.ndarray, labels: Dict[str, Any], size: Tuple[int, int]
) -> str:
    """Returns a map `[h, w]` as JSON with polygons per object, as in gtFine files.

    By the model's `labels.json`; a twin is written as its original, which has its own
    name as an attribute. Outlines are scaled to the image's (height, width).
    """
    height, width = size
    scale = np.array([width / ids.shape[1], height / ids.shape[0]])
    found = []
    for entry, original in zip(labels["classes"], originals(labels)):
        named = {"label": original["name"]}
        if entry is not original:
            named["attributes"] = {"class": entry["name"]}
        for area, corners in outlines(ids == entry["id"]):
            # Centres of pixels lie at whole numbers, at both sizes.
            polygon = ((corners + 0.5) * scale - 0.5).round(1).tolist()
            found.append((area, {**named, "polygon": polygon}))
    # Later objects cover earlier ones.
    found.sort(key=lambda item: -item[0])
    objects = [item for _, item in found]
    return json.dumps({"imgHeight": height, "imgWidth": width, "objects": objects})


def to_coco(ids: np.ndarray, name: str, classes: Sequence[Dict[str, Any]]) -> str:
    """Returns a map as COCO annotations with uncompressed run lengths."""
    height, width = ids.shape
    annotations = []
    for entry in classes:
        mask = ids == entry["id"]
        if not mask.any():
            continue
        rows, columns = np.nonzero(mask)
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": entry["id"] + 1,
                "segmentation": {"size": [height, width], "counts": run_lengths(mask)},
                "area": int(mask.sum()),
                "bbox": box,
                "iscrowd": 1,
            }
        )
    image = {"id": 1, "file_name": name, "height": height, "width": width}
    categories = [{"id": c["id"] + 1, "name": c["name"]} for c in classes]
    parts = {"images": [image], "annotations": annotations}
    return json.dumps({**parts, "categories": categories})


def run_lengths(mask: np.ndarray) -> List[int]:
    """Returns COCO's run lengths: down the columns, zeros first."""
    flat = mask.T.reshape(-1).astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return [0, *counts] if flat.size and flat[0] else counts


def outlines(mask: np.ndarray) -> List[Tuple[int, np.ndarray]]:
    """Returns (pixels within, `[n, 2]` corners (x, y)) of each part of a mask `[H, W]`.

    Parts are connected, their holes filled. A pixel lies within an outline if its
    centre, at whole numbers, does.
    """
    parts, _ = scipy.ndimage.label(mask)
    found = []
    for number, (rows, columns) in enumerate(scipy.ndimage.find_objects(parts), 1):
        filled = scipy.ndimage.binary_fill_holes(parts[rows, columns] == number)
        (line,) = edges(filled)
        # Without the corners at which it goes straight on.
        ring = line[:-1]
        before, after = ring - np.roll(ring, 1, 0), np.roll(ring, -1, 0) - ring
        ring = ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
        found.append((int(filled.sum()), ring + [columns.start, rows.start]))
    return found


def edges(mask: np.ndarray) -> List[np.ndarray]:
    """Returns the closed lines around a mask `[H, W]` and its holes, as `outlines`."""
    ((rows, columns),) = scipy.ndimage.find_objects(mask.astype(np.uint8))
    padded = np.pad(mask[rows, columns], 1).astype(float)
    lines = contourpy.contour_generator(z=padded).lines(0.5)
    return [line + [columns.start - 1, rows.start - 1] for line in lines]
