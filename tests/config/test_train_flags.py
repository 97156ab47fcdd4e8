"""The command line: what is wrong is said in one line, at once, and nothing is left."""

import fcntl
import json
import re

import cityscapes_tree as tree
import job
import pytest

import car_tf
from car_tf import __main__ as car_tf_main
from car_tf import config as config_lib


@pytest.fixture
def without_tensorflow(tmp_path):
    """An environment in which starting TensorFlow fails loudly."""
    for name in ("tensorflow", "keras"):
        (tmp_path / "trap" / name).mkdir(parents=True)
        code = "raise SystemExit('TensorFlow was started')"
        (tmp_path / "trap" / name / "__init__.py").write_text(code)
    path = f"{tmp_path / 'trap'}:{job.CHECKOUT}"
    return job.environment(PYTHONPATH=path)


def assert_one_line(done, *words):
    """Expects an exit code and one line of complaint that holds all words."""
    assert done.returncode == 1, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == errors[0]
    for word in words:
        assert str(word) in errors[0]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--config", "cityscape"], ["'cityscape'", "did you mean 'cityscapes'"]),
        (["--config", "absent.py"], ["absent.py"]),
        (["--config", "bad.py"], ["bad.py, line 2: ZeroDivisionError"]),
        (["--config", "bad.json"], ["bad.json", "stage1.steps: wanted int"]),
        (["--steps", "3"], ["'steps'", "--set stage1.steps=VALUE"]),
        (["--workdr", "x"], ["'workdr'", "Did you mean: workdir"]),
        (["--config", "lidc", "--blackbox", "x:f"], ["give --data_dir"]),
        (["--config", "lidc", "--set", "data.crop_size=64,64"], ["at the centre"]),
        (["--set", "train.sed=1"], ["train.sed", "did you mean 'seed'"]),
        (["--set", "stage1.steps=many"], ["stage1.steps", "wanted int", "'many'"]),
        (["--set", "stage1.steps=0"], ["stage1.steps", "above 0"]),
        (["--set", "stage1"], ["section.field=value"]),
        (["--workdir", "file/run"], ["cannot write", "file/run"]),
        (["--data_dir", "absent"], ["--data_dir: no file or folder", "/absent"]),
        (["--blackbox", "absent.pb"], ["--blackbox: no file or folder", "absent.pb"]),
        (
            ["--set", "blackbox.kind=live", "--blackbox", "absent.pb"],
            ["--blackbox: no file or folder", "absent.pb"],
        ),
        (["--set", "blackbox.path=~/absent.pb"], ["no file or folder ~/absent.pb"]),
        (["--config", "regression", "--data_dir", "."], ["--data_dir: regression"]),
        (["--config", "regression", "--blackbox", "x:f"], ["--blackbox: regression"]),
    ],
)
def test_a_wrong_word_stops_before_tensorflow(
    tmp_path, without_tensorflow, arguments, words
):
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.py").write_text("def get_config():\n    return 1 / 0\n")
    (tmp_path / "bad.json").write_text('{"name": "lidc", "stage1": {"steps": true}}')
    done = job.run(*arguments, cwd=tmp_path, env=without_tensorflow)
    assert_one_line(done, *words)
    assert not (tmp_path / "runs").exists()
    assert done.stdout == ""


def test_help_comes_without_tensorflow(tmp_path, without_tensorflow):
    for module in ("car_tf.train", "car_tf.evaluate", "car_tf.score"):
        done = job.run("--help", module=module, env=without_tensorflow, cwd=tmp_path)
        assert f"python -m {module}" in done.stdout
        assert "TensorFlow was started" not in done.stderr
    told = job.run("--help", env=without_tensorflow).stdout
    assert "lidc_residual" in told and "car_tf.config NAME" in " ".join(told.split())


def commands(*words, env):
    return job.run(*words, module="car_tf", env=env)


def test_every_command_has_a_line_and_its_own_help(without_tensorflow):
    told = commands(env=without_tensorflow)
    assert told.returncode == 0 and told.stdout.startswith("usage: python -m car_tf")
    for name, (module, words) in car_tf_main.COMMANDS.items():
        assert f"  {name:<14}{words}\n" in told.stdout
        done = commands(name, "--help", env=without_tensorflow)
        assert "TensorFlow was started" not in done.stderr, done.stderr
        assert f"python -m car_tf {name}" in done.stdout, done.stderr
        assert not re.search(rf"python -m {re.escape(module)}(?![\w.])", done.stdout)


def test_a_command_takes_its_arguments_and_gives_its_exit_code(without_tensorflow):
    assert_one_line(
        commands("train", "--config", "cityscape", env=without_tensorflow),
        "did you mean 'cityscapes'",
    )
    done = commands("trian", env=without_tensorflow)
    assert_one_line(done, "'trian'", "did you mean 'train'", "proposals")
    done = commands("--version", env=without_tensorflow)
    assert done.stdout == f"car_tf {car_tf.__version__}\n"


def test_a_configuration_is_printed_with_its_meaning(without_tensorflow):
    done = commands("config", env=without_tensorflow)
    for name in config_lib.available():
        assert re.search(rf"^{name} +\S", done.stdout, re.MULTILINE)
    arguments = ("lidc", "--set", "stage2.steps=7")
    done = commands("config", *arguments, env=without_tensorflow)
    config = config_lib.load("lidc")
    for section in type(config).model_fields:
        for name in getattr(type(getattr(config, section)), "model_fields", ()):
            assert f"  {section}.{name}=" in done.stdout
    words = "stage2.steps=7 Iterations of G. (int above 0 up to 100000000) stage2.batch"
    assert words in " ".join(done.stdout.split())
    done = commands("config", "lidk", env=without_tensorflow)
    assert_one_line(done, "'lidk'", "did you mean 'lidc'")


def test_a_data_set_is_checked_without_tensorflow(tmp_path, without_tensorflow):
    root = tree.write(tmp_path / "data")

    def check(*words):
        arguments = dict(module="car_tf.data", env=without_tensorflow, cwd=tmp_path)
        return job.run(*words, **arguments)

    done = check("check", "--data_dir", root, "--json", "out/report.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["splits"]["train"]["images"] == 6 and report["problems"] == []
    tree.label_file(root, "val", "frankfurt", 0).unlink()
    done = check("check", "--data_dir", root)
    assert done.returncode == 1 and "missing label (1)" in done.stdout
    done = check("check", "--data_dir", tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    done = check("check", "--data_dir", root / "leftImg8bit" / "val")
    assert done.returncode == 2 and f"which is {root}" in done.stderr


def test_unknown_flags_and_stray_words_are_refused(tmp_path, without_tensorflow):
    for words in (["--confg", "cityscapes"], ["cityscapes"]):
        done = job.run(*words, cwd=tmp_path, env=without_tensorflow)
        assert done.returncode == 1
        assert words[0].strip("-") in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("flag", ["--num_seeds=1", "--scale=1,1", "--data_dir=."])
def test_flags_of_the_tables_are_not_the_regression_s(
    tmp_path, without_tensorflow, flag
):
    done = job.run(
        *("regression", flag),
        module="car_tf.experiment",
        cwd=tmp_path,
        env=without_tensorflow,
    )
    assert_one_line(done, flag.split("=")[0], "is for the tables")


def test_a_directory_in_use_is_refused(tmp_path, without_tensorflow):
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = job.run("--workdir", tmp_path, env=without_tensorflow)
    assert_one_line(done, "another run", tmp_path)


def test_evaluating_no_run_is_refused(tmp_path, without_tensorflow):
    done = job.run(
        "--workdir", tmp_path, module="car_tf.evaluate", env=without_tensorflow
    )
    assert_one_line(done, tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({"name": "x", "speed": 3}))
    done = job.run(
        "--workdir", tmp_path, module="car_tf.evaluate", env=without_tensorflow
    )
    assert_one_line(done, "not a configuration", "speed")


def test_bad_data_stop_the_job_and_leave_nothing(tmp_path):
    root = tree.write(tmp_path / "data")
    bad = tree.label_file(root, "train", "bochum", 1)
    bad.write_bytes(bad.read_bytes()[:60])
    done = job.run(
        *("--data_dir", root, "--workdir", tmp_path / "run"),
        *job.settings(*job.TINY, f"data.cache_dir={tmp_path / 'cache'}"),
        *job.settings("blackbox.kind=imitation"),
    )
    assert_one_line(done, bad, "not a readable image")
    assert not (tmp_path / "run").exists()
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["hashes.json"]
