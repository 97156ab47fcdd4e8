"""From a configuration to data, networks and trainers.

The one place where configuration fields become arguments.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, List, Optional

import keras
import numpy as np
import tensorflow as tf

from car_tf import config as config_lib
from car_tf.blackbox import imitation, live, on_disk
from car_tf.blackbox import segmenter as segmenter_lib
from car_tf.data import cache, cityscapes, examples, info, pipeline, street_scenes
from car_tf.models import calibration, discriminator, refinement, sampler
from car_tf.trainers import calibration as calibration_trainer
from car_tf.trainers import common
from car_tf.trainers import refinement as refinement_trainer

# Epochs after which the paper halves its learning rates (CAR, A.1).
HALVE_AFTER_EPOCHS = 30


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set ready for use.

    Attributes:
      facts: what the rest asks for.
      splits: name -> examples, with their black-box outputs.
      selection: name of the split for model selection.
      evaluation: name of the split that results are reported on.
      notes: what a user must be told, one sentence each.
    """

    facts: info.DatasetInfo
    splits: Dict[str, examples.Examples]
    selection: str
    evaluation: str
    notes: List[str]

    def describe(self) -> Dict[str, Any]:
        """Returns what the run directory records of the data."""
        return {
            "title": self.facts.title,
            "notes": self.notes,
            "splits": {
                name: {
                    "num_images": len(split),
                    "fingerprint": split.fingerprint(),
                    "skipped": list(split.skipped),
                    "names": list(split.names),
                }
                for name, split in self.splits.items()
            },
        }


def build_data(config: config_lib.Config) -> Dataset:
    """Reads or draws the data set and adds the black box's outputs."""
    if config.data.data_dir:
        dataset = _cityscapes_on_disk(config)
    else:
        dataset = _drawn_street_scenes(config)
    notes = list(dataset.notes)
    segmenter = build_blackbox(config)
    splits = {
        name: with_blackbox(
            config, split, notes=notes, segmenter=segmenter, split_index=index
        )
        for index, (name, split) in enumerate(dataset.splits.items())
    }
    facts = dataset.facts
    if config.blackbox.kind == "none":
        facts = dataclasses.replace(facts, num_blackbox_classes=0)
    return dataclasses.replace(dataset, facts=facts, splits=splits, notes=notes)


def _cityscapes_on_disk(config: config_lib.Config) -> Dataset:
    data = config.data
    read = {
        split: cityscapes.read(
            data.data_dir,
            split,
            size=data.size,
            cache_dir=cache.folder(data.cache_dir),
            on_error=data.on_error,
        )
        for split in ("train", "val")
    }
    training, selection, words = cityscapes.split_training(
        read["train"], fraction=data.selection_fraction, seed=config.train.seed
    )
    return Dataset(
        facts=cityscapes.dataset_info(f"street scenes in {data.data_dir}"),
        splits={"train": training, "selection": selection, "val": read["val"]},
        selection="selection",
        evaluation="val",
        notes=[f"model selection: {words}"],
    )


def _drawn_street_scenes(config: config_lib.Config) -> Dataset:
    splits, first = {}, 0
    for name, num in zip(cityscapes.SPLITS, config.data.num_drawn):
        images, labels = street_scenes.draw_scenes(
            num,
            seed=config.data.drawn_seed,
            size=config.data.size,
            first_index=first,
            progress=True,
        )
        splits[name] = examples.Examples(
            names=tuple(f"scene_{first + i:06d}" for i in range(num)),
            groups=tuple(f"scene_{first + i:06d}" for i in range(num)),
            images=images,
            labels=labels[:, None],
        )
        first += num
    return Dataset(
        facts=cityscapes.dataset_info("street scenes drawn by car_tf"),
        splits=splits,
        selection="selection",
        evaluation="val",
        notes=[
            "these are street scenes that car_tf draws itself, not Cityscapes: their "
            "figures say that the method works, not how well it does on photographs "
            "(--data_dir takes real data)"
        ],
    )


def with_blackbox(
    config: config_lib.Config,
    split: examples.Examples,
    *,
    notes: List[str],
    segmenter: Optional[segmenter_lib.Segmenter],
    split_index: int = 0,
) -> examples.Examples:
    """Adds the black box's output to a split.

    Args:
      config: the configuration.
      split: examples without it.
      notes: to which is added what a user must be told.
      segmenter: of `build_blackbox`.
      split_index: decides the errors of an imitation.
    """
    kind = _blackbox_kind(config.blackbox)
    if kind == "none":
        return split
    if kind == "truth":
        _note(notes, "G is conditioned on the true labels before their flips")
        return dataclasses.replace(split, blackbox=np.asarray(split.labels[:, 0]))
    if kind == "imitation":
        _note(
            notes,
            "the black box is imitated by degrading the true labels "
            "(--blackbox takes a real one)",
        )
        # Each split draws its own errors.
        maps = [
            imitation.imitate(
                label[0], seed=config.data.drawn_seed + split_index, index=index
            )
            for index, label in enumerate(split.labels)
        ]
        return dataclasses.replace(split, blackbox=np.stack(maps))
    cache_dir = cache.folder(config.data.cache_dir)
    if not split.image_files:
        raise config_lib.ConfigError(
            "blackbox.path: drawn scenes have no files that a black box could be run "
            "on; give --data_dir as well"
        )
    shared = dict(
        image_files=split.image_files, size=config.data.size, cache_dir=cache_dir
    )
    if segmenter is not None:
        _note(notes, f"black box: {config.blackbox.path} ({config.blackbox.output})")
        return dataclasses.replace(
            split, blackbox=live.predictions(segmenter, **shared)
        )
    maps, encoding = on_disk.predictions(
        config.blackbox.path,
        names=split.names,
        encoding=config.blackbox.encoding,
        tables={
            "train_ids": cityscapes.train_id_table(),
            "label_ids": cityscapes.label_id_table(),
        },
        num_classes=cityscapes.NUM_TRAIN_IDS,
        output=config.blackbox.output,
        class_map=config.blackbox.class_map,
        **shared,
    )
    words = encoding.replace("_", " ")
    _note(notes, f"black box: predictions in {config.blackbox.path}, read as {words}")
    return dataclasses.replace(split, blackbox=maps)


def _blackbox_kind(blackbox: config_lib.BlackBox) -> str:
    if blackbox.kind != "auto":
        return blackbox.kind
    if not blackbox.path:
        return "imitation"
    return "live" if live.is_model(blackbox.path) else "predictions"


def build_blackbox(config: config_lib.Config) -> Optional[segmenter_lib.Segmenter]:
    """Finds the segmenter at `blackbox.path`, which is opened when first needed.

    Returns:
      The segmenter; None where no model is run on the images.
    """
    settings = config.blackbox
    if _blackbox_kind(settings) != "live":
        return None
    class_map = settings.class_map
    if not class_map and settings.encoding == "label_ids":
        class_map = tuple(cityscapes.label_id_table()[:34].tolist())
    return live.load(
        settings.path,
        num_classes=cityscapes.NUM_TRAIN_IDS,
        output=settings.output,
        class_map=class_map,
        input_size=settings.input_size if any(settings.input_size) else None,
        channels=settings.channels,
        pixel_scale=settings.pixel_scale,
        signature=settings.signature,
        input_name=settings.input_name,
        output_name=settings.output_name,
    )


def _note(notes: List[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def build_batches(
    config: config_lib.Config,
    dataset: Dataset,
    *,
    stage: int,
    first_step: int,
    num_steps: int,
):
    """Returns the training batches of a stage, steps `first_step` to `num_steps`."""
    settings = config.stage1 if stage == 1 else config.stage2
    return pipeline.training_batches(
        dataset.splits["train"],
        batch_size=settings.batch_size,
        crop_size=config.data.crop_size,
        scale_range=config.data.scale_range,
        random_crop=dataset.facts.random_crop,
        flips=dataset.facts.flips,
        seed=config.train.seed * 10 + stage,
        first_step=first_step,
        num_steps=num_steps,
    )


def _dummy_inputs(config: config_lib.Config, facts: info.DatasetInfo):
    height, width = config.data.crop_size
    image = tf.zeros([1, height, width, facts.image_channels])
    blackbox = None
    if facts.num_blackbox_classes:
        blackbox = tf.zeros([1, height, width, facts.num_blackbox_classes])
    log_probs = tf.zeros([1, height, width, facts.num_classes])
    return image, blackbox, log_probs


def build_calibration_net(
    config: config_lib.Config, facts: info.DatasetInfo, *, synchronized: bool = False
) -> keras.Model:
    """Builds F with its variables."""
    settings = config.calibration_net
    if settings.kind == "true_distribution":
        net = calibration.TrueDistribution(
            num_classes=facts.num_classes,
            originals=[flip.original for flip in facts.flips],
            flipped=[flip.flipped for flip in facts.flips],
            probabilities=[flip.probability for flip in facts.flips],
        )
    else:
        net = calibration.BlackBoxCalibrator(
            num_classes=facts.num_classes,
            channels=settings.channels,
            dropout=settings.dropout,
            synchronized=synchronized,
        )
    image, blackbox, _ = _dummy_inputs(config, facts)
    net(image, blackbox)
    return net


def build_refinement_net(
    config: config_lib.Config, facts: info.DatasetInfo, *, synchronized: bool = False
) -> refinement.RefinementNet:
    """Builds G with its variables."""
    settings = config.refinement_net
    net = refinement.RefinementNet(
        num_classes=facts.num_classes,
        base_channels=settings.base_channels,
        noise_dim=settings.noise_dim,
        dropout=settings.dropout,
        residual=settings.logits == "residual",
        synchronized=synchronized,
    )
    image, _, log_probs = _dummy_inputs(config, facts)
    net(image, log_probs, tf.zeros([1, 1, settings.noise_dim]))
    return net


def build_discriminator(
    config: config_lib.Config, facts: info.DatasetInfo
) -> discriminator.Discriminator:
    """Builds D with its variables."""
    net = discriminator.Discriminator(
        input_size=config.data.crop_size,
        base_channels=config.discriminator.base_channels,
    )
    image, _, log_probs = _dummy_inputs(config, facts)
    net(image, log_probs[:, None])
    return net


def build_sampler(
    calibration_net: keras.Model, refinement_net: keras.Model, facts: info.DatasetInfo
) -> sampler.Sampler:
    """Puts F and G together for inference."""
    return sampler.Sampler(
        calibration_net=calibration_net,
        refinement_net=refinement_net,
        num_blackbox_classes=facts.num_blackbox_classes,
    )


def _halve_at(batch_size: int, num_images: int) -> int:
    return HALVE_AFTER_EPOCHS * math.ceil(num_images / batch_size)


def build_calibration_trainer(
    config: config_lib.Config, dataset: Dataset, *, synchronized: bool = False
) -> calibration_trainer.CalibrationTrainer:
    """Builds stage 1; call it inside the strategy's scope."""
    settings = config.stage1
    net = build_calibration_net(config, dataset.facts, synchronized=synchronized)
    trainer = calibration_trainer.CalibrationTrainer(
        calibration_net=net,
        num_blackbox_classes=dataset.facts.num_blackbox_classes,
        l2=settings.l2,
        seed=config.train.seed * 10 + 1,
    )
    schedule = common.learning_rate(
        settings.learning_rate,
        decay=settings.decay,
        num_updates=settings.steps,
        halve_at=_halve_at(settings.batch_size, len(dataset.splits["train"])),
    )
    trainer.compile(optimizer=common.adam(schedule, variables=net.trainable_variables))
    return trainer


def build_refinement_trainer(
    config: config_lib.Config,
    dataset: Dataset,
    calibration_net: Optional[keras.Model] = None,
    *,
    synchronized: bool = False,
) -> refinement_trainer.RefinementTrainer:
    """Builds stage 2; call it inside the strategy's scope.

    Args:
      config: the configuration.
      dataset: of `build_data`.
      calibration_net: the trained F; built anew where it has no weights to train.
      synchronized: whether batch statistics span all replicas.
    """
    settings, facts = config.stage2, dataset.facts
    generator = build_refinement_net(config, facts, synchronized=synchronized)
    judge = build_discriminator(config, facts)
    trainer = refinement_trainer.RefinementTrainer(
        calibration_net=calibration_net or build_calibration_net(config, facts),
        refinement_net=generator,
        discriminator=judge,
        num_classes=facts.num_classes,
        num_blackbox_classes=facts.num_blackbox_classes,
        num_samples=settings.num_samples,
        adversarial_weight=settings.adversarial_weight,
        calibration_weight=settings.calibration_weight,
        pixel_loss=settings.pixel_loss,
        r1_gamma=settings.r1_gamma,
        discriminator_active=settings.discriminator_active,
        discriminator_period=settings.discriminator_period,
        l2=settings.l2,
        seed=config.train.seed * 10 + 2,
    )
    halve_at = _halve_at(settings.batch_size, len(dataset.splits["train"]))
    share = settings.discriminator_active / settings.discriminator_period

    def optimizer(rate: float, net: keras.Model, share: float):
        schedule = common.learning_rate(
            rate,
            decay=settings.decay,
            num_updates=max(1, round(share * settings.steps)),
            halve_at=max(1, round(share * halve_at)),
        )
        return common.adam(schedule, variables=net.trainable_variables)

    trainer.compile(
        generator_optimizer=optimizer(settings.learning_rate, generator, 1.0),
        discriminator_optimizer=optimizer(
            settings.discriminator_learning_rate, judge, share
        ),
    )
    return trainer
