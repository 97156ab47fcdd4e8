"""Frozen graphs of TensorFlow 1: reading, finding the scores, cropping, limits."""

import io
import tarfile

import blackbox_models as models
import numpy as np
import pytest
import tensorflow as tf

from car_tf.blackbox import frozen_graph, inference
from car_tf.data import io as data_io

# The real graphs pad to 1025 x 2049; the same structure with less to compute.
CROP = (65, 129)
DTYPES = [tf.int64, tf.int32]


def load(path, **kwargs):
    return inference.load(str(path), num_classes=models.NUM_CLASSES, **kwargs)


def write(folder, graph, name="graph.pb"):
    path = folder / name
    path.write_bytes(graph)
    return path


@pytest.fixture(scope="module")
def graphs():
    return {
        dtype: models.frozen_graph(crop_size=CROP, label_dtype=dtype)
        for dtype in DTYPES
    }


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 48, 100, 3), np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_are_those_of_a_tensorflow_1_session(tmp_path, graphs, images, dtype):
    path = models.write_archive(tmp_path / "deeplab.tar.gz", graphs[dtype])
    before = sorted(tmp_path.rglob("*"))
    blackbox = load(path, input_size=(48, 100))

    got = blackbox.predict(images, (48, 100))

    assert got.dtype == np.uint8 and got.shape == (2, 48, 100)
    for image, labels in zip(images, got):
        (wanted,) = models.run_graph(graphs[dtype], image, ["SemanticPredictions:0"])
        assert wanted.dtype == dtype.as_numpy_dtype
        np.testing.assert_array_equal(labels, wanted[0])
    assert len(np.unique(got)) == models.NUM_CLASSES
    # Nothing was extracted.
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("multi_scale", [False, True])
def test_probabilities_come_from_what_the_arg_max_is_of(
    tmp_path, images, dtype, multi_scale
):
    graph = models.frozen_graph(
        crop_size=CROP, label_dtype=dtype, multi_scale=multi_scale
    )
    blackbox = load(
        write(tmp_path, graph), input_size=(48, 100), output="probabilities"
    )

    got = blackbox.predict(images[:1], (48, 100))

    scores = "Mean:0" if multi_scale else "ResizeBilinear_3:0"
    (wanted,) = models.run_graph(graph, images[0], [scores])
    assert wanted.shape == (1, *CROP, 19)  # Padded, bottom and right.
    if not multi_scale:
        exps = np.exp(wanted - wanted.max(-1, keepdims=True))
        wanted = exps / exps.sum(-1, keepdims=True)
    np.testing.assert_allclose(got[0], wanted[0, :48, :100], atol=1e-6)
    expected = "probabilities from Mean" if multi_scale else "logits from ResizeB"
    assert expected in blackbox.describe()


def test_probabilities_are_resized_by_area_and_labels_by_nearest(tmp_path, graphs):
    path = write(tmp_path, graphs[tf.int64])
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 128, 3), np.uint8)
    probs = load(path, output="probabilities")
    whole = probs.predict(image, (64, 128))
    # The mean of 2 x 4 pixels.
    wanted = whole.reshape(1, 32, 2, 32, 4, 19).mean((2, 4))
    np.testing.assert_allclose(probs.predict(image, (32, 32)), wanted, atol=1e-6)

    labels = load(path)
    whole = labels.predict(image, (64, 128))
    # Centres: row i of 32 takes row 2 i + 1, column j of 32 takes column 4 j + 2.
    np.testing.assert_array_equal(labels.predict(image, (32, 32)), whole[:, 1::2, 2::4])


def test_the_true_size_is_the_default(tmp_path):
    path = models.write_archive(tmp_path / "a.tgz", models.frozen_graph())
    labels = (
        np.random.default_rng(2).integers(0, 19, (4, 8)).repeat(64, 0).repeat(64, 1)
    )
    blackbox = load(path, output="probabilities")
    assert blackbox.backend.input_size == (1024, 2048)

    # 256 x 512 images are magnified four times on their way in.
    probs = blackbox.predict(models.class_image(labels)[None], (256, 512))

    assert probs.shape == (1, 256, 512, 19)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)
    inside = np.s_[:, 8:-8, 8:-8]  # Of each block of 64 x 64 pixels.
    blocks = (probs[0].argmax(-1) == labels).reshape(4, 64, 8, 64).swapaxes(1, 2)
    assert blocks.reshape(32, 64, 64)[inside].all()


def test_graphs_made_for_another_size_get_that_size(tmp_path, graphs):
    path = write(tmp_path, graphs[tf.int64])
    backend = load(path).backend
    assert backend.input_size == (64, 128)
    # The weights are variables, not copied with every function that uses them.
    assert [tuple(weights.shape) for weights in backend.variables] == [(1, 1, 16, 19)]
    assert backend.takes((65, 129)) and not backend.takes((66, 129))
    with pytest.raises(data_io.DataError, match="at most 65 x 129 .* is 66 x 129"):
        load(path, input_size=(66, 129)).describe()
    with pytest.raises(tf.errors.InvalidArgumentError):
        models.run_graph(
            graphs[tf.int64],
            np.zeros((66, 129, 3), np.uint8),
            ["SemanticPredictions:0"],
        )


def test_graphs_that_resize_inside_give_labels_only(tmp_path, images):
    graph = models.frozen_graph(crop_size=CROP, resize_inside=True)
    path = write(tmp_path, graph)
    (wanted,) = models.run_graph(graph, images[0], ["SemanticPredictions:0"])
    got = load(path, input_size=(48, 100)).predict(images[:1], (48, 100))
    np.testing.assert_array_equal(got, wanted)
    with pytest.raises(data_io.DataError, match="resizes its image inside"):
        load(path, output="probabilities").predict(images[:1], (48, 100))


def test_a_folder_with_the_graph_and_the_graph_itself_are_taken(tmp_path, graphs):
    write(tmp_path, graphs[tf.int64], frozen_graph.GRAPH_NAME)
    assert inference.is_model(str(tmp_path))
    by_folder, by_file = load(tmp_path), load(tmp_path / frozen_graph.GRAPH_NAME)
    image = np.full((1, 64, 128, 3), 128, np.uint8)
    for blackbox in (by_folder, by_file):
        # Red 128 of 255 is class 128 * 19 / 255 = 9.54.
        assert np.unique(blackbox.predict(image, (16, 32))).tolist() == [9]


def test_the_walk_ends_at_the_arg_max_alone():
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        tf.identity(tf.cast(image[..., 0] > 9, tf.int64), "SemanticPredictions")
    graph_def = graph.as_graph_def()
    assert frozen_graph.find_scores(graph_def, "SemanticPredictions") is None


def test_labels_without_an_arg_max_are_taken_probabilities_are_not(tmp_path):
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        tf.identity(tf.cast(image[..., 0] > 9, tf.int64), "SemanticPredictions")
    path = write(tmp_path, graph.as_graph_def().SerializeToString())
    image = np.full((1, 8, 8, 3), 10, np.uint8)
    blackbox = load(path, input_size=(8, 8))
    assert (blackbox.predict(image, (8, 8)) == 1).all()
    with pytest.raises(data_io.DataError, match="no arg-max was found"):
        load(path, output="probabilities").describe()


def test_probabilities_as_the_only_output_are_taken(tmp_path):
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        red = tf.cast(image[..., :1], tf.float32) * (19 / 255)
        scores = tf.nn.softmax(-tf.square(red - tf.range(19.0) - 0.5))
        tf.identity(scores, "SemanticProbabilities")
    path = write(tmp_path, graph.as_graph_def().SerializeToString())
    usage = {"output_name": "SemanticProbabilities", "input_size": (8, 8)}
    models.check(
        load(path, **usage, output="auto"), models.class_image(np.ones((1, 8, 8)))
    )


def test_a_graph_that_fails_says_why_in_a_sentence(tmp_path):
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.uint8, [1, None, None, 3], "ImageTensor")
        fixed = tf.reshape(image, [1, 8, 8, 3])
        tf.identity(tf.cast(fixed[..., 0], tf.int64), "SemanticPredictions")
    path = write(tmp_path, graph.as_graph_def().SerializeToString())
    with pytest.raises(data_io.DataError, match="on an image of 16 x 16.*reshape"):
        load(path, input_size=(16, 16)).predict(
            np.zeros((1, 16, 16, 3), np.uint8), (8, 8)
        )


def test_other_names_are_listed_and_can_be_given(tmp_path, graphs):
    graph = models.frozen_graph(
        crop_size=CROP, input_name="input_1", output_name="classes"
    )
    path = write(tmp_path, graph)
    with pytest.raises(data_io.DataError) as caught:
        load(path).describe()
    text = str(caught.value)
    assert "no ImageTensor and SemanticPredictions" in text
    assert "inputs are input_1 uint8 (1, None, None, 3)" in text
    assert "outputs are classes (Identity)" in text
    image = np.random.default_rng(3).integers(0, 256, (1, 64, 128, 3), np.uint8)
    renamed = load(path, input_name="input_1:0", output_name="classes")
    np.testing.assert_array_equal(
        renamed.predict(image, (64, 128)),
        load(write(tmp_path, graphs[tf.int64], "same.pb")).predict(image, (64, 128)),
    )


def test_operations_that_tensorflow_lacks_are_named(tmp_path, graphs):
    graph_def = tf.compat.v1.GraphDef.FromString(graphs[tf.int64])
    node = next(node for node in graph_def.node if node.op == "Conv2D")
    node.op = "SpecialConv2D"
    path = write(tmp_path, graph_def.SerializeToString())
    with pytest.raises(data_io.DataError, match="cannot be imported.*SpecialConv2D"):
        load(path).describe()


@pytest.mark.parametrize("output", ["labels", "probabilities"])
def test_another_number_of_classes_is_refused_until_mapped(tmp_path, output):
    path = write(tmp_path, models.frozen_graph(crop_size=CROP, num_classes=21))
    with pytest.raises(data_io.DataError, match="wanted 19 classes, got 21.*class_map"):
        load(path, output=output).describe()
    # Every class one lower; the first and the last have no counterpart.
    mapped = load(path, output=output, class_map=(255, *range(19), 255))
    image = np.full((1, 64, 128, 3), 128, np.uint8)
    image[:, :4, :4] = 0  # Logits of some pixel are below 0.
    got = mapped.predict(image, (4, 4))
    # Red 128 of 255 is class 128 * 21 / 255 = 10.54 of 21: class 9 of 19.
    got = got if output == "labels" else got.argmax(-1)
    assert np.unique(got).tolist() == [9]


def archive_of(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def archive_of_headers(kind, *, size, num=1):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for _ in range(num):
            entry = tarfile.TarInfo("x")
            entry.type, entry.size = kind, size
            archive.addfile(entry, io.BytesIO(bytes(size)))
    return buffer.getvalue()


GRAPH_NAME = frozen_graph.GRAPH_NAME
LONG_NAME = archive_of_headers(tarfile.GNUTYPE_LONGNAME, size=2**20)
LONG_PAX = archive_of_headers(tarfile.XHDTYPE, size=2**20)
NESTED = archive_of_headers(tarfile.XHDTYPE, size=0, num=2000)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.tar.gz", b"no archive at all", "damaged archive"),
        ("a.tar.gz", archive_of({GRAPH_NAME: bytes(90000)})[:60], "damaged archive"),
        ("a.tar.gz", archive_of({"../x": b"", GRAPH_NAME: b""}), r"outside.*\.\./x"),
        ("a.tar.gz", archive_of({"/etc/x": b"", GRAPH_NAME: b""}), "outside.*/etc/x"),
        ("a.tar.gz", archive_of({"model.ckpt": b""}), "found 0 among model.ckpt"),
        (
            "a.tar.gz",
            archive_of({f"a/{GRAPH_NAME}": b"", f"b/{GRAPH_NAME}": b""}),
            "found 2 among a/",
        ),
        ("a.tar.gz", LONG_NAME, "names and attributes of at most 65536 bytes"),
        ("a.tar.gz", LONG_PAX, "names and attributes of at most 65536 bytes"),
        ("a.tar.gz", NESTED, "damaged archive"),
        ("a.pb", b"", "not a TensorFlow graph"),
        ("a.pb", b"What is it?\n" * 9, "not a TensorFlow graph"),
        ("a.pb", bytes(range(256)), "not a TensorFlow graph"),
    ],
    # Archives hold the time: processes that share the tests would name them otherwise.
    ids="garbage cut-off parent root no-graph two-graphs long-name long-pax nested "
    "empty text bytes".split(),
)
def test_bad_files_are_named(tmp_path, name, content, message):
    path = write(tmp_path, content, name)
    with pytest.raises(data_io.DataError, match=message) as caught:
        load(path).describe()
    assert str(path) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == [path]


def test_missing_and_unknown_files_are_named(tmp_path):
    with pytest.raises(data_io.DataError, match="none.pb: does not exist"):
        load(tmp_path / "none.pb")
    with pytest.raises(data_io.DataError, match="a.onnx: wanted a SavedModel folder"):
        load(write(tmp_path, b"", "a.onnx"))
    with pytest.raises(data_io.DataError, match="folder without saved_model.pb"):
        load(tmp_path)
