"""Training batches: a pure function of seed and step; crops, mirroring and flips."""

import dataclasses
import pathlib
import unittest.mock

import numpy as np
import pytest
import tensorflow as tf

from car_tf.data import class_flips, examples, pipeline

FLIPS = class_flips.CITYSCAPES_FLIPS


def coordinates(num, height, width, *, raters=1, blackbox="labels"):
    """Images whose pixels say where they come from: (number, row, column).

    Labels and black box say it too, in one byte: their parities make a pattern that
    differs at each neighbour.
    """
    rows, columns = np.mgrid[:height, :width]
    images = np.zeros((num, height, width, 3), np.uint8)
    images[..., 0] = np.arange(num)[:, None, None]
    images[..., 1], images[..., 2] = rows, columns
    code = (rows * 16 + columns) % 251
    labels = np.tile(code.astype(np.uint8), (num, raters, 1, 1))
    maps = {
        "labels": labels[:, 0],
        "probs": (images[..., 1:] / 256).astype(np.float16),
        None: None,
    }
    names = tuple(f"{i:03d}" for i in range(num))
    return examples.Examples(
        names=names, groups=names, images=images, labels=labels, blackbox=maps[blackbox]
    )


def batches(source, **changes):
    arguments = dict(batch_size=4, crop_size=(16, 16), seed=5, num_steps=6)
    arguments.update(changes)
    return list(pipeline.training_batches(source, **arguments).as_numpy_iterator())


def assert_equal_batches(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


# Seeds and steps


def test_a_stream_is_a_function_of_its_seed():
    source = coordinates(7, 32, 48)
    options = dict(scale_range=(0.8, 1.5), flips=FLIPS)
    assert_equal_batches(batches(source, **options), batches(source, **options))
    other = batches(source, seed=6, **options)
    same = [
        np.array_equal(one["image"], two["image"])
        for one, two in zip(batches(source, **options), other)
    ]
    assert not any(same)


@pytest.mark.parametrize("first_step", [1, 4])
def test_starting_in_the_middle_goes_on_as_the_whole_stream(first_step):
    source = coordinates(7, 32, 48, raters=3)
    options = dict(scale_range=(0.8, 1.5), flips=FLIPS)
    whole = batches(source, **options)
    rest = batches(source, first_step=first_step, **options)
    assert_equal_batches(whole[first_step:], rest)
    # Where the training ends does not matter either.
    assert_equal_batches(whole[:4], batches(source, num_steps=4, **options))


def test_every_step_draws_anew():
    source = coordinates(1, 64, 64)
    found = batches(source, batch_size=1, num_steps=20)
    corners = {tuple(b["image"][0, 0, 0]) for b in found}
    assert len(corners) > 15


def test_no_python_function_runs_in_the_pipeline():
    # Such a function waits for the interpreter's lock, and an iterator that is dropped
    # with a batch under way has hung the process at its exit.
    dataset = pipeline.training_batches(
        coordinates(4, 16, 16), batch_size=2, crop_size=(16, 16), seed=0, num_steps=9
    )
    graph = tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy())
    kinds = {node.op for f in graph.library.function for node in f.node_def}
    assert kinds and not {kind for kind in kinds if "PyFunc" in kind}
    for _ in range(20):
        next(iter(dataset))


@pytest.mark.parametrize("num, batch_size", [(7, 4), (4, 4), (3, 8), (5, 1)])
def test_each_image_occurs_once_per_epoch(num, batch_size):
    steps = 3 * num
    found = batches(coordinates(num, 16, 16), batch_size=batch_size, num_steps=steps)
    order = np.concatenate([b["image"][:, 0, 0, 0] for b in found])
    epochs = [order[i : i + num] for i in range(0, len(order) - num + 1, num)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num))
    assert num == 1 or len({tuple(epoch) for epoch in epochs}) > 1


def test_every_epoch_has_an_order_of_its_own():
    arguments = dict(batch_size=8, seed=1, first_step=0, num_steps=2)
    for first, second in pipeline.draw(np.full(8, 3), 3, **arguments):
        assert np.any(first != second)


def test_annotators_are_drawn_evenly_and_belong_to_their_image():
    source = coordinates(50, 16, 16, blackbox=None)
    labels = np.zeros((50, 4, 16, 16), np.uint8)
    # A label says its image and its rater.
    labels += (np.arange(50)[:, None] * 4 + np.arange(4)).astype(np.uint8)[
        ..., None, None
    ]
    source = examples.Examples(source.names, source.groups, source.images, labels)
    found = batches(source, batch_size=50, num_steps=40)
    number = np.concatenate([b["image"][:, 0, 0, 0] for b in found])
    said = np.concatenate([b["label"][:, 0, 0] for b in found])
    np.testing.assert_array_equal(said // 4, number)
    share = np.bincount(said % 4, minlength=4) / 2000
    # Standard deviation of a share: sqrt(.25 * .75 / 2000) = 0.0097.
    np.testing.assert_allclose(share, 0.25, atol=0.04)


def test_who_did_not_label_an_image_is_not_drawn_for_it():
    source = coordinates(30, 16, 16, blackbox=None)
    labels = np.zeros((30, 3, 16, 16), np.uint8) + np.arange(3)[:, None, None]
    labels = labels.astype(np.uint8)
    # A third of the images has raters 0 and 2 alone, another rater 1 alone.
    labels[:10, 1] = labels[10:20, ::2] = 255
    source = examples.Examples(source.names, source.groups, source.images, labels)
    found = batches(source, batch_size=30, num_steps=40, labels_per_image=2)
    number = np.concatenate([b["image"][:, 0, 0, 0] for b in found]).astype(int)
    said = np.concatenate([b["label"][:, :, 0, 0] for b in found])
    first, second, third = (said[(number // 10) == part] for part in range(3))
    assert set(map(tuple, first)) == {(0, 2), (2, 0)}
    # Standard deviation of a share of 400 draws: sqrt(.25 / 400) = 0.025.
    np.testing.assert_allclose(np.mean(first[:, 0] == 0), 0.5, atol=0.1)
    assert set(map(tuple, second)) == {(1, 1)}
    assert set(third[:, 0]) == {0, 1, 2}


def test_several_labels_of_an_image_are_of_different_annotators():
    source = coordinates(6, 16, 16, blackbox=None)
    labels = np.zeros((6, 4, 16, 16), np.uint8)
    labels += (np.arange(6)[:, None] * 4 + np.arange(4)).astype(np.uint8)[
        ..., None, None
    ]
    source = examples.Examples(source.names, source.groups, source.images, labels)
    for batch in batches(source, batch_size=3, num_steps=6, labels_per_image=4):
        said = np.asarray(batch["label"])[:, :, 0, 0]
        image = np.asarray(batch["image"])[:, 0, 0, 0]
        np.testing.assert_array_equal(np.sort(said % 4), [[0, 1, 2, 3]] * 3)
        np.testing.assert_array_equal(said // 4, np.tile(image[:, None], [1, 4]))


def test_several_labels_of_an_image_flip_each_for_itself():
    found = batches(
        flip_source(),
        crop_size=(16, 28),
        batch_size=50,
        num_steps=20,
        flips=FLIPS,
        labels_per_image=2,
    )
    labels = np.concatenate([batch["label"] for batch in found])
    plain = np.concatenate([batch["blackbox"] for batch in found])
    for flip in FLIPS:
        here = np.tile((plain == flip.original)[:, None], [1, 2, 1, 1])
        hits = labels[here].reshape(len(labels), 2, -1)[:, :, 0] == flip.flipped
        # 2000 draws: standard deviation at most sqrt(.25 / 2000) = 0.0112.
        assert abs(hits.mean() - flip.probability) < 0.045
        assert abs(np.corrcoef(hits[:, 0], hits[:, 1])[0, 1]) < 0.13


# Arrays in files


def mapped(source, folder):
    """The same examples, their arrays mapped from files."""
    arrays = {}
    for name in ("images", "labels", "blackbox"):
        np.save(folder / f"{name}.npy", getattr(source, name))
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return dataclasses.replace(source, **arrays)


@pytest.mark.parametrize("blackbox", ["labels", "probs"])
def test_arrays_in_files_give_the_same_batches(tmp_path, blackbox):
    source = coordinates(9, 20, 24, raters=3, blackbox=blackbox)
    in_files, rows = mapped(source, tmp_path), [7, 2, 3, 8]
    assert_equal_batches(batches(in_files), batches(source))
    some, same = in_files.take(rows), source.take(rows)
    assert some.images.array is in_files.images and some.fingerprint() == (
        same.fingerprint()
    )
    assert_equal_batches(batches(some), batches(same))
    # Its neighbours start where TensorFlow could not read them in place.
    later = dataclasses.replace(in_files.take(rows), images=in_files.images[1:][:4])
    want = dataclasses.replace(same, images=source.images[1:5])
    assert_equal_batches(batches(later), batches(want))


@pytest.mark.parametrize("key", [2, -1, slice(1, 3), [2, 0], (1, 0), ([1, 0], 2)])
def test_rows_of_rows_are_read_like_those_of_arrays(tmp_path, key):
    source = coordinates(9, 6, 5, raters=3)
    some = mapped(source, tmp_path).take([7, 2, 3, 8]).take([3, 0, 1]).labels
    wanted = source.labels[[8, 7, 2]]
    np.testing.assert_array_equal(some[key], wanted[key])
    np.testing.assert_array_equal(some[..., 0], wanted[..., 0])
    np.testing.assert_array_equal(list(some), wanted)
    assert (some.shape, some.ndim, len(some)) == (wanted.shape, 4, 3)


def test_arrays_in_files_take_no_memory(tmp_path):
    def used():
        (line,) = [
            line
            for line in pathlib.Path("/proc/self/status").read_text().splitlines()
            if line.startswith("RssAnon")
        ]
        return int(line.split()[1]) / 1024

    # Of zeros that take no room on the disk.
    shape = (400, 128, 128, 19)
    np.lib.format.open_memmap(tmp_path / "probs.npy", "w+", np.float16, shape)
    source = coordinates(400, 128, 128, blackbox=None)
    probs = np.load(tmp_path / "probs.npy", mmap_mode="r")
    source = dataclasses.replace(source, blackbox=probs)
    before = used()
    dataset = pipeline.training_batches(
        source.take(range(400)), batch_size=2, crop_size=(8, 8), seed=0, num_steps=9
    )
    next(iter(dataset))
    # The images and labels, 25 MB, are copied; the probabilities are 237 MB.
    assert used() - before < 120


# Crops


def decode(batch):
    """Rows and columns that a batch's images say their pixels come from."""
    return batch["image"][..., 1], batch["image"][..., 2]


@pytest.mark.parametrize("size, crop", [((20, 40), (16, 16)), ((205, 200), (128, 100))])
def test_magnification_of_one_copies_pixels_mirrored_or_not(size, crop):
    source = coordinates(3, *size)
    mirrored = 0
    for batch in batches(source, crop_size=crop, num_steps=40):
        rows, columns = decode(batch)
        # Bilinear weights are exact but for rounding.
        np.testing.assert_allclose(rows, np.rint(rows), atol=1e-3)
        np.testing.assert_allclose(columns, np.rint(columns), atol=1e-3)
        rows, columns = np.rint(rows).astype(int), np.rint(columns).astype(int)
        step = columns[:, :, 1:] - columns[:, :, :-1]
        for image in range(len(rows)):
            assert np.all(rows[image, 1:] - rows[image, :-1] == 1)
            assert np.all(step[image] == step[image, 0, 0])
            assert step[image, 0, 0] in (-1, 1)
            mirrored += step[image, 0, 0] == -1
        expected = (rows * 16 + columns) % 251
        np.testing.assert_array_equal(batch["label"], expected)
        np.testing.assert_array_equal(batch["blackbox"], expected)
    # 160 draws at one half: standard deviation 6.3.
    assert 55 <= mirrored <= 105


def test_every_place_of_a_crop_occurs_alike():
    found = batches(
        coordinates(1, 20, 16), batch_size=32, num_steps=50, crop_size=(16, 16)
    )
    rows = np.concatenate([np.rint(decode(b)[0][:, 0, 0]) for b in found]).astype(int)
    # 20 - 16 + 1 = 5 places, 1600 draws: 320 each, standard deviation 16.
    counts = np.bincount(rows, minlength=5)
    assert len(counts) == 5
    np.testing.assert_allclose(counts, 320, atol=64)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    "size, crop", [(64, 64), (184, 128), (205, 128), (240, 128), (254, 100), (256, 128)]
)
def test_no_place_lets_rounding_leave_the_image(size, crop, mirror):
    # Without the border, the crops at the edges of most of these sizes ended in zeros.
    starts = np.arange(size - crop + 1, dtype=np.float32)
    zeros, ends = np.zeros_like(starts), starts + crop - 1
    left, right = (ends, starts) if mirror else (starts, ends)
    boxes = np.stack([zeros, left, zeros + 1, right], axis=1)
    columns = np.arange(size, dtype=np.uint8)
    array = np.tile(columns, (len(starts), 2, 1))
    image, label = pipeline._crop(
        [tf.constant(array[..., None]), tf.constant(array)],
        boxes=tf.constant(boxes),
        crop_size=(2, crop),
    )
    expected = starts[:, None] + np.arange(crop)[:: -1 if mirror else 1]
    for row in range(2):
        np.testing.assert_array_equal(label[:, row], expected)
        np.testing.assert_allclose(image[:, row, :, 0], expected, atol=1e-3)


@pytest.mark.parametrize("low, high", [(2.0, 2.0), (0.5, 0.5), (0.8, 1.3)])
def test_image_label_and_black_box_are_magnified_alike(low, high):
    source = coordinates(2, 64, 64, blackbox="probs")
    spans = []
    for batch in batches(source, scale_range=(low, high), num_steps=20):
        rows, columns = decode(batch)
        assert rows.min() >= -1e-3 and rows.max() <= 63 + 1e-3
        # The label is that of the nearest pixel; at a half, rounding decides.
        clear = (abs(rows % 1 - 0.5) > 1e-3) & (abs(columns % 1 - 0.5) > 1e-3)
        nearest = (np.rint(rows) * 16 + np.rint(columns)) % 251
        np.testing.assert_array_equal(batch["label"][clear], nearest[clear])
        # Probabilities are interpolated as the image is.
        np.testing.assert_allclose(batch["blackbox"][..., 0], rows / 256, atol=1e-3)
        np.testing.assert_allclose(batch["blackbox"][..., 1], columns / 256, atol=1e-3)
        spans += list(15 / (rows[:, -1, 0] - rows[:, 0, 0]))
        spans += list(15 / abs(columns[:, 0, -1] - columns[:, 0, 0]))
    # 16 pixels lie 15 distances apart.
    assert low - 1e-3 <= min(spans) and max(spans) <= high + 1e-3
    assert max(spans) - min(spans) >= 0.8 * (high - low)


def test_crops_in_the_centre():
    found = batches(coordinates(2, 52, 36), random_crop=False, crop_size=(16, 16))
    for batch in found:
        rows, columns = decode(batch)
        # (52 - 16) / 2 = 18 and (36 - 16) / 2 = 10, to 25
        np.testing.assert_allclose(rows[:, 0], 18, atol=1e-3)
        np.testing.assert_allclose(columns.min(axis=(1, 2)), 10, atol=1e-3)
        np.testing.assert_allclose(columns.max(axis=(1, 2)), 25, atol=1e-3)


@pytest.mark.parametrize("blackbox", ["labels", "probs"])
def test_crops_are_seen_under_all_symmetries_of_the_square(blackbox):
    source = coordinates(2, 40, 40, blackbox=blackbox)
    seen = set()
    for batch in batches(source, symmetries="square", num_steps=30):
        rows, columns = decode(batch)
        label = (np.rint(rows) * 16 + np.rint(columns)) % 251
        np.testing.assert_array_equal(batch["label"], label)
        if blackbox == "labels":
            np.testing.assert_array_equal(batch["blackbox"], label)
        else:
            np.testing.assert_allclose(
                batch["blackbox"], batch["image"][..., 1:] / 256, atol=1e-3
            )
        # Where the image's rows and columns run, along the crop's first two pixels.
        steps = np.stack([rows[:, 1, 0], columns[:, 1, 0], rows[:, 0, 1]], axis=1)
        steps -= np.stack([rows[:, 0, 0], columns[:, 0, 0], rows[:, 0, 0]], axis=1)
        ends = columns[:, 0, 1] - columns[:, 0, 0]
        seen |= {tuple(row) for row in np.rint(np.c_[steps, ends]).astype(int)}
    upright = {(down, 0, 0, right) for down in (-1, 1) for right in (-1, 1)}
    turned = {(0, down, right, 0) for down in (-1, 1) for right in (-1, 1)}
    assert seen == upright | turned


def test_symmetries_of_the_square_leave_all_else_as_it_is():
    source = coordinates(2, 40, 40)
    for plain, turned in zip(batches(source), batches(source, symmetries="square")):
        for name in plain:
            pairs = zip(plain[name], turned[name])
            for one, other in pairs:
                np.testing.assert_array_equal(
                    np.sort(one, axis=None), np.sort(other, axis=None)
                )


def test_jitter_changes_the_grey_levels_of_each_image_alone():
    source = coordinates(2, 40, 40)
    shifts = []
    for plain, jittered in zip(batches(source), batches(source, grey_jitter=0.3)):
        for name in set(plain) - {"image"}:
            np.testing.assert_array_equal(plain[name], jittered[name])
        for before, after in zip(plain["image"], jittered["image"]):
            assert after.min() >= 0 and after.max() <= 255
            # A darker pixel stays the darker one.
            order = np.argsort(before, axis=None)
            assert np.diff(after.ravel()[order]).min() > -1e-3
            shifts.append(after.mean() - before.mean())
    assert min(shifts) < -5 and max(shifts) > 5 and len(set(shifts)) == len(shifts)


def test_jitter_by_hand():
    image = tf.constant([64.0, 191.25], tf.float32)[None, None, :, None]
    draws = tf.constant([0.2, -0.1, 0.3])
    with unittest.mock.patch.object(
        tf.random,
        "stateless_uniform",
        lambda *args: draws[:, None, None, None, None],
    ):
        changed = pipeline._jitter(image, 0.3, tf.constant([0, 0], tf.int64))
    # (64 / 255)^(e^0.2) = 0.18484, 0.75^(e^0.2) = 0.70373; their mean is 0.44428. From
    # it by e^-0.1 = 0.90484 times as far, and 0.3 / 2 up: 0.35953 and 0.82904.
    np.testing.assert_allclose(
        changed[0, 0, :, 0], [0.35953 * 255, 0.82904 * 255], rtol=1e-3
    )


def test_shapes_and_types_are_known_before_the_first_batch():
    dataset = pipeline.training_batches(
        coordinates(3, 32, 32), batch_size=2, crop_size=(16, 24), seed=0, num_steps=2
    )
    spec = dataset.element_spec
    assert spec["image"] == tf.TensorSpec([2, 16, 24, 3], tf.float32)
    assert spec["label"] == tf.TensorSpec([2, 16, 24], tf.uint8)
    assert spec["blackbox"] == tf.TensorSpec([2, 16, 24], tf.uint8)
    assert "blackbox" not in batches(coordinates(3, 32, 32, blackbox=None))[0]


# Class flips


def flip_source(num=8):
    """Images in which every class that can flip, one that cannot, and 255 occur."""
    source = coordinates(num, 16, 28, blackbox=None)
    ids = np.array([0, 1, 8, 11, 13, 10, 255], np.uint8)
    labels = np.tile(np.repeat(ids, 4), (num, 1, 16, 1))
    return examples.Examples(
        source.names, source.groups, source.images, labels, blackbox=labels[:, 0]
    )


def test_flips_take_whole_classes_with_their_probabilities():
    found = batches(
        flip_source(), crop_size=(16, 28), batch_size=50, num_steps=40, flips=FLIPS
    )
    labels = np.concatenate([batch["label"] for batch in found])
    plain = np.concatenate([batch["blackbox"] for batch in found])
    hits = []
    for flip in FLIPS:
        here = plain == flip.original
        values = labels[here].reshape(len(labels), -1)
        assert np.all(values == values[:, :1]), "a class has flipped in part"
        assert set(np.unique(values)) == {flip.original, flip.flipped}
        hits.append(values[:, 0] == flip.flipped)
        # 2000 draws: standard deviation at most sqrt(.25 / 2000) = 0.0112.
        assert abs(hits[-1].mean() - flip.probability) < 0.045
    # Independent of each other, of their neighbours in the batch, and of mirroring.
    mirrored = plain[:, 0, 0] == 255
    table = np.corrcoef(np.array([*hits, mirrored], float))
    assert np.abs(table - np.eye(6)).max() < 0.1
    for hit in hits:
        assert abs(np.corrcoef(hit[1:], hit[:-1])[0, 1]) < 0.1
    # Nothing else changes, and the black box never does.
    fixed = (plain == 10) | (plain == 255)
    np.testing.assert_array_equal(labels[fixed], plain[fixed])
    assert set(np.unique(plain)) == {0, 1, 8, 10, 11, 13, 255}


def test_without_flips_labels_stay():
    for batch in batches(flip_source(), crop_size=(16, 28)):
        np.testing.assert_array_equal(batch["label"], batch["blackbox"])


def test_flips_equal_those_of_arrays():
    label = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    always = [class_flips.ClassFlip(f.original, f.flipped, 1.0) for f in FLIPS]
    never = [class_flips.ClassFlip(f.original, f.flipped, 0.0) for f in FLIPS]
    key = tf.constant([1, 2], tf.int64)
    got = pipeline.flip_classes(tf.constant(label), always, key)
    expected = class_flips.tables(np.ones([1, 5], bool), FLIPS)[0][label[0]]
    np.testing.assert_array_equal(got[0], expected)
    got = pipeline.flip_classes(tf.constant(label), never, key)
    np.testing.assert_array_equal(got, label)
