"""From a configuration to networks with their variables.

With `train/build.py`, which makes their trainers, the one place where configuration
fields become arguments.
"""

from __future__ import annotations

from typing import Optional

import tensorflow as tf

from car_tf import config as config_lib
from car_tf.data import info
from car_tf.models import calibration_net as calibration_nets
from car_tf.models import discriminator, draw_refinement_net, posterior_net
from car_tf.models import refinement_net, sampler, segnet
from car_tf.models.keras_api import keras


def _dummy_inputs(config: config_lib.Config, dataset_info: info.DatasetInfo):
    """Returns an image, a black box's output if there is one, and log F, all zeros."""
    shape, num_classes = [1, *config.data.crop_size], dataset_info.num_blackbox_classes
    image = tf.zeros([*shape, dataset_info.image_channels])
    blackbox = tf.zeros([*shape, num_classes]) if num_classes else None
    return image, blackbox, tf.zeros([*shape, dataset_info.num_classes])


def recalibrates(config: config_lib.Config, dataset_info: info.DatasetInfo) -> bool:
    """Whether F's logits are remapped image by image: of two classes of raters alone."""
    is_masks = dataset_info.num_classes == 2 and not dataset_info.flips
    return config.calibration_net.recalibrated and is_masks


def build_calibration_net(
    config: config_lib.Config,
    dataset_info: info.DatasetInfo,
    synchronized: bool = False,
) -> keras.Model:
    """Builds F with its variables; `synchronized` batch statistics span all replicas."""
    settings, num_classes = config.calibration_net, dataset_info.num_classes
    shared = settings.model_dump(include={"channels", "dropout"})
    shared.update(num_classes=num_classes, synchronized=synchronized)
    shared["recalibrated"] = recalibrates(config, dataset_info)
    if settings.kind == "true_distribution":
        originals = num_classes - len(dataset_info.flips)
        table = dataset_info.flip_table()[:originals]
        net = calibration_nets.TrueDistribution(table=table)
    elif settings.kind == "segnet":
        chosen = settings.model_dump(include={"half_size", "symmetric"})
        net = segnet.SegNet(skips=settings.decoder == "skips", **chosen, **shared)
    else:
        net = calibration_nets.BlackBoxCalibrator(**shared)
    image, blackbox, _ = _dummy_inputs(config, dataset_info)
    # Traced, not run: that makes the variables, and run at once the unpooling warns.
    tf.function(net, autograph=False).get_concrete_function(image, blackbox)
    return net


def build_refinement_net(
    config: config_lib.Config,
    dataset_info: info.DatasetInfo,
    synchronized: bool = False,
) -> keras.Model:
    """Builds G with its variables; `synchronized` as of F."""
    settings, names = config.refinement_net, {"base_channels", "noise_dim"}
    if settings.logits == "draw":
        twins = [(flip.original, flip.flipped) for flip in dataset_info.flips]
        net = draw_refinement_net.DrawRefinementNet(
            num_classes=dataset_info.num_classes,
            twins=twins if settings.tie_flips else [],
            **settings.model_dump(include={*names, "draw_scale", "half_size"}),
        )
    else:
        net = refinement_net.RefinementNet(
            num_classes=dataset_info.num_classes,
            encoded_noise=settings.noise == "encoded",
            synchronized=synchronized,
            **settings.model_dump(include={*names, "dropout", "logits", "temperature"}),
        )
    image, _, log_probs = _dummy_inputs(config, dataset_info)
    net(image, log_probs, tf.zeros([1, 1, net.noise_dim]))
    return net


def build_posterior_net(
    config: config_lib.Config,
    dataset_info: info.DatasetInfo,
    synchronized: bool = False,
) -> Optional[posterior_net.PosteriorNet]:
    """Builds q(z | x, y) with its variables; None where no ELBO is trained."""
    if config.stage2.pixel_loss != "elbo":
        return None
    names = {"base_channels", "noise_dim", "dropout"}
    chosen = config.refinement_net.model_dump(include=names)
    net = posterior_net.PosteriorNet(synchronized=synchronized, **chosen)
    image, _, log_probs = _dummy_inputs(config, dataset_info)
    net(image, log_probs, log_probs)
    return net


def build_discriminator(
    config: config_lib.Config, dataset_info: info.DatasetInfo
) -> discriminator.Discriminator:
    """Builds D with its variables."""
    net = discriminator.Discriminator(
        input_size=config.data.crop_size, **dict(config.discriminator)
    )
    image, _, log_probs = _dummy_inputs(config, dataset_info)
    net(image, log_probs[:, None])
    return net


def build_sampler(
    calibration_net: keras.Model,
    refinement_net: keras.Model,
    dataset_info: info.DatasetInfo,
    strategy: Optional[tf.distribute.Strategy] = None,
    noise_sampling: str = "independent",
    sample_maps: str = "probabilities",
) -> sampler.Sampler:
    """Puts F and G together for inference, on the replicas of `strategy` if given."""
    return sampler.Sampler(
        calibration_net=calibration_net,
        refinement_net=refinement_net,
        num_blackbox_classes=dataset_info.num_blackbox_classes,
        strategy=strategy if strategy and strategy.num_replicas_in_sync > 1 else None,
        stratified=noise_sampling == "stratified",
        one_hot=sample_maps == "argmax",
    )
