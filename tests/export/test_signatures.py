"""Every signature of the SavedModel against the sampler in the process."""

import dataclasses
import io

import exported
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export import checks, encoded, program, signatures

SIZES = [(3, 37, 50), (1, 1, 3)]


def unseeded(inputs):
    return {name: inputs[name] for name in ("image", "blackbox")}


@pytest.fixture(scope="module")
def in_process():
    return tf.function(exported.street_sampler().sample, reduce_retracing=True)


@pytest.mark.parametrize("batch, height, width", SIZES)
def test_every_signature_equals_the_sampler(in_process, batch, height, width):
    inputs = exported.street_inputs(batch, height, width)
    want = in_process(**{name: tf.constant(value) for name, value in inputs.items()})
    drawn = exported.call("sample", **inputs)
    assert drawn["samples"].shape == (batch, 5, height, width)
    assert len(np.unique(drawn["samples"].reshape(batch * 5, -1), axis=0)) > 1
    # A near tie may fall differently, because the process computes all at once.
    assert np.mean(drawn["samples"] != want["samples"].numpy()) <= 1e-3
    np.testing.assert_allclose(drawn["probabilities"], want["probs"], atol=1e-5)
    probs = want["probs"].numpy().astype(np.float64)
    bits = -(probs * np.log2(np.maximum(probs, 1e-300))).sum(-1)
    np.testing.assert_allclose(drawn["entropy_bits"], bits, atol=1e-4)

    calibrated = exported.call("calibrate", **unseeded(inputs))
    assert set(calibrated) == {"probabilities", "entropy_bits"}
    for name, value in calibrated.items():
        np.testing.assert_array_equal(value, drawn[name])

    encoded = exported.call("encode", **unseeded(inputs))
    np.testing.assert_allclose(
        np.exp(encoded["log_probs"]), drawn["probabilities"], atol=1e-6
    )
    decoded = exported.call(
        "decode", **encoded, num_samples=inputs["num_samples"], seed=inputs["seed"]
    )
    np.testing.assert_array_equal(decoded["samples"], drawn["samples"])

    default = exported.call("serving_default", **unseeded(inputs))
    assert default["samples"].shape == (batch, exported.NUM_SAMPLES, height, width)
    np.testing.assert_array_equal(default["probabilities"], drawn["probabilities"])

    sent = {
        "image_bytes": [tf.io.encode_png(image).numpy() for image in inputs["image"]],
        "blackbox_bytes": [
            tf.io.encode_png(ids[..., None]).numpy() for ids in inputs["blackbox"]
        ],
        "num_samples": inputs["num_samples"],
        "seed": inputs["seed"],
    }
    received = exported.call("sample_bytes", **sent)
    assert received["samples_bytes"].shape == (batch, 5)
    for image in range(batch):
        for index in range(5):
            png = received["samples_bytes"][image, index]
            np.testing.assert_array_equal(
                tf.io.decode_png(png)[..., 0], drawn["samples"][image, index]
            )
        levels = tf.io.decode_png(received["entropy_bytes"][image], dtype=tf.uint16)
        # A level is 1 / 8000 of a bit, and rounding is off by half a level.
        np.testing.assert_allclose(
            levels[..., 0] / 8000, drawn["entropy_bits"][image], atol=0.51 / 8000
        )


def test_the_seed_and_the_image_alone_decide_the_samples():
    inputs = exported.street_inputs(5, 37, 50)
    whole = exported.call("sample", **inputs)["samples"]
    np.testing.assert_array_equal(exported.call("sample", **inputs)["samples"], whole)
    alone = {name: value[3:4] for name, value in inputs.items() if np.ndim(value)}
    alone["num_samples"] = np.int32(5)
    np.testing.assert_array_equal(
        exported.call("sample", **alone)["samples"], whole[3:4]
    )
    # More samples leave the first ones as they are, and images may ask for any number.
    each = dict(inputs, num_samples=np.array([1, 2, 7, 3, 5], np.int32))
    more = exported.call("sample", **each)["samples"]
    assert more.shape == (5, 7, 37, 50)
    np.testing.assert_array_equal(more[:, :5], whole)
    other = dict(inputs, seed=exported.seeds(5, first=8))
    assert (
        (exported.call("sample", **other)["samples"] != whole).any(axis=(1, 2, 3)).all()
    )


def test_without_a_seed_every_call_draws_anew():
    inputs = unseeded(exported.street_inputs(2, 48, 64))
    inputs["image"][1], inputs["blackbox"][1] = (
        inputs["image"][0],
        inputs["blackbox"][0],
    )
    first = exported.call("serving_default", **inputs)["samples"]
    second = exported.call("serving_default", **inputs)["samples"]
    assert (first != second).any()
    assert (first[0] != first[1]).any()
    # The seed that a program sets for TensorFlow has no part in it.
    draws = []
    for _ in range(2):
        tf.random.set_seed(1)
        draws.append(exported.call("serving_default", **inputs)["samples"])
    assert (draws[0] != draws[1]).any()


def test_colours_are_not_made_grey():
    grey, colours = png(GOOD["image"][0][..., :1]), png(GOOD["image"][0])
    decode = tf.function(lambda sent: encoded.decode_images(sent, 1, "image_bytes"))
    found = decode(tf.constant([grey, grey]))
    np.testing.assert_array_equal(found[0], GOOD["image"][0][..., :1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="wanted grey images"):
        decode(tf.constant([grey, colours]))


def test_images_that_exif_data_turn_are_refused():
    decode = tf.function(lambda sent: encoded.decode_images(sent, 3, "image_bytes"))
    kinds = [(kind, order) for kind in ("JPEG", "PNG") for order in "<>"]
    sent = [encode(kind, order=order) for kind, order in kinds]
    assert decode(tf.constant(sent)).shape == (4, 16, 20, 3)
    for kind, order in kinds:
        for turn in (2, 3, 6, 8):
            turned = encode(kind, turn=turn, order=order)
            with pytest.raises(tf.errors.InvalidArgumentError, match="wanted upright"):
                decode(tf.constant([*sent, turned]))


def test_python_programs_may_leave_out_what_has_a_default():
    inputs = unseeded(exported.street_inputs(1, 16, 16))
    drawn = exported.loaded().sample(**{k: tf.constant(v) for k, v in inputs.items()})
    assert drawn["samples"].shape == (1, exported.NUM_SAMPLES, 16, 16)


def png(array):
    return tf.io.encode_png(array).numpy()


def encode(kind="JPEG", mode="RGB", turn=1, order="<", **options):
    """Encodes 20 x 16 pixels, turned by EXIF data in an order of bytes."""
    file, exif = io.BytesIO(), Image.Exif()
    exif.endian, exif[0x010F], exif[0x0112] = order, "Maker", turn
    Image.new(mode, (20, 16)).save(file, kind, exif=exif, **options)
    return file.getvalue()


GOOD = exported.street_inputs(2, 16, 20)
IMAGE_PNG, MAP_PNG = png(GOOD["image"][0]), png(GOOD["blackbox"][0][..., None])
GOOD_BYTES = {
    "image_bytes": [IMAGE_PNG] * 2,
    "blackbox_bytes": [MAP_PNG] * 2,
    "num_samples": np.int32(2),
    "seed": exported.seeds(2),
}
# 65536 x 65536, in a file of a few bytes.
BOMB = IMAGE_PNG[:16] + b"\0\1\0\0" * 2 + IMAGE_PNG[24:]
CMYK, XMP = encode(mode="CMYK"), b'<tiff tiff:Orientation="6"/>'
NO_SEED = np.zeros([0, 2], np.int32)
WRONG = [
    ("sample", {"image": GOOD["image"][0]}, "image: wanted [B, H, W, 3]"),
    ("sample", {"image": np.uint8(1)}, "got shape []"),
    ("sample", {"image": GOOD["image"][..., :1]}, "got shape [2 16 20 1]"),
    ("sample", {"image": GOOD["image"][:0]}, "with at least one pixel"),
    ("sample", {"image": GOOD["image"][:, :, :0]}, "with at least one pixel"),
    ("sample", {"blackbox": GOOD["blackbox"][:1]}, "as large as the images"),
    ("sample", {"blackbox": GOOD["blackbox"][:, 1:]}, "got shape [2 15 20]"),
    ("sample", {"blackbox": GOOD["blackbox"][0]}, "as large as the images"),
    ("sample", {"blackbox": np.full([2, 16, 20], 19, np.uint8)}, "0 to 18"),
    ("sample", {"blackbox": np.full([2, 16, 20], 254, np.uint8)}, "got 254"),
    ("sample", {"num_samples": np.int32(0)}, "wanted 1 to 256, got 0"),
    ("sample", {"num_samples": np.int32(-1)}, "wanted 1 to 256, got -1"),
    ("sample", {"num_samples": np.int32(2**31 - 1)}, "wanted 1 to 256"),
    ("sample", {"num_samples": np.int32([3, 3, 3])}, "one for each of 2 images"),
    ("sample", {"num_samples": np.int32([[3, 3]])}, "one for each of 2 images"),
    ("sample", {"num_samples": np.int32([3, 0])}, "wanted 1 to 256"),
    ("sample", {"seed": exported.seeds(1)}, "wanted [2, 2]"),
    ("sample", {"seed": np.int32([1, 2])}, "wanted [2, 2]"),
    ("serving_default", {"image": GOOD["image"][0]}, "image: wanted"),
    ("calibrate", {"blackbox": GOOD["blackbox"] + 240}, "blackbox: wanted class ids"),
    ("encode", {"image": GOOD["image"][None]}, "got shape [1 2 16 20 3]"),
    ("sample_bytes", {"image_bytes": []}, "wanted [B] strings, got shape [0]"),
    ("sample_bytes", {"image_bytes": [[IMAGE_PNG]]}, "wanted [B] strings"),
    ("sample_bytes", {"image_bytes": [b"", b""]}, "wanted encoded PNG or JPEG"),
    (
        "sample_bytes",
        {"image_bytes": [b"GIF89a" * 9] * 2},
        "wanted encoded PNG or JPEG",
    ),
    (
        "sample_bytes",
        {"image_bytes": [IMAGE_PNG[:20]] * 2},
        "wanted encoded PNG or JPEG",
    ),
    ("sample_bytes", {"image_bytes": [IMAGE_PNG[:60]] * 2}, "Invalid PNG"),
    ("sample_bytes", {"image_bytes": [BOMB] * 2}, "2 images of 65536 x 65536"),
    (
        "sample_bytes",
        {"image_bytes": [IMAGE_PNG, png(GOOD["image"][0].astype(np.uint16))]},
        "image_bytes: wanted images of 8 bits per channel",
    ),
    (
        "sample_bytes",
        {"image_bytes": [png(GOOD["image"][0][..., [0, 1, 2, 0]])] * 2},
        "none of them alpha",
    ),
    ("sample_bytes", {"image_bytes": [IMAGE_PNG, CMYK]}, "wanted grey or RGB images"),
    ("sample_bytes", {"image_bytes": [encode(turn=6)] * 2}, "image_bytes: wanted upri"),
    ("sample_bytes", {"image_bytes": [encode(xmp=XMP)] * 2}, "wanted upright images"),
    (
        "sample_bytes",
        {"image_bytes": [encode("PNG", transparency=(0, 0, 0))] * 2},
        "none of them alpha",
    ),
    ("sample_bytes", {"blackbox_bytes": [encode("PNG", "L", 6)] * 2}, "wanted upright"),
    (
        "sample_bytes",
        {"image_bytes": [IMAGE_PNG, png(GOOD["image"][0, :9])]},
        "wanted images of one size",
    ),
    ("sample_bytes", {"blackbox_bytes": [IMAGE_PNG] * 2}, "wanted grey PNG images"),
    (
        "sample_bytes",
        {"blackbox_bytes": [png(GOOD["blackbox"][0][..., None].astype(np.uint16))] * 2},
        "of 8 bits",
    ),
    ("sample_bytes", {"blackbox_bytes": [MAP_PNG]}, "as large as the images"),
    ("sample_bytes", {"num_samples": np.int32(999)}, "wanted 1 to 256"),
]


@pytest.mark.parametrize(
    "signature, change, words", WRONG, ids=[f"{w[0]}-{i}" for i, w in enumerate(WRONG)]
)
def test_a_wrong_request_is_refused_with_a_sentence(signature, change, words):
    inputs = GOOD_BYTES if signature == "sample_bytes" else GOOD
    if signature not in ("sample", "sample_bytes"):
        inputs = unseeded(inputs)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        exported.call(signature, **{**inputs, **change})
    assert words in str(caught.value)


def test_what_decode_is_given_must_come_from_encode():
    encoded = exported.call("encode", **unseeded(GOOD))
    last = dict(num_samples=np.int32(2), seed=exported.seeds(2))
    first, second = encoded["feature_0"], encoded["feature_1"]
    changes = [
        ("log_probs", encoded["log_probs"][..., 1:], "log_probs: wanted [B, H, W, 24]"),
        ("feature_0", first[:, :0], "feature_0: wanted [2, 8, 16, 4]"),
        ("feature_0", first * np.nan, "feature_0: wanted finite"),
        ("feature_1", second[0], "feature_1: wanted"),
        ("feature_1", second[:1], "feature_1: wanted [2, 16, 32, 4]"),
    ]
    for name, value, words in changes:
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            exported.call("decode", **{**encoded, name: value}, **last)
        assert words in str(caught.value)
    # log 2 is no logarithm of a probability, NaN is not smaller than anything, and of 24
    # classes one has 1 / 24 or more.
    for value in (0.7, np.nan, -np.inf, -np.log(25)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="logarithms"):
            wrong = np.full_like(encoded["log_probs"], value)
            exported.call("decode", **{**encoded, "log_probs": wrong}, **last)


def test_a_request_is_bounded_before_anything_is_computed():
    # 257 x 32768 pixels are 8,421,376; 8,388,608 are allowed.
    image = np.zeros([1, 257, 32768, 3], np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 8388608 pixels"):
        exported.call("calibrate", image=image, blackbox=image[..., 0])
    # 256 samples of 2 images of 1024 x 2049: 1,074,266,112 bytes; 2^30 are allowed.
    image = np.zeros([2, 1024, 2049, 3], np.uint8)
    inputs = dict(num_samples=np.int32(256), seed=NO_SEED)
    with pytest.raises(tf.errors.InvalidArgumentError, match="pixels of samples"):
        exported.call("sample", image=image, blackbox=image[..., 0], **inputs)
    # Each is computed as 16 x 16, and takes its time: 2049 x 64 x 64 are too many.
    image = np.zeros([2049, 1, 1, 3], np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="2049 images of 1 x 1"):
        exported.call("calibrate", image=image, blackbox=image[..., 0])
    image = np.zeros([1025, 1, 1, 3], np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="of 1025 images of 1 x 1"):
        exported.call("sample", image=image, blackbox=image[..., 0], **inputs)


def test_what_an_embedded_black_box_enlarges_is_bounded_too():
    settings = program.Settings(exported.street_facts(), trained_size=(256, 512))
    module = served(settings, exported.street_sampler(), ToyBlackBox())
    image = tf.zeros([65, 16, 16, 3], tf.uint8)
    for signature in (module.calibrate, module.encode):
        with pytest.raises(tf.errors.InvalidArgumentError, match="65 images of 256 x"):
            signature(image)


def served(settings, model, blackbox_function=None):
    file = exported.root() / "labels.json"
    file.write_text("{}")
    computation = program.Program(model, settings, blackbox_function)
    return signatures.ServedSampler(computation, file)


def test_one_channel_and_no_black_box():
    settings = exported.config(
        calibration_net=exported.config_lib.CalibrationNet(kind="segnet", channels=4),
        blackbox=exported.config_lib.BlackBox(kind="none"),
    )
    dataset_info = exported.LIDC_LIKE
    model = exported.build_sampler(settings, dataset_info)
    module = served(program.Settings(dataset_info), model)
    image = tf.constant(exported.images(2, 40, 24, channels=1))
    seed = tf.constant(exported.seeds(2))
    drawn = module.sample(image, tf.constant(2), seed)
    want = model.sample(image, None, seed, tf.constant(2))
    np.testing.assert_allclose(drawn["probabilities"], want["probs"], atol=1e-5)
    assert np.mean(drawn["samples"].numpy() != want["samples"].numpy()) <= 1e-3
    names = [spec.name for spec in module.sample_bytes.input_signature]
    assert names == ["image_bytes", "num_samples", "seed"]


def test_a_black_box_of_probabilities():
    settings = program.Settings(
        dataclasses.replace(exported.street_facts(), blackbox_output="probabilities")
    )
    model = exported.street_sampler()
    module = served(settings, model)
    image = tf.constant(exported.images(1, 16, 16))
    probs = tf.nn.softmax(tf.random.stateless_normal([1, 16, 16, 19], [1, 2]))
    found = module.calibrate(image, probs)["probabilities"]
    np.testing.assert_allclose(found, tf.exp(model.log_probs(image, probs)), atol=1e-5)
    for wrong in (probs - 1.0, probs * np.nan):
        with pytest.raises(tf.errors.InvalidArgumentError, match="blackbox: wanted"):
            module.calibrate(image, wrong)


class ToyBlackBox(tf.Module):
    """Class 0 to 18 by how red a pixel is; sees the image at its own size."""

    def __init__(self):
        super().__init__()
        self.divisor = tf.Variable(14.0)

    def __call__(self, images, size):
        ids = tf.cast(images[..., :1], tf.float32) // self.divisor
        ids = tf.image.resize(ids, size, method="nearest")
        return tf.cast(ids[..., 0], tf.uint8)


def test_an_embedded_black_box_sees_the_whole_image(tmp_path):
    model, dataset_info = exported.street_sampler(), exported.street_facts()
    settings = program.Settings(dataset_info, trained_size=exported.SIZE)
    module = served(settings, model, ToyBlackBox())
    tf.saved_model.save(module, str(tmp_path), signatures={"s": module.calibrate})
    function = tf.saved_model.load(str(tmp_path)).signatures["s"]
    image = exported.images(1, 96, 128)
    found = function(image=tf.constant(image))["probabilities"]
    assert found.shape == (1, *exported.SIZE, 24)
    # 96 x 128 is twice the trained size; nearest takes the second of each two pixels.
    ids = (image[:, 1::2, 1::2, 0] // 14).astype(np.uint8)
    small = tf.image.resize(image, exported.SIZE, antialias=True)
    small = tf.cast(tf.round(small), tf.uint8)
    want = tf.exp(model.log_probs(small, tf.constant(ids)))
    np.testing.assert_allclose(found, want, atol=1e-5)
    names = [spec.name for spec in module.sample_bytes.input_signature]
    assert names == ["image_bytes", "num_samples", "seed"]


def test_maps_come_back_at_the_size_of_the_image_when_asked():
    model, dataset_info = exported.street_sampler(), exported.street_facts()
    image = tf.constant(exported.images(1, 96, 128))
    arguments = image, tf.constant(3), tf.constant(exported.seeds(1))
    small, own = (
        served(
            program.Settings(dataset_info, trained_size=exported.SIZE, own_size=own),
            model,
            ToyBlackBox(),
        ).sample(*arguments)
        for own in (False, True)
    )
    assert own["probabilities"].shape == (1, 96, 128, 24)
    assert own["entropy_bits"].shape == (1, 96, 128)
    np.testing.assert_allclose(tf.reduce_sum(own["probabilities"], -1), 1, atol=1e-5)
    # 96 x 128 is twice the trained size: each pixel of a sample is four.
    want = small["samples"].numpy().repeat(2, 2).repeat(2, 3)
    np.testing.assert_array_equal(own["samples"], want)
    # The corner's neighbours are itself.
    corners = own["probabilities"][0, 0, 0], small["probabilities"][0, 0, 0]
    np.testing.assert_allclose(*corners, atol=1e-6)


def test_the_number_of_samples_is_checked_at_export():
    for num in (0, checks.MAX_SAMPLES + 1):
        with pytest.raises(ValueError, match="num_samples: wanted 1 to 256"):
            program.Settings(exported.street_facts(), num_samples=num)
