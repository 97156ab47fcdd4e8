"""DeepLab as its authors publish it: frozen graphs of TensorFlow 1."""

import pathlib
from typing import Dict, List, Optional, Tuple

import tensorflow as tf
from google.protobuf import message

from car_tf.blackbox import archive, base
from car_tf.data import io

GRAPH_NAME = "frozen_inference_graph.pb"
INPUT_NAME, OUTPUT_NAME = "ImageTensor", "SemanticPredictions"
_SCORES_NAME = "SemanticProbabilities"

# The images that DeepLab's Cityscapes graphs were trained on.
_DEFAULT_INPUT_SIZE = (1024, 2048)
# Constants from that size on are weights; shapes, axes and paddings are far smaller.
_MIN_WEIGHT_BYTES = 1024
# What the exporters put between the arg-max and the output: cropping the padding and
# resizing to the image's size.
_BETWEEN = ("Cast", "ExpandDims", "Identity", "ResizeNearestNeighbor", "Slice")
_BETWEEN += ("Squeeze", "StridedSlice")
# Share of pixels in which the arg-max of cropped scores may differ from the labels
# (ties, rounding) before the scores are taken for something else.
_MAX_DISAGREEMENT = 0.01


def open_backend(path: str, options: base.Options) -> "FrozenGraph":
    """Opens a `.pb`, an archive or a folder that holds one; a DataError otherwise."""
    return FrozenGraph(path, read_graph(path), options)


def read_graph(path: str) -> tf.compat.v1.GraphDef:
    """Reads a graph; from archives in memory, never writing by the names in them.

    Raises:
      DataError: unreadable or damaged, no graph in it, or several.
    """
    file = pathlib.Path(path)
    file = file / GRAPH_NAME if file.is_dir() else file
    try:
        is_archive = file.name.endswith(archive.ENDINGS)
        content = archive.read(file, GRAPH_NAME) if is_archive else file.read_bytes()
    except OSError as error:
        raise io.DataError(f"{path}: cannot be read ({error})") from error
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(content)
    except message.DecodeError as error:
        raise io.DataError(f"{path}: not a TensorFlow graph ({error})") from error
    # Almost anything parses; text and other protocol buffers leave nodes without names.
    if not graph_def.node or not all(node.op for node in graph_def.node):
        raise io.DataError(f"{path}: not a TensorFlow graph (no operations in it)")
    return graph_def


def _operation(tensor: str) -> str:
    """Returns the name of the operation that a tensor or a control edge comes from."""
    return tensor.lstrip("^").partition(":")[0]


def find_scores(graph_def: tf.compat.v1.GraphDef, output: str) -> Optional[str]:
    """Finds the tensor whose arg-max the labels are; None where they come from none.

    Its name differs from export to export, so that it is found by walking back from
    the operation that gives labels over what merely crops and resizes them.
    """
    nodes = {node.name: node for node in graph_def.node}
    node = nodes[output]
    for _ in range(len(nodes)):
        if node.op == "ArgMax":
            return node.input[0]
        if node.op not in _BETWEEN:
            return None
        node = nodes[_operation(node.input[0])]
    return None


def kind_of(graph_def: tf.compat.v1.GraphDef, scores: str) -> str:
    """Tells averaged softmaxes, of exports over several scales, from logits."""
    nodes = {node.name: node for node in graph_def.node}
    node = nodes[_operation(scores)]
    while node.op == "Identity":
        node = nodes[_operation(node.input[0])]
    known = {"Mean": base.PROBABILITIES, "Softmax": base.PROBABILITIES}
    return {**known, "Sigmoid": base.SIGMOID}.get(node.op, base.LOGITS)


def _take_weights(graph_def: tf.compat.v1.GraphDef) -> Dict[str, tf.Variable]:
    """Turns large constants of a graph into placeholders; returns them by tensor name.

    As constants they are copied at every step from the file to the running function: a
    graph of 168 MB takes 2.1 GB, most of it until the process ends; so it takes 0.4.
    """
    weights = {}
    for node in graph_def.node:
        is_weight = node.op == "Const" and node.ByteSize() >= _MIN_WEIGHT_BYTES
        if not is_weight or not tf.as_dtype(node.attr["dtype"].type).is_floating:
            continue
        value = tf.make_ndarray(node.attr["value"].tensor)
        weights[f"{node.name}:0"] = tf.Variable(value, trainable=False)
        shape = tf.TensorShape(value.shape).as_proto()
        node.op = "Placeholder"
        del node.attr["value"]
        node.attr["shape"].shape.CopyFrom(shape)
    return weights


def describe_ends(graph_def: tf.compat.v1.GraphDef) -> str:
    """Returns a graph's inputs and outputs in words."""
    inputs, used = [], set()
    for node in graph_def.node:
        used.update(_operation(name) for name in node.input)
        if node.op.startswith("Placeholder"):
            dtype = tf.as_dtype(node.attr["dtype"].type).name
            shape = tf.TensorShape(node.attr["shape"].shape)
            inputs.append(f"{node.name} {dtype} {shape}")
    outputs = [
        f"{node.name} ({node.op})"
        for node in graph_def.node
        if node.name not in used and node.op not in ("Const", "NoOp")
    ]
    return (
        f"its inputs are {', '.join(inputs[:10]) or 'none'}; "
        f"its outputs are {', '.join(outputs[:10]) or 'none'}"
    )


class FrozenGraph(tf.Module):
    """A frozen graph from a uint8 image to class ids, padded and cropped inside.

    The graph takes one image at a time, pads it to a fixed size at the bottom and the
    right, and fails beyond that size.
    """

    embeddable = True
    single = True
    may_be_certainty = False
    input_dtype = tf.uint8

    def __init__(
        self, path: str, graph_def: tf.compat.v1.GraphDef, options: base.Options
    ):
        """Imports the graph; a DataError if it has other inputs, outputs or classes."""
        super().__init__(name="frozen_graph")
        self._path = path
        self._input = _operation(options.input_name or INPUT_NAME)
        self._output = _operation(options.output_name or OUTPUT_NAME)
        _check_ends(path, graph_def, self._input, self._output)
        scores = find_scores(graph_def, self._output)
        is_needed = options.output not in (base.AUTO, base.LABELS)
        if is_needed and scores is None and self._output != _SCORES_NAME:
            raise io.DataError(
                f"{path}: blackbox.output={options.output}, but no arg-max was found "
                f"between the graph's {self._output} and its network"
            )
        self._wants_scores = options.prefers_scores and scores is not None
        labels, found = self._import(graph_def, scores)
        if self._output == _SCORES_NAME and labels.shape.rank == 4:
            # The output itself, which covers the image.
            self._padded, kind = [None, None], options.kind(base.PROBABILITIES)
            words = f"{kind} from {self._output}"
            self._settle(kind, words, labels.shape[-1], options)
            return
        if not labels.dtype.is_integer or labels.shape.rank != 3:
            raise io.DataError(
                f"{path}: wanted integer class ids [1, H, W] from {self._output}, got "
                f"{labels.dtype.name} {labels.shape}"
            )
        *self._padded, num_classes = found
        kind, words = base.LABELS, f"class ids from {self._output}, {labels.dtype.name}"
        if self._wants_scores:
            kind = options.kind(kind_of(graph_def, scores))
            words = f"{kind} from {scores}, the arg-max of which is {self._output}"
        self._settle(kind, words, num_classes, options)

    def _settle(
        self, kind: str, words: str, num_classes: Optional[int], options: base.Options
    ) -> None:
        """Notes what the output is taken for, after a check of its classes."""
        if num_classes not in (None, options.num_own_classes):
            raise base.wrong_number_of_classes(self._path, options, num_classes)
        self.input_size = _input_size(self._path, self._padded, options.input_size)
        self.kind, self._is_checked = kind, not self._wants_scores
        self.description = (
            f"frozen graph: image from {self._input}, uint8, one at a time; {words}"
        )

    def _import(
        self, graph_def: tf.compat.v1.GraphDef, scores: Optional[str]
    ) -> Tuple[tf.Tensor, Tuple[Optional[int], ...]]:
        """Imports the graph; returns its labels, and (height, width, K) of its scores."""
        scores_shape = (None, None, None)
        self._weights = _take_weights(graph_def)

        def run(image: tf.Tensor) -> List[tf.Tensor]:
            nonlocal scores_shape
            names = [self._output] + ([scores] if scores else [])
            inputs = {name: tf.identity(w) for name, w in self._weights.items()}
            tensors = tf.graph_util.import_graph_def(
                graph_def,
                input_map={f"{self._input}:0": image, **inputs},
                return_elements=[n if ":" in n else f"{n}:0" for n in names],
                name="",
            )
            if scores and tensors[1].shape.rank == 4:
                scores_shape = tuple(tensors[1].shape[1:])
            return tensors if self._wants_scores else tensors[:1]

        spec = tf.TensorSpec([1, None, None, 3], tf.uint8)
        try:
            self._function = tf.compat.v1.wrap_function(run, [spec])
        except (ValueError, KeyError, tf.errors.OpError) as error:
            raise io.DataError(
                f"{self._path}: cannot be imported ({base.first_line(error)}); "
                + describe_ends(graph_def)
            ) from error
        return self._function.outputs[0], scores_shape

    def takes(self, size: Tuple[int, int]) -> bool:
        """See `base.Backend`."""
        limits = zip(size, self._padded)
        return all(limit is None or length <= limit for length, limit in limits)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Segments one image; see `base.Backend`."""
        try:
            labels, *rest = self._function(images)
        except tf.errors.OpError as error:
            height, width = images.shape[1:3]
            raise io.DataError(
                f"{self._path}: the graph failed on an image of {height} x {width}, "
                "which may be more than it was made for (blackbox.input_size gives it "
                f"less): {base.first_line(error)}"
            ) from error
        if not self._wants_scores:
            return labels
        (scores,) = rest
        shape = tf.shape(images)
        scores = scores[:, : shape[1], : shape[2]]
        if tf.executing_eagerly() and not self._is_checked:
            self._check_agreement(labels, scores)
        return scores

    def _check_agreement(self, labels: tf.Tensor, scores: tf.Tensor) -> None:
        """Refuses scores that do not lie over the labels, once."""
        same = labels.shape == scores.shape[:3]
        if same:
            best = tf.argmax(scores, -1, output_type=labels.dtype)
            differ = float(tf.reduce_mean(tf.cast(best != labels, tf.float32)))
        if not same or differ > _MAX_DISAGREEMENT:
            what = f"in {differ:.1%} of the pixels" if same else "in size"
            raise io.DataError(
                f"{self._path}: the arg-max of the scores and {self._output} differ "
                f"{what}; the graph resizes its image inside, so that only "
                "blackbox.output=labels can be had"
            )
        self._is_checked = True


def _check_ends(
    path: str, graph_def: tf.compat.v1.GraphDef, image: str, labels: str
) -> None:
    nodes = {node.name: node for node in graph_def.node}
    if image not in nodes or labels not in nodes:
        missing = " and ".join(name for name in (image, labels) if name not in nodes)
        raise io.DataError(
            f"{path}: the graph has no {missing}; {describe_ends(graph_def)} "
            "(blackbox.input_name and blackbox.output_name choose others)"
        )
    dtype = tf.as_dtype(nodes[image].attr["dtype"].type)
    if not nodes[image].op.startswith("Placeholder") or dtype != tf.uint8:
        found = f"{nodes[image].op} {dtype.name}"
        raise io.DataError(f"{path}: wanted a uint8 image from {image}, got {found}")


def _input_size(
    path: str, padded: Tuple[Optional[int], ...], wanted: Optional[Tuple[int, int]]
) -> Tuple[int, int]:
    """Returns the size of the images that the graph is given.

    By default it is the size that the graph was made for, a pixel less than it pads to:
    1024 x 2048 for 1025 x 2049.
    """
    if None in padded:
        return wanted or _DEFAULT_INPUT_SIZE
    if wanted is None:
        return padded[0] - 1, padded[1] - 1
    if wanted[0] > padded[0] or wanted[1] > padded[1]:
        raise io.DataError(
            f"{path}: the graph takes images of at most {padded[0]} x {padded[1]} "
            f"pixels, but blackbox.input_size is {wanted[0]} x {wanted[1]}"
        )
    return wanted
