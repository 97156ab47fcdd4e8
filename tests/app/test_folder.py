"""A queue of images on the page's machine, and the folder that masks are saved to."""

import concurrent.futures
import io
import json
import time

import app_double
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the proposal page is optional: no FastAPI")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")
from fastapi import testclient  # noqa: E402

from car_tf.app import folder, server
from car_tf.app import session as app_session  # noqa: E402
from car_tf.data import io as data_io  # noqa: E402
from car_tf.data.folders import check, description, files  # noqa: E402
from car_tf.predict import predictor  # noqa: E402

png = app_double.png
LABELS = app_double.LABELS


@pytest.fixture
def images(tmp_path):
    """Three images, in a data set whose masks are none, with a bad one among them."""
    for name in ("images/a.png", "images/c/d.jpg", "masks/anna/z.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(io.BytesIO(png())).save(tmp_path / name)
    (tmp_path / "images/b.png").write_bytes(b"no image")
    (tmp_path / "images/notes.txt").write_bytes(b"text")
    return tmp_path


def serve(images, output):
    options = predictor.Options(num_samples=8, seed=3)
    session = app_session.Session(app_double.Predictor(), options)
    queue = folder.Folder([str(images)], str(output), LABELS)
    return testclient.TestClient(server.build(session, "127.0.0.1", queue))


def post(client, path, content=b""):
    kind = {"Content-Type": "application/octet-stream"}
    return client.post(path, content=content, headers=kind)


def test_a_queue_is_worked_through_and_can_be_trained_on(images, tmp_path):
    output = tmp_path / "labelled"
    client = serve(images, output)
    waiting = client.get("/queue?rater=anna").json()
    assert [one["stem"] for one in waiting] == ["a", "b", "d"]
    assert "b.png: not a readable" in post(client, "/queue/b").json()["error"]
    assert "no such image" in post(client, "/queue/z").json()["error"]
    found = post(client, "/queue/d").json()
    saved = f"/images/{found['key']}/saved?rater=anna"
    assert client.get(saved).status_code == 204
    ids = np.zeros([40, 50], np.uint8)
    ids[3, 4], ids[5, 6] = 1, 255
    path = f"/images/{found['key']}/save?rater=anna"
    told = post(client, path, ids.tobytes()).json()
    file = told["file"]
    assert file == str(output / "masks/anna/d.png")
    np.testing.assert_array_equal(data_io.read_ids(output / "masks/anna/d.png"), ids)
    # The image as it is, so that both can be trained on.
    given = (images / "images/c/d.jpg").read_bytes()
    assert (output / "images/d.jpg").read_bytes() == given
    waiting = client.get("/queue?rater=anna").json()
    assert [one["saved"] for one in waiting] == [False, False, True]
    assert not any(one["saved"] for one in client.get("/queue?rater=bo").json())
    # The rater goes on from there; another one does not.
    assert client.get(saved).content == ids.tobytes()
    assert client.get(saved).headers["Saved-Version"] == told["version"] != ""
    assert client.get(saved.replace("anna", "bo")).status_code == 204
    post(client, path.replace("anna", "bo"), ids.tobytes())
    told = description.read(output)
    (example,), problems = files.find(output, told)
    counts = check.read_one(example, told).rater_counts[:, [0, 1, 255]]
    assert problems == [] and counts.tolist() == [[1998, 1, 1]] * 2
    assert [rater.name for rater in told.raters] == ["anna", "bo"]


def test_a_mask_that_the_page_did_not_show_is_not_replaced(images, tmp_path):
    client = serve(images, tmp_path / "out")
    path = f"/images/{post(client, '/queue/a').json()['key']}/save?rater=anna"
    first = post(client, path, bytes(2000)).json()["version"]
    answer = post(client, path, bytes([1] * 2000))
    assert answer.status_code == 409 and answer.json() == {
        "error": "anna has saved another mask of a.png already.",
        "version": first,
    }
    assert not data_io.read_ids(tmp_path / "out/masks/anna/a.png").any()
    answer = post(client, f"{path}&base={first}", bytes([1] * 2000))
    assert answer.status_code == 200 and answer.json()["version"] != first
    assert data_io.read_ids(tmp_path / "out/masks/anna/a.png").all()


def test_of_two_masks_that_are_saved_at_once_one_is_kept(images, tmp_path, monkeypatch):
    client, save = serve(images, tmp_path / "out"), folder.Folder.save
    path = f"/images/{post(client, '/queue/a').json()['key']}/save?rater=anna"

    def slowly(*arguments):
        time.sleep(0.3)
        return save(*arguments)

    monkeypatch.setattr(folder.Folder, "save", slowly)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        masks = bytes(2000), bytes([1] * 2000)
        answers = list(pool.map(lambda ids: post(client, path, ids), masks))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


@pytest.mark.parametrize("rater", ["", "..", "a/b", ".a", "a" * 65])
def test_a_rater_s_name_is_that_of_a_folder(images, tmp_path, rater):
    client = serve(images, tmp_path / "out")
    key = post(client, "/queue/a").json()["key"]
    answer = client.post(
        f"/images/{key}/save",
        params={"rater": rater},
        content=bytes(2000),
        headers={"Content-Type": "application/octet-stream"},
    )
    words = answer.json()["error"]
    assert "is that of a folder" in words
    if rater:  # At the start, too.
        with pytest.raises(data_io.DataError, match=f"--rater {rater}: {words}"):
            folder.Folder([], "", LABELS, rater)
    assert not (tmp_path / "out").exists()


def test_without_a_folder_nothing_is_saved(images):
    client = serve(images, "")
    key = post(client, "/queue/a").json()["key"]
    answer = post(client, f"/images/{key}/save?rater=anna", bytes(2000))
    assert "start with --output" in answer.json()["error"]


def test_a_disk_without_room_is_said(images, tmp_path):
    (tmp_path / "out").write_text("a file, where a folder should be")
    client = serve(images, tmp_path / "out")
    key = post(client, "/queue/a").json()["key"]
    answer = post(client, f"/images/{key}/save?rater=anna", bytes(2000))
    assert answer.json()["error"].endswith("not saved (Not a directory).")


def test_masks_of_twins_hold_the_original_s_label_id(tmp_path):
    classes = [
        {"id": i, "name": name, "color": [i, i, i]}
        for i, name in enumerate(("road", "car", "car2"))
    ]
    labels = {**LABELS, "classes": classes, "flips": [{"original": 1, "flipped": 2}]}
    masks = folder.Folder([], str(tmp_path), labels)
    labelled = np.array([[0, 1, 2, 255]], np.uint8)
    file = masks.save("anna", "a", labelled, lambda: (".png", png()))
    # Cityscapes' label ids of road and car.
    assert data_io.read_ids(file).tolist() == [[7, 26, 26, 255]]
    assert masks.load("anna", "a").tolist() == [[0, 1, 1, 255]]
    told = description.read(tmp_path)
    assert [entry.values for entry in told.classes] == [(7,), (26,)]


def test_masks_hold_the_values_of_the_folder_they_are_added_to(tmp_path):
    masks = folder.Folder([], str(tmp_path), LABELS)
    masks.save("anna", "a", np.eye(3, dtype=np.uint8), lambda: (".png", png()))
    path = tmp_path / description.FILE
    content = json.loads(path.read_text())
    content["classes"][1]["values"], content["ignore"] = [200], [9]
    path.write_text(json.dumps(content))
    again = folder.Folder([], str(tmp_path), LABELS)
    labelled = np.array([[0, 1, 255]], np.uint8)
    file = again.save("anna", "a", labelled, lambda: (".png", png()))
    assert data_io.read_ids(file).tolist() == [[0, 200, 9]]
    assert again.load("anna", "a").tolist() == labelled.tolist()
    content["classes"][1]["name"] = "nodule"
    path.write_text(json.dumps(content))
    with pytest.raises(data_io.DataError, match="model's class lesion, got no such"):
        folder.Folder([], str(tmp_path), LABELS)


def test_images_whose_masks_would_have_one_name_are_refused(images):
    (images / "images/d.png").write_bytes(png())
    with pytest.raises(data_io.DataError, match="one image named d"):
        folder.Folder([str(images)], "", LABELS)
    with pytest.raises(data_io.DataError, match="wanted images, found none"):
        folder.Folder([str(images / "absent")], "", LABELS)


def test_a_slice_of_a_scan_is_labelled_through_a_window(tmp_path):
    values = np.linspace(0, 60_000, 2000).astype(np.uint16).reshape(40, 50)
    (tmp_path / "in").mkdir()
    Image.fromarray(values).save(tmp_path / "in/ct.png")
    client = serve(tmp_path / "in", tmp_path / "out")
    found = post(client, "/queue/ct").json()
    assert found["scan"] == {
        **{"index": 0, "count": 1},
        **{"window": [0, 60_000], "range": [0, 60_000]},
    }
    found = post(client, "/queue/ct?low=0&high=30000").json()
    assert found["scan"]["window"] == [0, 30_000]
    answer = client.get(f"/images/{found['key']}/image.jpg?low=0&high=120000")
    seen = Image.open(io.BytesIO(answer.content))
    assert seen.getextrema()[1] == pytest.approx(128, abs=3)
    # What is trained on is what the model saw: the upper half is white.
    post(client, f"/images/{found['key']}/save?rater=anna", bytes(2000))
    trained_on = np.asarray(
        data_io.read_png(tmp_path / "out/images/ct.png", mode="RGB")
    )
    assert (trained_on[20:] == 255).all() and trained_on[0, 0].tolist() == [0, 0, 0]
