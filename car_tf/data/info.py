"""Facts of a data set that the rest of the system asks for instead of its name."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Tuple

from car_tf.data import class_flips

IGNORE_LABEL = 255
OLD_FIELDS = {"num_annotators": "num_raters"}


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What networks, metrics and figures need to know of a data set.

    Attributes:
      title: what the data are, as a phrase for people.
      class_names: of all K classes, flipped ones included.
      class_colors: K (red, green, blue) triples.
      flips: the class flips, empty where the raters disagree by themselves.
      image_channels: 1 or 3.
      num_raters: N, labels per image.
      num_blackbox_classes: classes of the black box after mapping; 0 without one.
      blackbox_output: what it gives of them: `labels` or `probabilities`.
      blackbox_encoding: which ids its class ids on disk are; empty where it is not read
        from there.
      random_crop: whether training crops lie anywhere or in the centre.
    """

    title: str
    class_names: Tuple[str, ...]
    class_colors: Tuple[Tuple[int, int, int], ...]
    flips: Tuple[class_flips.ClassFlip, ...] = ()
    image_channels: int = 3
    num_raters: int = 1
    num_blackbox_classes: int = 0
    blackbox_output: str = "labels"
    blackbox_encoding: str = ""
    random_crop: bool = True

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)


def from_record(record: Dict[str, Any]) -> DatasetInfo:
    """Rebuilds what `dataclasses.asdict` and JSON made of a `DatasetInfo`."""
    colors = tuple(tuple(color) for color in record["class_colors"])
    flips = tuple(class_flips.ClassFlip(**flip) for flip in record["flips"])
    names = tuple(record["class_names"])
    # Runs of before say annotators.
    record = {OLD_FIELDS.get(key, key): value for key, value in record.items()}
    return DatasetInfo(
        **{**record, "class_names": names, "class_colors": colors, "flips": flips}
    )
