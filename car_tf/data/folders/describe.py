"""A draft of `dataset.json` from what lies in a folder, and questions on the rest.

What cannot be known is not guessed: it becomes a question, and a description with open
questions is not read.
"""

import collections
import dataclasses
import pathlib
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from car_tf.data import findings, io, pictures
from car_tf.data.folders import description, examine, files, layout, questions

_NUM_LOOKED_AT = 60  # images
_NUM_MASKS = 1000  # Rare classes are in few of them.
_NUM_COLORS = 256
_LARGEST = 256  # Side, in pixels, that a laptop trains at.
_THINNEST = 6  # Pixels across, that objects should keep when an image is resized.
_COLORS = (
    *((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167)),
)


@dataclasses.dataclass
class Draft:
    """A description in the making."""

    content: Dict[str, Any]  # of `dataset.json`
    # What was taken from where.
    lines: List[str] = dataclasses.field(default_factory=list)
    # What must be answered in the file.
    questions: List[str] = dataclasses.field(default_factory=list)


def describe(root: pathlib.Path) -> Draft:
    """Drafts the description of a folder.

    Raises:
      DataError: no folder of images, or no masks whose names begin as the images' do.
    """
    paths = [path.relative_to(root) for path in io.walk(root)]
    image_form, raters, others = layout.find(root, paths)
    draft = Draft(
        {
            "title": root.resolve().name,
            "object_word": "object",
            "rater_word": "rater",
            "images": {"files": image_form, "kind": "rgb", "range": None},
            "raters": [{"name": name, "masks": form} for name, form in raters],
        }
    )
    draft.lines.append(f"images: {image_form}")
    draft.lines += [f"rater {name}: {form}" for name, form in raters]
    draft.lines += [description.ONE_RATER] if len(raters) == 1 else []
    if others:
        draft.lines.append(
            f"not used: {len(others)} files whose names begin with no image's, such as "
            f"{others[0].as_posix()}"
        )
    if len(raters) > description.MAX_RATERS:
        raise io.DataError(
            f"{root}: wanted masks of at most {description.MAX_RATERS} raters, found "
            f"{len(raters)} ({raters[0][1]}, {raters[1][1]}, ...): move the others "
            "elsewhere, and join what lies in a file for each object"
        )
    found = _examples(root, draft)
    chosen = found[:: max(1, len(found) // _NUM_LOOKED_AT)][:_NUM_LOOKED_AT]
    _images(draft, chosen)
    values = _classes(draft, found)
    _sizes(draft, chosen, values)
    _groups(draft, root, paths, found)
    draft.content.update(flips=[], known_leakage=[], questions=draft.questions)
    return draft


def write(root: pathlib.Path, force: bool) -> Tuple[pathlib.Path, Draft]:
    """Writes a draft; a DataError where there is a description, unless it is forced."""
    path = root / description.FILE
    if path.exists() and not force:
        raise io.DataError(f"{path}: exists already (--force writes it anew)")
    if not root.is_dir():
        raise io.DataError(f"{root}: wanted a folder, found none")
    draft = describe(root)
    description.write(root, draft.content)
    return path, draft


def _examples(root: pathlib.Path, draft: Draft) -> List[files.Example]:
    """Finds the files by the forms of the draft."""
    content = draft.content
    told = description.Description.model_construct(
        images=description.Images(files=content["images"]["files"]),
        raters=tuple(description.Rater(**rater) for rater in content["raters"]),
        groups=description.Groups(),
    )
    found, problems = files.find(root, told)
    words = {"missing label": "images without a mask of any rater"}
    words["missing image"] = "masks without an image"
    for kind, num in collections.Counter(p.kind for p in problems).items():
        draft.lines.append(f"{num} {words.get(kind, kind)}, which `data check` names")
    labelled = [example for example in found if any(example.masks)]
    missing = sum(mask is None for example in labelled for mask in example.masks)
    if missing:
        draft.lines.append(f"{missing} masks are missing: not every rater labelled all")
    return labelled


def _images(draft: Draft, chosen: Sequence[files.Example]) -> None:
    """Tells grey from colours, and 8 bits from more."""
    low, high, is_grey, num_deep = np.inf, -np.inf, True, 0
    for example in chosen:
        with io.opened(example.image) as image:
            if image.mode in ("I", "F") or image.mode.startswith("I;16"):
                values = np.asarray(image)
                low, high = min(low, values.min()), max(high, values.max())
                num_deep += 1
                continue
            pixels = np.asarray(pictures.to_rgb(image))
        is_grey &= bool((pixels == pixels[..., :1]).all())
    if np.isfinite(low):
        draft.content["images"]["kind"] = "grey16"
        draft.questions.append(
            f"images.range: which two values become black and white? The images that "
            f"were looked at hold {low:g} to {high:g}; the bits of the camera or the "
            "window of the scanner tell, and it must be the same for all images."
            + " Some are of 8 bits: save all with one number first."
            * (num_deep < len(chosen))
        )
        return
    draft.content["images"]["kind"] = "grey" if is_grey else "rgb"
    draft.lines.append(f"images are {'grey' if is_grey else 'RGB'}, of 8 bits")


def _classes(draft: Draft, found: Sequence[files.Example]) -> Dict[int, int]:
    """Takes classes from the values of masks; returns pixels by code."""
    raters = [rater["name"] for rater in draft.content["raters"]]
    masks = [pair for e in found for pair in zip(raters, e.masks) if pair[1]]
    masks = masks[:: -(-len(masks) // _NUM_MASKS)]
    mode, counts, palette, per_mask = _count([path for _, path in masks])
    codes = sorted(counts)
    if mode == "colors":  # Black, or else the most frequent, is the background.
        first = 0 if 0 in counts else max(counts, key=counts.get)
        codes = [first, *(code for code in codes if code != first)]
    values = [examine.value_of(code, mode) for code in codes]
    draft.content.update(classes=[], ignore=[], masks_of_other_size="refuse")
    for index, (code, value) in enumerate(zip(codes, values)):
        name = "background" if index == 0 else f"class_{index}"
        name = "object" if len(values) == 2 and index else name
        color = value if mode == "colors" else palette.get(code)
        color = color or _color(index, len(values))
        entry = {"name": name, "color": list(color), "values": [value]}
        draft.content["classes"].append(entry)
    shares = [counts[code] / sum(counts.values()) for code in codes]
    shown = [f"{value} ({share:.1%})" for value, share in zip(values, shares)]
    what = "colours" if mode == "colors" else "values"
    draft.lines.append(
        f"classes from the {what} of {len(masks)} masks: {', '.join(shown[:12])}"
        + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
    )
    draft.lines.append("their names are made up: rename them, and object_word")
    by_rater = {name: set() for name in raters}
    for (name, _), own in zip(masks, per_mask):
        by_rater[name] |= own - {codes[0]}
    asked = questions.of_object(values, shares) or questions.of_raters(by_rater, mode)
    if mode == "colors":
        asked = asked or questions.of_channels(values)
    else:
        asked = asked or questions.of_values(values, per_mask, is_grey=not palette)
    draft.questions += [asked] if asked else []
    if len(values) == 2 and shares[1] > 0.5:  # Perhaps black on white.
        for entry, name in zip(draft.content["classes"], ("object", "background")):
            entry.update(name=name)
    return counts


def _count(
    masks: Sequence[pathlib.Path],
) -> Tuple[str, Dict[int, int], Dict[int, Tuple[int, ...]], List[set]]:
    """Counts pixels by code; tells whether masks hold values or colours.

    Returns `values` or `colors`, pixels by code, the palette's colour of each value,
    and the codes of each mask.
    """
    for mode in ("values", "colors"):
        counts: Dict[int, int] = collections.Counter()
        palette: Dict[int, Tuple[int, ...]] = {}
        per_mask = []
        try:
            for path in io.progress(masks, "looking at masks", "mask"):
                codes, colors = examine.read_codes(path, mode)
                # Programs that save bytes order the palette of each file anew.
                if any(palette.get(c, color) != color for c, color in colors.items()):
                    raise io.DataError(f"{path}: its palette is not that of others")
                palette.update(colors)
                found, numbers = _unique(codes, mode)
                counts.update(dict(zip(found.tolist(), numbers.tolist())))
                per_mask.append(set(found.tolist()))
                if len(counts) > _NUM_COLORS:
                    raise io.DataError(
                        f"{path}: more than {_NUM_COLORS} colours in masks: they were "
                        "resized or compressed; save them with one for each class"
                    )
            return mode, counts, palette, per_mask
        except io.DataError:
            if mode == "colors":
                raise
    raise AssertionError


def _unique(codes: np.ndarray, mode: str) -> Tuple[np.ndarray, np.ndarray]:
    if mode == "colors":
        return np.unique(codes, return_counts=True)
    numbers = np.bincount(codes.ravel())  # As above, in a fraction of the time.
    return np.flatnonzero(numbers), numbers[numbers > 0]


def _color(index: int, num: int) -> Tuple[int, ...]:
    if num == 2:
        return ((0, 0, 0), (255, 255, 255))[index]
    if index < len(_COLORS):
        return _COLORS[index]
    return tuple(int(c) for c in np.random.default_rng(index).integers(40, 256, 3))


def _sizes(
    draft: Draft, chosen: Sequence[files.Example], values: Dict[int, int]
) -> None:
    """Chooses the working size and how images come to it; asks on odd masks."""
    sizes, odd = collections.Counter(), []
    for example in chosen:
        with io.opened(example.image) as image:
            size = pictures.upright_size(image)
        sizes[size] += 1
        for path in filter(None, example.masks):
            with io.opened(path) as mask:
                if (mask.height, mask.width) != size:
                    odd.append((path, (mask.height, mask.width), size))
    if odd:
        path, got, wanted = odd[0]
        draft.content["masks_of_other_size"] = None
        draft.questions.append(
            f"masks_of_other_size: {len(odd)} masks have another size than their image, "
            f"such as {path.name} with {findings.by(got)} for {findings.by(wanted)}: "
            "`nearest` resizes them, `refuse` stops."
        )
    largest = tuple(max(size[axis] for size in sizes) for axis in range(2))
    how, why = "resize", "all images have it"
    if max(largest) <= _LARGEST:
        size = tuple(max(side, 16) for side in largest)
        if len(sizes) > 1 or size != largest:
            how, why = "pad", "the largest image's, to which others are padded"
    else:
        factor = _LARGEST / max(largest)
        size = tuple(max(16, round(side * factor)) for side in largest)
        left = factor * _thickness(chosen, values)
        why = f"a laptop's: objects stay {left:.0f} pixels across"
        ratios = [height / width for height, width in sizes]
        is_alike = max(ratios) < 1.02 * min(ratios)
        if left < _THINNEST or not is_alike:
            how, size = "tiles", (_LARGEST, _LARGEST)
            why = f"resized, objects would be {left:.1f} pixels across"
            why = why if is_alike else "images have different proportions"
    draft.content.update(size=list(size), fit=how)
    shown = ", ".join(findings.by(s) for s, _ in sizes.most_common(3))
    draft.lines.append(f"images have {shown}; size {findings.by(size)}, {how}: {why}")


def _thickness(chosen: Sequence[files.Example], values: Dict[int, int]) -> float:
    """Returns the median length of rows of pixels of other than the usual value."""
    usual, runs = max(values, key=values.get), []
    mode = "colors" if max(values) > 255 else "values"
    for example in chosen[:12]:
        path = next(path for path in example.masks if path is not None)
        codes, _ = examine.read_codes(path, mode)
        other = np.pad(codes != usual, [(0, 0), (1, 1)]).astype(np.int8)
        change = np.diff(other, axis=1)
        runs.append(np.argwhere(change < 0)[:, 1] - np.argwhere(change > 0)[:, 1])
    lengths = np.concatenate(runs)
    return float(np.median(lengths)) if lengths.size else float("inf")


def _groups(draft, root, paths, found) -> None:
    """Takes groups and splits from a table that names the images."""
    names = {pathlib.PurePath(example.name).name for example in found}
    for path in (path for path in paths if len(path.parts) == 1):
        if path.suffix == ".txt" and path.stem.lower() in files.SPLIT_NAMES:
            draft.questions.append(
                f"groups: is {path} a list of a split? Lists are not read: write a table "
                "of images and splits (image,split), such as splits.csv, and draft anew."
            )
        if path.suffix.lower() not in (".csv", ".tsv"):
            continue
        rows = files.read_table(root / path)
        columns = list(rows[0])
        known = {
            column: sum(
                pathlib.PurePath(files.stem_of(row[column])).name in names
                for row in rows
            )
            for column in columns
        }
        image = max(known, key=known.get)
        if known[image] < len(found):
            draft.lines.append(f"{path}: does not name all images, not used")
            if known[image]:
                draft.questions.append(
                    f"groups: {path} names {known[image]} of {len(found)} images in "
                    f"{image}: name all, below a line of column names, and draft anew, or "
                    "leave it out."
                )
            continue
        rest = [column for column in columns if column != image]
        is_split = [
            2 * sum(r[c].strip().lower() in files.SPLIT_NAMES for r in rows)
            >= len(rows)
            for c in rest
        ]
        split = next((c for c, yes in zip(rest, is_split) if yes), "")
        rest = [column for column in rest if column != split]
        group = rest[0] if len(rest) == 1 else ""
        draft.content["groups"] = dict(
            table=str(path), image=image, group=group, split=split, pattern=""
        )
        draft.lines.append(
            f"groups from {path}: images in {image}, groups in {group or 'none'}, splits "
            f"in {split or 'none (a seeded draw by group)'}"
        )
        if len(rest) > 1:
            draft.questions.append(
                f"groups.group: which column of {path} must not be split (patient, slide, "
                f"video)? One of {', '.join(rest)}, or empty for none."
            )
        return
    if any("/" in example.name for example in found):
        draft.lines.append("groups: the folders that images lie in")
    else:
        draft.lines.append(
            "groups: none known, so each image is one; where several are of a patient, "
            "slide or video, name a csv file in groups.table, or groups.pattern"
        )
