"""Each package imports what docs/architecture.md allows, and nobody an entry point."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A module itself: Keras 2's API, of whichever package has it.
KERAS = "car_tf.models.keras_api.keras"
# Parsers of arguments that start nothing: entry points that must not be imported.
MAIN = "__main__"


def modules():
    """Yields (dotted name, syntax tree) of every module of the product."""
    paths = [*ROOT.glob("car_tf/**/*.py"), *ROOT.glob("export/**/*.py")]
    for path in sorted(paths):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield name.removesuffix(".__init__"), tree


def package_of(name):
    """The row of the table that a module belongs to: `train`, `export`, `losses` ..."""
    first, *rest = name.split(".")
    if first == "export":
        return "export"
    return rest[0] if rest and first == "car_tf" else first


def table():
    """Reads package -> packages that it may import from docs/architecture.md."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    section = text.split("## Packages", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", section, re.MULTILINE)
    return {name: re.findall(r"`(\w+)`", allowed) for name, allowed in rows}


TREES = dict(modules())
ALLOWED = table()
CONFIGS = {
    path.stem: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.glob("configs/*.py"))
}


MAX_FILE, MAX_FUNCTION = 400, 60


def lengths(name, tree):
    """Yields (dotted name, lines, limit) of a module and of its functions."""
    yield name, max((node.end_lineno for node in tree.body), default=0), MAX_FILE
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            yield f"{name}.{node.name}", lines, MAX_FUNCTION


def test_no_file_and_no_function_is_too_long():
    every = [*TREES.items(), *((f"configs.{k}", v) for k, v in CONFIGS.items())]
    found = {
        name: lines
        for module, tree in every
        for name, lines, limit in lengths(module, tree)
        if lines > limit
    }
    assert not found


def is_entry_point(name):
    tests = [node.test for node in TREES[name].body if isinstance(node, ast.If)]
    return name.endswith(MAIN) or any("__main__" in ast.dump(test) for test in tests)


def imports(tree):
    """Names of imported modules, from function bodies too."""
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


def test_the_table_lists_each_package_once_and_none_that_is_gone():
    there = {package_of(name) for name in TREES} - {"car_tf", MAIN}
    assert there == set(ALLOWED)


def test_packages_form_no_circle():
    order = []
    while len(order) < len(ALLOWED):
        free = [
            name
            for name, needs in ALLOWED.items()
            if name not in order and set(needs) <= set(order)
        ]
        assert free, f"a circle among {sorted(set(ALLOWED) - set(order))}"
        order += free


@pytest.mark.parametrize("name", TREES)
def test_packages_import_what_the_table_allows(name):
    here = package_of(name)
    for other in own_imports(TREES[name]):
        there = package_of(other)
        assert not is_entry_point(other), f"{name} imports the entry point {other}"
        if there not in (here, "car_tf") and here in ALLOWED:
            # An entry point joins what its package keeps apart.
            assert (
                there in ALLOWED[here]
            ), f"{name} imports {other}, but {here} may import {ALLOWED[here]} alone"


@pytest.mark.parametrize("name", TREES)
def test_names_of_this_project_are_imported_as_modules(name):
    if name in ("car_tf", "car_tf.config"):
        return  # What users and files in configs/ need is offered in one place.
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names]
            packages = (whole in TREES or whole == KERAS for whole in names)
            assert module not in TREES or all(packages), f"{name}: {module}"


@pytest.mark.parametrize("name", TREES)
def test_configs_and_tests_are_imported_by_nobody(name):
    for other in imports(TREES[name]):
        assert other.split(".")[0] not in ("configs", "tests")


@pytest.mark.parametrize("name", TREES)
def test_one_module_knows_which_keras_there_is(name):
    known = {"keras", "tf_keras", "tensorflow_addons"}
    found = {other.split(".")[0] for other in imports(TREES[name])} & known
    if name == "car_tf.blackbox.saved_models":
        found -= {"keras"}  # Opens files of Keras 3 by Keras 3 itself.
    assert not found or name == "car_tf.models.keras_api", f"{name}: {found}"


def test_one_module_opens_pictures():
    # Clients of the export send files as they are.
    product = [name for name in TREES if not name.startswith("export.clients")]
    opening = {
        name
        for name in product
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "Image.open"
    }
    assert opening == {"car_tf.data.io"}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_import_a_configuration_alone(name):
    for other in own_imports(CONFIGS[name]):
        assert other in ("car_tf.config", "car_tf.experiment.regression.config")
    for other in imports(CONFIGS[name]):
        assert other.split(".")[0] not in ("tensorflow", "keras", "numpy")


@pytest.mark.parametrize(
    "name", [n for n in TREES if package_of(n) in ("config", "metrics")]
)
def test_configuration_and_metrics_know_no_tensorflow(name):
    for other in imports(TREES[name]):
        assert other.split(".")[0] not in ("tensorflow", "keras") and other != KERAS


@pytest.mark.parametrize("name", TREES)
def test_no_other_package_knows_a_data_set(name):
    if package_of(name) == "data" or is_entry_point(name):
        return
    for other in own_imports(TREES[name]):
        known = other.startswith(("car_tf.data.lidc", "car_tf.data.synthetic"))
        assert not known and other != "car_tf.data.cityscapes", f"{name}: {other}"
