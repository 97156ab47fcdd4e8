"""The sampler's signatures: what a server offers, with its inputs checked in the graph.

`serving_default`, `sample`, `calibrate`, `encode`, `decode` and `sample_bytes`; what
each takes and gives is in the documentation of serving.
"""

import inspect
import pathlib
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import tensorflow as tf

from export import checks, encoded, program

NAMES = ("serving_default", "sample", "calibrate", "encode", "decode", "sample_bytes")

# Of any rank: one number, or one per image, as a server that merges requests needs it.
_NUM_SAMPLES = tf.TensorSpec(None, tf.int32, "num_samples")
_SEED = tf.TensorSpec([None, 2], tf.int32, "seed")
_IMAGE_BYTES = tf.TensorSpec([None], tf.string, "image_bytes")
_BLACKBOX_BYTES = tf.TensorSpec([None], tf.string, "blackbox_bytes")
_FLOAT_MAP = tf.TensorSpec([None, None], tf.float32)


class ServedSampler(tf.Module):
    """A sampler with its signatures, ready to be saved.

    Each signature is a function of the module, and so of what `tf.saved_model.load`
    returns. `labels` is the asset that names and paints the classes.
    """

    def __init__(self, computation: program.Program, labels_file: pathlib.Path):
        super().__init__(name="car")
        self._computation = computation
        self._settings = computation.settings
        dataset_info = self._settings.dataset_info
        pixels = [None, None, dataset_info.num_classes]
        self._probs_spec = tf.TensorSpec(pixels, tf.float32)
        # Variables alone are saved: whoever loads the model needs no Keras.
        self.weights = list(computation.model.variables)
        if isinstance(computation.blackbox_function, tf.Module):
            self.blackbox = computation.blackbox_function
        self.labels = tf.saved_model.Asset(str(labels_file))
        is_embedded = computation.blackbox_function is not None
        takes_blackbox = dataset_info.num_blackbox_classes > 0 and not is_embedded
        seen = [self._settings.image_spec]
        seen += [self._settings.blackbox_spec] if takes_blackbox else []
        sent = [_IMAGE_BYTES]
        if takes_blackbox:
            is_map = self._settings.blackbox == program.LABELS
            sent.append(_BLACKBOX_BYTES if is_map else self._settings.blackbox_spec)
        number = tf.constant(self._settings.num_samples)
        defaults = {"num_samples": number, "seed": tf.zeros([0, 2], tf.int32)}
        draws = [_NUM_SAMPLES, _SEED]
        log_probs = tf.TensorSpec([None, *pixels], tf.float32, "log_probs")
        encoded_specs = [*computation.feature_specs, log_probs]
        self.serving_default = _function(self._serving_default, seen)
        self.sample = _function(self._sample, [*seen, *draws], defaults)
        self.calibrate = _function(self._calibrate, seen)
        self.encode = _function(self._encode, seen)
        self.decode = _function(self._decode, [*encoded_specs, *draws], defaults)
        self.sample_bytes = _function(self._sample_bytes, [*sent, *draws], defaults)

    def functions(self) -> Dict[str, Callable[..., program.Tensors]]:
        """Returns the signatures by name, as `tf.saved_model.save` takes them."""
        return {name: getattr(self, name) for name in NAMES}

    def _serving_default(self, *inputs: tf.Tensor) -> program.Tensors:
        seed = tf.zeros([0, 2], tf.int32)
        return self._sample(*inputs, tf.constant(self._settings.num_samples), seed)

    def _sample(self, *arguments: tf.Tensor) -> program.Tensors:
        *inputs, num_samples, seed = self._admit(arguments, draws=True)
        count = tf.reduce_max(num_samples)

        def one(key: tf.Tensor, *inputs: tf.Tensor) -> program.Tensors:
            return self._computation.sample(*_padded(inputs), key, count)

        specs = {"samples": tf.TensorSpec([None, None, None], tf.uint8)}
        specs.update(self._uncertainty_specs())
        seeds = _seeds(seed, tf.shape(inputs[0])[0])
        return program.each_image(one, [seeds, *inputs], specs)

    def _calibrate(self, *inputs: tf.Tensor) -> program.Tensors:
        return self._each(
            self._computation.calibrate, inputs, self._uncertainty_specs()
        )

    def _each(self, function, inputs, specs) -> program.Tensors:
        """Calls a function of the computation on each image, once it is admitted."""
        return program.each_image(
            lambda *one: function(*_padded(one)),
            self._admit(inputs, draws=False),
            specs,
        )

    def _uncertainty_specs(self) -> Dict[str, tf.TensorSpec]:
        return {"probabilities": self._probs_spec, "entropy_bits": _FLOAT_MAP}

    def _encode(self, *inputs: tf.Tensor) -> program.Tensors:
        feature_specs = self._computation.feature_specs
        specs = {s.name: tf.TensorSpec(s.shape[1:], s.dtype) for s in feature_specs}
        specs["log_probs"] = self._probs_spec
        return self._each(self._computation.encode, inputs, specs)

    def _decode(self, *arguments: tf.Tensor) -> program.Tensors:
        feature_specs = self._computation.feature_specs
        num_classes = self._settings.dataset_info.num_classes
        shapes = [spec.shape for spec in feature_specs]
        shapes += [[None, None, None, num_classes], None, [None, None]]

        def conditions(fed: Sequence[tf.Tensor]) -> List[checks.Check]:
            *features, log_probs, num_samples, seed = fed
            batch, height, width = checks.dimensions(log_probs, 3)
            sizes = self._computation.feature_sizes(height, width)
            named = {spec.name: f for spec, f in zip(feature_specs, features)}
            sizes = [[batch, *size] for size in sizes]
            found = checks.encoded_checks(named, sizes, log_probs, num_classes)
            size = (batch, height, width)
            return found + checks.sampling_checks(num_samples, seed, size)

        admitted = checks.gate(arguments, shapes, conditions)
        *features, log_probs, num_samples, seed = admitted
        count = tf.reduce_max(num_samples)

        def one(key: tf.Tensor, *encoded_image: tf.Tensor) -> program.Tensors:
            *features, log_probs = encoded_image
            samples = self._computation.decode(features, log_probs, key, count)
            return {"samples": samples}

        seeds = _seeds(seed, tf.shape(log_probs)[0])
        specs = {"samples": tf.TensorSpec([None, None, None], tf.uint8)}
        return program.each_image(one, [seeds, *features, log_probs], specs)

    def _sample_bytes(self, *arguments: tf.Tensor) -> program.Tensors:
        image_bytes, *blackbox, num_samples, seed = arguments
        channels = self._settings.dataset_info.image_channels
        inputs = [encoded.decode_images(image_bytes, channels, "image_bytes")]
        if blackbox and blackbox[0].dtype == tf.string:
            blackbox = [encoded.decode_maps(blackbox[0], "blackbox_bytes")]
        drawn = self._sample(*inputs, *blackbox, num_samples, seed)
        return {
            "samples_bytes": encoded.encode_maps(drawn["samples"]),
            "entropy_bytes": encoded.encode_entropies(drawn["entropy_bits"]),
        }

    def _admit(self, arguments: Sequence[tf.Tensor], *, draws: bool) -> List[tf.Tensor]:
        """Checks image, black-box output and, where samples are drawn, their seeds."""
        dataset_info = self._settings.dataset_info
        num_inputs = len(arguments) - (2 if draws else 0)
        shapes = [self._settings.image_spec.shape, self._settings.blackbox_spec.shape]
        shapes = shapes[:num_inputs] + ([None, [None, None]] if draws else [])

        def conditions(fed: Sequence[tf.Tensor]) -> List[checks.Check]:
            found = checks.image_checks(fed[0], dataset_info.image_channels)
            size = checks.dimensions(fed[0], 3)
            if num_inputs > 1:
                num_classes = dataset_info.num_blackbox_classes
                found += checks.blackbox_checks(fed[1], size, num_classes)
            embedded = self._computation.blackbox_function is not None
            if embedded and self._settings.resizes:
                seen = [size[0], *self._settings.trained_size]
                found.append(checks.few_pixels(seen))
                size = size if self._settings.own_size else seen
            if draws:
                found += checks.sampling_checks(*fed[-2:], size)
            return found

        return checks.gate(arguments, shapes, conditions)


def _padded(inputs: Tuple[tf.Tensor, ...]) -> Tuple[tf.Tensor, Optional[tf.Tensor]]:
    """Returns image and black-box output, None where there is none."""
    return inputs if len(inputs) == 2 else (*inputs, None)


def _seeds(seed: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """Returns `seed` `[B, 2]`, or fresh ones where it is empty."""

    def fresh() -> tf.Tensor:
        # The raw operation with seeds of 0 draws anew in every process, whatever seed
        # was set for TensorFlow when the graph was built.
        return tf.raw_ops.RandomUniformInt(
            shape=tf.stack([batch, 2]),
            minval=tf.int32.min,
            maxval=tf.int32.max,
            seed=0,
            seed2=0,
        )

    return tf.cond(
        tf.equal(tf.size(seed), 0), fresh, lambda: tf.reshape(seed, [batch, 2])
    )


def _function(
    body: Callable[..., program.Tensors],
    specs: Sequence[tf.TensorSpec],
    defaults: Optional[Dict[str, tf.Tensor]] = None,
) -> Callable[..., program.Tensors]:
    """Makes a `tf.function` whose parameters have the specs' names and defaults.

    `tf.saved_model.save` writes the defaults of named parameters that are tensors into
    the signature; a first parameter `self` is what it expects of a method.
    """
    defaults = defaults or {}
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD

    def function(unused_self, *arguments):
        return body(*arguments)

    none = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(name, kind, default=defaults.get(name, none))
        for name in ("self", *(spec.name for spec in specs))
    ]
    function.__signature__ = inspect.Signature(parameters)
    bound = function.__get__(body)
    return tf.function(bound, input_signature=list(specs), autograph=False)
