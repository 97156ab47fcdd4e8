"""Every command, field and link in the documentation names something that exists."""

import ast
import collections
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from car_tf import __main__ as car_tf_main
from car_tf import config as config_lib
from car_tf.config import fields

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("export/*.md")])
MODULES = sorted([*ROOT.glob("car_tf/**/*.py"), *ROOT.glob("export/**/*.py")])
COMMAND = re.compile(r"(?:python[\d.]* -m |(?=car-tf ))((?:car.tf|export)\b[\w.]*)(.*)")
# A value that a rater is to replace: DIR, runs/RUN, MODELS/cityscapes, "...".
PLACEHOLDER = re.compile(r"[A-Z]{2,}|\.\.\.|…|^[A-Z]$")
FIELD = re.compile(r"^(--set )?([a-z]\w*)\.([a-z]\w*)(=.+)?$")
CONFIGS = {name: config_lib.load(name) for name in config_lib.available()}
SECTIONS = {section for config in CONFIGS.values() for section in vars(config)} - {
    "name"
}


Flag = collections.namedtuple("Flag", "is_bool values")


def flags_of(path):
    """The flags that a module defines, read from its source: name -> Flag."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        names = [a.value for a in node.args if isinstance(a, ast.Constant)]
        if node.func.attr.startswith("DEFINE_"):
            values = None
            if node.func.attr == "DEFINE_enum" and isinstance(node.args[2], ast.List):
                items = node.args[2].elts
                if all(isinstance(item, ast.Constant) for item in items):
                    values = {item.value for item in items}
            found[names[0]] = Flag("bool" in node.func.attr, values)
        elif node.func.attr == "add_argument":
            keywords = {keyword.arg for keyword in node.keywords}
            for name in names:
                found[name.lstrip("-")] = Flag("action" in keywords, None)
    return found


def entry_point(module):
    """The file that `python -m module` runs, or None."""
    path = ROOT.joinpath(*module.split("."))
    candidates = [path.with_suffix(".py"), path / "__main__.py"]
    candidates = [c for c in candidates if c.is_file()]
    return next((c for c in candidates if "__main__" in c.read_text("utf-8")), None)


FLAGS = {path: flags_of(path) for path in MODULES}
ALL_FLAGS = {name for found in FLAGS.values() for name in found}


def blocks(text):
    """Code of a page, fenced or indented, with continued lines joined."""
    parts, fenced, plain = [], False, []
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
            continue
        is_code = fenced or line.startswith("    ")
        (parts if is_code else plain).append(line)
    code = "\n".join(parts)
    code = re.sub(r"\\\n\s*", " ", code)
    return re.sub(r"\n\s+(?=\[?--)", " ", code) + "\n", "\n".join(plain)


def words_of(rest):
    """The arguments of a command line, up to what ends it."""
    rest = re.split(r" #|&&|;| \| |`", rest)[0]
    return shlex.split(re.sub(r"[][]", " ", rest).replace("'s", "s"))


def problems_of(module, words):
    """What is wrong with a command, as sentences."""
    if module == "car_tf" and words:
        name, *words = words
        if name not in car_tf_main.COMMANDS:
            return [] if PLACEHOLDER.search(name) else [f"no command {name}"]
        module = car_tf_main.COMMANDS[name][0]
    path = entry_point(module)
    if path is None:
        return [f"no module {module} to run"]
    known, wrong = FLAGS[path], []
    words = collections.deque(words)
    while words:
        word = words.popleft()
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        if name in ("help", "helpfull"):
            continue
        flag = known.get(name)
        if flag is None and name.startswith("no"):
            flag = known.get(name[2:])
        if flag is None:
            wrong.append(f"{module} has no --{name}")
            continue
        if not equals and not flag.is_bool:
            if not words:
                wrong.append(f"--{name} lacks its value")
                continue
            value = words.popleft()
        if PLACEHOLDER.search(value) and name != "set":
            continue
        if flag.values and value not in flag.values:
            wrong.append(f"--{name} takes no {value}")
        if name == "config" and not value.endswith(".py") and value not in CONFIGS:
            wrong.append(f"no configuration {value}")
        if name == "set" and not is_field(value):
            wrong.append(f"no field or value {value}")
    return wrong


def is_field(text):
    """Whether a configuration takes `section.field` or `section.field=value`."""
    name, _, value = text.partition("=")
    if name == "section.field":  # says how fields are named
        return True
    section, _, field = name.partition(".")
    for config in CONFIGS.values():
        if not hasattr(getattr(config, section, None), field):
            continue
        if not value or PLACEHOLDER.search(value):
            return True
        try:
            # F is kept where a run begins with another's.
            kept = ["train.init_from=RUN"] if text == "stage1.steps=0" else []
            fields.override(config, [*kept, text])
        except config_lib.ConfigError:
            continue
        return True
    return False


def problems_in(text):
    """What is wrong with a page's commands, fields and flags."""
    code, plain = blocks(text)
    wrong = []
    spans = re.findall(r"`([^`]+)`", plain.replace("\n", " "))
    for line in [*code.splitlines(), *spans]:
        found = COMMAND.search(line)
        if found:
            wrong += problems_of(found[1].replace("-", "_"), words_of(found[2]))
        elif line.strip().startswith("--set "):
            value = line.split("#")[0].split()[1]
            wrong += [] if is_field(value) else [f"no field or value {value}"]
    for span in spans:
        field = FIELD.match(span)
        if (
            field
            and field[2] in SECTIONS
            and not re.search(r"\.(json|py|md|png)$", span)
        ):
            text = span.replace("--set ", "")
            wrong += [] if is_field(text) else [f"no field or value {text}"]
        if re.fullmatch(r"--\w+", span) and span[2:] not in {*ALL_FLAGS, "help"}:
            wrong.append(f"no flag {span}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_fields_and_flags_exist(page):
    assert problems_in(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|#", target):
            assert (page.parent / target.split("#")[0]).exists(), target


def test_commands_in_docstrings_exist():
    num = 0
    for path in MODULES:
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for found in COMMAND.finditer(re.sub(r"\\\n\s*", " ", text)):
            module = found[1].replace("-", "_")
            assert problems_of(module, words_of(found[2])) == [], path
            num += 1
    assert num > 10


def test_the_experiments_of_the_pages_exist():
    done = subprocess.run(
        [sys.executable, "-m", "car_tf.experiment"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    existing = re.search(r"of (.*); got", done.stderr)[1].split(", ")
    assert "regression" in existing
    for page in PAGES:
        for found in re.finditer(
            r"car_tf\.experiment ([\w|]+)", page.read_text(encoding="utf-8")
        ):
            assert set(found[1].split("|")) <= set(existing), page


def test_the_tests_that_the_pages_name_exist():
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py")
    )
    for page in PAGES:
        for name in re.findall(r"`(test_[a-z_0-9]+)`", page.read_text("utf-8")):
            assert f"def {name}(" in source, (page.name, name)


def test_pictures_are_small():
    for path in ROOT.glob("docs/images/*"):
        assert path.stat().st_size < 300_000, path


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("    python -m car_tf.trian\n", ["no module car_tf.trian to run"]),
        ("    python -m car_tf.metrics\n", ["no module car_tf.metrics to run"]),
        ("    python -m car_tf trian\n", ["no command trian"]),
        ("    car-tf train --confg x\n", ["car_tf.train has no --confg"]),
        ("    python -m car_tf train --set stage2.steps=2\n", []),
        ("    python -m car_tf.train --confg x\n", ["car_tf.train has no --confg"]),
        ("```sh\npython -m car_tf.train --config x\n```", ["no configuration x"]),
        ("Run `python -m car_tf.train\n--config lidk`.", ["no configuration lidk"]),
        (
            "    python -m car_tf.train \\\n        --set stage2.step=1  # why\n",
            ["no field or value stage2.step=1"],
        ),
        (
            "    python -m car_tf.score --protocol flips\n",
            ["--protocol takes no flips"],
        ),
        (
            "    python -m export --workdir RUN\n      [--nam N]\n",
            ["export has no --nam"],
        ),
        ("See `stage2.r1_gama=3`.", ["no field or value stage2.r1_gama=3"]),
        ("See `stage2.steps=many`.", ["no field or value stage2.steps=many"]),
        ("See `--sett`.", ["no flag --sett"]),
        ("    --set train.sed=2   # x\n", ["no field or value train.sed=2"]),
        ("See `data.json` and `stage2.steps=...`, `--set train.seed=2`.", []),
        ("    python -m export --workdir RUN --embed_blackbox --output X\n", []),
    ],
)
def test_the_check_finds_what_is_wrong(text, wrong):
    assert problems_in(text) == wrong


def test_scripts_that_the_pages_name_begin():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for script in sorted(set(re.findall(r"python (tests/\w+\.py)", text))):
        # As where car_tf is installed: behind the script's own folder.
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, script, "--help"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-500:]
