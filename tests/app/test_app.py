"""The proposal page's server, without a browser."""

import concurrent.futures
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time

import app_double
import exported
import job
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the proposal page is optional: no FastAPI")
pytest.importorskip("httpx", reason="FastAPI's test client needs httpx")
from fastapi import testclient  # noqa: E402

from car_tf.app import inputs, server, views
from car_tf.app import session as app_session  # noqa: E402
from car_tf.data import cityscapes  # noqa: E402
from car_tf.data import io as data_io  # noqa: E402
from car_tf.predict import predictor as predict_predictor  # noqa: E402

SIZE, BOTH, png = app_double.SIZE, app_double.BOTH, app_double.png


def serve(predictor, **arguments):
    options = arguments.pop("options", predict_predictor.Options(num_samples=8, seed=3))
    session = app_session.Session(predictor, options, **arguments)
    return testclient.TestClient(server.build(session, "127.0.0.1"))


@pytest.fixture
def predictor():
    return app_double.Predictor()


@pytest.fixture
def client(predictor):
    return serve(predictor)


def post(client, path, content=b""):
    kind = {"Content-Type": "application/octet-stream"}
    return client.post(path, content=content, headers=kind)


def error_of(answer, status=400):
    assert answer.status_code == status
    return answer.json()["error"]


def opened(answer):
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_an_image_gets_groups_regions_and_statistics(client):
    found = post(client, "/images?name=a.png", png()).json()
    assert [group["share"] for group in found["groups"]] == [0.5, 0.25, 0.25]
    # The last one has the right lesion, too; the second has it instead.
    words = [group["words"] for group in found["groups"]]
    assert words[0] == "" and words[2] == "lesion for background"
    assert set(words[1].split(", ")) == {
        "lesion for background",
        "background for lesion",
    }
    assert len(found["regions"]) == 2 and found["num_samples"] == 8
    assert (found["own_size"], found["working_size"]) == ([40, 50], [SIZE, SIZE])
    assert found["max_entropy_bits"] == pytest.approx(1.0)
    lesion = found["classes"][1]
    # 128, 128, 128 and 256 of 1024 pixels.
    assert lesion["mean_area"] == pytest.approx(0.15625)
    assert (lesion["min_area"], lesion["max_area"]) == (0.125, 0.25)
    assert lesion["num_samples_with_it"] == 8
    assert lesion["shown_color"] == [255, 140, 0]


def test_more_proposals_do_not_need_the_encoder(client, predictor):
    key = post(client, "/images", png()).json()["key"]
    assert post(client, f"/images/{key}/more").json()["num_samples"] == 18
    assert predictor.num_encoded == 1 and predictor.seeds == [(3, 0), (3, 8)]
    for _ in range(8):
        found = post(client, f"/images/{key}/more").json()
    assert found["num_samples"] == 98 and found["is_full"]
    assert "98 proposals" in error_of(post(client, f"/images/{key}/more"))


def test_labels_are_saved_in_every_format_at_the_size_of_the_image(client, monkeypatch):
    # Shown and labelled at 32 x 48 = 1536 pixels.
    monkeypatch.setattr(app_session, "MAX_MAP_PIXELS", 1600)
    found = post(client, "/images?name=a%20b.png", png(64, 96)).json()
    assert (found["own_size"], found["map_size"]) == ([64, 96], [32, 48])
    ids = np.zeros([32, 48], np.uint8)
    ids[4:10, 20:40] = 1
    ids[0, 0] = 255

    def get(kind):
        answer = post(client, f"/images/{found['key']}/files/{kind}", ids.tobytes())
        assert answer.status_code == 200
        assert f'filename="a_b{kind}"' in answer.headers["Content-Disposition"]
        return answer.content

    large = ids.repeat(2, 0).repeat(2, 1)
    for kind in ("_classIds.png", "_labelIds.png"):
        got = np.asarray(Image.open(io.BytesIO(get(kind))))
        np.testing.assert_array_equal(got, large)
    colors = np.asarray(Image.open(io.BytesIO(get("_color.png"))))
    want = np.where(large == 1, 255, 0)[..., None].repeat(3, 2)
    np.testing.assert_array_equal(colors, want)
    lesion = json.loads(get("_coco.json"))["annotations"][1]
    assert lesion["area"] == 4 * 6 * 20
    path = f"/images/{found['key']}/files/_polygons.json"
    words = error_of(post(client, path, ids.tobytes()))
    assert words == "This model has other classes than Cityscapes."
    for content in (ids.tobytes()[1:], np.full(32 * 48, 2, np.uint8).tobytes()):
        path = f"/images/{found['key']}/files/_color.png"
        assert "do not belong to the image" in error_of(post(client, path, content))


def test_proposals_and_regions_come_as_the_page_mixes_them(client):
    found = post(client, "/images", png(64, 64)).json()
    key = found["key"]

    def get(path):
        answer = client.get(f"/images/{key}/{path}")
        assert "immutable" in answer.headers["Cache-Control"]
        return np.frombuffer(answer.content, np.uint8).reshape(64, 64)

    large = lambda ids: ids.repeat(2, 0).repeat(2, 1)  # noqa: E731
    np.testing.assert_array_equal(get("proposals/3"), large(BOTH))
    # The right lesion's outline, "Mx,y ...", begins right of the middle.
    (right,) = [
        one for one in found["regions"] if float(one["path"][1:].split(",")[0]) > 16
    ]
    assert right["words"] == "background or lesion"
    assert [variant["share"] for variant in right["variants"]] == [0.5, 0.5]
    inside = get(f"regions/{right['number']}")
    np.testing.assert_array_equal(inside, large(app_double.RIGHT))


def test_pictures_show_the_image(client):
    found = post(client, "/images", png()).json()
    key = found["key"]
    assert opened(client.get(f"/images/{key}/image.jpg")).size == (50, 40)
    assert opened(client.get(f"/images/{key}/entropy.png")).size == (SIZE, SIZE)
    whole = opened(client.get(f"/images/{key}/thumb.jpg?proposal=2"))
    assert whole.size == (320, 256)
    # On 320 x 256 of 32 x 32, the right lesion begins at 200 and is orange.
    right, left = (np.asarray(whole)[128, x].astype(int) for x in (240, 80))
    assert right[0] - right[2] > 100 and abs(left[0] - left[2]) < 10
    near = opened(client.get(f"/images/{key}/thumb.jpg?proposal=0&region=0"))
    assert near.size == (320, 256)


def test_what_is_cut_out_around_a_region_by_hand():
    inside = np.zeros(100, bool)
    # 10 pixels and 35 % of them on both sides are less than a quarter of the image.
    inside[40:50] = True
    assert views._around(inside) == (32, 57)
    inside[:50] = True  # 50 and 2 x 17.5: at the left there is no room.
    assert views._around(inside) == (0, 85)
    inside[:] = True
    assert views._around(inside) == (0, 100)


def test_regions_keep_their_numbers_when_there_are_further_proposals(client):
    found = post(client, "/images", png()).json()
    key, numbers = found["key"], [one["number"] for one in found["regions"]]
    assert numbers == [0, 1]
    paths = [f"/images/{key}/regions/{number}" for number in numbers]
    before = [client.get(path).content for path in paths]
    more = post(client, f"/images/{key}/more").json()
    assert [one["number"] for one in more["regions"]] == [2, 3]
    assert [client.get(path).content for path in paths] == before


def test_what_cannot_be_done_is_said_in_a_sentence(client, monkeypatch):
    assert error_of(post(client, "/images?name=x.png", b"no image")).startswith(
        "x.png: not a readable image"
    )
    assert "not a readable image" in error_of(post(client, "/images", png()[:60]))
    monkeypatch.setattr(server, "MAX_BYTES", 1000)
    assert "larger than" in error_of(post(client, "/images", b"x" * 1001))
    monkeypatch.undo()
    monkeypatch.setattr(data_io, "MAX_PIXELS", 1999)
    assert "got 50 x 40" in error_of(post(client, "/images", png()))
    monkeypatch.undo()
    key = post(client, "/images", png()).json()["key"]
    for path in ("proposals/8", "regions/9", "thumb.jpg?proposal=8"):
        assert "no such" in error_of(client.get(f"/images/{key}/{path}"))
    path = f"/images/{key}/thumb.jpg?proposal=0&region=7"
    assert "no such region" in error_of(client.get(path))
    path = f"/images/{key}/image.jpg?low=3&high=3"
    assert "lower to a higher" in error_of(client.get(path))
    path = f"/images/{key}/files/mix.exe"
    assert "no such format" in error_of(post(client, path))
    assert "open it again" in error_of(client.get("/images/absent/image.jpg"), 410)
    assert "no such example" in error_of(client.get("/examples/0.jpg"))


def test_other_kinds_of_files_are_not_even_tried(client):
    # Pillow starts Ghostscript for these.
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    assert "not a readable image" in error_of(post(client, "/images", postscript))


def test_a_telephone_s_picture_is_turned(client):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    content = io.BytesIO()
    Image.new("RGB", (50, 40)).save(content, "JPEG", exif=exif)
    found = post(client, "/images?name=a.jpg", content.getvalue()).json()
    assert found["own_size"] == [50, 40]


def test_the_oldest_images_are_forgotten(client):
    keys = [post(client, "/images", png()).json()["key"] for _ in range(9)]
    assert client.get(f"/images/{keys[0]}/image.jpg").status_code == 410
    assert client.get(f"/images/{keys[1]}/image.jpg").status_code == 200


def test_other_sites_cannot_reach_the_page(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    for path in ("/images", "/images/x/more", "/examples/0"):
        answer = client.post(
            path, content=png(), headers={"Content-Type": "text/plain"}
        )
        assert "Use the page" in error_of(answer)


def test_the_page_holds_the_model_and_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "CT &lt;crops&gt;" in page.text and "$" not in page.text
    names = {path.name for path in server._PAGE.iterdir()} - {"index.html"}
    parts = [client.get(f"/page/{name}") for name in names]
    assert len(parts) > 5 and {part.status_code for part in parts} == {200}
    for text in (page.text, *(part.text for part in parts)):
        addresses = re.findall(r"""["'(=]((?:https?:)?//[^\s"')]+)""", text)
        assert addresses in ([], ["http://www.w3.org/2000/svg"])


def test_what_took_how_long_is_said(predictor):
    said = []
    client = serve(predictor, log=said.append)
    # What a terminal would take for a command is not printed.
    key = post(client, "/images?name=%1ba.png", png()).json()["key"]
    post(client, f"/images/{key}/more")
    time = r"in \d+\.\d\d s"
    assert re.fullmatch(
        rf"\?a.png, 32 x 32: opened {time}, encoded {time}, 8 proposals drawn {time}, "
        f"grouped {time}",
        said[0],
    )
    assert re.fullmatch(
        rf"\?a.png, 32 x 32: 10 proposals more drawn {time}, grouped {time}", said[1]
    )


# With a model that works on a black box


@pytest.fixture(scope="module")
def street_predictor():
    return predict_predictor.Predictor(exported.version())


def test_a_map_comes_with_the_image(street_predictor):
    client = serve(
        street_predictor, options=predict_predictor.Options(num_samples=4, seed=5)
    )
    assert client.get("/model").json()["needs_map"]
    image = png(70, 90)
    words = error_of(post(client, "/images?name=a.png", image))
    assert words == (
        "This model works on top of a segmenter: give the map of classes that it draws "
        "for a.png, too, or start with --blackbox."
    )
    ids = exported.labels(1, 70, 90)[0] % 19
    stream = io.BytesIO()
    Image.fromarray(ids).save(stream, "PNG")
    path = f"/images?name=a.png&map_name=b.png&image_bytes={len(image)}"
    found = post(client, path, image + stream.getvalue()).json()
    assert found["working_size"] == list(exported.SIZE)
    model = client.get("/model").json()
    assert [model["classes"][k]["label_id"] for k in (0, 13, 21)] == [7, 26, 26]
    key = found["key"]
    chosen = client.get(f"/images/{key}/proposals/0").content
    label_ids, got = (
        opened(post(client, f"/images/{key}/files/{kind}", chosen))
        for kind in ("_labelIds.png", "_classIds.png")
    )
    # What the model itself gives for the image and the map at the trained size.
    size = (exported.SIZE[1], exported.SIZE[0])
    resized = Image.open(io.BytesIO(image)).resize(size, Image.Resampling.BILINEAR)
    small = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
    samples, _ = street_predictor.sample(
        np.asarray(resized), np.asarray(small), num_samples=4, seed=(5, 0)
    )
    want = Image.fromarray(samples[0]).resize((90, 70), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(got, want)
    # The twins 19 to 23 have the label ids of 1, 11, 13, 8 and 0.
    train_ids = np.array([*range(19), 1, 11, 13, 8, 0])[np.asarray(got)]
    read = cityscapes.label_id_table()[np.asarray(label_ids)]
    np.testing.assert_array_equal(read, train_ids)
    words = error_of(post(client, path, image + b"no map"))
    assert "b.png" in words and "not a readable image" in words and "/" not in words


def test_the_training_s_folder_of_maps_is_not_asked_for_new_images(
    street_predictor, tmp_path, monkeypatch
):
    config = {**street_predictor.labels["config"]}
    config["blackbox"] = {**config["blackbox"], "path": str(tmp_path)}
    labels = {**street_predictor.labels, "config": config}
    monkeypatch.setattr(street_predictor, "labels", labels)
    client = serve(street_predictor, options=predict_predictor.Options(num_samples=4))
    assert client.get("/model").json()["needs_map"]


def test_maps_are_found_in_a_folder(street_predictor, tmp_path):
    Image.fromarray(exported.labels(1, 70, 90)[0] % 19).save(tmp_path / "a.png")
    options = predict_predictor.Options(num_samples=4, blackbox=str(tmp_path))
    client = serve(street_predictor, options=options)
    assert not client.get("/model").json()["needs_map"]
    found = post(client, "/images?name=a.jpg", png(70, 90))
    assert found.status_code == 200
    words = error_of(post(client, "/images?name=b.jpg", png(70, 90)))
    assert "prediction of b" in words


def test_a_black_box_that_is_not_needed_is_refused(predictor):
    options = predict_predictor.Options(blackbox="model")
    with pytest.raises(data_io.DataError, match="needs none"):
        app_session.Session(predictor, options)


def test_examples_are_drawn_when_they_are_asked_for(street_predictor):
    calls = []

    def draw():
        calls.append(1)
        return inputs.draw_examples(exported.config())

    client = serve(street_predictor, draw_examples=draw)
    assert client.get("/").status_code == 200 and not calls
    names = client.get("/examples").json()
    assert len(names) == 4
    assert opened(client.get("/examples/1.jpg")).size == exported.SIZE[::-1]
    found = post(client, "/examples/1").json()
    assert found["name"] == names[1] and found["num_samples"] == 8
    assert len(calls) == 1


def test_warming_up_asks_for_what_the_model_takes(street_predictor, predictor):
    for each in (street_predictor, predictor):
        app_session.Session(each, predict_predictor.Options()).warm_up()


@pytest.mark.parametrize(
    "host, code",
    [
        ("[::1]:8765", 200),
        ("LOCALHOST:8765", 200),
        ("127.0.0.1", 200),
        ("evil.example", 400),
        ("[::1", 400),
        ("localhost.evil.example:8765", 400),
    ],
)
def test_this_machine_s_names_alone_are_answered(client, host, code):
    assert client.get("/page/page.css", headers={"Host": host}).status_code == code


def test_one_upload_at_a_time_is_opened(predictor, monkeypatch):
    options = predict_predictor.Options(num_samples=8, seed=3)
    session = app_session.Session(predictor, options, log=lambda words: None)
    whole, turn = session.reader.read, threading.Lock()

    def read(upload):
        assert turn.acquire(blocking=False), "two are open at once"
        time.sleep(0.2)
        turn.release()
        return whole(upload)

    monkeypatch.setattr(session.reader, "read", read)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        uploads = [inputs.Upload("a.png", png())] * 3
        assert len(list(pool.map(session.open, uploads))) == 3


def test_uploads_that_wait_are_bounded(client, monkeypatch):
    monkeypatch.setattr(server, "MAX_UPLOADS", 0)
    assert "wait for the others" in error_of(post(client, "/images", png()))
    monkeypatch.undo()
    monkeypatch.setattr(server, "MAX_UPLOADS", 1)
    for _ in range(2):
        assert "not a readable" in error_of(post(client, "/images", b"no image"))


def test_an_aborted_upload_is_nothing_to_tell(client, caplog):
    uvicorn = pytest.importorskip("uvicorn")
    running = uvicorn.Server(uvicorn.Config(client.app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            lines = "POST /images HTTP/1.1", "Host: localhost", "Content-Length: 999"
            lines += "Content-Type: application/octet-stream", "", "x"
            with socket.create_connection(listening.getsockname()) as connection:
                connection.sendall("\r\n".join(lines).encode())
                time.sleep(0.5)
            time.sleep(0.5)
        finally:
            running.should_exit = True
            thread.join()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# The command


def test_the_command_says_what_is_missing(tmp_path):
    for arguments, words in (
        ([], "one of --workdir and --saved_model"),
        (["--workdir", tmp_path], "config.json"),
        (["--saved_model", tmp_path], str(tmp_path)),
        (["--host", "192.0.2.1", "--saved_model", tmp_path], "--host 192.0.2.1"),
    ):
        done = job.run("--port", 0, *arguments, module="car_tf.app")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ") and words in done.stderr


def test_help_needs_no_tensorflow():
    code = "import sys, car_tf.app; sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=job.CHECKOUT)
    assert done.returncode == 0


def test_the_command_serves_the_page():
    command = [sys.executable, "-m", "car_tf.app", "--port", "0"]
    process = subprocess.Popen(
        [*command, "--saved_model", str(exported.version())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=job.environment(),
    )
    try:
        lines = iter(process.stdout.readline, "")
        said = []
        while not (said and said[-1].startswith("open http")):
            said.append(next(lines))
        assert any("photographs need --blackbox MODEL" in line for line in said)
        line = said[-1]
        address = line.split()[1]
        assert address.startswith("http://127.0.0.1:")
        import httpx

        assert "Segmentation proposals" in httpx.get(address).text
    finally:
        process.terminate()
        process.wait(timeout=20)
