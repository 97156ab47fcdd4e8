"""PNG and JPEG strings in, PNG strings out, inside the graph."""

from typing import List, Sequence

import tensorflow as tf

import export
from export import checks

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Bytes of a PNG file: width and height lie at 16, bit depth and colour type at 24.
_PNG_HEADER = 26
# Bytes in front of the pixels, of which EXIF's entry for an image that is not upright, in
# either order of bytes, and XMP's are part.
_HEAD = 1 << 16
_TURNED = (
    r"\C*(Exif\x00\x00|eXIf)\C*(\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]\x00"
    r"|\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08])\C*"
    r"|\C*tiff:Orientation(=.|>)[2-8]\C*"
)


def _starts(strings: tf.Tensor, magic: bytes) -> tf.Tensor:
    long = tf.strings.length(strings) >= len(magic)
    return long & tf.equal(_bytes_at(strings, 0, len(magic)), magic)


def _bytes_at(strings: tf.Tensor, at: int, num: int) -> tf.Tensor:
    # Padded, because a substring beyond the end is an error of its own.
    padded = tf.strings.join([strings, b" " * _PNG_HEADER])
    return tf.strings.substr(padded, at, num)


def _head(strings: tf.Tensor) -> tf.Tensor:
    """Returns what lies in front of the pixels of a PNG, or the start of a JPEG."""
    return tf.strings.regex_replace(
        tf.strings.substr(strings, 0, _HEAD), r"IDAT\C*", ""
    )


def _png_is(strings: tf.Tensor, depth: str, color: str) -> tf.Tensor:
    """Tells where bit depth and colour type, a byte each, match expressions."""
    return tf.strings.regex_full_match(_bytes_at(strings, 24, 2), depth + color)


def _shape(string: tf.Tensor) -> tf.Tensor:
    """Reads height, width, channels off the header, so that no bomb is decoded."""

    def of_png() -> tf.Tensor:
        header = tf.strings.substr(string, 16, 8)
        size = tf.io.decode_raw(header, tf.int32, little_endian=False)[::-1]
        is_grey = _png_is(string, r"\C", r"\x00")
        return tf.concat([size, [tf.where(is_grey, 1, 3)]], axis=0)

    return tf.cond(
        _starts(string, _PNG), of_png, lambda: tf.image.extract_jpeg_shape(string)
    )


def _kind_checks(strings: tf.Tensor, name: str, jpeg: bool) -> List[checks.Check]:
    is_png = _starts(strings, _PNG) & (tf.strings.length(strings) >= _PNG_HEADER)
    known = is_png | _starts(strings, _JPEG) if jpeg else is_png
    kinds = "PNG or JPEG" if jpeg else "PNG"
    words = f"{name}: wanted encoded {kinds} images, got something else"
    is_vector = checks.shape_is(strings, [None], f"{name}: wanted [B] strings")
    is_turned = tf.strings.regex_full_match(_head(strings), _TURNED)
    upright = f"{name}: wanted upright images, got one turned by its EXIF data"
    return [
        is_vector,
        (tf.reduce_all(known), tf.constant(words)),
        (~tf.reduce_any(is_turned), tf.constant(upright)),
    ]


def decode_images(strings: tf.Tensor, channels: int, name: str) -> tf.Tensor:
    """Decodes `[B]` PNG or JPEG strings of one size to `[B, H, W, C]` uint8."""

    def kinds(fed: Sequence[tf.Tensor]) -> List[checks.Check]:
        # The lower half of 16 bits would be cut off, and what is transparent shown.
        is_deep = _png_is(fed[0], r"\x10", r"\C")
        has_alpha = _png_is(fed[0], r"\C", r"[\x04\x06]")
        has_alpha |= tf.strings.regex_full_match(_head(fed[0]), r"\C*tRNS\C*")
        sentence = f"{name}: wanted images of 8 bits per channel, none of them alpha"
        bad = _starts(fed[0], _PNG) & (is_deep | has_alpha)
        return [
            *_kind_checks(fed[0], name, jpeg=True),
            (~tf.reduce_any(bad), tf.constant(sentence)),
        ]

    (strings,) = checks.gate([strings], [[None]], kinds)
    return _decode(strings, channels, name)


def decode_maps(strings: tf.Tensor, name: str) -> tf.Tensor:
    """Decodes `[B]` PNG strings of class ids to `[B, H, W]` uint8."""

    def kinds(fed: Sequence[tf.Tensor]) -> List[checks.Check]:
        # A palette would be decoded to its colours, and 16 bits to their upper half.
        grey = _png_is(fed[0], r"\x08", r"\x00")
        sentence = f"{name}: wanted grey PNG images of 8 bits, which are class ids"
        return [
            *_kind_checks(fed[0], name, jpeg=False),
            (tf.reduce_all(grey), tf.constant(sentence)),
        ]

    (strings,) = checks.gate([strings], [[None]], kinds)
    return _decode(strings, 1, name)[..., 0]


def _decode(strings: tf.Tensor, channels: int, name: str) -> tf.Tensor:
    spec = tf.TensorSpec([3], tf.int32)
    shapes = tf.map_fn(_shape, strings, fn_output_signature=spec)

    def fits(fed: Sequence[tf.Tensor]) -> List[checks.Check]:
        # Colours would be made grey, and CMYK colours of some kind.
        found, kinds = fed[1][:, 2], "grey" if channels == 1 else "grey or RGB"
        is_known = tf.reduce_all(found <= channels)
        sentence = tf.constant(f"{name}: wanted {kinds} images")
        return [*checks.size_checks(fed[1][:, :2], name), (is_known, sentence)]

    strings, _ = checks.gate([strings, shapes], [[None], [None, 3]], fits)
    return tf.map_fn(
        lambda string: tf.io.decode_png(string, channels=channels),
        strings,
        fn_output_signature=tf.TensorSpec([None, None, channels], tf.uint8),
    )


def encode_maps(maps: tf.Tensor) -> tf.Tensor:
    """Encodes `[B, M, H, W]` uint8 maps as `[B, M]` grey PNG strings."""
    strings = tf.TensorSpec([None], tf.string)
    return tf.map_fn(_encode, maps, fn_output_signature=strings)


def encode_entropies(entropy_bits: tf.Tensor) -> tf.Tensor:
    """Encodes `[B, H, W]` entropies as `[B]` PNG strings of 16 bits."""
    levels = tf.round(entropy_bits * export.ENTROPY_LEVELS_PER_BIT)
    return _encode(tf.cast(tf.clip_by_value(levels, 0, 65535), tf.uint16))


def _encode(pixels: tf.Tensor) -> tf.Tensor:
    """Encodes `[N, H, W]` grey values as `[N]` PNG strings."""
    return tf.map_fn(
        lambda one: tf.io.encode_png(one[..., None]),
        pixels,
        fn_output_signature=tf.TensorSpec([], tf.string),
    )
