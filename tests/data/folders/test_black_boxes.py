"""Black boxes on folders: whole images predicted, cut as they are, and checked."""

import leaves
import numpy as np
import pytest
from PIL import Image

from car_tf.blackbox import check as check_blackbox
from car_tf.data import io, layouts


@pytest.mark.parametrize("fit", ["resize", "tiles"])
def test_a_black_box_of_other_classes_is_mapped(root, fit, monkeypatch):
    (root.parent / "box_of_leaves.py").write_text(
        "import numpy as np\n"
        "def segment(images):\n"
        "    return np.full(images.shape[:3], 2, np.uint8)\n"
    )
    monkeypatch.syspath_prepend(root.parent)
    leaves.change(root, fit=fit)
    dataset = leaves.load(
        root,
        *("blackbox.kind=live", "blackbox.path=box_of_leaves:segment"),
        *("blackbox.class_map=0,1,3", "calibration_net.kind=blackbox_calibrator"),
    )
    assert dataset.info.num_blackbox_classes == 4
    assert set(np.unique(dataset.splits["train"].blackbox)) == {3}
    # What a model's classes are is not guessed in silence.
    (note,) = [note for note in dataset.notes if "of the labelled pixels" in note]
    assert "predictions and labels hardly agree" in note


@pytest.mark.parametrize("form", ["ids", "scores"])
@pytest.mark.parametrize(
    "fit, size, kind",
    [("tiles", [24, 32], "rgb"), ("pad", [48, 56], "rgb"), ("resize", [20, 28], "16")],
)
def test_one_prediction_on_disk_serves_a_whole_image(root, fit, size, kind, form):
    images = {"files": "images/{image}", "kind": "rgb", "range": None}
    if kind == "16":
        images.update(kind="grey16", range=[0, 255])
    leaves.change(root, fit=fit, size=size, images=images)
    for index in range(9):
        path = root / "images" / f"leaf{index}.png"
        if kind == "16":
            Image.open(path).convert("L").save(path)
        ids = leaves.draw(index)[1][0]
        maps = root.parent / "maps" / f"leaf{index}"
        if form == "ids":
            leaves.save(maps.with_suffix(".png"), ids)
        else:
            maps.parent.mkdir(exist_ok=True)
            np.save(maps.with_suffix(".npy"), np.eye(4, dtype=np.float32)[ids])
    dataset = leaves.load(
        root,
        f"blackbox.path={root.parent / 'maps'}",
        *("blackbox.kind=predictions", "calibration_net.kind=blackbox_calibrator"),
    )
    # Whether their classes are the data's is told from both.
    (note,) = [note for note in dataset.notes if "of the labelled pixels" in note]
    assert "hardly agree" not in note and float(note.split()[8][:-1]) > 60
    num = 0
    for split in dataset.splits.values():
        found = split.blackbox
        if form == "scores":
            assert found.dtype == np.float16
            assert dataset.info.blackbox_scores == "probabilities"
            found = found.argmax(-1)
        # Anna's masks are the predictions, cut, padded and resized alike.
        known = split.labels[:, 0] != 255
        alike = (found == split.labels[:, 0])[known]
        # By nearest neighbour; scores are averaged over 2 x 2 pixels, a tie at edges.
        assert alike.mean() > (
            0.95 if (fit, form) == ("resize", "scores") else 1 - 1e-9
        )
        num += len(split)
        # What is padded goes on as the edge does: soil, or the leaf.
        assert set(np.unique(found)) <= {0, 1, 2, 3}
    # Images of 40 x 56 give 2 x 2 tiles of 24 x 32.
    assert num == (36 if fit == "tiles" else 9)


def test_a_prediction_of_another_size_than_its_image_is_named(root):
    leaves.change(root, fit="tiles", size=[24, 32])
    for index in range(9):
        leaves.save(root.parent / f"maps/leaf{index}.png", np.zeros([24, 32], np.uint8))
    with pytest.raises(io.DataError, match="leaf.*wanted 40 x 56 pixels, got 24 x 32"):
        leaves.load(
            root,
            f"blackbox.path={root.parent / 'maps'}",
            *("blackbox.kind=predictions", "calibration_net.kind=blackbox_calibrator"),
        )


def test_a_black_box_is_checked_on_any_folder(root, monkeypatch, capsys):
    (root.parent / "box_by_red.py").write_text(
        "import numpy as np\n"
        "def segment(images):\n"
        f"    far = np.abs(images[..., None, :].astype(int) - {leaves.PALETTE})\n"
        "    return far.sum(-1).argmin(-1)\n"
    )
    monkeypatch.syspath_prepend(root.parent)
    leaves.change(root, fit="tiles", size=[24, 32])
    config = layouts.config_to_read(
        str(root),
        [f"data.cache_dir={root.parent / 'cache'}", "blackbox.path=box_by_red:segment"],
    )
    check_blackbox.check(config, sheet_file=str(root.parent / "sheet.png"))
    out = capsys.readouterr().out
    # Two images of nine are for tests, in four tiles each. Colours are ben's labels.
    assert "8 images of test, compared at 24 x 32:" in out
    assert "pixel accuracy by rater ben: 1.000" in out
    assert "pixel accuracy by rater anna: 0." in out
    assert "no sign of a misunderstanding" in out
    assert (root.parent / "sheet.png").is_file()
    kept = list((root.parent / "cache" / "blackbox").rglob("*.npz"))
    leaves.load(
        root,
        "blackbox.path=box_by_red:segment",
        *("blackbox.kind=live", "calibration_net.kind=blackbox_calibrator"),
    )
    # Training predicts its other images alone: 36 tiles in all.
    found = {*kept, *(root.parent / "cache" / "blackbox").rglob("*.npz")}
    assert len(found) - len(kept) == 28
