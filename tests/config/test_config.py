"""Loading, overriding, checking and saving of configurations."""

import json
import re
import subprocess
import sys
import typing

import pytest

from car_tf import config as config_lib
from car_tf.config import fields as config_fields
from car_tf.config import data_sections

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
        ("data.size=a,b", ("data.size", "2 values a,b, each int", "'a'")),
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
    config_fields.override(
        config_lib.Config(name="x"), [*square, "data.crop_size=32,32"]
    )
    with fails("data.crop_size", "wanted a square", "(32, 64)"):
        config_fields.override(
            config_lib.Config(name="x"), [*square, "data.crop_size=32,64"]
        )


@pytest.mark.parametrize(
    "text",
    [
        "data.crop_size=512,512",
        "data.scale_range=1.5,1",
        "blackbox.kind=predictions",
        "blackbox.input_size=0,5",
        "stage2.discriminator_active=251",
        "stage2.samples_at_once=2",
        "train.select_every=300",
        "train.devices=100xcpu",
    ],
)
def test_fields_that_do_not_go_together_are_named(base, text):
    with fails(text.split("=")[0]):
        config_fields.override(base, [text])


KINDS = {"segmentation": "cityscapes", "regression": "regression"}
FIELDS = [
    (kind, section, name)
    for kind, config in KINDS.items()
    for section, value in config_lib.load(config)
    if isinstance(value, config_fields.Section)
    for name in type(value).model_fields
]


def leaf(hint, metadata=()):
    """The type of a field or of its items, and what limits it."""
    if hasattr(hint, "__metadata__"):
        parts = [getattr(item, "metadata", [item]) for item in hint.__metadata__]
        return leaf(typing.get_args(hint)[0], sum(parts, []))
    if typing.get_origin(hint) is tuple:
        return leaf(typing.get_args(hint)[0])
    limits = {
        key: getattr(item, key)
        for item in metadata
        for key in ("gt", "ge", "lt", "le", "max_length")
        if hasattr(item, key)
    }
    return hint, limits


@pytest.mark.parametrize("kind, section, name", FIELDS)
def test_every_field_is_explained_limited_and_kept(kind, section, name):
    config = config_lib.load(KINDS[kind])
    part = getattr(config, section)
    field, value = type(part).model_fields[name], getattr(part, name)
    assert field.description and field.description.endswith(".")
    hint, limits = leaf(field.annotation, field.metadata)
    values = value if isinstance(value, tuple) else (value,)
    text = f"{section}.{name}=" + ",".join(map(str, values))
    assert config_fields.override(config, [text]) == config
    again = config_lib.from_json(config_lib.to_json(config), type(config))
    assert again == config
    if hint in (int, float):
        assert {"gt", "ge"} & set(limits) and {"lt", "le"} & set(limits)
        for wrong in ("1" + 30 * "0", "-1e-9", "-1", "inf", "nan", "1e400", "1" * 5000):
            wrong = ",".join([wrong] * max(len(values), 1))
            with fails(f"{section}.{name}", "wanted"):
                config_fields.override(config, [f"{section}.{name}={wrong}"])
    elif hint is str:
        with fails(f"{section}.{name}"):
            config_fields.override(config, [f"{section}.{name}=" + 5000 * "x"])
        assert "max_length" in limits
    else:
        assert hint is bool or typing.get_origin(hint) is typing.Literal


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
    ("stage1", "steps", "5", ("wanted int", "'5'")),
    ("stage1", "learning_rate", 10**400, ("wanted float", "1000")),
    ("stage1", "learning_rate", float("inf"), ("wanted float", "inf")),
    ("train", "deterministic", 1, ("wanted true or false", "1")),
    ("train", "devices", None, ("wanted text", "None")),
    ("data", "size", (64,), ("wanted 2 values a,b", "(64,)")),
    ("data", "size", (64, "a"), ("int", "'a'")),
    ("data", "size", 64, ("wanted 2 values a,b", "64")),
    ("blackbox", "class_map", (0, None), ("int", "None")),
]


@pytest.mark.parametrize("section, field, value, words", WRONG_TYPES)
def test_a_wrong_type_in_a_file_names_its_field(base, section, field, value, words):
    kind = type(getattr(base, section))
    with fails(f"{section}.{field}", *words):
        kind(**{field: value})


@pytest.mark.parametrize(
    "value",
    ["2.5", "true", '"5"', "1e400", "NaN", "[1]", "1" * 5000, "[" * 10**5],
    ids=lambda value: value[:9],
)
def test_a_wrong_value_in_json_is_refused(base, value):
    text = config_lib.to_json(base).replace('"steps": 5000', f'"steps": {value}')
    with fails("not a configuration of this version"):
        config_lib.from_json(text)


def test_a_number_of_thousands_of_digits_is_refused():
    with fails("stage1.steps", "wanted int", "huge int"):
        config_lib.Stage1(steps=10**5000)


def test_a_whole_number_is_a_float(base):
    assert config_lib.Stage1(learning_rate=1).learning_rate == 1
    assert config_lib.Config(name="x", stage1=base.stage1) is not None
    with fails("stage1", "wanted a Stage1"):
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
    other = config_lib.change(other, name="other")
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
    changed = config_lib.change(
        base, name="other", stage2={"steps": 7, "num_samples": 5}
    )
    assert (changed.name, changed.stage2.steps) == ("other", 7)
    assert changed.stage2.batch_size == base.stage2.batch_size
    assert changed.data == base.data and base.stage2.steps != 7
    with fails("stage2.steps", "above 0"):
        config_lib.change(base, stage2={"steps": 0})
    with fails("'stag2'", "did you mean 'stage2'"):
        config_lib.change(base, stag2={"steps": 3})
    with fails("train", "wanted a dict", "Train", "would reset the others"):
        config_lib.change(base, train=config_lib.Train(seed=3))


def test_configurations_do_not_change_in_place(base):
    for part, name in ((base, "name"), (base.train, "seed")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(part, name, 1)


def test_the_configuration_of_a_run_can_be_named(tmp_path):
    path = tmp_path / "config.json"
    for name in ("lidc", "regression"):
        config = config_lib.load(name)
        path.write_text(config_lib.to_json(config))
        assert config_lib.load(str(path)) == config
    # The user's own file of another name.
    path.write_text(config_lib.to_json(config_lib.Config(name="mine")))
    config = config_lib.load(str(path), ["train.seed=4"])
    assert (config.name, config.train.seed) == ("mine", 4)
    for text in ('{"name": "lidc", "train": {"seed": true}}', "[1]", "\udcff"):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with fails("--config", str(path)):
            config_lib.load(str(path))


@pytest.mark.parametrize(
    "code, words",
    [
        ("\nimport absent_module\n", ("line 2", "ModuleNotFoundError", "absent_mod")),
        ("def get_config():\n    return 1 / 0\n", ("line 2", "ZeroDivisionError")),
        ("def get_config():\n    raise OSError('a\\nb')\n", ("line 2", "OSError: a b")),
        (
            CONFIG_FILE.replace("steps=3", "batch_size=0"),
            ("line 5: stage1.batch_size: wanted int above 0",),
        ),
        ("def get_config():\n    return {}\n", ("returned {}, not a configuration",)),
    ],
)
def test_a_file_that_raises_is_named_with_its_line(tmp_path, code, words):
    path = tmp_path / "mine.py"
    path.write_text(code)
    with fails(f"--config: {path}", *words):
        config_lib.load(str(path))


# A run that lacks a later field behaves as its default says.
FIELDS_OF_RUNS = {
    "data": "dataset data_dir cache_dir size crop_size scale_range symmetries "
    "num_drawn drawn_seed selection_fraction split_seed on_error",
    "blackbox": "kind path encoding output class_map input_size channels pixel_scale "
    "signature input_name output_name",
    "calibration_net": "kind channels dropout decoder",
    "refinement_net": "base_channels noise_dim dropout logits temperature noise",
    "discriminator": "base_channels",
    "stage1": "steps batch_size labels_per_image learning_rate decay l2",
    "stage2": "steps batch_size num_samples pixel_loss kl_weight samples_at_once "
    "average_decay noise_sampling adversarial_weight calibration_weight r1_gamma "
    "learning_rate discriminator_learning_rate discriminator_active "
    "discriminator_period decay l2",
    "train": "seed checkpoint_every select_every num_selection_images deterministic "
    "mixed_precision jit_compile steps_per_execution devices",
    "evaluation": "num_samples num_images seed noise_sampling",
}


def test_what_an_earlier_run_saved_is_read(base):
    content = json.loads(config_lib.to_json(base))
    saved = {
        section: {name: content[section][name] for name in names.split()}
        for section, names in FIELDS_OF_RUNS.items()
    }
    assert config_lib.from_json(json.dumps({"name": "base", **saved})) == base


@pytest.mark.parametrize(
    "texts, words",
    [
        (["stage2.calibration_estimator=paired"], "needs the draws"),
        (["stage2.sample_maps=argmax"], "wanted probabilities, or"),
        (
            [
                *("refinement_net.logits=draw", "stage2.num_samples=1"),
                "stage2.calibration_estimator=paired",
            ],
            "wanted at least 2, got 1",
        ),
        (
            ["refinement_net.logits=draw", "refinement_net.noise=encoded"],
            "draw takes z from",
        ),
        (["discriminator.patches=true", "data.crop_size=16,16"], "at least 20,20"),
    ],
)
def test_forms_of_stage_2_that_do_not_fit_together(texts, words):
    with pytest.raises(config_lib.ConfigError, match=words):
        config_lib.load("cityscapes_sampler", texts)


def test_predict_and_app_set_the_black_box_alone():
    texts = ["blackbox.encoding=label_ids"]
    assert data_sections.blackbox_settings(texts) == tuple(texts)
    with pytest.raises(ValueError, match="wanted blackbox.field=value here, got 'data"):
        data_sections.blackbox_settings(["data.size=1,2"])
