"""What an export computes, image by image and sample by sample.

The images of a batch, and the samples of an image, are computed each on its own.
So a sample cannot depend on what else is in the batch, not by a rounding either, and
memory is that of two samples, however many are asked for.
"""

import dataclasses
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import tensorflow as tf

from car_tf.data import info
from car_tf.models import refinement_net, sampler
from export import checks

LABELS, PROBABILITIES = "labels", "probabilities"
NUM_SAMPLES = 16
Tensors = Dict[str, tf.Tensor]
# [B, h, w, 3] uint8 images and a [2] int32 size -> [B, H, W] ids or [B, H, W, K] probs.
BlackBoxFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What an export fixes."""

    dataset_info: info.DatasetInfo  # of the data set
    # M of `serving_default`, and of the others where a request has none.
    num_samples: int = NUM_SAMPLES
    # (height, width) of the images that the model was trained on, to which a model with
    # an embedded black box resizes where training did so.
    trained_size: Tuple[int, int] = (256, 512)
    # Whether such a model's maps are brought back to the size of the image it was given.
    own_size: bool = False

    def __post_init__(self):
        if not 1 <= self.num_samples <= checks.MAX_SAMPLES:
            raise ValueError(
                f"num_samples: wanted 1 to {checks.MAX_SAMPLES}, got {self.num_samples}"
            )

    @property
    def blackbox(self) -> str:
        """What the model takes of a black box: `labels` or `probabilities`."""
        return self.dataset_info.blackbox_output

    @property
    def resizes(self) -> bool:
        """Whether training resized whole images and did not cut crops out of them."""
        return self.dataset_info.resizes

    @property
    def image_spec(self) -> tf.TensorSpec:
        """`[B, H, W, C]` uint8."""
        channels = self.dataset_info.image_channels
        return tf.TensorSpec([None, None, None, channels], tf.uint8, "image")

    @property
    def blackbox_spec(self) -> tf.TensorSpec:
        """`[B, H, W]` uint8 or `[B, H, W, Kb]` float32."""
        if self.blackbox == LABELS:
            return tf.TensorSpec([None, None, None], tf.uint8, "blackbox")
        num_classes = self.dataset_info.num_blackbox_classes
        shape = [None, None, None, num_classes]
        return tf.TensorSpec(shape, tf.float32, "blackbox")


class Program:
    """The computation for one image, without the signatures' inputs and checks."""

    def __init__(
        self,
        model: sampler.Sampler,
        settings: Settings,
        blackbox_function: Optional[BlackBoxFunction] = None,
    ):
        self.model = model
        self.settings = settings
        self.blackbox_function = blackbox_function
        # Traced once for all signatures.
        self._log_probs = tf.function(model.log_probs, autograph=False)
        self._encode = tf.function(model.encode, autograph=False)
        self._draw = tf.function(model.draw, autograph=False)
        self.feature_specs, self._strides = self._probe()

    def _probe(self) -> Tuple[List[tf.TensorSpec], List[Optional[int]]]:
        """Finds out what G's features look like, and by what they are smaller."""
        dataset_info, size = self.settings.dataset_info, 64
        image = tf.zeros([1, size, size, dataset_info.image_channels], tf.uint8)
        log_probs = tf.zeros([1, size, size, dataset_info.num_classes])
        specs, strides = [], []
        for index, feature in enumerate(self.model.encode(image, log_probs)):
            is_map = len(feature.shape) == 4
            inner = [None, None] if is_map else []
            shape = [None, *inner, feature.shape[-1]]
            specs.append(tf.TensorSpec(shape, feature.dtype, f"feature_{index}"))
            strides.append(size // feature.shape[1] if is_map else None)
        return specs, strides

    def feature_sizes(self, height: tf.Tensor, width: tf.Tensor) -> List[List]:
        """Returns the dimensions after the first of the features of an image."""
        whole = refinement_net.STRIDE
        padded = [-(-size // whole) * whole for size in (height, width)]
        return [
            [*(side // stride for side in padded if stride), spec.shape[-1]]
            for spec, stride in zip(self.feature_specs, self._strides)
        ]

    def see(
        self, image: tf.Tensor, blackbox: Optional[tf.Tensor]
    ) -> Tuple[tf.Tensor, Optional[tf.Tensor]]:
        """Returns image and black-box output as F takes them, `[1, H, W, ...]`."""
        if self.blackbox_function is None:
            return image, blackbox
        whole = image
        if self.settings.resizes:
            size = self.settings.trained_size
            resized = tf.image.resize(image, size, antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
        blackbox = self.blackbox_function(whole, tf.shape(image)[1:3])
        return image, blackbox

    def calibrate(self, image: tf.Tensor, blackbox: Optional[tf.Tensor]) -> Tensors:
        """Computes F alone, of `[1, H, W, C]`."""
        log_probs = self._log_probs(*self.see(image, blackbox))
        return self._answer(image, _uncertainty(log_probs))

    def encode(self, image: tf.Tensor, blackbox: Optional[tf.Tensor]) -> Tensors:
        """Computes all that further samples share, of `[1, H, W, C]`."""
        image, blackbox = self.see(image, blackbox)
        log_probs = self._log_probs(image, blackbox)
        names = [spec.name for spec in self.feature_specs]
        features = dict(zip(names, self._encode(image, log_probs)))
        return {**features, "log_probs": log_probs}

    def decode(
        self,
        features: Sequence[tf.Tensor],
        log_probs: tf.Tensor,
        seed: tf.Tensor,
        num_samples: tf.Tensor,
    ) -> tf.Tensor:
        """Draws `[1, M, H, W]` samples with a seed `[1, 2]`."""
        noise = self.model.noise(seed, num_samples)
        return self._draw(list(features), log_probs, noise)

    def sample(
        self,
        image: tf.Tensor,
        blackbox: Optional[tf.Tensor],
        seed: tf.Tensor,
        num_samples: tf.Tensor,
    ) -> Tensors:
        """Draws samples for `[1, H, W, C]`."""
        seen, blackbox = self.see(image, blackbox)
        log_probs = self._log_probs(seen, blackbox)
        features = self._encode(seen, log_probs)
        samples = self.decode(features, log_probs, seed, num_samples)
        return self._answer(image, {"samples": samples, **_uncertainty(log_probs)})

    def _answer(self, image: tf.Tensor, found: Tensors) -> Tensors:
        """Returns maps at the size of the image they answer, where that is asked for."""
        if not self.settings.own_size or self.blackbox_function is None:
            return found
        size = tf.shape(image)[1:3]
        probs = tf.image.resize(found["probabilities"], size)  # They still sum to one.
        answer = {"probabilities": probs, "entropy_bits": sampler.entropy_bits(probs)}
        if "samples" in found:
            maps = found["samples"][0, ..., None]
            answer["samples"] = tf.image.resize(maps, size, "nearest")[None, ..., 0]
        return answer


def _uncertainty(log_probs: tf.Tensor) -> Tensors:
    probs = tf.exp(log_probs)
    return {"probabilities": probs, "entropy_bits": sampler.entropy_bits(probs)}


def each_image(
    function: Callable[..., Tensors],
    inputs: Sequence[tf.Tensor],
    specs: Dict[str, tf.TensorSpec],
) -> Tensors:
    """Calls a function of `[1, ...]` tensors on each element of `[B, ...]` ones.

    `specs` are those of the tensors that it returns by name, without their first axis.
    """

    def one(elements: Sequence[tf.Tensor]) -> Tensors:
        results = function(*(element[None] for element in elements))
        return {name: result[0] for name, result in results.items()}

    return tf.map_fn(
        one, tuple(inputs), fn_output_signature=specs, parallel_iterations=1
    )
