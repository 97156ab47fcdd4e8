"""A black box as the rest of the system uses it, whatever it is made of."""

import dataclasses
import hashlib
from typing import Any, Callable, Optional, Tuple

import numpy as np
import tensorflow as tf

from car_tf.blackbox import base, kinds, postprocess
from car_tf.data import io

FORMAT_VERSION = 2
_MAX_BATCH = 8
# Pixels of a batch: eight images of 256 x 512, one of 1024 x 2048.
_MAX_BATCH_PIXELS = 1 << 20


class Segmenter:
    """Images in, labels or class probabilities of the data set's classes out.

    The model is opened when it is first needed: where all predictions are in the cache
    it costs neither time nor memory.

    Attributes:
      path: where the black box was found.
      fingerprint: changes whenever its predictions may; keys the cache.
      scores: the kind of its scores, once they are known: one for all images.
    """

    def __init__(
        self,
        *,
        path: str,
        content_hash: str,
        options: base.Options,
        open_backend: Callable[[str, base.Options], base.Backend],
    ):
        self.path, self.options = path, options
        self._content_hash = content_hash
        self._open_backend = open_backend
        self._backend: Optional[base.Backend] = None
        self.scores = ""
        dataset_info = f"{FORMAT_VERSION}|{content_hash}|{options}"
        self.fingerprint = hashlib.sha256(dataset_info.encode()).hexdigest()

    @property
    def backend(self) -> base.Backend:
        """The opened model."""
        if self._backend is None:
            self._backend = self._open_backend(self.path, self.options)
            kind, output = self._backend.kind, self.options.output
            if output not in (base.AUTO, base.LABELS) and kind == base.LABELS:
                raise io.DataError(
                    f"{self.path}: blackbox.output={output}, but this black box "
                    "gives labels only"
                )
            scaled = self.options.pixel_scale != "0..255"
            if scaled and self._backend.input_dtype.is_integer:
                raise io.DataError(
                    f"{self.path}: takes whole grey levels, so blackbox.pixel_scale "
                    f"must be 0..255, got {self.options.pixel_scale}"
                )
        return self._backend

    @property
    def input_size(self) -> Optional[Tuple[int, int]]:
        """(height, width) that images are given at; None for their own."""
        return self.options.input_size or self.backend.input_size

    def describe(self) -> str:
        """Returns how the black box was understood, in a sentence."""
        size = self.input_size
        words = "at their own size" if size is None else f"at {size[0]} x {size[1]}"
        pixels = f"{self.options.channels.upper()} {self.options.pixel_scale}"
        return f"{self.backend.description}; it is given images {words}, {pixels}"

    def variant(self, **changes: Any) -> "Segmenter":
        """Returns the same black box with other `base.Options` of its input."""
        backend = self.backend
        return Segmenter(
            path=self.path,
            content_hash=self._content_hash,
            options=dataclasses.replace(self.options, **changes),
            open_backend=lambda path, options: backend,
        )

    def batch_size(self, image_size: Tuple[int, int]) -> int:
        """Returns how many images of a (height, width) are best predicted at once."""
        if self.backend.single:
            return 1
        height, width = self.input_size or image_size
        return max(1, min(_MAX_BATCH, _MAX_BATCH_PIXELS // (height * width)))

    def predict(self, images: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
        """Segments images `[B, h, w, 3]` uint8 RGB of any size, to maps of (H, W).

        `[B, H, W]` uint8 class ids, 255 for none of the data set's classes, or `[B, H,
        W, K]` float32 probabilities; a DataError for an output that does not fit, such
        as NaN or a class out of range.
        """
        whole = tf.convert_to_tensor(self.predict_whole(images, size))
        return postprocess.resize(whole, size).numpy()

    def predict_whole(self, images: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
        """Segments images as `predict`, to maps that are not resized to `size` yet."""
        if self.backend.single and len(images) > 1:
            parts = [self.predict_whole(image[None], size) for image in images]
            return np.concatenate(parts)
        pixels = postprocess.prepare(
            tf.constant(images),
            options=self.options,
            input_size=self.input_size,
            dtype=self.backend.input_dtype,
        )
        raw = self.backend(pixels)
        kind = self.options.kind(self.backend.kind or kinds.kind_of(raw))
        if kind != base.LABELS:
            kind = kinds.one_kind(self.path, kind, self.scores)
        known = dict(options=self.options, known=self.scores)
        postprocess.check(raw, kind=kind, path=self.path, **known)
        self._check_certainty(raw, kind)
        self.scores = "" if kind == base.LABELS else kind
        seen, got = tuple(pixels.shape[1:3]), tuple(raw.shape[1:3])
        if got == seen[::-1] != seen:
            raise io.DataError(
                f"{self.path}: wanted maps of images of {seen[0]} x {seen[1]} pixels, got "
                f"{got[0]} x {got[1]}: turned?"
            )
        if not postprocess.covers(seen, got):
            raise io.DataError(
                f"{self.path}: gives maps of {got[0]} x {got[1]} of images of {seen[0]} x "
                f"{seen[1]} pixels: padded or cropped? (blackbox.input_size sets the size "
                "of the images it is given)"
            )
        return postprocess.finish(
            tf.convert_to_tensor(raw),
            kind=kind,
            options=self.options,
            image_size=images.shape[1:3],
            size=size,
        ).numpy()

    def _check_certainty(self, raw: Any, kind: str) -> None:
        """Refuses one score of two classes that is never below one half."""
        is_asked = self.backend.may_be_certainty and not self.scores
        if is_asked and kind == base.PROBABILITIES and np.min(raw[..., 1]) >= 0.5:
            raise io.DataError(
                f"{self.path}: wanted the score of class 1, got scores of at least 0.5 "
                "everywhere, as certainties have (blackbox.output=sigmoid takes them "
                "for class 1)"
            )

    def as_module(self) -> "Embedded":
        """Returns the black box as a part of other models; no graph is a DataError."""
        if not self.backend.embeddable:
            raise io.DataError(
                f"{self.path}: cannot be embedded in a SavedModel, because it is no "
                "TensorFlow graph; frozen graphs, SavedModels and Keras models can"
            )
        return Embedded(self.backend, self.options, self.input_size, self.fingerprint)


class Embedded(tf.Module):
    """A black box inside another SavedModel: core operations, no Python.

    Called on `images` `[B, h, w, 3]` uint8 RGB of any size and `size` `[2]` int32, it
    returns what `Segmenter.predict` returns; `fingerprint` is the segmenter's.
    """

    def __init__(
        self,
        backend: base.Backend,
        options: base.Options,
        input_size: Optional[Tuple[int, int]],
        fingerprint: str,
    ):
        super().__init__(name="blackbox")
        self.fingerprint = fingerprint
        self.backend = backend
        self._options = options
        self._input_size = input_size
        is_probabilities = options.gives_probabilities(backend.kind)
        classes = [options.num_classes] if is_probabilities else []
        dtype = tf.float32 if classes else tf.uint8
        self._map_spec = tf.TensorSpec([None, None, *classes], dtype)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, name="images"),
            tf.TensorSpec([2], tf.int32, name="size"),
        ]
    )
    def __call__(self, images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """Segments images; see `Segmenter.predict`."""
        if not self.backend.single:
            return self._segment(images, size)
        return tf.map_fn(
            lambda image: self._segment(image[None], size)[0],
            images,
            fn_output_signature=self._map_spec,
        )

    def _segment(self, images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        pixels = postprocess.prepare(
            images,
            options=self._options,
            input_size=self._input_size,
            dtype=self.backend.input_dtype,
        )
        whole = postprocess.finish(
            self.backend(pixels),
            kind=self.backend.kind,
            options=self._options,
            image_size=tf.shape(images)[1:3],
            size=size,
        )
        return postprocess.resize(whole, size)
