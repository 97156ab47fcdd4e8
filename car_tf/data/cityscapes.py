"""Data sets in Cityscapes' layout, and the facts of Cityscapes."""

import dataclasses
import pathlib
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from car_tf.data import cache, class_flips, examples, findings, info, io, pictures

HELD_OUT_CITIES = ("darmstadt", "monchengladbach", "ulm")
SPLITS = ("train", "selection", "val")

# Label ids -1..33 to train ids; -1 (licence plate) is stored as 255 in PNG files.
_TRAIN_LABEL_IDS = (
    *(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
)
NUM_TRAIN_IDS = len(_TRAIN_LABEL_IDS)

# Of label ids, that are no train ids; below, the labels are taken for train ids.
_MIN_HIGH_SHARE = 0.01
# Of classes in a label without such ids; below, it is taken for one of train ids.
_MIN_CLASS_SHARE = 0.65

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
    table[[*range(34), info.IGNORE_LABEL]] = info.IGNORE_LABEL
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


def complaints(
    root: pathlib.Path, split: str, names: Sequence[str], counts: np.ndarray
) -> findings.Problems:
    """Returns what is wrong with the labels of a split beside its other labels.

    Of the names of N images and `[N, 256]` pixels per id.
    """
    problems, place = findings.Problems(), root / "gtFine" / split
    is_class, end = label_id_table() != info.IGNORE_LABEL, NUM_TRAIN_IDS
    if not counts[:, is_class].any():
        words = "no pixel of any class in any label, so that nothing can be learnt or "
        words += "scored (those of Cityscapes' test split are dummies)"
        problems.error("no label", split, place, words)
        return problems
    # Street scenes have many pixels of vegetation 21, sky 23 and car 26.
    lows, highs = (counts[:, a:b].sum(1) for a, b in ((0, end), (end, 34)))
    classes = counts[:, is_class].sum(1)
    # A single one may lack them all, but is mostly of classes then.
    odd = (classes > 0) & (classes < _MIN_CLASS_SHARE * lows)
    odd &= highs < _MIN_HIGH_SHARE * lows
    found = [(name, lows[i], highs[i]) for i, name in enumerate(names) if odd[i]]
    if highs.sum() < _MIN_HIGH_SHARE * lows.sum():
        found = [(place, lows.sum(), highs.sum())]
    for place, low, high in found:
        words = f"{high} of {low + high} pixels have ids above 18: these look like "
        problems.error("train ids", split, place, words + "train ids, wanted label ids")
    return problems


def dataset_info(title: str) -> info.DatasetInfo:
    """Returns the facts of Cityscapes with its five class flips."""
    return info.DatasetInfo(
        title=title,
        class_names=tuple(name for name, _ in _CLASSES),
        class_colors=tuple(color for _, color in _CLASSES),
        flips=class_flips.CITYSCAPES_FLIPS,
        num_blackbox_classes=NUM_TRAIN_IDS,
    )


@dataclasses.dataclass(frozen=True)
class Scene:
    """An image with its label."""

    name: str
    split: str
    city: str
    image: pathlib.Path
    label: Optional[pathlib.Path]  # None where it is missing.


def find(data_dir: pathlib.Path, split: str) -> Tuple[List[Scene], findings.Problems]:
    """Lists the images of `train` or `val`, and what is wrong as far as names tell.

    Raises:
      DataError: no such folder, or no image in it.
    """
    root, labels = data_dir / "leftImg8bit" / split, data_dir / "gtFine" / split
    ending, label_ending = "_leftImg8bit.png", "_gtFine_labelIds.png"
    scenes, problems = [], findings.Problems()
    for path in sorted(root.glob("*/*.*")):
        if path.name.startswith("._"):  # What macOS leaves beside files.
            continue
        if not path.name.endswith(ending):
            words = f"not named <city>/<name>{ending}, so it is not read"
            problems.warning("other name", split, path, words)
            continue
        name, city = path.name[: -len(ending)], path.parent.name
        label = labels / city / f"{name}{label_ending}"
        if not label.is_file():
            words = f"the label of {path} is missing"
            problems.error("missing label", split, label, words)
            label = None
        scenes.append(Scene(name, split, city, path, label))
    if not scenes:
        words = f"wanted images named <city>/<name>{ending}, found none"
        raise io.DataError(f"{root}: {words}")
    known = {scene.label for scene in scenes}
    for path in sorted(labels.glob(f"*/*{label_ending}")):
        if path not in known and not path.name.startswith("._"):
            words = "the image of this label is missing"
            problems.error("missing image", split, path, words)
    return sorted(scenes, key=lambda scene: scene.name), problems


def examine(
    scene: Scene,
) -> Tuple[findings.Item, Optional[Image.Image], Optional[np.ndarray]]:
    """Reads an image and its label ids `[H, W]` uint8 whole.

    What was found out is returned first; the others are of no use if it has errors.
    """
    problems, split, label = findings.Problems(), scene.split, scene.label
    image = problems.attempt(split, scene.image, lambda: read_image(scene.image))
    size = image and (image.height, image.width)
    ids = problems.attempt(split, label, lambda: io.read_ids(label))
    counts = np.zeros(256, np.int64)
    if ids is not None:
        counts += np.bincount(ids.ravel(), minlength=256)
        if size not in (None, ids.shape):
            words = f"wanted {findings.by(size)}, as its image, got "
            words += findings.by(ids.shape)
            problems.error("size of label", split, label, words)
    table = label_id_table()
    for bad in np.flatnonzero((counts > 0) & (table < 0)):
        words = f"{counts[bad]} pixels of id {bad}, wanted label ids 0 to 33, or 255"
        problems.error("unknown id", split, label, words)
    is_empty = ids is not None and not counts[table != info.IGNORE_LABEL].any()
    if is_empty:
        words = "no pixel of any class, so that nothing can be learnt from it"
        problems.warning("empty label", split, label, words)
    item = findings.Item(
        name=scene.name,
        group=scene.city,
        split=split,
        problems=tuple(problems),
        size=size,
        counts=counts,
        num_labels=int(ids is not None),
        num_empty=int(is_empty),
    )
    return item, image, ids


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
    """Reads a split, from the cache if it was read before; labels are train ids or 255.

    Of the folder that holds `leftImg8bit` and `gtFine`, `train` or `val`, resized to
    (height, width): images antialiased, labels nearest.

    Raises:
      DataError: what `car_tf.data check` calls an error, in the same words.
    """
    root = pathlib.Path(data_dir).expanduser()
    scenes, problems = find(root, split)
    findings.stop_at(problems, on_error)
    found = [scene for scene in scenes if scene.label is not None]
    paths = [scene.image for scene in found] + [scene.label for scene in found]
    names, hashes = [s.name for s in found], cache.content_hashes(paths, cache_dir)
    stored, kept = cache.arrays(
        key=f"cityscapes|{cache.FORMAT_VERSION}|{size}|{names}|{hashes}",
        cache_dir=cache_dir,
        specs={
            "images": ((*size, 3), np.uint8),
            "labels": ((1, *size), np.uint8),
            "counts": ((256,), np.int64),
        },
        num=len(found),
        read=lambda i: _read_example(found[i], size),
        what=f"reading {split}",
        on_error="skip" if findings.skips(on_error) else "stop",
    )
    counts, own = np.asarray(stored.pop("counts")), [names[i] for i in kept]
    findings.stop_at(complaints(root, split, own, counts), on_error)
    return examples.Examples(
        names=tuple(found[i].name for i in kept),
        groups=tuple(found[i].city for i in kept),
        image_files=tuple(found[i].image for i in kept),
        skipped=tuple(sorted({s.name for s in scenes} - {names[i] for i in kept})),
        **stored,
    )


def _read_example(scene: Scene, size: Tuple[int, int]) -> Dict[str, np.ndarray]:
    """Reads an image and its label at a size, and how often each label id occurs."""
    item, image, ids = examine(scene)
    findings.stop_at(item.problems)
    mapped = label_id_table()[ids].astype(np.uint8)
    return {
        "images": io.resize_antialiased(image, size),
        "labels": io.resize_nearest(mapped, size)[None],
        "counts": item.counts,
    }


def split_training(
    training: examples.Examples, *, fraction: float, seed: int
) -> Tuple[examples.Examples, examples.Examples, str]:
    """Divides the training images into those trained on and those for selection.

    The three cities that the literature holds out are used where they exist; else a
    seeded draw. How it was done is returned last, in words.
    """
    held = np.isin(training.groups, HELD_OUT_CITIES)
    if held.any() and not held.all():
        kept, chosen = np.flatnonzero(~held), np.flatnonzero(held)
        words = f"cities {', '.join(HELD_OUT_CITIES)} held out ({len(chosen)} images)"
    else:
        kept, chosen, words = examples.hold_out(training.groups, fraction, seed=seed)
    return training.take(kept), training.take(chosen), words
