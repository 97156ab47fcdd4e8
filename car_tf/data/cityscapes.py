"""Data sets in Cityscapes' layout, and the facts of Cityscapes."""

from __future__ import annotations

import pathlib
from typing import Dict, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from car_tf.data import cache, class_flips, examples, info, io, pictures

HELD_OUT_CITIES = ("darmstadt", "monchengladbach", "ulm")
SPLITS = ("train", "selection", "val")

# Label ids -1..33 to train ids; -1 (licence plate) is stored as 255 in PNG files.
_TRAIN_LABEL_IDS = (
    *(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)
NUM_TRAIN_IDS = len(_TRAIN_LABEL_IDS)

# Of label ids, that are no train ids; below, the labels are taken for train ids.
_MIN_HIGH_SHARE = 0.01

_CLASSES = (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
    # Twins: light where the original is dark and the reverse, to be told apart.
    ("sidewalk2", (130, 90, 200)),
    ("person2", (255, 150, 170)),
    ("car2", (90, 170, 255)),
    ("vegetation2", (200, 225, 80)),
    ("road2", (80, 200, 190)),
)


def label_id_table() -> np.ndarray:
    """Returns `[256]` int16: label id -> train id, 255 ignored, -1 not a label id."""
    table = np.full(256, -1, np.int16)
    table[:34] = info.IGNORE_LABEL
    table[info.IGNORE_LABEL] = info.IGNORE_LABEL
    table[list(_TRAIN_LABEL_IDS)] = np.arange(NUM_TRAIN_IDS)
    return table


def train_id_table() -> np.ndarray:
    """Returns `[256]` int16: train ids and 255 to themselves, -1 for all else."""
    table = np.full(256, -1, np.int16)
    table[info.IGNORE_LABEL] = info.IGNORE_LABEL
    table[:NUM_TRAIN_IDS] = np.arange(NUM_TRAIN_IDS)
    return table


def label_ids(names: Sequence[str]) -> Optional[np.ndarray]:
    """Returns the label id of each class, `[K]` uint8; None unless all are Cityscapes'."""
    known = {name: i for (name, _), i in zip(_CLASSES, _TRAIN_LABEL_IDS)}
    if not set(names) <= set(known):
        return None
    return np.array([known[name] for name in names], np.uint8)


def complaint(counts: np.ndarray) -> str:
    """Returns what is wrong with all labels of a split, empty for nothing.

    Args:
      counts: `[256]` pixels of each id, as stored.
    """
    if not counts[label_id_table() != info.IGNORE_LABEL].any():
        return (
            "no pixel of any class in any label, so that nothing can be learnt or "
            "scored (those of Cityscapes' test split are dummies)"
        )
    # Street scenes have many pixels of vegetation 21, sky 23 and car 26.
    low, high = counts[:NUM_TRAIN_IDS].sum(), counts[NUM_TRAIN_IDS:34].sum()
    if high < _MIN_HIGH_SHARE * low:
        return (
            f"{high} of {low + high} pixels have ids above 18: these look like train "
            "ids, wanted label ids"
        )
    return ""


def dataset_info(title: str) -> info.DatasetInfo:
    """Returns the facts of Cityscapes with its five class flips."""
    return info.DatasetInfo(
        title=title,
        class_names=tuple(name for name, _ in _CLASSES),
        class_colors=tuple(color for _, color in _CLASSES),
        flips=class_flips.CITYSCAPES_FLIPS,
        num_blackbox_classes=NUM_TRAIN_IDS,
    )


def find(data_dir: pathlib.Path, split: str) -> Dict[str, Tuple[pathlib.Path, str]]:
    """Lists a split's images.

    Args:
      data_dir: the folder that holds `leftImg8bit` and `gtFine`.
      split: `train` or `val`.

    Returns:
      name -> (image file, city), sorted by name.

    Raises:
      DataError: no such folder, or no image in it.
    """
    root = data_dir / "leftImg8bit" / split
    ending = "_leftImg8bit.png"
    found = {
        path.name[: -len(ending)]: (path, path.parent.name)
        for path in sorted(root.glob(f"*/*{ending}"))
        if not path.name.startswith("._")  # What macOS leaves beside files.
    }
    if not found:
        raise io.DataError(
            f"{root}: wanted images named <city>/<name>{ending}, found none"
        )
    return found


def label_file(data_dir: pathlib.Path, split: str, city: str, name: str):
    """Returns where the label ids of an image lie."""
    return data_dir / "gtFine" / split / city / f"{name}_gtFine_labelIds.png"


def read_image(path: pathlib.Path) -> Image.Image:
    """Reads an image that has a label, which may not be turned as it is (EXIF)."""
    with io.opened(path) as image:
        pictures.map_size(image)
    return io.read_png(path, mode="RGB")


def read(
    data_dir: str,
    split: str,
    *,
    size: Tuple[int, int],
    cache_dir: pathlib.Path,
    on_error: str = "stop",
) -> examples.Examples:
    """Reads a split, from the cache if it was read before.

    Args:
      data_dir: the folder that holds `leftImg8bit` and `gtFine`.
      split: `train` or `val`, as on disk.
      size: (height, width) to resize to; images antialiased, labels nearest.
      cache_dir: the cache folder.
      on_error: `stop`, or `skip` to leave unreadable examples out.

    Returns:
      The examples; labels are train ids 0 to 18, or 255.

    Raises:
      DataError: empty split, missing or unreadable file, label of another size than
        its image, unknown label id; naming the file. Labels without a class, or in
        train ids, naming the folder.
    """
    root = pathlib.Path(data_dir).expanduser()
    found = find(root, split)
    names = []
    for name, (image_file, city) in found.items():
        path = label_file(root, split, city, name)
        if path.is_file():
            names.append(name)
        elif on_error == "stop":
            raise io.DataError(f"{path}: wanted the label of {image_file}, found none")
    image_files = [found[name][0] for name in names]
    label_files = [label_file(root, split, found[name][1], name) for name in names]
    hashes = cache.content_hashes([*image_files, *label_files], cache_dir)
    stored, kept = cache.arrays(
        key=f"cityscapes|{cache.FORMAT_VERSION}|{size}|{names}|{hashes}",
        cache_dir=cache_dir,
        specs={
            "images": ((*size, 3), np.uint8),
            "labels": ((1, *size), np.uint8),
            "counts": ((256,), np.int64),
        },
        num=len(names),
        read=lambda i: _read_example(image_files[i], label_files[i], size),
        what=f"reading {split}",
        on_error=on_error,
    )
    words = complaint(stored.pop("counts").sum(0))
    if words:
        raise io.DataError(f"{root / 'gtFine' / split}: {words}")
    return examples.Examples(
        names=tuple(names[i] for i in kept),
        groups=tuple(found[names[i]][1] for i in kept),
        image_files=tuple(image_files[i] for i in kept),
        skipped=tuple(sorted(set(found) - {names[i] for i in kept})),
        **stored,
    )


def _read_example(
    image_file: pathlib.Path, label: pathlib.Path, size: Tuple[int, int]
) -> Dict[str, np.ndarray]:
    """Reads an image and its label at a size, and how often each label id occurs."""
    image, ids = read_image(image_file), io.read_ids(label)
    if ids.shape != (image.height, image.width):
        raise io.DataError(
            f"{label}: wanted {image.height} x {image.width}, the size of its image, "
            f"got {ids.shape[0]} x {ids.shape[1]}"
        )
    wanted = "label ids 0 to 33, or 255"
    mapped = io.map_ids(ids, label_id_table(), path=label, wanted=wanted)
    return {
        "images": io.resize_antialiased(image, size),
        "labels": io.resize_nearest(mapped, size)[None],
        "counts": np.bincount(ids.ravel(), minlength=256),
    }


def split_training(
    training: examples.Examples, *, fraction: float, seed: int
) -> Tuple[examples.Examples, examples.Examples, str]:
    """Divides the training images into those trained on and those for selection.

    The three cities that the literature holds out are used where they exist; else a
    seeded draw.

    Returns:
      Training examples, selection examples, and how it was done in words.
    """
    held = np.isin(training.groups, HELD_OUT_CITIES)
    if held.any() and not held.all():
        kept, chosen = np.flatnonzero(~held), np.flatnonzero(held)
        words = f"cities {', '.join(HELD_OUT_CITIES)} held out ({len(chosen)} images)"
    else:
        kept, chosen, words = examples.hold_out(training.groups, fraction, seed=seed)
    return training.take(kept), training.take(chosen), words
