"""Small segmenters of every kind, made for the tests of black boxes."""

from __future__ import annotations

import importlib
import io
import pathlib
import tarfile
from typing import Callable, Sequence, Tuple

import numpy as np
import tensorflow as tf
from PIL import Image

from car_tf.blackbox import segmenter
from car_tf.data import examples
from car_tf.models import keras_api

NUM_CLASSES = 19
# Every Keras that this stack has, and that people may have made their models with.
KERASES = [keras_api.keras]
if keras_api.KERAS_MAJOR > 2:
    KERASES.append(importlib.import_module("keras"))


def frozen_graph(
    *,
    crop_size: Tuple[int, int] = (1025, 2049),
    label_dtype: tf.DType = tf.int64,
    num_classes: int = NUM_CLASSES,
    multi_scale: bool = False,
    resize_inside: bool = False,
    input_name: str = "ImageTensor",
    output_name: str = "SemanticPredictions",
) -> bytes:
    """Returns a TensorFlow 1 graph of the structure of DeepLab's exports.

    One uint8 image of any size, padded to the crop size with the mean pixel at the
    bottom and the right, a network of stride 4 made for the crop size alone, logits
    resized to it, their arg-max cropped to the image: class k where the image's red
    is about 255 * k / num_classes.

    Args:
      crop_size: (height, width) that images are padded to.
      label_dtype: int64 as of 2018, int32 as of later exports (by way of float32).
      num_classes: K.
      multi_scale: whether the arg-max is of the mean of two softmaxes.
      resize_inside: whether images are halved first, and labels doubled last.
      input_name: of the image.
      output_name: of the labels.
    """
    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        image = v1.placeholder(tf.uint8, [1, None, None, 3], name=input_name)
        original = tf.shape(image)[1:3]
        pixels = tf.cast(image, tf.float32)
        if resize_inside:
            pixels = v1.image.resize_bilinear(pixels, original // 2)
        valid = tf.shape(pixels)[1:3]
        room = tf.maximum(tf.constant(crop_size) - valid, 0)
        padding = [[0, 0], [0, room[0]], [0, room[1]], [0, 0]]
        padded = tf.pad(pixels - 127.5, padding) + 127.5
        # The exporter declares the size, whatever comes.
        padded = tf.ensure_shape(padded, [1, None, None, 3])
        padded.set_shape([1, *crop_size, 3])
        scores = _network(padded, crop_size, num_classes)
        logits = v1.image.resize_bilinear(
            scores, crop_size, align_corners=True, name="ResizeBilinear_3"
        )
        if multi_scale:
            probs = [tf.nn.softmax(logits), tf.nn.softmax(0.5 * logits)]
            logits = tf.reduce_mean(tf.stack(probs, axis=4), axis=4)
        labels = tf.argmax(logits, 3)
        is_late = label_dtype == tf.int32
        if is_late:
            labels = tf.identity(tf.cast(labels, tf.float32), name="RawPredictions")
        labels = tf.slice(labels, [0, 0, 0], [1, valid[0], valid[1]])
        if is_late or resize_inside:
            labels = v1.image.resize_nearest_neighbor(
                tf.expand_dims(tf.cast(labels, tf.float32), 3),
                original,
                align_corners=True,
            )
            labels = tf.cast(tf.squeeze(labels, 3), label_dtype)
        tf.identity(labels, name=output_name)
    frozen = v1.graph_util.extract_sub_graph(graph.as_graph_def(), [output_name])
    return frozen.SerializeToString()


def _network(
    image: tf.Tensor, crop_size: Tuple[int, int], num_classes: int
) -> tf.Tensor:
    """Logits at a quarter of the size, highest for the class nearest to the red."""
    red = tf.strided_slice(image, [0, 0, 0, 0], [1, *crop_size, 1], [1, 4, 4, 1])
    quarter = [1 + (length - 1) // 4 for length in crop_size]
    # As the image pooling of the real network, this fails at any other size.
    red = tf.reshape(red, [1, *quarter, 1]) * (num_classes / 255.0)
    centres = np.arange(num_classes, dtype=np.float32) + 0.5
    # -(red - centre)^2 + red^2, a 1x1 convolution; of 16 features, so that it is large
    # enough to be taken for weights.
    features = tf.tile(red, [1, 1, 1, 16])
    kernel = np.tile(2 * centres / 16, (1, 1, 16, 1))
    return tf.nn.conv2d(features, kernel, 1, "SAME") - tf.constant(centres**2)


def write_archive(
    path: pathlib.Path, graph: bytes, *, folder: str = "train_fine"
) -> pathlib.Path:
    """Packs a graph as the published archives do, under a folder of another name."""
    contents = {
        f"{folder}/frozen_inference_graph.pb": graph,
        f"{folder}/model.ckpt.index": b"checkpoint",
    }
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(folder)
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def expected_labels(images: np.ndarray, num_classes: int = NUM_CLASSES) -> np.ndarray:
    """Returns the class of each pixel by its red, as all segmenters here see it."""
    red = images[..., 0].astype(int)
    return np.minimum(red * num_classes // 255, num_classes - 1)


def class_image(labels: np.ndarray, num_classes: int = NUM_CLASSES) -> np.ndarray:
    """Returns an image that the segmenters here see as `labels`."""
    red = np.rint((labels + 0.5) * (255.0 / num_classes))
    # Other values in green and blue, so that exchanged channels do not go unnoticed.
    return np.stack([red, 255 - red, np.full_like(red, 7)], -1).astype(np.uint8)


def run_graph(graph: bytes, image: np.ndarray, tensors: Sequence[str]) -> list:
    """Runs a graph as TensorFlow 1 does, for one image `[H, W, 3]`."""
    graph_def = tf.compat.v1.GraphDef.FromString(graph)
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=imported) as session:
            return session.run(list(tensors), {"ImageTensor:0": image[None]})


class RedSegmenter(tf.Module):
    """A segmenter that sees the class of a pixel by its red; in core TensorFlow."""

    def __init__(self, num_classes: int = NUM_CLASSES, scale: float = 1.0):
        """Wants grey levels 0 to 255 times `scale`."""
        super().__init__()
        self.centres = tf.Variable(np.arange(num_classes, dtype=np.float32) + 0.5)
        self.factor = num_classes / 255.0 / scale

    def logits(self, image: tf.Tensor) -> tf.Tensor:
        """`[B, H, W, K]`, minus the squared distance to each class's red."""
        red = tf.cast(image[..., :1], tf.float32) * self.factor
        return -tf.square(red - self.centres)


def save(module: tf.Module, path: pathlib.Path, **functions: Callable) -> str:
    """Saves functions of a module as signatures; returns the path.

    Args:
      module: owner of the variables.
      path: of the SavedModel.
      **functions: signature -> (function, specification of its inputs).
    """
    signatures = {}
    for name, (function, *specs) in functions.items():
        signatures[name] = tf.function(function).get_concrete_function(*specs)
    tf.saved_model.save(module, str(path), signatures=signatures)
    return str(path)


def write_images(folder: pathlib.Path, images: Sequence[np.ndarray]) -> list:
    """Writes images as PNG files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"image_{index:04d}.png" for index in range(len(images))]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path, compress_level=1)
    return paths


def split_of(paths: Sequence[pathlib.Path], labels=None) -> examples.Examples:
    """Returns a split of image files, named by them, with labels `[N, A, H, W]`."""
    nothing = np.zeros([len(paths), 0], np.uint8)
    names = tuple(path.stem for path in paths)
    labels = nothing if labels is None else labels
    return examples.Examples(names, names, nothing, labels, tuple(paths))


def images_of_all_classes(num: int, size: Tuple[int, int]) -> np.ndarray:
    """Returns `[num, H, W, 3]` images in which every class occurs."""
    labels = np.arange(num * size[0] * size[1]) % NUM_CLASSES
    return class_image(labels.reshape(num, *size))


def check(blackbox: segmenter.Segmenter, images: np.ndarray) -> None:
    """Asserts that a segmenter sees the red of images, at the images' own size."""
    size = images.shape[1:3]
    got = blackbox.predict(images, size)
    if not blackbox.options.gives_probabilities(blackbox.backend.kind):
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, expected_labels(images))
        return
    red = images[..., :1].astype(np.float64) * (NUM_CLASSES / 255)
    exps = np.exp(-np.square(red - np.arange(NUM_CLASSES) - 0.5))
    np.testing.assert_allclose(got, exps / exps.sum(-1, keepdims=True), atol=1e-5)
