"""Prediction on folders of images with an exported model."""

import concurrent.futures
import dataclasses
import json
import shutil

import exported
import job
import numpy as np
import pytest
from PIL import Image, ImageOps

from car_tf import config as config_lib
from car_tf.app import inputs
from car_tf.data import info, io, pictures
from car_tf.data.folders import files
from car_tf.predict import black_boxes as predict_black_boxes
from car_tf.predict import images as predict_images
from car_tf.predict import output as predict_output
from car_tf.predict import predictor as predict_predictor
from car_tf.predict import run as predict_run
from export import description, program
from export.clients import common


@pytest.fixture(scope="module")
def predictor():
    return predict_predictor.Predictor(exported.version())


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Images of three sizes and kinds with the maps of a black box."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sizes = {"wide.png": (50, 90), "deep/tall.jpg": (70, 40), "small.png": (24, 32)}
    for name, (height, width) in sizes.items():
        image = exported.images(1, height, width)[0]
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        ids = exported.labels(1, *exported.SIZE)[0]
        ids = tmp_path / "maps" / f"{path.stem}.png", np.where(ids == 255, 0, ids)
        ids[0].parent.mkdir(exist_ok=True)
        Image.fromarray(ids[1]).save(ids[0])
    return tmp_path


def find(folders):
    return common.find_images([str(folders / "images")])


def options(folders, **changes):
    settings = dict(num_samples=4, seed=5, blackbox=str(folders / "maps"))
    return predict_predictor.Options(**{**settings, **changes})


def test_everything_is_written_at_the_size_of_the_image(predictor, folders):
    output = folders / "output"
    images = find(folders)
    assert list(images) == ["deep/tall", "small", "wide"]
    assert predict_run.predict(predictor, images, output, options(folders)) == []
    for name, size in (
        ("deep/tall", (40, 70)),
        ("small", (32, 24)),
        ("wide", (90, 50)),
    ):
        written = {path.name for path in (output / name).iterdir()}
        maps = {
            f"sample_{i:02d}{kind}.png" for i in range(4) for kind in ("", "_color")
        }
        others = {"mean.png", "entropy.png", "entropy_color.png", "sheet.png"}
        assert written == maps | others | {"statistics.json"}
        for file in maps | others - {"sheet.png"}:
            assert Image.open(output / name / file).size == size, file

    # The files hold what the signature gives for the image at the trained size.
    opened = Image.open(images["wide"]).resize((64, 48), Image.Resampling.BILINEAR)
    drawn = exported.call(
        "sample",
        image=np.asarray(opened)[None],
        blackbox=np.asarray(Image.open(folders / "maps" / "wide.png"))[None],
        num_samples=np.int32(4),
        seed=np.array([common.seed_for(5, "wide")], np.int32),
    )
    samples = drawn["samples"][0]
    for index, sample in enumerate(samples):
        want = Image.fromarray(sample).resize((90, 50), Image.Resampling.NEAREST)
        got = Image.open(output / "wide" / f"sample_{index:02d}.png")
        np.testing.assert_array_equal(got, want)
    found = json.loads((output / "wide" / "statistics.json").read_text())
    assert found["size"] == [50, 90] and found["working_size"] == [48, 64]
    for entry in found["classes"].values():
        areas = (samples == entry["id"]).mean(axis=(1, 2))
        np.testing.assert_allclose(entry["areas"], areas)
        assert entry["mean_area"] == pytest.approx(areas.mean())
    total = sum(entry["mean_area"] for entry in found["classes"].values())
    assert total == pytest.approx(1.0)
    assert found["entropy_bits"]["mean"] == pytest.approx(
        drawn["entropy_bits"].mean(), rel=1e-5
    )


def test_a_second_run_does_only_what_is_missing(predictor, folders):
    output, images = folders / "output", find(folders)
    said = []
    del images["deep/tall"]
    predict_run.predict(predictor, images, output, options(folders), said.append)
    before = (output / "wide" / "statistics.json").stat().st_mtime_ns
    shutil.rmtree(output / "small")
    predict_run.predict(predictor, images, output, options(folders), said.append)
    assert said[-1] == "1 of 2 images were predicted before"
    # Which ids the maps hold is said each time.
    assert [line for line in said[:-1] if "as train ids" not in line] == []
    assert (output / "wide" / "statistics.json").stat().st_mtime_ns == before
    assert (output / "small" / "statistics.json").is_file()
    other = options(folders, num_samples=2)
    predict_run.predict(predictor, images, output, other, said.append)
    assert sum("before" in line for line in said) == 1
    assert len(list((output / "wide").glob("sample_??.png"))) == 2
    assert not list(output.glob(".*"))


def test_another_map_is_another_result(predictor, folders):
    output, images, said = folders / "output", find(folders), []
    predict_run.predict(predictor, images, output, options(folders), said.append)
    Image.fromarray(np.zeros(exported.SIZE, np.uint8)).save(folders / "maps/wide.png")
    predict_run.predict(predictor, images, output, options(folders), said.append)
    assert said[-1] == "2 of 3 images were predicted before"


def test_other_people_s_files_are_left(predictor, folders, capsys):
    thesis = folders / "output" / "small" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("all of it")
    output, images = folders / "output", find(folders)
    assert predict_run.predict(predictor, images, output, options(folders)) == ["small"]
    assert "found other files; choose another --output" in capsys.readouterr().err
    assert thesis.read_text() == "all of it"
    assert (output / "wide" / "statistics.json").is_file()
    # An empty folder is nobody's.
    thesis.unlink()
    assert predict_run.predict(predictor, images, output, options(folders)) == []


def test_every_configuration_s_model_takes_a_black_box(predictor, monkeypatch):
    for name in config_lib.available():
        config = config_lib.load(name)
        if not isinstance(config, config_lib.Config) or config.blackbox.kind == "none":
            continue
        labels = {**predictor.labels, "config": json.loads(config_lib.to_json(config))}
        monkeypatch.setattr(predictor, "labels", labels)
        found = predict_black_boxes.blackbox_config(
            predictor, predict_predictor.Options(blackbox="maps")
        )
        assert (found.blackbox.kind, found.blackbox.path) == ("auto", "maps")


def test_maps_are_read_as_the_training_read_them(predictor, folders, monkeypatch):
    facts = dataclasses.replace(
        exported.street_facts(),
        blackbox_output="probabilities",
        blackbox_scores="logits",
    )
    how = dict(name="a", embedded=False, receptive_field=None)
    config = json.loads(config_lib.to_json(exported.config()))
    labels = description.labels(program.Settings(facts), **how, config=config)
    assert info.from_record(dataclasses.asdict(facts)).blackbox_scores == "logits"
    monkeypatch.setattr(predictor, "labels", labels)
    images = {"small": find(folders)["small"]}
    scores = np.full((24, 32, exported.NUM_BLACKBOX), 0.05, np.float32)
    scores[..., 3] = 0.95
    np.save(folders / "maps" / "small.npy", scores)
    (folders / "maps" / "small.png").unlink()
    of = predict_black_boxes.BlackBoxes
    with pytest.raises(
        io.DataError, match="wanted logits, as in training, got .*sigmo"
    ):
        of(predictor, images, options(folders))
    said = options(folders, blackbox_settings=["blackbox.output=sigmoid"])
    assert "sigmoid scores" in of(predictor, images, said).notes[0]
    # The app reads a map that is uploaded alike.
    reader = inputs.Reader(predictor, predict_predictor.Options())
    maps = "small.npy", (folders / "maps" / "small.npy").read_bytes()
    with pytest.raises(inputs.PageError, match="[Ww]anted logits, as in training"):
        reader.read(inputs.Upload("small.png", images["small"], *maps))


def test_maps_of_another_encoding_than_in_training_are_refused(
    predictor, folders, monkeypatch
):
    config = exported.config(blackbox=config_lib.BlackBox(encoding="label_ids"))
    config = json.loads(config_lib.to_json(config))
    how = dict(name="a", embedded=False, receptive_field=None, config=config)
    labels = description.labels(program.Settings(exported.street_facts()), **how)
    monkeypatch.setattr(predictor, "labels", labels)
    of, images = predict_black_boxes.BlackBoxes, {"small": find(folders)["small"]}
    ids = exported.labels(1, 24, 32)[0]
    Image.fromarray(ids).save(folders / "maps" / "small.png")
    with pytest.raises(io.DataError, match="wanted label ids, .* like train ids"):
        of(predictor, images, options(folders))
    said = options(folders, blackbox_settings=["blackbox.encoding=train_ids"])
    assert "read as train ids" in " ".join(of(predictor, images, said).notes)


def test_images_of_one_name_have_each_its_own_map(predictor, folders):
    for index, side in enumerate(("left", "right")):
        for kind, array in (
            ("images", exported.images(1, 24, 32)[0]),
            ("maps", np.full(exported.SIZE, index, np.uint8)),
        ):
            path = folders / "pair" / kind / side / "1.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(array).save(path)
    images = common.find_images([str(folders / "pair" / "images")])
    chosen = options(folders, blackbox=str(folders / "pair" / "maps"))
    assert not predict_run.predict(predictor, images, folders / "output", chosen)
    bits = [
        json.loads((folders / "output" / side / "1" / "statistics.json").read_text())
        for side in ("left", "right")
    ]
    assert bits[0]["entropy_bits"] != bits[1]["entropy_bits"]


def test_results_are_no_images(folders):
    names = ["deep/tall", "small", "wide"]
    images = folders / "images"
    output = images / "results"
    output.mkdir()
    Image.new("RGB", (4, 4)).save(output / "mean.png")
    assert list(common.find_images([str(images)], str(output))) == names
    # Images that lie below the output, as drawn examples do, or are named.
    (output / "mean.png").unlink()
    assert list(common.find_images([str(images)], str(folders))) == names
    assert list(common.find_images([str(images)], str(images))) == names
    named = str(images / "small.png")
    assert list(common.find_images([named], str(images))) == ["small"]
    # A prediction beside its image.
    (images / "small").mkdir()
    Image.new("RGB", (4, 4)).save(images / "small" / "mean.png")
    (images / "small" / "statistics.json").touch()
    assert list(common.find_images([str(images)], str(images))) == names


def test_labels_of_cityscapes_are_no_images(tmp_path):
    for name in ("a_leftImg8bit", "a_gtFine_labelIds", "a_gtFine_color"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    assert list(common.find_images([str(tmp_path)])) == ["a_leftImg8bit"]
    # A file that is named is meant.
    named = str(tmp_path / "a_gtFine_color.png")
    assert list(common.find_images([named])) == ["a_gtFine_color"]


def test_a_telephone_s_picture_is_turned(predictor, folders):
    image = Image.open(folders / "images" / "small.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # To be turned by a quarter.
    folder = folders / "turned"
    folder.mkdir()
    image.save(folder / "small.jpg", exif=exif, quality=95)
    assert predict_images.read_image(folder / "small.jpg", 3).size == (24, 32)
    # A map of the picture as people see it fits.
    upright = np.zeros((32, 24), np.uint8)
    Image.fromarray(upright).save(folders / "maps" / "small.png")
    images = common.find_images([str(folder)])
    chosen = options(folders, size="own")
    assert not predict_run.predict(predictor, images, folders / "output", chosen)
    found = json.loads((folders / "output/small/statistics.json").read_text())
    assert found["size"] == found["working_size"] == [32, 24]


def test_damaged_exif_data_turn_nothing(folders):
    path = folders / "images" / "small.jpg"
    image = Image.open(folders / "images" / "small.png")
    for exif in (b"Exif\0\0nothing", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        image.save(path, exif=exif)
        assert predict_images.read_image(path, 3).size == (32, 24)
        with io.opened(path) as opened:
            assert pictures.upright_size(opened) == (24, 32)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_pillow_turns_them(tmp_path, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("png", "webp", "tif"):
        path = tmp_path / f"turned.{ending}"
        Image.fromarray(pixels).save(path, exif=exif, lossless=True)
        with Image.open(path) as opened:
            opened.load()
            wanted = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        np.testing.assert_array_equal(predict_images.read_image(path, 3), wanted)


def test_own_size_and_a_damaged_image(predictor, folders):
    broken = folders / "images" / "broken.png"
    broken.write_bytes((folders / "images" / "small.png").read_bytes()[:200])
    (folders / "images" / "junk.png").write_bytes(b"no image, and no map")
    own = exported.labels(1, 24, 32)[0]
    Image.fromarray(np.where(own == 255, 0, own)).save(folders / "maps" / "small.png")
    Image.fromarray(own * 0).save(folders / "maps" / "broken.png")
    images = {name: path for name, path in find(folders).items() if name != "wide"}
    del images["deep/tall"]
    output = folders / "output"
    failed = predict_run.predict(
        predictor, images, output, options(folders, size="own")
    )
    assert failed == ["broken", "junk"]
    assert not (output / "broken").exists()
    found = json.loads((output / "small" / "statistics.json").read_text())
    assert found["working_size"] == [24, 32]


def test_a_missing_black_box_is_said_before_the_work(predictor, folders):
    images = find(folders)
    output = folders / "output"
    with pytest.raises(io.DataError, match="--blackbox: wanted a segmenter"):
        predict_run.predict(predictor, images, output, options(folders, blackbox=""))
    (folders / "maps" / "wide.png").unlink()
    with pytest.raises(io.DataError, match="prediction of wide"):
        predict_run.predict(predictor, images, output, options(folders))
    assert not output.exists()


def test_statistics_by_hand():
    labels = {
        "classes": [
            {"id": i, "name": name, "color": [i, i, i]}
            for i, name in enumerate(("road", "sky", "road2"))
        ],
        "flips": [{"original": 0, "flipped": 2, "probability": 0.25}],
    }
    # Road covers 2 of 4 pixels in the first three samples and is road2 in the last.
    samples = np.array([[[0, 0], [1, 1]]] * 3 + [[[2, 2], [1, 1]]], np.uint8)
    result = predict_output.Result(
        file="x.png",
        picture=Image.new("RGB", (4, 4)),
        samples=samples,
        entropy_bits=np.array([[1.0, 0.0], [0.0, 0.0]], np.float32),
        seed=(0, 1),
        labels=labels,
    )
    found = result.statistics()
    assert found["classes"]["road"]["mean_area"] == pytest.approx(0.375)  # 3/4 of 0.5
    assert found["classes"]["road"]["max_area"] == 0.5
    assert found["classes"]["road"]["num_samples_with_it"] == 3
    assert found["classes"]["sky"]["std_area"] == 0
    assert found["flips"] == [
        {
            "class": "road",
            "other_name": "road2",
            "frequency": 0.25,
            "true_probability": 0.25,
        }
    ]
    assert found["entropy_bits"] == {"mean": 0.25, "max": 1.0}
    # Two of four pixels are (3/4, 1/4): 0.8113 bits, the others certain.
    assert found["sample_entropy_bits"] == pytest.approx(0.8112781 / 2)


def test_heat_map_runs_from_black_to_white():
    pixels = np.asarray(predict_output.heat_map(np.array([[0.0, 0.5, 1.0]])))
    np.testing.assert_array_equal(
        pixels[0], [[0, 0, 0], [255, 128, 0], [255, 255, 255]]
    )


@pytest.fixture(scope="module")
def both(predictor):
    return predict_predictor.Predictor(predictor.path, ["CPU:0", "CPU:1"])


def files_below(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_two_devices_give_what_one_gives(predictor, both, folders):
    images = find(folders)
    assert both.num_devices == 2
    for which, output in ((predictor, folders / "one"), (both, folders / "two")):
        assert predict_run.predict(which, images, output, options(folders)) == []
    assert len(files_below(folders / "one")) == 3 * 13
    assert files_below(folders / "one") == files_below(folders / "two")


def test_two_workers_give_what_one_gives(predictor, folders):
    alone = folders / "one"
    assert not predict_run.predict(predictor, find(folders), alone, options(folders))
    arguments = [
        *("--saved_model", predictor.path, "--images", folders / "images"),
        *("--output", folders / "two", "--blackbox", folders / "maps"),
        *("--num_samples", 4, "--seed", 5),
    ]

    def run(config):
        environment = job.environment(TF_CONFIG=config)
        return job.fork(*arguments, module="car_tf.predict", env=environment)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, job.cluster(2))
    assert "2 images predicted" in first.stdout, first.stderr
    assert "1 images predicted" in second.stdout, second.stderr
    assert files_below(folders / "one") == files_below(folders / "two")


def test_each_copy_computes_on_its_device(both):
    placed = [
        copy.call(
            "sample",
            image=np.zeros([1, 32, 32, 3], np.uint8),
            blackbox=np.zeros([1, 32, 32], np.uint8),
            num_samples=1,
            seed=[(1, 2)],
        )["samples"].device
        for copy in both._copies
    ]
    assert [name.rpartition("/device:")[2] for name in placed] == ["CPU:0", "CPU:1"]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--images=nowhere"], "one of --workdir and --saved_model"),
        (["--images=nowhere", "--saved_model=nowhere"], "wanted a SavedModel"),
        (["--images=nowhere", "--workdir=nowhere"], "wanted a run directory"),
        (["--images=nowhere", "--devices=tpu"], "--devices: wanted cpu"),
        (["--saved_model=."], "wanted a SavedModel"),
    ],
)
def test_bad_arguments_end_in_one_line(tmp_path, arguments, words):
    done = job.fork(
        "--output=out", *arguments, module="car_tf.predict", cwd=job.CHECKOUT
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_kind_of_picture_that_is_trained_on_is_predicted(tmp_path):
    names = ("a.tif", "b.TIFF", "c.bmp", "d.webp", "e.JPG", "f.png")
    for name in names:
        (tmp_path / name).touch()
    found = common.find_images([str(tmp_path)], "", files.ENDINGS)
    assert [path.name for path in found.values()] == list(names)
    with pytest.raises(common.ClientError, match="a.tif: wanted an image .*png"):
        common.find_images([str(tmp_path / "a.tif")])


def test_colours_are_not_made_grey(tmp_path):
    pixels = np.full((8, 8, 3), 90, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert predict_images.read_image(tmp_path / "a.png", 1).mode == "L"
    pixels[0, 0, 1] = 91
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", pixels, Image.fromarray(pixels)):
        with pytest.raises(io.DataError, match="wanted grey, as in training"):
            predict_images.as_picture(source, 1)


def test_images_whose_results_would_collide_are_refused(tmp_path):
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(common.ClientError, match="wanted one image named a"):
        common.find_images([str(tmp_path)])
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").touch()
    with pytest.raises(common.ClientError, match="inside those of"):
        common.find_images([str(tmp_path)])


def test_without_images_some_are_drawn(tmp_path):
    config = exported.config(data=config_lib.Data(size=(48, 64), crop_size=(16, 16)))
    (tmp_path / "run" / "export").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(config_lib.to_json(config))
    model = tmp_path / "run" / "export" / config.name
    model.symlink_to(exported.version().parent)
    output = tmp_path / "out"
    arguments = ("--workdir", tmp_path / "run", "--num_samples", 2, "--output", output)
    done = job.fork(*arguments, module="car_tf.predict")
    assert done.returncode == 0, done.stderr
    assert "4 images predicted" in done.stdout
    for name in ("scene_000002", "scene_000005"):
        assert (output / "examples" / "images" / f"{name}.png").is_file()
        assert (output / "examples" / "blackbox" / f"{name}.png").is_file()
        assert (output / name / "sheet.png").is_file()
    config = config_lib.change(config, data={"data_dir": "/data"})
    (tmp_path / "run" / "config.json").write_text(config_lib.to_json(config))
    done = job.fork(*arguments, module="car_tf.predict")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --images: wanted images")


def test_several_workers_need_images(tmp_path):
    arguments = ("--saved_model", exported.version(), "--output", tmp_path / "out")
    environment = job.environment(TF_CONFIG=job.cluster(2)[0])
    done = job.fork(*arguments, module="car_tf.predict", env=environment)
    assert done.stderr == "error: --images: wanted images for several workers\n"
