"""SavedModels, Keras models and TFLite: what is made of them, and of their maps."""

import zipfile

import blackbox_models as models
import h5py
import numpy as np
import pytest
import tensorflow as tf

from car_tf.blackbox import base, inference, kinds, postprocess, signature
from car_tf.data import io
from car_tf.models import keras_api

K = models.NUM_CLASSES
IMAGE = tf.TensorSpec([None, None, None, 3], tf.uint8, "image")
FLOAT_IMAGE = tf.TensorSpec([None, None, None, 3], tf.float32, "image")
SIZE = (16, 32)


def load(path, **kwargs):
    return inference.load(str(path), num_classes=K, **kwargs)


@pytest.fixture(scope="module")
def red():
    return models.RedSegmenter()


@pytest.fixture(scope="module")
def images():
    return models.images_of_all_classes(2, SIZE)


@pytest.fixture(scope="module")
def several(red, tmp_path_factory):
    """One SavedModel with a signature of each form that is in use."""

    def labels(image):
        return {"classes": tf.argmax(red.logits(image), -1)}

    def labels_with_axis(image):
        return {"classes": tf.argmax(red.logits(image), -1, tf.int32)[..., None]}

    def logits(image):
        return {"scores": red.logits(image), "features": tf.ones([1, 7])}

    def probs(image):
        return {"scores": tf.nn.softmax(red.logits(image))}

    def everything(image):
        scores = red.logits(image)
        found = {"logits": scores, "probabilities": tf.nn.softmax(scores)}
        return {**found, **labels(image)}

    def channels_first(image):
        scores = red.logits(tf.transpose(image, [0, 2, 3, 1]))
        return {"scores": tf.transpose(scores, [0, 3, 1, 2])}

    def two(image):
        return {"main": red.logits(image), "auxiliary": 2 * red.logits(image)}

    def with_threshold(image, threshold):
        return {"scores": red.logits(image) * threshold}

    def encoded(data):
        return {"scores": red.logits(tf.io.decode_png(data[0])[None])}

    fixed = tf.TensorSpec([1, 16, 32, 3], tf.uint8, "image")
    first = tf.TensorSpec([None, 3, None, None], tf.float32, "image")
    unknown = tf.TensorSpec(None, tf.uint8, "image")
    path = models.save(
        red,
        tmp_path_factory.mktemp("saved") / "several",
        labels=(labels, IMAGE),
        labels_with_axis=(labels_with_axis, IMAGE),
        logits=(logits, FLOAT_IMAGE),
        probs=(probs, IMAGE),
        everything=(everything, IMAGE),
        channels_first=(channels_first, first),
        fixed=(probs, fixed),
        unknown=(probs, unknown),
        two=(two, IMAGE),
        with_threshold=(with_threshold, IMAGE, tf.TensorSpec([], tf.float32, "t")),
        encoded=(encoded, tf.TensorSpec([None], tf.string, "data")),
    )
    return path


@pytest.mark.parametrize("output", ["labels", "probabilities", "auto"])
@pytest.mark.parametrize(
    "name",
    ["logits", "probs", "everything", "channels_first", "fixed", "unknown"],
)
def test_saved_models_are_understood(several, images, name, output):
    blackbox = load(several, signature=name, output=output)
    models.check(blackbox, images)
    assert blackbox.batch_size(SIZE) == (1 if name == "fixed" else 8)


@pytest.mark.parametrize("name", ["labels", "labels_with_axis"])
def test_saved_models_that_give_labels(several, images, name):
    models.check(load(several, signature=name), images)
    with pytest.raises(io.DataError, match="gives labels only"):
        load(several, signature=name, output="probabilities").describe()
    models.check(load(several, signature=name, output="auto"), images)


def test_what_was_understood_is_stated(several):
    words = load(several, signature="everything", output="probabilities").describe()
    assert "SavedModel: image from image uint8 (None, None, None, 3)" in words
    assert "probabilities from probabilities float32 (1, 128, 256, 19)" in words
    assert "images at their own size, RGB 0..255" in words
    words = load(several, signature="fixed").describe()
    assert "images at 16 x 32" in words
    words = load(several, signature="channels_first").describe()
    assert "as [B, 3, H, W]; logits from scores" in words


def test_two_plausible_outputs_are_listed_and_one_can_be_chosen(several, images):
    with pytest.raises(io.DataError) as caught:
        load(several, signature="two").describe()
    text = str(caught.value)
    assert "2 outputs may be the segmentation: auxiliary, main" in text
    assert "blackbox.output_name" in text
    models.check(load(several, signature="two", output_name="main"), images)
    with pytest.raises(io.DataError, match="no output mine; it gives"):
        load(several, signature="two", output_name="mine").describe()


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({}, "several signatures take an image; set blackbox.signature"),
        ({"signature": "none"}, "no signature none; it offers .*encoded"),
        ({"signature": "with_threshold"}, "wanted a signature of one image"),
        ({"signature": "encoded"}, "wanted a signature of one image"),
        ({"signature": "probs", "input_name": "x"}, "of one image named x"),
        ({"signature": "fixed", "input_size": (8, 8)}, "takes images of 16 x 32"),
        ({"signature": "probs", "class_map": range(18)}, "18 classes, got 19"),
        ({"signature": "probs", "class_map": [19] * 19}, "classes below 19"),
        ({"signature": "probs", "pixel_scale": "0..1"}, "must be 0..255"),
    ],
)
def test_unclear_saved_models_are_refused(several, kwargs, message):
    with pytest.raises(io.DataError, match=message):
        load(several, **kwargs).describe()


def test_damaged_saved_models_are_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(io.DataError, match="cannot be loaded as a SavedModel"):
        load(tmp_path).describe()


def test_saved_models_of_tensorflow_1(tmp_path, images):
    v1 = tf.compat.v1
    path = tmp_path / "v1"
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, None, None, 3], "x")
        centres = v1.get_variable(
            "centres", initializer=np.arange(K, dtype=np.float32) + 0.5
        )
        logits = -tf.square(image[..., :1] * (K / 255.0) - centres)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(path), {"x": image}, {"y": logits})
    models.check(load(path), images)
    # The file inside names its folder as well.
    models.check(load(path / "saved_model.pb", output="probabilities"), images)


@pytest.fixture(scope="module", params=models.KERASES, ids=lambda k: k.__version__)
def keras_model(request):
    """Takes BGR in [0, 1]; gives logits."""
    keras = request.param
    image = keras.Input([None, None, 3], name="image")
    squared = keras.layers.Multiply()([image, image])
    both = keras.layers.Concatenate()([image, squared])
    logits = keras.layers.Conv2D(K, 1, name="scores")(both)
    model = keras.Model(image, logits)
    # -(K r - c)^2 = 2 K c r - K^2 r^2 - c^2, with red as the last channel.
    centres = np.arange(K) + 0.5
    kernel = np.zeros([1, 1, 6, K])
    kernel[0, 0, 2], kernel[0, 0, 5] = 2 * K * centres, -(K**2)
    model.get_layer("scores").set_weights([kernel, -(centres**2)])
    return model


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("output", ["labels", "probabilities"])
def test_keras_models(tmp_path, keras_model, images, ending, output):
    path = tmp_path / f"model.{ending}"
    keras_model.save(path)
    usage = {"channels": "bgr", "pixel_scale": "0..1", "output": output}
    blackbox = load(path, **usage)
    got = blackbox.predict(images, SIZE)
    got = got if output == "labels" else got.argmax(-1)
    np.testing.assert_array_equal(got, models.expected_labels(images))
    assert "BGR 0..1" in blackbox.describe()
    # Read wrongly, nearly everything is wrong.
    wrongly = blackbox.variant(channels="rgb", pixel_scale="0..1", input_size=None)
    wrong = wrongly.predict(images, SIZE)
    wrong = wrong if output == "labels" else wrong.argmax(-1)
    assert (wrong == models.expected_labels(images)).mean() < 0.1


@pytest.mark.skipif(keras_api.KERAS_MAJOR > 2, reason="this stack opens them")
def test_models_of_keras_3_say_where_they_open(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["keras_version"] = "3.15.1"
    for name in ("a.keras", "a.h5"):
        with pytest.raises(io.DataError, match="made with Keras 3.15.1.*Python 3.12"):
            load(tmp_path / name).describe()


def test_damaged_keras_models_are_refused(tmp_path):
    for name in ("a.keras", "a.h5"):
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(io.DataError, match="cannot be loaded as a Keras model"):
            load(tmp_path / name).describe()


def test_pixel_scales():
    pixels = tf.constant([[[[0, 255, 51]]]], tf.uint8)

    def prepare(scale, channels="rgb"):
        return postprocess.prepare(
            pixels,
            options=base.Options(1, channels=channels, pixel_scale=scale),
            input_size=None,
            dtype=tf.float32,
        ).numpy()[0, 0, 0]

    np.testing.assert_allclose(prepare("0..255"), [0, 255, 51])
    np.testing.assert_allclose(prepare("0..1"), [0, 1, 0.2], rtol=1e-6)
    # 51 / 127.5 - 1 = -0.6.
    np.testing.assert_allclose(prepare("-1..1"), [-1, 1, -0.6], rtol=1e-6)
    # (0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0.2 - 0.406) / 0.225.
    wanted = [-2.117904, 2.428571, -0.915556]
    np.testing.assert_allclose(prepare("imagenet"), wanted, rtol=1e-5)
    np.testing.assert_allclose(
        prepare("caffe"), [0 - 123.68, 255 - 116.779, 51 - 103.939], rtol=1e-6
    )
    # Each colour keeps its own mean.
    np.testing.assert_allclose(prepare("imagenet", "bgr"), wanted[::-1], rtol=1e-5)


def test_resized_images_keep_whole_grey_levels():
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)))
    got = postprocess.prepare(
        tf.cast(image, tf.uint8),
        options=base.Options(1),
        input_size=(4, 4),
        dtype=tf.float32,
    ).numpy()
    assert got.shape == (1, 4, 4, 3)
    np.testing.assert_array_equal(got, np.rint(got))


def test_coarse_scores_are_interpolated():
    # Two pixels, enlarged to four, whose centres lie at -1/4, 1/4, 3/4 and 5/4.
    probs = tf.constant([[[[1.0, 0.0], [0.2, 0.8]]]])

    def finish(output, **kwargs):
        return postprocess.finish(
            probs,
            kind="probabilities",
            options=base.Options(2, output=output),
            **kwargs,
        ).numpy()[0, 0]

    wanted = [[1.0, 0.0], [0.8, 0.2], [0.4, 0.6], [0.2, 0.8]]
    np.testing.assert_allclose(finish("probabilities", size=(1, 4)), wanted, rtol=1e-6)
    assert finish("labels", size=(1, 4)).tolist() == [0, 0, 1, 1]
    # Rows are enlarged, columns made fewer.
    np.testing.assert_allclose(finish("probabilities", size=(2, 1)), [[0.6, 0.4]])


def finish(scores, kind, output="auto"):
    options = base.Options(scores.shape[-1], output=output)
    postprocess.check(scores, kind=kind, path="box", options=options)
    found = postprocess.finish(
        tf.constant(scores), kind=kind, options=options, size=scores.shape[1:3]
    )
    return found.numpy()[0, 0]


def test_scores_from_0_to_1_are_never_taken_for_logits():
    sigmoid = np.array([[[[0.95, 0.05, 0.05], [0.5, 0.5, 0.25]]]], np.float32)
    assert kinds.kind_of(sigmoid) == "sigmoid"
    # 0.95 / 1.05, and 0.5 / 1.25.
    got = finish(sigmoid, "sigmoid")
    np.testing.assert_allclose(got[:, 0], [0.95 / 1.05, 0.4], rtol=1e-6)
    # A masked pixel, and eight bits of which the sum is 0.97 to 1.03.
    softmax = np.array([[[[0.0, 0, 0], [0.9, 0.05, 0.02], [0.9, 0.13, 0]]]], np.float32)
    assert kinds.kind_of(softmax) == "probabilities"
    got = finish(softmax, "probabilities")
    np.testing.assert_allclose(got[:, 0], [0, 0.9 / 0.97, 0.9 / 1.03], rtol=1e-6)
    assert finish(softmax, "probabilities", "labels").tolist() == [255, 0, 0]
    assert kinds.kind_of(sigmoid - 0.5) == "logits"
    assert base.Options(3, output="logits").kind("sigmoid") == "logits"
    with pytest.raises(io.DataError, match="outside 0 to 1.*output=logits"):
        finish(sigmoid - 0.5, "sigmoid")


PROBS = np.array([[[[0.7, 0.3, 0.0], [0.2, 0.5, 0.3]]]], np.float32)
RNG = np.random.default_rng(0)
LOGITS = 8 * np.eye(3)[RNG.integers(0, 3, (1, 20, 20))] - 4
LOGITS = (LOGITS + RNG.normal(0, 1, LOGITS.shape)).astype(np.float32)


@pytest.mark.parametrize(
    "scores, message",
    [
        # A masked pixel, which once hid the sum of the others.
        (np.concatenate([100 * PROBS, 0 * PROBS], 2), "100 is the sum at each pixel"),
        (4 * PROBS, "of which 4 is the sum at each pixel"),
        # A sigmoid or a mask in eight bits.
        (np.float32([[[[255, 13, 0], [13, 128, 255]]]]), "whole numbers up to 255"),
        (np.log(0.01 + PROBS) * -1 + 0.01, "none is below 0, but some are above 1"),
        (2 * PROBS - 1, "sums are those of 2 p - 1"),
        (
            np.log10(0.01 + PROBS / 1.03),
            "logarithms of probabilities to the base of 10",
        ),
        (np.concatenate([PROBS, 0 * PROBS - 1], 2), "probabilities, but -1 at some"),
        (np.tanh(LOGITS[..., 1:] * [0, 1]), "sums are those of 2 p - 1"),
        (np.tanh(LOGITS), "look like 2 p - 1 of sigmoid scores"),
        # From 0 to 1, but no sigmoids: other scales, of a pixel or of the image.
        (1 - PROBS, "one is above 0.5 at 0% .* the sum 2 "),
        (PROBS / PROBS.max(-1, keepdims=True), "the largest is 1 at each pixel"),
        ((LOGITS - LOGITS.min()) / np.ptp(LOGITS), "stretched from 0 to 1"),
        (0.5 + LOGITS / 40, "one is above 0.5 at .* the largest is 0.6"),
    ],
)
def test_scores_that_look_like_no_kind_are_asked_about(scores, message):
    with pytest.raises(io.DataError, match=f"box: .*{message}.*output="):
        finish(scores, kinds.kind_of(scores))
    finish(scores, "logits", "logits")
    finish(LOGITS / 40, kinds.kind_of(LOGITS / 40))  # A network that is not trained.
    finish(1 / (1 + np.exp(-LOGITS)), "sigmoid")


def test_255_is_none_of_a_model_s_classes():
    labels = np.array([[[0, 255, 1]]], np.int64)
    for class_map, wanted in (((), [0, 255, 1]), ((1, 0), [1, 255, 0])):
        options = base.Options(2, class_map=class_map)
        postprocess.check(labels, kind="labels", path="box", options=options)
        got = postprocess.finish(
            tf.constant(labels), kind="labels", options=options, size=(1, 3)
        )
        assert got.numpy()[0, 0].tolist() == wanted
    mask = np.array([[[0, 255, 0]]], np.int64)
    with pytest.raises(
        io.DataError, match="box: wanted class ids 0 and 1, got 0 and 2"
    ):
        postprocess.check(mask, kind="labels", path="box", options=base.Options(2))
    for options in (base.Options(3), base.Options(2, class_map=(0, 1))):
        postprocess.check(mask, kind="labels", path="box", options=options)


def test_fingerprints_change_with_whatever_changes_predictions(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sources_a.py").write_text("def f(x): return 1\ndef g(x): return 2")
    (tmp_path / "m.keras").write_bytes(b"one")
    (tmp_path / "n.keras").write_bytes(b"two")
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"one")
    prints = [
        load("sources_a:f").fingerprint,
        load("sources_a:g").fingerprint,
        load(tmp_path / "m.keras").fingerprint,
        load(tmp_path / "n.keras").fingerprint,
        load(tmp_path / "m.keras", output="probabilities").fingerprint,
        load(tmp_path / "m.keras", channels="bgr").fingerprint,
        load(tmp_path / "m.keras", pixel_scale="0..1").fingerprint,
        load(tmp_path / "m.keras", input_size=(8, 8)).fingerprint,
        load(tmp_path / "m.keras", class_map=(0, 1)).fingerprint,
        load(folder).fingerprint,
    ]
    (folder / "variables" / "v.index").write_bytes(b"weights")
    prints.append(load(folder).fingerprint)
    (tmp_path / "sources_a.py").write_text("def f(x): return 3\ndef g(x): return 2")
    prints.append(load("sources_a:f").fingerprint)
    import sources_a

    sources_a.f.fingerprint = "weights of Tuesday"
    prints.append(load("sources_a:f").fingerprint)
    assert len(set(prints)) == len(prints)
    assert load(tmp_path / "m.keras").fingerprint == prints[2]


def test_class_map_merges_and_drops(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mapped_function.py").write_text(
        "import numpy as np\n"
        "def f(images):\n"
        "    return np.array([.1, .2, .3, .4])[None, None, None] + 0 * images[..., :1]"
    )
    image = np.zeros((1, 1, 1, 3), np.uint8)

    def predict(output, class_map):
        blackbox = inference.load(
            "mapped_function:f", num_classes=2, output=output, class_map=class_map
        )
        return blackbox.predict(image, (1, 1))[0, 0, 0]

    # Classes 0 and 2 are class 1 of the data set: .1 + .3; 3 is none, .4 is left out.
    np.testing.assert_allclose(predict("probabilities", (1, 0, 1, 255)), [0.2, 0.4])
    assert predict("labels", (1, 0, 1, 255)) == 255
    # The label is the segmenter's own, class 3, though 0 and 2 together are as likely.
    assert predict("labels", (1, 0, 1, 0)) == 0


def write_tflite(path, module, function, spec):
    concrete = tf.function(function).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def tflite_files(red, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")

    def labels(image):
        return tf.argmax(red.logits(image), -1)

    def probs(image):
        return tf.nn.softmax(red.logits(image))

    spec = tf.TensorSpec([1, *SIZE, 3], tf.float32)
    for function in (labels, probs):
        write_tflite(folder / f"{function.__name__}.tflite", red, function, spec)
    return folder


@pytest.mark.parametrize("output", ["labels", "probabilities"])
@pytest.mark.parametrize("name", ["labels", "probs"])
def test_tflite_models(tflite_files, images, name, output):
    blackbox = load(tflite_files / f"{name}.tflite", output=output)
    models.check(blackbox, images)
    with pytest.raises(io.DataError, match="cannot be embedded"):
        blackbox.as_module()


def test_models_met_in_the_wild(red, images, tmp_path):
    """Images, or maps as well, without a batch axis; padded logits; a row per pixel."""

    def deeplab2(image):
        logits = red.logits(image[None])
        padded = tf.pad(logits, [[0, 0], [0, 900], [0, 900], [0, 0]])
        ids = tf.argmax(logits, -1, output_type=tf.int32)
        return {
            "semantic_pred": ids,
            "panoptic_pred": ids * 1000,
            "semantic_logits": padded,
            "semantic_probs": tf.nn.softmax(logits),
        }

    def flat(image):
        return {"y": tf.reshape(tf.nn.softmax(red.logits(image)), [-1, 16 * 32, K])}

    def alone(image):
        found = deeplab2(image)
        kept = ("semantic_pred", "semantic_probs")
        return {name: found[name][0] for name in kept}

    single = tf.TensorSpec([None, None, 3], tf.uint8, "image")
    fixed = tf.TensorSpec([None, 16, 32, 3], tf.float32, "image")
    functions = dict(deeplab2=(deeplab2, single), alone=(alone, single))
    path = models.save(red, tmp_path / "wild", **functions, flat=(flat, fixed))
    for chosen in ("deeplab2", "alone", "flat"):
        for output in ("probabilities", "labels"):
            models.check(load(path, signature=chosen, output=output), images)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
@pytest.mark.parametrize("axis", [1, 3])
def test_one_score_of_two_classes_is_that_of_class_1(red, tmp_path, kind, axis):
    def one(image):
        first = axis == 1
        score = (image[:, :1] if first else image[..., :1]) / 255
        return {"y": 8 * score - 4 if kind == "logits" else score}

    shape = [None, 3, 16, 32] if axis == 1 else [None, 16, 32, 3]
    path = models.save(red, tmp_path / "m", f=(one, tf.TensorSpec(shape, tf.float32)))
    blackbox = inference.load(str(path), num_classes=2, output="probabilities")
    assert f"{kind} from y float32" in blackbox.describe()
    assert "of class 1" in blackbox.describe()
    image = np.zeros([1, 16, 32, 3], np.uint8)
    image[..., 0], image[:, :, 16:, 0] = 51, 204
    probs = blackbox.predict(image, (16, 32))
    # Red is 0.2, or 0.8: itself, or the logistic of 8 * 0.2 - 4 = -2.4 and of 2.4.
    wanted = {"probabilities": 0.2, "logits": 1 / (1 + np.exp(2.4))}[kind]
    np.testing.assert_allclose(probs[0, 0, 0], [1 - wanted, wanted], atol=1e-5)
    np.testing.assert_allclose(probs[0, 0, 31], [wanted, 1 - wanted], atol=1e-5)


def test_labels_that_are_not_of_the_scores_beside_them_are_refused(tmp_path):
    red = models.RedSegmenter(2)

    def sure(image):
        probs = tf.nn.softmax(red.logits(image))
        return {
            "ids": tf.argmax(probs, -1),
            "sure": tf.reduce_max(probs, -1)[..., None],
        }

    path = models.save(red, tmp_path / "sure", f=(sure, IMAGE))
    for output in ("auto", "labels"):
        blackbox = inference.load(path, num_classes=2, output=output)
        with pytest.raises(
            io.DataError, match="ids are not the likeliest .* of sure in"
        ):
            blackbox.describe()
    named = inference.load(path, num_classes=2, output="auto", output_name="ids")
    assert "labels from ids" in named.describe()
    image = models.class_image(np.arange(512).reshape(1, *SIZE) % 2, 2)
    how = dict(num_classes=2, output_name="sure")
    alone = inference.load(path, output="auto", **how)
    with pytest.raises(io.DataError, match="at least 0.5 everywhere, as certainties"):
        alone.predict(image, SIZE)
    told = inference.load(path, output="sigmoid", **how).predict(image, SIZE)
    assert (told[..., 1] >= 0.5).all()
    alone.scores = "probabilities"  # As it had in the training.
    np.testing.assert_array_equal(alone.predict(image, SIZE), told)


@pytest.mark.parametrize("by", [-4, 4])
def test_maps_of_a_part_of_the_image_or_of_more_are_refused(red, images, tmp_path, by):
    def other(image):
        probs = tf.nn.softmax(red.logits(image))
        end = [[0, 0], [0, by], [0, by], [0, 0]]
        return {"y": tf.pad(probs, end) if by > 0 else probs[:, -by:, -by:]}

    spec = tf.TensorSpec([None, 16, 32, 3], tf.float32, "image")
    path = models.save(red, tmp_path / "m", f=(other, spec))
    words = f"gives maps of {16 + by} x {32 + by} of images of 16 x 32 .*padded or crop"
    with pytest.raises(io.DataError, match=words):
        load(path, output="auto").predict(images, SIZE)


def test_maps_cover_images_by_a_stride_a_factor_or_in_proportion():
    for whole, mine, wanted in (
        ((513, 1025), (33, 65), True),
        ((16, 32), (32, 64), True),
        ((600, 1200), (512, 1024), True),
        ((572, 572), (388, 388), False),  # U-Net without padding.
        ((375, 1242), (384, 1248), False),  # Padded to multiples of 32.
        ((1024, 2048), (1056, 2112), False),
        ((1000, 2000), (512, 1024), True),
        # Padded by a pixel, as DeepLab does, and cropped by one, at any stride.
        ((1024, 2048), (1025, 2049), False),
        ((512, 512), (511, 511), False),
        ((1024, 2048), (257, 513), False),
        ((1025, 2049), (257, 513), True),
    ):
        assert postprocess.covers(whole, mine) == wanted, (whole, mine)


def test_classes_are_told_from_pixels_where_there_are_as_many():
    chosen = lambda scores, **how: signature.choose_output(
        "model",
        {"out": scores},
        size=(4, 4),
        is_open=False,
        options=base.Options(4),
        **how,
    )
    logits = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32)
    probs = tf.nn.softmax(logits).numpy()
    assert chosen(probs, classes_first=False).class_axis == 3
    found = chosen(probs.transpose(0, 3, 1, 2), classes_first=False)
    assert (found.class_axis, found.kind) == (1, "probabilities")
    for first in (False, True):
        assert chosen(probs, classes_first=first).class_axis == 3
        assert chosen(logits, classes_first=first).class_axis == (1 if first else 3)


def test_saved_models_below_brackets_and_what_does_not_exist_are_named(tmp_path):
    folder = tmp_path / "run [1]"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"")
    with pytest.raises(io.DataError, match="as a pattern"):
        load(folder).describe()
    with pytest.raises(io.DataError, match="nothing: does not exist"):
        load(tmp_path / "nothing")


def test_tflite_models_of_open_size_and_of_other_layouts(red, images, tmp_path):
    def probs(image):
        return tf.nn.softmax(red.logits(image))

    def flat(image):
        return tf.reshape(red.logits(image), [1, 16 * 32, K])

    def mask(image):
        return tf.nn.sigmoid(image[..., 0] / 255)

    def first(image):
        return probs(tf.transpose(image, [0, 2, 3, 1]))

    is_open = tf.TensorSpec([1, None, None, 3], tf.float32)
    path = write_tflite(tmp_path / "open.tflite", red, probs, is_open)
    models.check(load(path, output="auto"), images)
    fixed = tf.TensorSpec([1, 16, 32, 3], tf.float32)
    path = write_tflite(tmp_path / "flat.tflite", red, flat, fixed)
    models.check(load(path, output="auto"), images)
    # 16 rows of 32 pixels are no 16 images of 4 x 8.
    path = write_tflite(tmp_path / "rows.tflite", red, lambda x: probs(x)[0], fixed)
    with pytest.raises(io.DataError, match=r"it gives .* float32 \(16, 32, 19\)"):
        load(path, output="auto").describe()
    path = write_tflite(tmp_path / "mask.tflite", red, mask, fixed)
    with pytest.raises(io.DataError, match="wanted integer class ids"):
        load(path).describe()
    swapped = tf.TensorSpec([1, 3, 16, 32], tf.float32)
    path = write_tflite(tmp_path / "swapped.tflite", red, first, swapped)
    models.check(load(path), images)
    assert "[B, 3, H, W]" in load(path).describe()
    signed = tf.TensorSpec([1, 16, 32, 3], tf.int8)
    path = write_tflite(tmp_path / "signed.tflite", red, probs, signed)
    with pytest.raises(io.DataError, match=r"wanted a signature.*int8.*convert it"):
        load(path).describe()


def test_tflite_models_of_quantized_images_are_given_what_their_bytes_stand_for(
    red, images, tmp_path
):
    path = tmp_path / "bytes.tflite"

    def write(top):
        spec = tf.TensorSpec([1, *SIZE, 3], tf.float32)
        function = lambda image: tf.cast(image, tf.float32) * 2 - 1
        concrete = tf.function(function).get_concrete_function(spec)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], red)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        ramp = np.linspace(0, top, 3 * 16 * 32, dtype=np.float32).reshape(1, *SIZE, 3)
        converter.representative_dataset = lambda: [[ramp]]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        path.write_bytes(converter.convert())
        return inference.load(str(path), num_classes=3, output="logits").backend

    # Bytes up to 255 stand for 0 to 0.96: 128 of 255 is 2 * 128 / 255 - 1 = 0.004.
    found = write(0.96)(tf.fill([1, *SIZE, 3], np.uint8(128)))
    np.testing.assert_allclose(found, 0.004, atol=0.01)
    with pytest.raises(io.DataError, match="stand for 0 to 100, wanted about 0 to 255"):
        write(100.0)


def test_bad_tflite_models_are_refused(tflite_files, tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"damaged")
    with pytest.raises(io.DataError, match="not a TFLite model"):
        load(tmp_path / "a.tflite").describe()
    with pytest.raises(io.DataError, match="takes images of 16 x 32"):
        load(tflite_files / "labels.tflite", input_size=(8, 8)).describe()
    with pytest.raises(io.DataError, match="no output x; it gives"):
        load(tflite_files / "labels.tflite", output_name="x").describe()


def test_hard_labels_of_labels_and_of_probabilities():
    probs = np.array([[[[0.2, 0.8], [0.0, 0.0], [0.6, 0.4]]]], np.float16)
    np.testing.assert_array_equal(postprocess.hard_labels(probs), [[[1, 255, 0]]])
    np.testing.assert_array_equal(postprocess.hard_labels(probs[0]), [[1, 255, 0]])
    labels = np.array([[[2, 255]]], np.uint8)
    assert postprocess.hard_labels(labels) is labels
