"""A TensorFlow function of which it must be found out how it segments images.

The input is told by dtype and shape. The output is told by what the function gives for
a trial image, since declared shapes are often unknown.
"""

import dataclasses
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np
import tensorflow as tf

from car_tf.blackbox import base, kinds, postprocess
from car_tf.data import io

# Where the model leaves the size open.
_TRIAL_SIZE = (128, 256)
# Share of a trial image's pixels where labels may be others than the scores say: TFLite
# may compute them with other kernels.
_MAX_DISAGREEMENT = 0.25


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function of named tensors."""

    name: str  # what people know it by
    inputs: Mapping[str, tf.TensorSpec]  # name -> specification
    run: Callable[..., Mapping[str, tf.Tensor]]  # tensors by name -> outputs by name

    def describe(self) -> str:
        """Returns name and inputs in words."""
        parts = [_describe(name, spec) for name, spec in self.inputs.items()]
        return f"{self.name}({', '.join(parts)})"


def _describe(name: str, tensor: Any) -> str:
    return f"{name} {tf.as_dtype(tensor.dtype).name} {tensor.shape}"


def _is_image(spec: tf.TensorSpec) -> bool:
    # Grey levels up to 255 do not fit into eight bits with a sign.
    if spec.dtype == tf.int8 or not (spec.dtype.is_integer or spec.dtype.is_floating):
        return False
    if spec.shape.rank is None:
        return True
    if spec.shape.rank == 3:  # One image without a batch axis, as DeepLab2 exports.
        return spec.shape[-1] == 3
    return spec.shape.rank == 4 and (spec.shape[-1] in (3, None) or spec.shape[1] == 3)


def choose_input(
    path: str, signatures: Sequence[Signature], options: base.Options
) -> Tuple[Signature, str]:
    """Chooses the function to call, of those offered, and the name of its image.

    Raises:
      DataError: none, or several of equal standing, with what there is.
    """
    offered = "; ".join(signature.describe() for signature in signatures) or "none"
    if options.signature:
        signatures = [s for s in signatures if s.name == options.signature]
        if not signatures:
            words = f"no signature {options.signature}; it offers {offered}"
            raise io.DataError(f"{path}: {words}")
    fitting = []
    for candidate in signatures:
        names = [
            name
            for name, spec in candidate.inputs.items()
            if _is_image(spec) and options.input_name in ("", name)
        ]
        # What else a function wants to be given cannot be known here.
        if len(names) == 1 and len(candidate.inputs) == 1:
            fitting.append((candidate, names[0]))
    if not fitting:
        wish = f" named {options.input_name}" if options.input_name else ""
        raise io.DataError(
            f"{path}: wanted a signature of one image{wish} [B, H, W, 3] alone; "
            f"it offers {offered}"
            + " (convert it with inputs of uint8 or float32)" * (" int8 " in offered)
        )
    is_default = fitting[0][0].name == tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
    if len(fitting) > 1 and not is_default:
        raise io.DataError(
            f"{path}: several signatures take an image; set blackbox.signature to one "
            f"of {', '.join(candidate.name for candidate, _ in fitting)}"
        )
    return fitting[0]


@dataclasses.dataclass(frozen=True)
class Output:
    """An output that holds a segmentation."""

    name: str  # of the tensor
    kind: str  # `labels`, `logits` or `probabilities`
    # Of scores; of labels, the axis of length 1 to drop, or None.
    class_axis: Optional[int]
    # Of scores `[B, h * w, K]`, by which the image is larger; 0 for others.
    stride: int = 0
    is_binary: bool = False  # Whether it holds one score, of class 1 of two,
    lowest: float = 0.0  # and the lowest it had.


def choose_output(
    path: str,
    outputs: Mapping[str, np.ndarray],
    *,
    classes_first: bool,
    size: Tuple[int, int],
    is_open: bool,
    options: base.Options,
) -> Output:
    """Chooses the output to use from what a trial image of a size gave, by name.

    `classes_first` is as the model's images have their channels; where it takes images
    of any size (`is_open`), scores of more pixels than the image are padded, and not
    taken.

    Raises:
      DataError: none, several of equal standing, or another number of classes.
    """
    offered = "; ".join(_describe(name, array) for name, array in outputs.items())
    if options.output_name and options.output_name not in outputs:
        words = f"no output {options.output_name}; it gives {offered}"
        raise io.DataError(f"{path}: {words}")
    num_classes = options.num_own_classes
    labels, scores, others = [], [], []
    for name in [options.output_name] if options.output_name else outputs:
        array = outputs[name]
        if tf.as_dtype(array.dtype).is_integer:
            labels += _as_labels(name, array.shape)
        elif array.ndim == 3 and tf.as_dtype(array.dtype).is_floating:
            scores += _as_flat_scores(name, array, size, num_classes)
        elif _is_padded(array, size, is_open, classes_first):
            offered += f" ({name}: padded, or blackbox.input_size is too small)"
        elif array.ndim == 4 and tf.as_dtype(array.dtype).is_floating:
            found = _as_scores(name, array, classes_first, num_classes)
            scores += found
            others += [] if found else [array.shape[1 if classes_first else 3]]
    found = _wanted(labels, scores, options)
    if len(found) == len(labels) == len(scores) == 1:
        _check_agreement(path, outputs, labels[0], scores[0])
    if len(found) == 1:
        return found[0]
    if found:
        raise io.DataError(
            f"{path}: {len(found)} outputs may be the segmentation: "
            f"{', '.join(output.name for output in found)}; set blackbox.output_name "
            f"to one of them (it gives {offered})"
        )
    if others:
        raise base.wrong_number_of_classes(path, options, f"{others[0]} in {offered}")
    raise io.DataError(
        f"{path}: wanted integer class ids [B, h, w] or scores [B, h, w, {num_classes}]; "
        f"it gives {offered}"
    )


def _wanted(
    labels: List[Output], scores: List[Output], options: base.Options
) -> List[Output]:
    """Returns the outputs of the kind that is wanted, one where a name tells it."""
    labels = _prefer(labels, "semantic")
    if not options.prefers_scores:
        return labels or _prefer(scores, "logit", "prob", "softmax")
    scores = _prefer(scores, "prob", "softmax")
    if len(scores) > 1 and labels and options.output == base.AUTO:
        return labels
    return scores or labels


def _check_agreement(
    path: str, outputs: Mapping[str, np.ndarray], labels: Output, scores: Output
) -> None:
    """Refuses labels that are not the likeliest classes of the scores beside them."""
    ids, found = outputs[labels.name], outputs[scores.name]
    ids = ids if labels.class_axis is None else ids.squeeze(labels.class_axis)
    if scores.stride:
        return
    if scores.is_binary:
        threshold = 0.0 if scores.kind == base.LOGITS else 0.5
        best = found.squeeze(scores.class_axis) > threshold
    else:
        best = np.asarray(found).argmax(scores.class_axis)
    if best.shape == ids.shape and np.mean(best != ids) > _MAX_DISAGREEMENT:
        raise io.DataError(
            f"{path}: {labels.name} are not the likeliest classes of {scores.name} in "
            f"{np.mean(best != ids):.1%} of the pixels; set blackbox.output_name to one "
            "of them"
        )


def _lacks_batch(array: np.ndarray) -> bool:
    """Tells whether one image's output, `[h, w]` or `[h, w, K]`, has no batch axis."""
    return array.ndim == 2 or (array.ndim == 3 and len(array) != 1)


def _as_labels(name: str, shape: Tuple[int, ...]) -> List[Output]:
    if len(shape) == 3:
        return [Output(name, base.LABELS, None)]
    axes = [axis for axis in (3, 1) if len(shape) == 4 and shape[axis] == 1]
    return [Output(name, base.LABELS, axes[0])] if axes else []


def _is_padded(
    array: np.ndarray, size: Tuple[int, int], is_open: bool, classes_first: bool
) -> bool:
    if not is_open or array.ndim != 4:
        return False
    pixels = array.shape[2:] if classes_first else array.shape[1:3]
    return any(mine > asked for mine, asked in zip(pixels, size))


def _as_flat_scores(
    name: str, array: np.ndarray, size: Tuple[int, int], num_classes: int
) -> List[Output]:
    """Takes `[B, h * w, K]`, where h and w are the image's by a whole stride."""
    for stride in postprocess.STRIDES:
        num = (size[0] // stride) * (size[1] // stride)
        if array.shape == (1, num, num_classes):
            return [Output(name, kinds.kind_of(array), 3, stride)]
    return []


def _as_scores(
    name: str, array: np.ndarray, classes_first: bool, num_classes: int
) -> List[Output]:
    axes = (1, 3) if classes_first else (3, 1)
    found = {
        axis: kinds.kind_of(np.moveaxis(array, axis, -1))
        for axis in axes
        if array.shape[axis] == num_classes
    }
    if found:
        # Where both axes may be the classes', probabilities sum to one along theirs, and
        # other scores lie as images do.
        axis = min(found, key=lambda axis: found[axis] != base.PROBABILITIES)
        return [Output(name, found[axis], axis)]
    for axis in axes:
        if num_classes == 2 and array.shape[axis] == 1:
            is_logits = kinds.kind_of(array) == base.LOGITS
            kind = base.LOGITS if is_logits else base.PROBABILITIES
            lowest = float(array.min())
            return [Output(name, kind, axis, is_binary=True, lowest=lowest)]
    return []


def _prefer(found: List[Output], *words: str) -> List[Output]:
    """Narrows several outputs to the one whose name says what it is, if one does."""
    for word in words:
        named = [output for output in found if word in output.name.lower()]
        if len(found) > 1 and len(named) == 1:
            return named
    return found


class SignatureBackend(tf.Module):
    """A function from an image to labels, logits or probabilities."""

    embeddable = True

    def __init__(
        self,
        path: str,
        *,
        title: str,
        signatures: Sequence[Signature],
        owner: Any,
        options: base.Options,
    ):
        """Finds out how the model segments an image, by trying it.

        Takes what the model offers, the default first, and the `owner` of its
        variables, to be kept with them.

        Raises:
          DataError: not clear, or another number of classes; with what there is.
        """
        super().__init__(name="signature")
        self._path = path
        self._owner = owner
        chosen, self._input = choose_input(path, signatures, options)
        self._run = chosen.run
        spec = chosen.inputs[self._input]
        shape = [None] * 4 if spec.shape.rank is None else spec.shape.as_list()
        self._is_batched = len(shape) == 4
        self._alone: Set[str] = set()  # Outputs without a batch axis.
        shape = shape if self._is_batched else [1, *shape]
        self._channels_first = shape[1] == 3 and shape[3] != 3
        self._layout = "[B, 3, H, W]" if self._channels_first else "[B, H, W, 3]"
        if shape[0] not in (None, 1):
            raise io.DataError(
                f"{path}: wanted a model for one image or any number, got "
                + _describe(self._input, spec)
            )
        self._fixed = tuple(shape[2:] if self._channels_first else shape[1:3])
        self.input_dtype = spec.dtype
        self.input_size = base.settle_input_size(path, self._fixed, options.input_size)
        self.single = shape[0] == 1
        outputs = self._try(chosen, options)
        self._output = choose_output(
            path,
            outputs,
            classes_first=self._channels_first,
            size=self.input_size or _TRIAL_SIZE,
            is_open=None in self._fixed,
            options=options,
        )
        self.kind = options.kind(self._output.kind)
        self.may_be_certainty = self._output.lowest >= 0.5
        layout = self._layout if self._is_batched else "[H, W, 3]"
        output = _describe(self._output.name, outputs[self._output.name])
        output += ", of class 1" * self._output.is_binary
        self.description = (
            f"{title}: image from {_describe(self._input, spec)} as {layout}; "
            f"{self.kind} from {output}"
        )

    def _try(self, chosen: Signature, options: base.Options) -> Dict[str, np.ndarray]:
        """Runs the model on noise."""
        size = self.input_size or _TRIAL_SIZE
        noise = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
        images = postprocess.prepare(
            tf.constant(noise), options=options, input_size=None, dtype=self.input_dtype
        )
        try:
            outputs = self._call(images)
        except Exception as error:  # Whatever the model's operations raise.
            raise io.DataError(
                f"{self._path}: {chosen.name} failed on {self._layout}, {size[0]} x "
                f"{size[1]} pixels ({base.first_line(error)}); blackbox.input_size sets the "
                "size of the images it is given"
            ) from error
        found = {name: np.asarray(outputs[name]) for name in sorted(outputs)}
        if not self._is_batched:  # What it gives may lack the axis as well.
            self._alone = {n for n, array in found.items() if _lacks_batch(array)}
        return {n: a[None] if n in self._alone else a for n, a in found.items()}

    def _call(self, images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        if self._channels_first:
            images = tf.transpose(images, [0, 3, 1, 2])
        if not self._is_batched:
            images = images[0]
        return self._run(**{self._input: images})

    def takes(self, size: Tuple[int, int]) -> bool:
        """See `base.Backend`."""
        return base.fits(size, self._fixed)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Segments images; see `base.Backend`."""
        raw = self._call(images)[self._output.name]
        raw = raw[None] if self._output.name in self._alone else raw
        axis, stride = self._output.class_axis, self._output.stride
        if stride:
            size = tf.shape(images)[1:3] // stride
            return tf.reshape(raw, [-1, size[0], size[1], raw.shape[-1]])
        if self.kind == base.LABELS:
            return raw if axis is None else tf.squeeze(raw, axis)
        raw = tf.transpose(raw, [0, 2, 3, 1]) if axis == 1 else raw
        if self._output.is_binary:
            other = tf.zeros_like(raw) if self.kind == base.LOGITS else 1 - raw
            return tf.concat([other, raw], axis=-1)
        return raw
