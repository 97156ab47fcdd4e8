"""Whatever is written as a picture or a map is read to its values, or refused."""

import struct
import zlib

import blackbox_models as models
import cityscapes_tree as tree
import numpy as np
import pytest
from PIL import Image

from car_tf.blackbox import base, inference, precomputed
from car_tf.data import check, cityscapes, io
from car_tf.data.lidc import folders
from car_tf.predict import images
from export.clients import common

IDS = np.array([[0, 1, 2, 3], [15, 7, 8, 11]], np.uint8)


def png(path, bits, color, rows):
    """Writes a PNG of kinds that Pillow reads, but does not write."""

    def chunk(kind, data):
        whole = kind + data
        return (
            struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))
        )

    width = 8 * len(rows[0]) // bits // {0: 1, 2: 3, 4: 2, 6: 4}[color]
    head = struct.pack(">IIBBBBB", width, len(rows), bits, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (b"IHDR", head), (b"IDAT", data), (b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_ids_of_few_bits_are_read_as_they_are(tmp_path):
    path = png(tmp_path / "a.png", 4, 0, [bytes([0x01, 0x23]), bytes([0xF7, 0x8B])])
    np.testing.assert_array_equal(io.read_ids(path), IDS)
    path = png(tmp_path / "b.png", 2, 0, [bytes([0b00011011])])
    np.testing.assert_array_equal(io.read_ids(path), [[0, 1, 2, 3]])
    # As a picture, 15 of 4 bits is white.
    assert np.asarray(io.read_png(tmp_path / "a.png", mode="RGB"))[1, 0].min() == 255


@pytest.mark.parametrize("color, channels", [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_pictures_of_sixteen_bits_are_refused_with_their_range(
    tmp_path, color, channels
):
    rows = [struct.pack(">H", 4095) * channels * 2, struct.pack(">H", 0) * channels * 2]
    path = png(tmp_path / "a.png", 16, color, rows)
    with pytest.raises(io.DataError, match="a.png: wanted 8 bits .* 0 to 4095: scale"):
        io.read_png(path, mode="RGB")
    with pytest.raises(io.DataError, match="a.png: wanted (one channel|ids 0 to 255)"):
        io.read_png(path, mode="L")


def test_what_would_have_to_be_guessed_is_refused(tmp_path):
    grey = Image.fromarray(IDS)
    palette = Image.fromarray(IDS % 4, mode="P")
    palette.putpalette([v for value in (7, 11, 21, 23) for v in [value] * 3])
    turned = Image.Exif()
    turned[0x0112] = 3
    cases = {
        "jpeg.jpg": (grey, {}, "L", "exact class ids"),
        "bit.png": (grey.convert("1"), {}, "L", "one channel .* mode 1"),
        "palette.png": (palette, {}, "L", r"grey values \[7, 11, 21, 23\]"),
        "turned.png": (grey, {"exif": turned}, "L", "upright map"),
        "cmyk.jpg": (grey.convert("CMYK"), {}, "RGB", "mode CMYK"),
        "float.tiff": (grey.convert("F"), {}, "RGB", "8 bits .* 0.0 to 15.0"),
        "clear.png": (Image.new("RGBA", (2, 2)), {}, "RGB", "transparent"),
        "stack.tiff": (
            grey,
            {"save_all": True, "append_images": [grey]},
            "L",
            "2 frames",
        ),
    }
    twice = {"save_all": True, "append_images": [grey.convert("1")]}
    color = grey.convert("RGB")
    for name, options in {"a": {}, "b": {"icc_profile": b"x" * 33}}.items():
        cases[f"{name}.webp"] = (color, options, "colors", "got WebP with loss, which")
    cases["bits.tiff"] = (grey.convert("1"), twice, "values", "2 frames")
    for name, (image, options, mode, words) in cases.items():
        image.save(tmp_path / name, **options)
        with pytest.raises(io.DataError, match=f"{name}: .*{words}"):
            io.read_png(tmp_path / name, mode=mode)


def test_a_turned_picture_is_read_turned_by_all(tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    exif = Image.Exif()
    for kind in ("png", "tiff"):
        for orientation, wanted in (
            (3, np.rot90(pixels, 2)),
            (6, np.rot90(pixels, -1)),
        ):
            exif[0x0112] = orientation
            path = tmp_path / f"{orientation}.{kind}"
            Image.fromarray(pixels).save(path, exif=exif)
            got = np.asarray(io.read_png(path, mode="RGB"))
            np.testing.assert_array_equal(got, wanted)
            with pytest.raises(io.DataError, match="EXIF"):
                folders.read_grey(path)
        with pytest.raises(io.DataError, match="whether its labels are turned"):
            cityscapes.read_image(tmp_path / f"3.{kind}")
        assert cityscapes.read_image(tmp_path / f"6.{kind}").size == (2, 4)


def saved_in_every_mode(folder):
    """Yields each kind of file that Pillow writes, with what was written."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 19, (16, 24, 3)).astype(np.uint8)
    for mode in Image.MODES:
        try:
            image = Image.fromarray(pixels[..., 0])
            if mode == "P":
                image = Image.frombytes("P", image.size, image.tobytes())
                image.putpalette(rng.integers(0, 256, 768).tolist())
            elif mode not in ("L", "I", "F") and not mode.startswith("I;"):
                image = Image.fromarray(pixels).convert(mode)
            else:
                image = image.convert(mode)
        except ValueError:
            continue
        for kind in ("png", "tiff", "bmp", "webp", "jpg"):
            path = folder / f"{mode.replace(';', '')}.{kind}"
            try:
                image.save(path, **({"lossless": True} if kind == "webp" else {}))
            except (OSError, ValueError, KeyError):
                continue
            yield path, image


def picture_or_refusal(read, path):
    """What one of the commands makes of a file: `[H, W, 3]` values, or None."""
    try:
        return np.asarray(read(path)).astype(int)
    except io.DataError as error:
        assert str(path) in str(error)
        return None


# Of the check, of training, of black boxes, of prediction, page and Python.
READERS = (
    lambda path: io.read_png(path, mode="RGB"),
    cityscapes.read_image,
    lambda path: inference.read_image(models.split_of([path]), 0),
    lambda path: images.read_image(path, 3),
    lambda path: images.as_picture(str(path), 3),
)


def test_every_mode_is_read_to_its_values_or_refused(tmp_path):
    pictures, maps = set(), set()
    for path, image in saved_in_every_mode(tmp_path):
        got, *others = (picture_or_refusal(read, path) for read in READERS)
        for other in others:
            np.testing.assert_array_equal(other, got, str(path))
        if got is not None:
            wanted = np.asarray(image.convert("RGB")).astype(int)
            # JPEG is not exact.
            lossy = path.suffix == ".jpg" or image.mode == "YCbCr"
            assert np.abs(got - wanted).mean() <= (12 if lossy else 0), path.name
            pictures.add(path.name)
        try:
            got = io.read_ids(path)
            np.testing.assert_array_equal(got, np.asarray(image), str(path))
            maps.add(path.name)
        except io.DataError as error:
            assert str(path) in str(error)
    assert {"RGB.png", "RGB.jpg", "L.png", "P.png", "1.png", "L.webp"} <= pictures
    assert {"L.png", "P.png", "I.png", "I16.png", "L.tiff", "P.bmp"} <= maps


def test_training_and_check_read_alike(tmp_path):
    image = tree.image_file(tmp_path, "val", "frankfurt", 0)
    label = tree.label_file(tmp_path, "val", "frankfurt", 0)
    exif = Image.Exif()
    exif[0x0112] = 3
    dark = [struct.pack(">H", 4000) * 3 * tree.SIZE[1]] * tree.SIZE[0]
    cases = (
        (lambda: png(image, 16, 2, dark), "8 bits"),
        (lambda: Image.open(image).copy().save(image, exif=exif), "turned by its EXIF"),
        (lambda: Image.open(label).convert("1").save(label), "one channel"),
    )
    for number, (change, words) in enumerate(cases):
        tree.write(tmp_path)
        change()
        found = [
            p for p in check.check(str(tmp_path))["problems"] if words in p["detail"]
        ]
        assert [problem["kind"] for problem in found] == ["unreadable"]
        with pytest.raises(io.DataError, match=words):
            cityscapes.read(
                str(tmp_path), "val", size=(32, 64), cache_dir=tmp_path / f"{number}"
            )


@pytest.mark.parametrize(
    "label_ids, kind, words",
    [
        (np.arange(19), "train ids", "look like train ids"),
        # One id above does not decide.
        ([*range(19)] * 40 + [33], "train ids", "look like train ids"),
        ([0, 1, 2, 3, 255], "no label", "no pixel of any class"),
    ],
)
def test_training_asks_what_the_check_asks(tmp_path, label_ids, kind, words):
    tree.write(tmp_path)
    for index in range(2):
        ids = np.resize(np.array(label_ids, np.uint8), tree.SIZE)
        tree.write_image(tree.label_file(tmp_path, "val", "frankfurt", index), ids)
    problems = check.check(str(tmp_path))["problems"]
    assert [(p["kind"], p["split"]) for p in problems if p["level"] == "error"] == [
        (kind, "val")
    ]
    options = {"size": (32, 64), "cache_dir": tmp_path / "cache"}
    for _ in range(2):  # From the files, and from the cache.
        with pytest.raises(io.DataError, match=f"gtFine/val: .*{words}"):
            cityscapes.read(str(tmp_path), "val", **options)
    assert len(cityscapes.read(str(tmp_path), "train", **options)) == 6


def test_links_are_followed_and_leftovers_of_macos_are_not_read(tmp_path):
    tree.write(tmp_path / "data")
    image = tree.image_file(tmp_path / "data", "train", "aachen", 0)
    image.with_name(f"._{image.name}").write_bytes(b"Mac OS X")
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "elsewhere/deep/a.png").write_bytes(b"")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/city").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "maps/._a.png").write_bytes(b"")
    before = base.folder_hash(str(tmp_path / "maps"))
    (tmp_path / "elsewhere/deep/a.png").write_bytes(b"new")
    assert base.folder_hash(str(tmp_path / "maps")) != before
    assert list(precomputed.find(tmp_path / "maps", ["a"])) == ["a"]
    assert list(common.find_images([str(tmp_path / "maps")])) == ["city/deep/a"]
    assert list(io.walk(tmp_path / "maps")) == [tmp_path / "maps/city/deep/a.png"]
    assert len(cityscapes.find(tmp_path / "data", "train")[0]) == 6
    assert check.check(str(tmp_path / "data"))["problems"] == []
