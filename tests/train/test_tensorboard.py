"""What TensorBoard is given, read back by TensorBoard's own reader."""

import numpy as np
import PIL.Image
import pytest
from tensorboard.backend.event_processing import event_accumulator

from car_tf.data import class_flips, examples, info
from car_tf.evaluate import sampling
from car_tf.report import figures
from car_tf.train import tensorboard

FACTS = info.DatasetInfo(
    title="two classes",
    class_names=("road", "road2"),
    class_colors=((0, 0, 0), (255, 0, 0)),
    flips=(class_flips.ClassFlip(0, 1, 0.25),),
    num_blackbox_classes=2,
)


def read(folder):
    events = event_accumulator.EventAccumulator(
        str(folder), size_guidance={event_accumulator.TENSORS: 0}
    )
    return events.Reload()


def drawn(index, first, mean):
    """An image of 2 x 3 pixels, all alike; one of its 8 samples flips."""
    samples = np.zeros((8, 2, 3), np.uint8)
    samples[0] = 1
    maps = [np.broadcast_to(np.float32(p), (2, 3, 2)) for p in (first, mean, mean)]
    return sampling.SampledImage(index, samples, *maps)


@pytest.fixture
def glimpse():
    source = examples.Examples(
        names=tuple("abcde"),
        groups=tuple("abcde"),
        images=np.zeros((5, 2, 3, 3), np.uint8),
        labels=np.zeros((5, 1, 2, 3), np.uint8),
        blackbox=np.zeros((5, 2, 3), np.uint8),
    )
    return tensorboard.Glimpse(source, FACTS)


def test_calibration_and_reliability_by_hand(glimpse):
    for index in range(5):
        glimpse.add(drawn(index, (0.5, 0.5), (0.9, 0.1)))
    shown = glimpse.figures()
    assert set(shown) == {"samples", "entropies", "reliability", "calibration"}
    lengths = [bar.get_width() for bar in shown["calibration"].axes[0].patches]
    assert lengths == pytest.approx([0.25, 0.5, 0.125])
    # G is sure of `road` by 0.9 and right in 3 of 4 images.
    title = shown["reliability"].axes[0].get_title()
    assert title == "Reliability of the mean of G, ECE 15.00 %"
    # The first three images, two lines of six pictures each.
    assert len(shown["samples"].axes) == 3 * 2 * 6


def test_nothing_seen_is_nothing_shown(glimpse):
    assert glimpse.figures() == {}


def test_scalars_have_groups_and_units(tmp_path):
    board = tensorboard.Board(tmp_path)
    board.scalars("stage2", 7, {"discriminator": 1.25, "new": 2.0})
    events = read(tmp_path)
    assert set(events.Tags()["tensors"]) == {"stage2/discriminator", "stage2/new"}
    (event,) = events.Tensors("stage2/discriminator")
    assert event.step == 7
    metadata = events.SummaryMetadata("stage2/discriminator")
    assert "nats" in metadata.summary_description


def test_pictures_arrive_as_they_were_drawn(tmp_path):
    figure, axis = figures._axes("title", "x", "y")
    board = tensorboard.Board(tmp_path / "events")
    board.pictures("selection", 3, {"calibration": figure})
    figure.savefig(tmp_path / "figure.png")
    (event,) = read(tmp_path / "events").Tensors("selection/calibration")
    assert event.step == 3
    width, height, content = event.tensor_proto.string_val
    with PIL.Image.open(tmp_path / "figure.png") as image:
        assert image.size == (int(width), int(height))
    assert content.startswith(b"\x89PNG")


def test_the_configuration_is_text_and_hyper_parameters(tmp_path):
    board = tensorboard.Board(tmp_path)
    fields = {"name": "toy", "stage2.steps": "500", "stage2.decay": "linear"}
    board.configuration(fields, ["drawn data"])
    events = read(tmp_path)
    (event,) = events.Tensors("configuration")
    assert b"| stage2.steps | 500 |" in event.tensor_proto.string_val[0]
    (event,) = events.Tensors("notes")
    assert event.tensor_proto.string_val[0] == b"- drawn data\n"
    metadata = events.SummaryMetadata("_hparams_/session_start_info")
    assert b"stage2.steps" in metadata.plugin_data.content
    assert tensorboard._typed("500") == 500.0
    assert tensorboard._typed("0..255") == "0..255"


def test_every_logged_number_says_what_it_is():
    # The names that the trainers and the selection log.
    names = {"cross_entropy", "accuracy", "pixel_loss", "adversarial", "discriminator"}
    names |= {"r1", "complexity", "real_accuracy", "fake_accuracy", "selection_ged"}
    assert names <= set(tensorboard.DESCRIPTIONS)
