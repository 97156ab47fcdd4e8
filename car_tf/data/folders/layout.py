"""Where images and masks of a folder lie, told from their names."""

import collections
import os
import pathlib
import re
from typing import Dict, List, Optional, Sequence, Tuple

from car_tf.data import io
from car_tf.data.folders import description, files

# How people call the folders of images and of masks.
IMAGES = ("images", "imgs", "image", "img", "img_dir")
_MASKS = (
    *("masks", "labels", "mask", "label", "annotations", "gt", "segmentations"),
    *("segmentation", "ann_dir"),
)


def find(
    root: pathlib.Path, paths: Sequence[pathlib.PurePath]
) -> Tuple[str, List[Tuple[str, str]], List[pathlib.PurePath]]:
    """Tells by which names images and masks go, of the (relative) files of a folder.

    Returns the form of image files, (name, form of masks) of the raters, and the files
    in folders of masks that are of no image.

    Raises:
      DataError: no images, images in several folders, or no masks whose names begin as
        theirs do.
    """
    pictured = [p for p in paths if p.suffix.lower() in files.ENDINGS]
    in_images = [p for p in pictured if _part(p, IMAGES) is not None]
    in_masks = [p for p in pictured if _part(p, _MASKS) is not None]
    for what, names, found in (
        ("images", IMAGES, in_images),
        ("masks", _MASKS, in_masks),
    ):
        if not found:
            others = {p.suffix for p in paths if _part(p, names) is not None}
            words = f"{', '.join(sorted(others)[:4])}: convert them to PNG"
            none = f"none: rename it, or write {description.FILE} by hand"
            raise io.DataError(
                f"{root}: wanted a folder of {what} ({', '.join(names[:4])}) with files "
                f"in {', '.join(files.ENDINGS)}, found {words if others else none} "
                "(docs/own_data.md)"
            )
    places, stems = _names([p for p in in_images if p not in in_masks], IMAGES)
    if len(places) != 1:  # Their names would be mixed up.
        shown = " and ".join(path.as_posix() for path in [*places.values()][:2])
        raise io.DataError(
            f"{root}: wanted all images below one folder, found {shown or 'none'}: move "
            "them to images/FOLDER/, and masks to masks/RATER/FOLDER/"
        )
    ending = ""
    added, others = _added(in_masks, stems)
    if not added:  # Images may have an ending of their own, such as `_image`.
        ending = _common_ending(stems)
        added, others = _added(in_masks, {s[: len(s) - len(ending)] for s in stems})
    if not added:
        example, image = in_masks[0].as_posix(), min(stems)
        raise io.DataError(
            f"{root}: wanted masks whose names begin as their images' do, found none: "
            f"such as {example} for one of {', '.join(sorted(stems)[:2])}: rename them, "
            f"such as masks/RATER/{image}.png"
        )
    return f"{next(iter(places))}/{{image}}{ending}", _raters(added), others


def _added(
    masks: Sequence[pathlib.PurePath], stems: set
) -> Tuple[Dict[str, set], List[pathlib.PurePath]]:
    """Returns what is added to images' names by the folder of masks, and other files."""
    added: Dict[str, set] = collections.defaultdict(set)
    below = stems | {stem.rpartition("/")[0] for stem in stems}
    others = []
    for path in masks:
        place, name = _place(path, _MASKS, below)
        stem = _longest_start(name, stems)
        if stem is None:
            others.append(path)
        else:
            added[place].add(name[len(stem) :])
    return added, others


def _common_ending(stems: set) -> str:
    """Returns the words that all of several names end with, such as `_image`."""
    common = os.path.commonprefix([stem[::-1] for stem in stems])[::-1]
    found = re.search(r"[^0-9A-Za-z].*", common)
    return found[0] if found and len(stems) > 1 else ""


def _raters(added: Dict[str, set]) -> List[Tuple[str, str]]:
    """Returns (name, form of masks) of the raters, by folders and endings of masks."""
    raters = []
    for place in sorted(added, key=_in_order):
        endings = added[place]
        for ending in sorted(endings, key=_in_order):
            folder = pathlib.PurePath(place.replace("{split}", ""))
            name = ending.strip("_-. /") if len(endings) > 1 else folder.name
            if name.lower() in _MASKS or not name:
                above = folder.parent.name if len(added) > 1 else ""
                name = ending.strip("_-. /") or above or "rater"
            raters.append((name, f"{place}/{{image}}{ending}"))
    doubled = len({name for name, _ in raters}) < len(raters)
    return [(f"{n}_{i}" if doubled else n, f) for i, (n, f) in enumerate(raters, 1)]


def _in_order(name: str) -> List:
    """Returns what sorts names with numbers as people do: r2 before r10."""
    return [int(p) if p.isdecimal() else p for p in re.split(r"([0-9]+)", name)]


def _part(path: pathlib.PurePath, names: Sequence[str]) -> Optional[int]:
    """Returns which part of a path is one of some folders; None for none."""
    parts = [part.lower() for part in path.parts[:-1]]
    return next((i for i, part in enumerate(parts) if part in names), None)


def _forms(path: pathlib.PurePath) -> List[str]:
    """Returns the parts of a path without its ending, a split's name as `{split}`."""
    parts = path.with_suffix("").parts
    return ["{split}" if p.lower() in files.SPLIT_NAMES else p for p in parts]


def _place(path: pathlib.PurePath, names: Sequence[str], below: set) -> Tuple[str, str]:
    """Returns the folder of a file, as a form, and its name below that.

    A folder is of the name where it is one of `below`: folders of images, or images.
    """
    parts = _forms(path)
    first = _part(path, names) + 1
    while first < len(parts) - 1:
        if "/".join(parts[first:-1]) in below and parts[first] != "{split}":
            break
        first += 1
    return "/".join(parts[:first]), "/".join(parts[first:])


def _names(
    paths: Sequence[pathlib.PurePath], names: Sequence[str]
) -> Tuple[Dict[str, pathlib.PurePath], set]:
    """Returns a file for each folder of images, as a form, and the names of images."""
    places: Dict[str, pathlib.PurePath] = {}
    found = set()
    for path in paths:
        parts, forms = list(path.with_suffix("").parts), _forms(path)
        first = _part(path, names) + 1
        if forms[first] == "{split}" and first < len(parts) - 1:
            first += 1
        places.setdefault("/".join(forms[:first]), path)
        found.add("/".join(parts[first:]))
    return places, found


def _longest_start(name: str, stems: set) -> Optional[str]:
    """Returns the longest name of an image that a mask's begins with, as a word."""
    for length in range(len(name), 0, -1):
        is_end = length == len(name) or not name[length].isalnum()
        if is_end and name[:length] in stems:
            return name[:length]
    return None
