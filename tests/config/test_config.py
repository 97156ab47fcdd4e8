"""Loading, overriding, checking and saving of configurations."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest

from car_tf.config import fields as config_fields
from car_tf import config as config_lib

CONFIG_FILE = """
from car_tf import config as config_lib

def get_config():
    return config_lib.Config(name="mine", stage1=config_lib.Stage1(steps=3))
"""


@pytest.fixture
def base():
    return config_lib.Config(name="base")


def fails(*words):
    """Expects a ConfigError of one line that holds all the words."""
    pattern = "".join(f"(?=.*{re.escape(word)})" for word in words)
    return pytest.raises(config_lib.ConfigError, match=f"^{pattern}[^\n]*$")


def test_a_file_is_loaded_by_path_and_overridden(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CONFIG_FILE)
    config = config_lib.load(str(path), ["stage1.batch_size=5"])
    assert config.name == "mine"
    assert config.stage1.steps == 3
    assert config.stage1.batch_size == 5


def test_every_name_that_is_offered_can_be_loaded():
    names = config_lib.available()
    assert {"cityscapes", "cityscapes_gt", "cityscapes_lce"} <= set(names)
    for name in names:
        assert config_lib.load(name).name == name


def test_loading_does_not_start_tensorflow():
    code = (
        "import sys; from car_tf import config\n"
        "for name in config.available(): config.load(name)\n"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_suggests_the_nearest_and_lists_all():
    with fails("'cityscape'", "did you mean 'cityscapes'", "cityscapes_gt"):
        config_lib.load("cityscape")


def test_files_that_are_no_configurations(tmp_path):
    with fails("no file", "absent.py"):
        config_lib.load(str(tmp_path / "absent.py"))
    empty = tmp_path / "empty.py"
    empty.write_text("")
    with fails("empty.py", "get_config"):
        config_lib.load(str(empty))
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def get_config(:\n")
    with fails("wrong.py", "not valid Python"):
        config_lib.load(str(wrong))


@pytest.mark.parametrize(
    "text, section, field, value",
    [
        ("train.seed=7", "train", "seed", 7),
        ("stage1.learning_rate=1e-3", "stage1", "learning_rate", 1e-3),
        ("stage2.steps = 12", "stage2", "steps", 12),
        ("data.size=300,400", "data", "size", (300, 400)),
        ("data.size=(300, 400)", "data", "size", (300, 400)),
        ("data.scale_range=0.9,1", "data", "scale_range", (0.9, 1.0)),
        ("train.deterministic=True", "train", "deterministic", True),
        ("train.deterministic=false", "train", "deterministic", False),
        ("stage1.decay=halve", "stage1", "decay", "halve"),
        ("blackbox.path=/a=b", "blackbox", "path", "/a=b"),
        ("blackbox.class_map=0,3,255", "blackbox", "class_map", (0, 3, 255)),
        ("blackbox.class_map=", "blackbox", "class_map", ()),
    ],
)
def test_values_are_parsed_by_the_type_of_their_field(
    base, text, section, field, value
):
    got = getattr(getattr(config_fields.override(base, [text]), section), field)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("train.sed=1", ("'train.sed'", "did you mean 'seed'", "deterministic")),
        ("trian.seed=1", ("'trian.seed'", "did you mean 'train'", "stage2")),
        ("train.seed", ("section.field=value", "'train.seed'")),
        ("train=1", ("'train'", "deterministic")),
        ("name=other", ("name", "section's field")),
        ("seed=1", ("'seed'",)),
        ("train.seed=1.5", ("train.seed", "wanted int", "'1.5'")),
        ("train.seed=", ("train.seed", "wanted int", "''")),
        ("stage1.l2=much", ("stage1.l2", "wanted float", "'much'")),
        ("train.deterministic=1", ("train.deterministic", "true or false", "'1'")),
        ("data.size=128", ("data.size", "2 values", "'128'")),
        ("data.size=1,2,3", ("data.size", "2 values")),
        ("data.size=a,b", ("data.size", "wanted int", "'a'")),
        ("stage1.decay=halved", ("stage1.decay", "did you mean 'halve'", "linear")),
    ],
)
def test_a_wrong_override_names_its_field(base, text, words):
    with fails(*words):
        config_fields.override(base, [text])


def test_the_last_of_two_overrides_of_a_field_wins(base):
    config = config_fields.override(base, ["train.seed=1", "train.seed=2"])
    assert config.train.seed == 2


def test_fields_that_must_agree_change_together_in_any_order(base):
    # Neither alone fits the default crop of 128 x 128.
    for order in (1, -1):
        texts = ["data.size=32,32", "data.crop_size=16,16"][::order]
        assert config_fields.override(base, texts).data.size == (32, 32)


def test_only_squares_have_all_symmetries_of_the_square():
    square = ["data.symmetries=square", "data.size=64,128"]
    config_fields.override(config_lib.Config("x"), [*square, "data.crop_size=32,32"])
    with fails("data.crop_size", "wanted a square", "(32, 64)"):
        config_fields.override(
            config_lib.Config("x"), [*square, "data.crop_size=32,64"]
        )


@pytest.mark.parametrize(
    "text",
    [
        "data.size=0,8",
        "data.crop_size=8,128",
        "data.crop_size=512,512",
        "data.scale_range=0,1",
        "data.scale_range=1.5,1",
        "data.num_drawn=0,1,1",
        "data.drawn_seed=-1",
        "data.selection_fraction=1",
        "blackbox.kind=predictions",
        "blackbox.class_map=0,256",
        "blackbox.input_size=0,5",
        "calibration_net.channels=0",
        "calibration_net.dropout=1",
        "refinement_net.base_channels=0",
        "refinement_net.noise_dim=0",
        "refinement_net.dropout=-0.1",
        "discriminator.base_channels=0",
        "stage1.steps=0",
        "stage1.batch_size=-1",
        "stage1.learning_rate=0",
        "stage1.learning_rate=nan",
        "stage1.l2=-1",
        "stage2.steps=0",
        "stage2.num_samples=0",
        "stage2.learning_rate=-1",
        "stage2.discriminator_learning_rate=inf",
        "stage2.adversarial_weight=-1",
        "stage2.calibration_weight=nan",
        "stage2.r1_gamma=-1",
        "stage2.l2=inf",
        "stage2.discriminator_active=0",
        "stage2.discriminator_active=251",
        "train.seed=-1",
        "train.seed=300000000",
        "train.checkpoint_every=0",
        "train.select_every=0",
        "train.select_every=300",
        "train.num_selection_images=-1",
        "evaluation.num_samples=0",
        "evaluation.num_images=-1",
        "evaluation.realism_steps=-1",
        "evaluation.seed=3000000000",
    ],
)
def test_a_value_out_of_range_names_its_field(base, text):
    section, _, field = text.split("=")[0].partition(".")
    with fails(section, field):
        config_fields.override(base, [text])


@pytest.mark.parametrize(
    "size, crop, low, fits",
    [
        # A crop spans crop - 1 pixel distances, divided by the magnification; the image
        # offers size - 1 of them.
        (32, 32, 1.0, True),  # 31 <= 31
        (32, 33, 1.0, False),  # 32 > 31
        (33, 17, 0.5, True),  # 16 / 0.5 = 32 <= 32
        (32, 17, 0.5, False),  # 32 > 31
        (16, 16, 0.97, False),  # 15 / 0.97 = 15.46 > 15
        (16, 22, 1.4, True),  # 21 / 1.4 = 15 <= 15
        (16, 23, 1.4, False),  # 22 / 1.4 = 15.7 > 15
    ],
)
def test_crops_must_lie_within_the_image(size, crop, low, fits):
    def build():
        return config_lib.Data(
            size=(size, size), crop_size=(crop, crop), scale_range=(low, 2.0)
        )

    if fits:
        build()
        return
    with fails("data.crop_size", f"({crop}, {crop})", f"({size}, {size})", str(low)):
        build()


def test_a_calibrator_of_a_black_box_needs_one(base):
    with fails("calibration_net.kind", "blackbox_calibrator", "blackbox.kind=none"):
        config_fields.override(base, ["blackbox.kind=none"])


def test_json_gives_the_same_configuration_back(base):
    config = config_fields.override(
        base, ["data.size=200,300", "train.deterministic=true", "stage1.l2=0.25"]
    )
    text = config_lib.to_json(config)
    assert json.loads(text)["data"]["size"] == [200, 300]
    assert config_lib.from_json(text) == config


WRONG_TYPES = [
    ("stage2", "pixel_loss", "calibratoin", ("did you mean 'calibration'", "elbo")),
    ("data", "dataset", "lidcc", ("did you mean 'lidc'",)),
    ("stage1", "steps", 2.5, ("wanted int", "2.5")),
    ("stage1", "steps", True, ("wanted int", "True")),
    ("stage1", "learning_rate", "fast", ("wanted float", "'fast'")),
    ("train", "deterministic", 1, ("wanted bool", "1")),
    ("train", "devices", None, ("wanted str", "None")),
    ("data", "size", (64,), ("wanted a tuple of 2 int", "(64,)")),
    ("data", "size", (64, "a"), ("wanted int", "'a'")),
    ("data", "size", 64, ("wanted a tuple of 2 int", "64")),
    ("blackbox", "class_map", (0, None), ("wanted int", "None")),
]


@pytest.mark.parametrize("section, field, value, words", WRONG_TYPES)
def test_a_wrong_type_in_a_file_names_its_field(base, section, field, value, words):
    kind = type(getattr(base, section))
    with fails(f"{kind.__name__}.{field}", *words):
        kind(**{field: value})


@pytest.mark.parametrize("section, field, value, words", WRONG_TYPES)
def test_a_wrong_type_in_json_names_its_field(base, section, field, value, words):
    content = json.loads(config_lib.to_json(base))
    content[section][field] = value
    with fails("not a configuration of this version", f".{field}"):
        config_lib.from_json(json.dumps(content))


def test_a_whole_number_is_a_float(base):
    assert config_lib.Stage1(learning_rate=1).learning_rate == 1
    assert config_lib.Config(name="x", stage1=base.stage1) is not None
    with fails("Config.stage1", "wanted Stage1"):
        config_lib.Config(name="x", stage1=base.stage2)


def test_the_true_distribution_needs_the_truth(base):
    with fails("true_distribution", "blackbox.kind=truth", "got auto"):
        config_fields.override(base, ["calibration_net.kind=true_distribution"])


def test_json_of_another_version_is_refused(base):
    content = json.loads(config_lib.to_json(base))
    content["train"]["speed"] = 3
    with fails("not a configuration", "speed"):
        config_lib.from_json(json.dumps(content))
    with fails("not a configuration"):
        config_lib.from_json("{")


def test_differences_name_the_field_and_both_values(base):
    assert config_fields.differences(base, base) == []
    other = config_fields.override(base, ["train.seed=9", "data.size=300,300"])
    other = dataclasses.replace(other, name="other")
    assert config_fields.differences(base, other) == [
        "name: 'base' -> 'other'",
        "data.size: (256, 512) -> (300, 300)",
        "train.seed: 1 -> 9",
    ]


def test_the_paper_s_configurations_have_the_paper_s_numbers():
    # CAR, A.1, A.3 and A.4.
    both = {
        "stage1.learning_rate": 2e-4,
        "stage1.decay": "halve",
        "stage1.l2": 5e-4,
        "stage1.labels_per_image": 1,
        "stage2.pixel_loss": "calibration",
        "stage2.learning_rate": 2e-4,
        "stage2.discriminator_learning_rate": 1e-5,
        "stage2.decay": "halve",
        "stage2.l2": 5e-4,
        "stage2.adversarial_weight": 10,
        "stage2.calibration_weight": 5,
        "stage2.r1_gamma": 10,
        "stage2.discriminator_active": 50,
        "stage2.discriminator_period": 250,
        "stage2.noise_sampling": "independent",
        "stage2.average_decay": 0,
        "data.crop_size": (128, 128),
        "data.symmetries": "mirror",
        "calibration_net.dropout": 0.1,
        "refinement_net.logits": "scratch",
        "refinement_net.base_channels": 32,
        "refinement_net.dropout": 0.1,
        "discriminator.base_channels": 64,
        "evaluation.noise_sampling": "independent",
    }
    own = {
        "cityscapes_paper": {
            "data.size": (256, 512),
            "refinement_net.noise_dim": 32,
            "stage2.steps": 120_000,
            "stage2.batch_size": 16,
            "stage2.num_samples": 7,
            "calibration_net.kind": "blackbox_calibrator",
            "evaluation.num_samples": 16,
        },
        "lidc_paper": {
            "data.size": (128, 128),
            "refinement_net.noise_dim": 8,
            "stage2.steps": 80_000,
            "stage2.batch_size": 32,
            "stage2.num_samples": 20,
            "calibration_net.kind": "segnet",
            "calibration_net.decoder": "unpooling",
            "evaluation.num_samples": 100,
        },
    }
    for name, fields in own.items():
        config = config_lib.load(name)
        for key, wanted in {**both, **fields}.items():
            section, _, field = key.partition(".")
            assert getattr(getattr(config, section), field) == wanted, (name, key)


def test_a_changed_configuration_keeps_the_rest():
    base = config_lib.load("lidc")
    train = config_lib.Train(seed=3)
    changed = config_fields.change(
        base, name="other", stage2={"steps": 7, "num_samples": 5}, train=train
    )
    assert (changed.name, changed.stage2.steps, changed.train) == ("other", 7, train)
    assert changed.stage2.batch_size == base.stage2.batch_size
    assert changed.data == base.data and base.stage2.steps != 7
    with pytest.raises(config_lib.ConfigError, match="stage2.steps"):
        config_fields.change(base, stage2={"steps": 0})
