"""What every black box has to offer, and how it is to be used."""

import dataclasses
import hashlib
import pathlib
from typing import Any, Optional, Protocol, Tuple

import tensorflow as tf

from car_tf.data import io

LABELS, LOGITS, PROBABILITIES = "labels", "logits", "probabilities"
SIGMOID = "sigmoid"
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class Options:
    """How a black box is used: what its file does not say."""

    num_classes: int  # classes of the data set
    # `labels`, `probabilities`, or `auto`: probabilities where it has scores; `logits`
    # or `sigmoid`: probabilities, from scores that are taken for those.
    output: str = LABELS
    # The data set's class of each of the black box's own classes, 255 for one that the
    # data set lacks; empty where both have the same classes.
    class_map: Tuple[int, ...] = ()
    # (height, width) of the images it is given; None for its own choice.
    input_size: Optional[Tuple[int, int]] = None
    channels: str = "rgb"  # `rgb` or `bgr`
    # `0..255`, `0..1`, `-1..1`, `imagenet` (0..1, less ImageNet's mean, divided by its
    # standard deviation) or `caffe` (0..255, less the mean).
    pixel_scale: str = "0..255"
    signature: str = ""  # of a SavedModel; empty to find it
    input_name: str = ""  # of the image; empty to find it
    output_name: str = ""  # of the labels, probabilities or logits; empty to find it

    def __post_init__(self):
        wrong = [c for c in self.class_map if c >= self.num_classes and c != 255]
        if wrong:
            raise io.DataError(
                f"blackbox.class_map: wanted classes below {self.num_classes}, or 255 "
                f"for none, got {wrong[0]}"
            )

    @property
    def num_own_classes(self) -> int:
        """Classes of the black box itself."""
        return len(self.class_map) or self.num_classes

    @property
    def prefers_scores(self) -> bool:
        """Whether scores are to be used where the black box has both."""
        return self.output != LABELS

    @property
    def tells_kind(self) -> bool:
        """Whether a user says what scores are taken for."""
        return self.output in (LOGITS, SIGMOID)

    def kind(self, found: str) -> str:
        """Returns what an output is taken for: what it looks like, unless it is told."""
        return self.output if found != LABELS and self.tells_kind else found

    def gives_probabilities(self, kind: str) -> bool:
        """Tells whether a black box's output of some `kind` becomes probabilities."""
        return self.prefers_scores and not (kind == LABELS and self.output == AUTO)


class Backend(Protocol):
    """An opened segmenter, to be called on images as it wants them.

    Attributes:
      description: how its inputs and outputs were understood, for people.
      kind: `labels`, `logits`, `probabilities` or `sigmoid` (scores from 0 to 1 of any
        sum); empty where each output tells.
      input_dtype: of the images.
      input_size: (height, width) to give it images at; None for their own.
      single: whether it takes one image at a time.
      embeddable: whether it is a `tf.Module` that may be called in a graph.
      may_be_certainty: whether two scores are made of one that may be that of the
        likelier class rather than of class 1.
    """

    description: str
    kind: str
    input_dtype: tf.DType
    input_size: Optional[Tuple[int, int]]
    single: bool
    embeddable: bool
    may_be_certainty: bool

    def takes(self, size: Tuple[int, int]) -> bool:
        """Tells whether images may have a (height, width)."""

    def __call__(self, images: tf.Tensor) -> Any:
        """Segments images `[B, h, w, 3]` of `input_dtype`; B is 1 where `single`.

        Returns `[B, h', w']` integer class ids or `[B, h', w', K]` scores; a map covers
        its whole image, at any size.
        """


def folder_hash(path: str) -> str:
    """Returns a SHA-256 over the names and contents of all files below a folder."""
    root = pathlib.Path(path)
    files = [(item.relative_to(root).as_posix(), item) for item in io.walk(root)]
    lines = [f"{name} {io.file_hash(item)}" for name, item in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def fits(size: Tuple[int, int], fixed: Tuple[Optional[int], Optional[int]]) -> bool:
    """Tells whether a (height, width) agrees with one that may be open (None)."""
    return all(mine in (None, asked) for mine, asked in zip(fixed, size))


def settle_input_size(
    path: str, own: Tuple[Optional[int], ...], wanted: Optional[Tuple[int, int]]
) -> Optional[Tuple[int, int]]:
    """Returns the size of the images that a model is given.

    `own` is what the model fixes, None for what it leaves open, `wanted` is
    `Options.input_size`: a DataError where the model does not take it.
    """
    if wanted is not None and not fits(wanted, own):
        raise io.DataError(
            f"{path}: takes images of {own[0]} x {own[1]} pixels, but "
            f"blackbox.input_size is {wanted[0]} x {wanted[1]}"
        )
    return own if wanted is None and None not in own else wanted


def wrong_number_of_classes(path: str, options: Options, found: Any) -> io.DataError:
    """Returns the error for a segmenter with other classes than expected."""
    return io.DataError(
        f"{path}: wanted {options.num_own_classes} classes, got {found}; "
        "blackbox.class_map tells which class of the data set each class of the black "
        "box stands for (one entry per class of the black box, 255 for none); label ids "
        "of Cityscapes are blackbox.encoding=label_ids"
    )


def first_line(error: BaseException) -> str:
    """Returns an error's type and the first line of its message that says what."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    # What TensorFlow says of a graph starts with where it happened.
    wheres = ("Graph execution error", "Detected at node", "<stack", "  ")
    lines = [line for line in lines if not line.startswith(wheres)] or lines
    return f"{type(error).__name__}: {lines[0][:300]}".rstrip(": ")
