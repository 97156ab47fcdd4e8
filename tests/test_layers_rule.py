"""A module imports from lower layers alone, and nobody imports an entry point."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# First match wins.
LAYERS = (
    ("car_tf.*config", 0),
    ("car_tf.config_*", 0),
    ("car_tf.config.cli", 0),
    ("car_tf.losses", 0),
    ("car_tf.metrics.*", 0),
    ("car_tf.*figures", 0),
    ("car_tf.runtime.run_dir", 1),
    ("car_tf.data.*", 1),
    ("car_tf.blackbox.*", 1),
    ("car_tf.models.*", 1),
    ("car_tf.trainers.*", 2),
    ("car_tf.train.build*", 3),
    ("car_tf.*", 4),
    ("export.*", 4),
)
ENTRY_POINT = 5
# Common ground of layer 1: how files are read, cached and described.
SHARED = ("car_tf.data.io", "car_tf.data.cache", "car_tf.data.info")
DATA_SETS = ("cityscapes", "street_", "lidc", "prepare_lidc")


def modules():
    paths = [*ROOT.glob("car_tf/**/*.py"), *ROOT.glob("export/**/*.py")]
    for path in sorted(paths):
        if path.name != "__init__.py":
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name, ast.parse(path.read_text(encoding="utf-8"))


TREES = dict(modules())
CONFIGS = {
    path.stem: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.glob("configs/*.py"))
}


def is_entry_point(name):
    tests = [node.test for node in TREES[name].body if isinstance(node, ast.If)]
    return any("__main__" in ast.dump(test) for test in tests)


def layer(name):
    if is_entry_point(name):
        return ENTRY_POINT
    return next(n for pattern, n in LAYERS if pathlib.PurePath(name).match(pattern))


def imports(tree):
    """Names of imported modules, from function bodies too; (name, alias.name) pairs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import on line {node.lineno}"
            assert all(alias.name != "*" for alias in node.names), "import of *"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in TREES else node.module


def own_imports(tree):
    return [name for name in imports(tree) if name in TREES]


def test_the_tree_was_found():
    assert {"car_tf.config", "car_tf.train.optimization", "car_tf.train"} <= set(TREES)
    assert {"car_tf.train.build", "export.savedmodel"} <= set(TREES)
    assert is_entry_point("car_tf.train") and not is_entry_point("car_tf.train.build")
    assert "cityscapes" in CONFIGS


@pytest.mark.parametrize("name", TREES)
def test_imports_come_from_lower_layers(name):
    here, package = layer(name), name.rpartition(".")[0]
    for other in own_imports(TREES[name]):
        assert not is_entry_point(other), f"{name} imports the entry point {other}"
        there = layer(other)
        # Siblings within a package, and on the upper layers, are fine.
        sibling = other.rpartition(".")[0] == package or here >= 4
        sibling = sibling or (here == 1 and other in SHARED)
        assert there < here or (
            there == here and sibling
        ), f"{name} (layer {here}) imports {other} (layer {there})"


@pytest.mark.parametrize("name", TREES)
def test_names_of_this_project_are_imported_as_modules(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert module not in TREES, f"{name} imports names from {module}"


@pytest.mark.parametrize("name", TREES)
def test_configs_and_tests_are_imported_by_nobody(name):
    for other in imports(TREES[name]):
        assert other.split(".")[0] not in ("configs", "tests")


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_import_a_configuration_module_alone(name):
    for other in own_imports(CONFIGS[name]):
        assert other.startswith("car_tf.") and other.endswith("config")
    for other in imports(CONFIGS[name]):
        assert other.split(".")[0] not in ("tensorflow", "keras", "numpy")


@pytest.mark.parametrize("name", [n for n in TREES if layer(n) == 0])
def test_the_lowest_layer_knows_no_tensorflow_but_for_the_losses(name):
    if name == "car_tf.losses":
        return
    for other in imports(TREES[name]):
        assert other.split(".")[0] not in ("tensorflow", "keras")


@pytest.mark.parametrize("name", TREES)
def test_no_module_but_the_builders_and_entry_points_knows_a_data_set(name):
    if name.startswith(("car_tf.data.", "car_tf.train.build")) or is_entry_point(name):
        return
    for other in own_imports(TREES[name]):
        package, _, module = other.rpartition(".")
        known = package == "car_tf.data" and module.startswith(DATA_SETS)
        assert not known, f"{name} imports {other}"
