"""The public object: what it draws, from what it takes an image, and what it refuses."""

import exported
import numpy as np
import pytest
from PIL import Image

import car_tf
from car_tf.data import io
from export import versions


@pytest.fixture(scope="module")
def street():
    """A sampler of tiny street networks that take the labels of a black box."""
    return car_tf.load(exported.version())


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 52, 3)).astype(np.uint8)
    return image, rng.integers(0, 19, (40, 52)).astype(np.uint8)


def test_samples_have_the_size_of_the_image_or_another(street, scene):
    image, labels = scene
    samples = street.sample(image, 3, blackbox=labels)
    assert samples.shape == (3, 40, 52) and samples.dtype == np.uint8
    assert samples.max() < street.num_classes == len(street.class_names)
    small = street.sample(image, 3, blackbox=labels, size=(20, 26))
    assert small.shape == (3, 20, 26)
    trained = street.sample(image, 1, blackbox=labels, size="trained")
    assert trained.shape[1:] == street.probabilities(image, blackbox=labels).shape[:2]


def test_seed_and_image_decide_the_samples(street, scene):
    image, labels = scene
    first = street.sample(image, 4, seed=1, blackbox=labels)
    again = street.sample(image, 4, seed=1, blackbox=labels)
    np.testing.assert_array_equal(first, again)
    assert (first != street.sample(image, 4, seed=2, blackbox=labels)).any()


def test_a_temperature_flattens_f_and_reaches_the_samples(street, scene):
    image, labels = scene
    inputs = dict(image=image, blackbox=labels)
    probs = street.probabilities(**inputs)
    hot = np.sqrt(probs)  # p ** (1 / 2), normalised
    np.testing.assert_allclose(
        street.probabilities(**inputs, temperature=2.0),
        hot / hot.sum(-1, keepdims=True),
        atol=1e-5,
    )
    same = street.sample(**inputs, num_samples=4)
    assert (same != street.sample(**inputs, num_samples=4, temperature=5.0)).any()
    with pytest.raises(ValueError, match="temperature: wanted a number above 0"):
        street.sample(**inputs, temperature=0.0)
    with pytest.raises(ValueError, match="num_samples: wanted 1 to 256, got 0"):
        street.sample(**inputs, num_samples=0)


def test_files_pictures_and_arrays_are_the_same_image(street, scene, tmp_path):
    image, labels = scene
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(labels).save(tmp_path / "labels.png")
    wanted = street.sample(image, 2, blackbox=labels)
    for source in (tmp_path / "image.png", Image.fromarray(image)):
        got = street.sample(source, 2, blackbox=tmp_path / "labels.png")
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("size", ["word", (0, 4), (4,), 4, None, (4.5, 4)])
def test_no_size_is_refused_before_the_work(street, size):
    with pytest.raises(io.DataError, match="size: wanted own, trained, or a .*, got"):
        street.sample(None, size=size)


def test_f_alone(street, scene):
    image, labels = scene
    probs = street.probabilities(image, blackbox=labels)
    np.testing.assert_allclose(probs.sum(-1), 1.0, atol=1e-5)
    entropy = street.entropy(image, blackbox=labels)
    np.testing.assert_allclose(
        entropy, -(probs * np.log2(np.maximum(probs, 1e-30))).sum(-1), atol=1e-4
    )
    drawn = street.level_sets(image, 5, blackbox=labels)
    assert drawn.shape == (5, *probs.shape[:2])


@pytest.mark.parametrize(
    "image, words",
    [
        (np.zeros([8, 8, 3], np.float32), "wanted .* uint8, got float32"),
        (np.zeros([8, 8, 2], np.uint8), r"shape \[8, 8, 2\]"),
        (Image.fromarray(np.zeros([8, 8], np.int32)), "8 bits per channel"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_other_images_are_refused(street, scene, image, words):
    with pytest.raises(io.DataError, match=words):
        street.sample(image, 1, blackbox=scene[1])


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda ids: ids + 15, "ids below 19, or 255 for none, .* with 15 to 33"),
        (lambda ids: ids.astype(int) - 1, "with -1 to 17"),
        (lambda ids: ids.T, "of .* or 40 x 52 pixels, got uint8 .52, 40."),
        (lambda ids: np.eye(19)[ids], "wanted .h, w. ids .* got float64 .40, 52, 19."),
        (lambda ids: __file__, "wanted the output .* not a segmenter: .*test_api.py"),
    ],
)
def test_maps_that_are_not_of_the_classes_are_refused(street, scene, change, words):
    with pytest.raises(io.DataError, match=f"blackbox: .*{words}"):
        street.sample(scene[0], 1, blackbox=change(scene[1]))


def test_a_missing_black_box_is_asked_for(street, scene):
    with pytest.raises(io.DataError, match="as `blackbox=`, because the run was"):
        street.sample(scene[0], 1)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(versions.ExportError, match="wanted a SavedModel .* no run"):
        car_tf.load(tmp_path)
