"""Every field of the schema reaches the object that it is for, and no other.

Networks, trainers and optimisers are replaced by records of how they are made. Two
configurations that differ in one field must then differ in exactly what is listed here;
a field of these sections that is not listed fails.
"""

import ast
import dataclasses
import pathlib
import types

import numpy as np
import pytest

from car_tf import config as config_lib
from car_tf.config import fields
from car_tf.data import cityscapes, pipeline
from car_tf.models import build as networks
from car_tf.models.keras_api import keras
from car_tf.train import balance, build, optimization, stage1, stage2

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECTIONS = ("calibration_net", "refinement_net", "discriminator", "stage1", "stage2")
# A fact that is not the default, to see it arrive.
FACTS = dataclasses.replace(
    cityscapes.dataset_info("nothing"), random_crop=False, resizes=False
)
NETWORKS = {
    "F": ("calibration_nets", "BlackBoxCalibrator"),
    "F segnet": ("segnet", "SegNet"),
    "F known": ("calibration_nets", "TrueDistribution"),
    "G": ("refinement_net", "RefinementNet"),
    "G draw": ("draw_refinement_net", "DrawRefinementNet"),
    "D": ("discriminator", "Discriminator"),
    "Q": ("posterior_net", "PosteriorNet"),
}
SEGNET = ("calibration_net.kind=segnet", "blackbox.kind=none")
DRAW, ELBO = ("refinement_net.logits=draw",), ("stage2.pixel_loss=elbo",)
PAIRED = (*DRAW, "stage2.calibration_estimator=paired")
ARGMAX = (*PAIRED, "stage2.sample_maps=argmax")
HALVE, LINEAR = ("stage1.decay=halve",), ("stage2.decay=linear",)


class Made:
    """What stands for an object: its name, and the arguments that made it."""

    def __init__(self, record, name, arguments):
        self.name = self.trainable_variables = self.generator_variables = name
        self.discriminator = arguments.get("discriminator")
        self.noise_dim = arguments.get("noise_dim")
        self._record = record
        self._add(arguments)

    def _add(self, arguments):
        for name, value in arguments.items():
            self._record[f"{self.name}.{name}"] = getattr(value, "name", value)

    def __call__(self, *inputs):
        return inputs[0]

    def compile(self, **arguments):
        for name, value in list(arguments.items()):
            if name.endswith("optimizer"):
                for part, setting in arguments.pop(name).items():
                    self._record[f"{self.name} {name}.{part}"] = setting
        self._add(arguments)


@pytest.fixture
def made(monkeypatch):
    """Returns a function: overrides -> what is built of them, name -> argument."""
    record = {}

    def maker(name):
        return lambda **arguments: Made(record, name, arguments)

    def network(name):
        def make(**arguments):
            policy = keras.mixed_precision.global_policy().name
            return Made(record, name, {**arguments, "policy": policy})

        return make

    for name, (module, kind) in NETWORKS.items():
        monkeypatch.setattr(getattr(networks, module), kind, network(name))
    monkeypatch.setattr(stage1, "CalibrationTrainer", maker("stage 1"))
    monkeypatch.setattr(stage2, "RefinementTrainer", maker("stage 2"))
    monkeypatch.setattr(balance, "Balance", maker("balance"))
    schedule = lambda rate, **arguments: {"rate": rate, **arguments}
    monkeypatch.setattr(optimization, "learning_rate", schedule)
    adam = lambda schedule, **arguments: {**schedule, **arguments}
    monkeypatch.setattr(optimization, "adam", adam)
    batches = lambda source, **arguments: Made(record, stage_name[0], arguments)
    stage_name = [""]
    monkeypatch.setattr(pipeline, "training_batches", batches)

    def build_all(*texts):
        record.clear()
        config = fields.override(config_lib.Config(name="tiny"), texts)
        dataset = types.SimpleNamespace(info=FACTS, splits={"train": range(64)})
        for stage in (1, 2):
            stage_name[0] = f"batches {stage}"
            steps = dict(stage=stage, first_step=0, num_steps=9)
            build.build_batches(config, dataset, **steps)
        build.build_calibration_trainer(config, dataset)
        build.build_refinement_trainer(config, dataset)
        return dict(record)

    return build_all


G_ADAM, D_ADAM = "stage 2 generator_optimizer", "stage 2 discriminator_optimizer"
F_ADAM = "stage 1 optimizer"
# (field, text, what changes, in which configuration)
CASES = [
    ("calibration_net.channels", "9", {"F.channels": 9}, ()),
    ("calibration_net.channels", "9", {"F segnet.channels": 9}, SEGNET),
    ("calibration_net.dropout", "0.3", {"F.dropout": 0.3}, ()),
    ("calibration_net.dropout", "0.3", {"F segnet.dropout": 0.3}, SEGNET),
    ("calibration_net.decoder", "skips", {"F segnet.skips": True}, SEGNET),
    ("calibration_net.half_size", "true", {"F segnet.half_size": True}, SEGNET),
    ("calibration_net.symmetric", "true", {"F segnet.symmetric": True}, SEGNET),
    ("refinement_net.base_channels", "9", {"G.base_channels": 9}, ()),
    (
        *("refinement_net.base_channels", "9"),
        *({"G.base_channels": 9, "Q.base_channels": 9}, ELBO),
    ),
    ("refinement_net.base_channels", "9", {"G draw.base_channels": 9}, DRAW),
    ("refinement_net.noise_dim", "9", {"G.noise_dim": 9}, ()),
    ("refinement_net.noise_dim", "9", {"G.noise_dim": 9, "Q.noise_dim": 9}, ELBO),
    ("refinement_net.noise_dim", "9", {"G draw.noise_dim": 9}, DRAW),
    ("refinement_net.dropout", "0.3", {"G.dropout": 0.3}, ()),
    ("refinement_net.dropout", "0.3", {"G.dropout": 0.3, "Q.dropout": 0.3}, ELBO),
    ("refinement_net.logits", "scratch", {"G.logits": "scratch"}, ()),
    (
        *("refinement_net.tie_flips", "true"),
        {"G draw.twins": [(1, 19), (11, 20), (13, 21), (8, 22), (0, 23)]},
        DRAW,
    ),
    ("refinement_net.half_size", "true", {"G draw.half_size": True}, DRAW),
    ("refinement_net.draw_scale", "0.3", {"G draw.draw_scale": 0.3}, DRAW),
    ("refinement_net.temperature", "0.7", {"G.temperature": 0.7}, ()),
    ("refinement_net.noise", "encoded", {"G.encoded_noise": True}, ()),
    ("discriminator.base_channels", "9", {"D.base_channels": 9}, ()),
    ("discriminator.patches", "true", {"D.patches": True}, ()),
    ("discriminator.presence", "true", {"D.presence": True}, ()),
    ("stage1.steps", "77", {f"{F_ADAM}.num_updates": 77}, ()),
    (
        *("stage1.batch_size", "8"),
        # 64 images: 8 steps an epoch, 30 epochs.
        *({"batches 1.batch_size": 8, f"{F_ADAM}.halve_at": 240}, ()),
    ),
    ("stage1.labels_per_image", "3", {"batches 1.labels_per_image": 3}, ()),
    ("stage1.learning_rate", "0.5", {f"{F_ADAM}.rate": 0.5}, ()),
    ("stage1.decay", "constant", {f"{F_ADAM}.decay": "constant"}, HALVE),
    ("stage1.l2", "0.5", {"stage 1.l2": 0.5}, ()),
    ("stage1.average_decay", "0.5", {"stage 1.average_decay": 0.5}, ()),
    (
        *("stage2.steps", "300"),
        # 50 in each of two periods of 250.
        *({f"{G_ADAM}.num_updates": 300, f"{D_ADAM}.num_updates": 100}, LINEAR),
    ),
    (
        *("stage2.batch_size", "8"),
        {
            **{"batches 2.batch_size": 8, f"{G_ADAM}.halve_at": 240},
            f"{D_ADAM}.halve_at": 50,
        },
        ("stage2.batch_size=64",),
    ),
    ("stage2.num_samples", "3", {"stage 2.num_samples": 3}, ()),
    (
        *("stage2.pixel_loss", "cross_entropy"),
        *({"stage 2.pixel_loss": "cross_entropy"}, ()),
    ),
    ("stage2.kl_weight", "0.5", {"stage 2.kl_weight": 0.5}, ELBO),
    ("stage2.labels_per_image", "3", {"batches 2.labels_per_image": 3}, ()),
    ("stage2.sample_maps", "argmax", {"stage 2.hard_samples": True}, PAIRED),
    ("stage2.calibration_estimator", "paired", {"stage 2.paired": True}, DRAW),
    ("stage2.warmup_steps", "3", {"balance.warmup_steps": 3}, ()),
    ("stage2.balance", "0.5,2", {"balance.limits": (0.5, 2.0)}, ()),
    ("stage2.r1_every", "3", {"stage 2.r1_every": 3}, ()),
    ("stage2.augment_discriminator", "true", {"stage 2.augment": True}, ()),
    ("stage2.samples_at_once", "7", {"stage 2.samples_at_once": 7}, ()),
    ("stage2.average_decay", "0.5", {"stage 2.average_decay": 0.5}, ()),
    ("stage2.noise_sampling", "stratified", {"stage 2.stratified_noise": True}, ()),
    ("stage2.adversarial_weight", "3", {"stage 2.adversarial_weight": 3.0}, ()),
    ("stage2.energy_weight", "3", {"stage 2.energy_weight": 3.0}, ARGMAX),
    ("stage2.calibration_weight", "3", {"stage 2.calibration_weight": 3.0}, ()),
    ("stage2.r1_gamma", "3", {"stage 2.r1_gamma": 3.0}, ()),
    ("stage2.learning_rate", "0.5", {f"{G_ADAM}.rate": 0.5}, ()),
    ("stage2.discriminator_learning_rate", "0.5", {f"{D_ADAM}.rate": 0.5}, ()),
    (
        *("stage2.discriminator_active", "9"),
        # 120,000 steps are 480 periods, 30 epochs of 4 steps less than one.
        {
            **{"balance.active": 9, f"{D_ADAM}.num_updates": 4320},
            f"{D_ADAM}.halve_at": 9,
        },
        (),
    ),
    (
        *("stage2.discriminator_period", "100"),
        {
            **{"balance.period": 100, f"{D_ADAM}.num_updates": 60_000},
            f"{D_ADAM}.halve_at": 70,
        },
        (),
    ),
    (
        *("stage2.decay", "constant"),
        *({f"{G_ADAM}.decay": "constant", f"{D_ADAM}.decay": "constant"}, ()),
    ),
    ("stage2.l2", "0.5", {"stage 2.l2": 0.5}, ()),
    # Of other sections, what is built of them here.
    (
        *("data.crop_size", "32,48"),
        {
            **{f"batches {stage}.crop_size": (32, 48) for stage in (1, 2)},
            "D.input_size": (32, 48),
        },
        (),
    ),
    (
        *("data.scale_range", "0.9,1.2"),
        *({f"batches {stage}.scale_range": (0.9, 1.2) for stage in (1, 2)}, ()),
    ),
    (
        *("data.symmetries", "square"),
        *({f"batches {stage}.symmetries": "square" for stage in (1, 2)}, ()),
    ),
    (
        *("data.grey_jitter", "0.2"),
        *({f"batches {stage}.grey_jitter": 0.2 for stage in (1, 2)}, ()),
    ),
    (
        *("train.seed", "4"),
        # The stages' seeds differ, and differ from those of other runs.
        {
            **{"batches 1.seed": 41, "batches 2.seed": 42},
            **{"stage 1.seed": 41, "stage 2.seed": 42},
        },
        (),
    ),
    (
        *("train.steps_per_execution", "3"),
        *({f"stage {stage}.steps_per_execution": 3 for stage in (1, 2)}, ()),
    ),
    (
        *("train.jit_compile", "true"),
        *({f"stage {stage}.jit_compile": True for stage in (1, 2)}, ()),
    ),
    (
        *("train.mixed_precision", "mixed_float16"),
        {
            **{f"{net}.policy": "mixed_float16" for net in "FGD"},
            **{f"{adam}.loss_scaling": True for adam in (F_ADAM, G_ADAM, D_ADAM)},
        },
        (),
    ),
]
# Fields that model selection reads (tests/train/test_selection.py and
# test_recalibration.py).
SELECTION = {"stage1.select_every", "stage1.temperature_scaling"}
SELECTION |= {"calibration_net.recalibrated"}
# Fields that decide which object is made at all.
KINDS = {
    "calibration_net.kind": {
        "F": (),
        "F segnet": SEGNET,
        "F known": ("calibration_net.kind=true_distribution", "blackbox.kind=truth"),
    },
    "refinement_net.logits": {"G": (), "G draw": DRAW},
    "stage2.pixel_loss": {"Q": ELBO},
}


@pytest.mark.parametrize("field, text, wanted, given", CASES)
def test_a_field_reaches_what_it_is_for_and_nothing_else(
    made, field, text, wanted, given
):
    before, after = made(*given), made(*given, f"{field}={text}")
    changed = {name: value for name, value in after.items() if before[name] != value}
    assert changed == wanted


@pytest.mark.parametrize("field", KINDS)
def test_a_kind_decides_which_network_is_made(made, field):
    for name, given in KINDS[field].items():
        found = {key.split(".")[0] for key in made(*given)}
        assert name in found
        assert not found & (set(KINDS[field]) - {name})
    assert "Q" not in {key.split(".")[0] for key in made()}


def test_what_no_field_decides_is_wired_up(made):
    record = made()
    for stage in (1, 2):
        assert record[f"batches {stage}.flips"] == FACTS.flips
        assert record[f"batches {stage}.random_crop"] == FACTS.random_crop
    assert record["stage 1.calibration_net"] == record["stage 2.calibration_net"] == "F"
    assert record["stage 2.refinement_net"] == "G"
    assert record["stage 2.discriminator"] == "D"
    assert record[f"{F_ADAM}.variables"] == "F"
    assert record[f"{D_ADAM}.variables"] == "D"
    assert record[f"{G_ADAM}.variables"] == "stage 2"  # Its `generator_variables`.
    assert record["F.num_classes"] == record["G.num_classes"] == 24
    assert made(*ELBO)["stage 2.posterior_net"] == "Q"
    known = made("calibration_net.kind=true_distribution", "blackbox.kind=truth")
    np.testing.assert_array_equal(known["F known.table"], FACTS.flip_table()[:19])


def every_field():
    for section, annotation in config_lib.Config.model_fields.items():
        for name in getattr(annotation.annotation, "model_fields", ()):
            yield f"{section}.{name}"


def test_every_field_of_networks_and_stages_is_in_the_list():
    listed = {case[0] for case in CASES} | set(KINDS) | SELECTION
    wanted = {name for name in every_field() if name.split(".")[0] in SECTIONS}
    assert len(wanted) > 40
    assert not wanted - listed, "a new field needs a case here"
    assert not listed - set(every_field()), "a field is gone"


def test_every_field_of_other_sections_is_read_somewhere():
    read = set()
    for path in [*ROOT.glob("car_tf/**/*.py"), *ROOT.glob("export/*.py")]:
        if "config" not in path.relative_to(ROOT).parts:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
            read |= {node.attr for node in nodes if isinstance(node.ctx, ast.Load)}
    others = [name for name in every_field() if name.split(".")[0] not in SECTIONS]
    unread = [name for name in others if name.split(".")[1] not in read]
    assert not unread
