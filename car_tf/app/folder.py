"""Images that wait for a rater, and the folder data set that gets the masks."""

import contextlib
import glob
import pathlib
import re
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from PIL import Image

from car_tf.app import inputs, views
from car_tf.data import io, scans
from car_tf.data.folders import description, files
from car_tf.predict import label_formats
from export.clients import common

IMAGES, MASKS = "images", "masks"
_RATER = re.compile(r"\w[\w.-]{0,63}")
_RATER_WORDS = (
    "The rater's name is that of a folder: letters, digits, dot, dash and underscore, at "
    "most 64."
)


class Folder:
    """A queue of images on this machine, and `OUTPUT/masks/<rater>/<stem>.png`.

    Args:
      images: files, or folders that are searched to the bottom; of a folder with
        `images` in it, that alone.
      output: gets masks, in `images` what was labelled, and a `dataset.json`; or empty.
      rater: the name that the page begins with.

    Attributes:
      items: stem -> file.
      ids: `[256]` uint8, what a mask holds of each class: the values that the folder's
        `dataset.json` names, or else `label_formats.mask_ids`.

    Raises:
      DataError: no image, two of one stem, a `dataset.json` of other classes, or a
        rater's name that is none of a folder.
    """

    def __init__(
        self,
        images: Sequence[str],
        output: str,
        labels: Dict[str, Any],
        rater: str = "",
    ):
        if rater and not _RATER.fullmatch(rater):
            raise io.DataError(f"--rater {rater}: {_RATER_WORDS}")
        self.output = pathlib.Path(output).expanduser() if output else None
        self.rater = rater
        self._labels = labels
        self.ids = label_formats.mask_ids(labels)
        self._take_values()
        self.items: Dict[str, pathlib.Path] = {}
        for path in map(pathlib.Path, images):
            found = list(self._find(path.expanduser()))
            if not found:
                raise io.DataError(f"{path}: wanted images, found none")
            for item in found:
                stem = inputs.stem_of(item.name)
                other = self.items.setdefault(stem, item)
                if other != item:
                    raise io.DataError(
                        f"{item}: wanted one image named {stem}, found {other} too: "
                        "their masks would have one name"
                    )

    def _take_values(self) -> None:
        """Takes the mask values of the output's `dataset.json`, if there is one."""
        if self.output is None or description.content_of(self.output) is None:
            return
        told = description.read(self.output)
        known = {entry.name: entry.values for entry in told.classes}
        for entry, original in zip(
            self._labels["classes"], label_formats.originals(self._labels)
        ):
            values = known.get(original["name"])
            if not values or not isinstance(values[0], int):
                raise io.DataError(
                    f"{self.output / description.FILE}: wanted a mask value of the "
                    f"model's class {original['name']}, got {values or 'no such class'}"
                )
            self.ids[entry["id"]] = values[0]
        hidden = [value for value in told.ignore if isinstance(value, int)]
        self.ids[255] = hidden[0] if hidden else 255

    def _tell(self, rater: str) -> None:
        """Names a rater in the output's `dataset.json`, which is made if missing."""
        content = description.content_of(self.output) or self._description()
        if rater not in [one.get("name") for one in content["raters"]]:
            masks = f"{MASKS}/{rater}/{{image}}"
            content["raters"].append({"name": rater, "masks": masks})
            description.write(self.output, content)

    def _description(self) -> Dict[str, Any]:
        originals = label_formats.originals(self._labels)
        return {
            "title": self._labels["title"],
            "images": {
                "files": f"{IMAGES}/{{image}}",
                "kind": "grey" if self._labels["image_channels"] == 1 else "rgb",
            },
            "raters": [],
            "classes": [
                dict(
                    name=entry["name"],
                    color=list(entry["color"]),
                    values=[int(self.ids[entry["id"]])],
                )
                for entry, original in zip(self._labels["classes"], originals)
                if entry is original  # No twin.
            ],
            "ignore": [255],
            "size": self._labels["trained_size"],
        }

    def _find(self, path: pathlib.Path):
        if not path.is_dir():
            if path.is_file():
                yield path
            return
        path = path / IMAGES if (path / IMAGES).is_dir() else path
        masks = None if self.output is None else (self.output / MASKS).resolve()
        for item in io.walk(path):
            is_picture = item.suffix.lower() in files.ENDINGS
            if any(part in item.name for part in common.NO_PHOTOGRAPHS):
                continue
            if masks is not None and masks in item.resolve().parents:
                continue
            if is_picture or scans.is_scan(item):
                yield item

    def listing(self, rater: str) -> List[Dict[str, Any]]:
        """Returns of each image its stem, its name, and whether the rater saved it."""
        saved: set = set()
        if self.output is not None and _RATER.fullmatch(rater):
            with contextlib.suppress(FileNotFoundError):
                masks = [path.stem for path in (self.output / MASKS / rater).iterdir()]
                # A volume counts with its first slice.
                saved = {*masks, *(re.sub(r"_z\d+$", "", stem) for stem in masks)}
        return [
            {"name": path.name, "stem": stem, "saved": stem in saved}
            for stem, path in self.items.items()
        ]

    def _mask(self, rater: str, stem: str) -> pathlib.Path:
        if self.output is None:
            raise inputs.PageError(
                "There is no folder to save to: start with --output."
            )
        if not _RATER.fullmatch(rater):
            raise inputs.PageError(_RATER_WORDS)
        return self.output / MASKS / rater / f"{stem}.png"

    def save(
        self, rater: str, stem: str, ids: np.ndarray, image: inputs.ImageFile
    ) -> pathlib.Path:
        """Writes a mask of `[H, W]` classes, in an earlier one's place; returns its file.

        `image` gives ending and content, for where `images` has none of its stem.
        """
        mask = self._mask(rater, stem)
        images = self.output / IMAGES
        try:
            if not any(images.glob(f"{glob.escape(stem)}.*")):
                ending, content = image()
                with io.atomic_file(images / f"{stem}{ending}") as file:
                    file.write(content)
            with io.atomic_file(mask) as file:
                file.write(views.encoded(Image.fromarray(self.ids[ids]), "PNG"))
            self._tell(rater)
        except OSError as error:
            raise inputs.PageError(f"{mask}: not saved ({error.strerror}).") from error
        return mask

    def version(self, rater: str, stem: str) -> str:
        """Returns what tells a mask that was saved from others; empty for none."""
        path = self._mask(rater, stem)
        return io.file_hash(path) if path.is_file() else ""

    def load(self, rater: str, stem: str) -> Optional[np.ndarray]:
        """Returns the classes `[H, W]` of a mask that was saved; None for none."""
        path = self._mask(rater, stem)
        if not path.is_file():
            return None
        # Of classes that share an id (twins), the first: backwards, it is set last.
        classes = np.full(256, 255, np.uint8)
        for number in range(len(self.ids) - 1, -1, -1):
            classes[self.ids[number]] = number
        classes[self.ids[255]] = 255
        return classes[io.read_ids(path)]
