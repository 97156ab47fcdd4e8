"""The command line: what is wrong is said in one line, at once, and nothing is left."""

import fcntl
import json

import cityscapes_tree as tree
import job
import pytest


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
    done = job.run(*arguments, cwd=tmp_path, env=without_tensorflow)
    assert_one_line(done, *words)
    assert not (tmp_path / "runs").exists()
    assert done.stdout == ""


def test_help_comes_without_tensorflow(tmp_path, without_tensorflow):
    for module in ("car_tf.train", "car_tf.evaluate", "car_tf.score"):
        done = job.run("--help", module=module, env=without_tensorflow, cwd=tmp_path)
        assert f"python -m {module}" in done.stdout
        assert "TensorFlow was started" not in done.stderr
    assert "--config" in job.run("--help", env=without_tensorflow).stdout


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
