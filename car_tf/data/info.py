"""Facts of a data set that the rest of the system asks for instead of its name."""

import dataclasses
from typing import Any, Dict, Tuple

import numpy as np

from car_tf.data import class_flips

IGNORE_LABEL = 255
OLD_FIELDS = {"num_annotators": "num_raters"}


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What networks, metrics and figures need to know of a data set."""

    title: str  # what the data are, as a phrase for people
    class_names: Tuple[str, ...]  # of all K classes, flipped ones included
    class_colors: Tuple[Tuple[int, int, int], ...]  # K (red, green, blue) triples
    # The class flips, empty where the raters disagree by themselves.
    flips: Tuple[class_flips.ClassFlip, ...] = ()
    image_channels: int = 3  # 1 or 3
    num_raters: int = 1  # A, the largest number of labels per image
    rater_names: Tuple[str, ...] = ()  # of the A raters; empty where they have none
    rater_word: str = "rater"  # what one who labels is called
    object_word: str = "object"  # what is labelled, such as lesion
    # Classes of the black box after mapping; 0 without one.
    num_blackbox_classes: int = 0
    # What it gives of them: `labels` or `probabilities`.
    blackbox_output: str = "labels"
    # Which ids its class ids on disk are; empty where it is not read from there.
    blackbox_encoding: str = ""
    # What its scores were taken for: `probabilities`, `logits` or `sigmoid`; empty of
    # labels, and where that was not recorded.
    blackbox_scores: str = ""
    random_crop: bool = True  # whether training crops lie anywhere or in the centre
    resizes: bool = True  # whether images are brought to the working size by resizing
    # Of images of 16 bits, the values that become 0 and 255.
    image_range: Tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    def flip_table(self) -> np.ndarray:
        """Returns `[K, K]`: how likely the class of the row becomes the column's."""
        table = np.eye(self.num_classes)
        for flip in self.flips:
            table[flip.original, flip.original] = 1 - flip.probability
            table[flip.original, flip.flipped] = flip.probability
        return table


def from_record(record: Dict[str, Any]) -> DatasetInfo:
    """Rebuilds what `dataclasses.asdict` and JSON made of a `DatasetInfo`."""
    colors = tuple(tuple(color) for color in record["class_colors"])
    flips = tuple(class_flips.ClassFlip(**flip) for flip in record["flips"])
    names = tuple(record["class_names"])
    # Runs of before say annotators.
    record = {OLD_FIELDS.get(key, key): value for key, value in record.items()}
    # Runs of before hold no words: what two classes tell apart is the second.
    record.setdefault("object_word", names[1] if len(names) == 2 else "object")
    # Nothing was resized where crops were cut at the centre of the files.
    record.setdefault("resizes", record.get("random_crop", True))
    record.update(class_names=names, class_colors=colors, flips=flips)
    for name in ("rater_names", "image_range"):
        record[name] = tuple(record.get(name, ()))
    return DatasetInfo(**record)
