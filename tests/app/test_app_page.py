"""The proposal page in a real browser, without a window."""

import contextlib
import shutil
import socket
import threading
import time

import app_double
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the proposal page is optional: no FastAPI")
uvicorn = pytest.importorskip(
    "uvicorn", reason="the proposal page is optional: no uvicorn"
)
sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright here")

from car_tf.app import folder as app_folder
from car_tf.app import server as app_server
from car_tf.app import session as app_session
from car_tf.predict import predictor  # noqa: E402

SIZE, png = app_double.SIZE, app_double.png
# Milliseconds: the machine may be busy.
WAIT = 30_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# WCAG 2.1 AA, measured on the page as it is drawn: every element with a text of its own
# against the nearest ground that is painted.
CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const ratio = (one, other) => {
    const light = color => {
      const [r, g, b] = color.slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = node => {
    for (; node; node = node.parentElement) {
      const color = parse(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || node.disabled || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    found.push([node.textContent.trim().slice(0, 40), parseFloat(style.fontSize),
      ratio(parse(style.color), ground(node))]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here: looked for {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(images=(), output=""):
    options = predictor.Options(num_samples=8, seed=3)
    session = app_session.Session(app_double.Predictor(), options)
    folder = app_folder.Folder(images, output, session.labels)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = app_server.build(session, "127.0.0.1", folder)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        run = threading.Thread(target=server.run, args=([listening],), daemon=True)
        run.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        run.join()


@pytest.fixture(scope="module")
def address():
    with serving() as address:
        yield address


@pytest.fixture
def open_page(address, browser):
    """Opens the page; what went wrong in it fails the test."""
    contexts, failures = [], []

    def opened(width=1280, height=900, address=address, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert failures == []


def drop(page, *contents, name="a.png"):
    """Drops one file of a name, or several: 0-a.png, 1-a.png and so on."""
    names = [name] if len(contents) == 1 else [f"{i}-{name}" for i in range(9)]
    files = [
        {"name": one, "mimeType": "image/png", "buffer": content}
        for one, content in zip(names, contents)
    ]
    page.set_input_files("#image-file", files)


def wait_for_words(page, where, words):
    sync_api.expect(page.locator(where)).to_contain_text(words, timeout=WAIT)


def wait_for_exactly(page, where, words):
    sync_api.expect(page.locator(where)).to_have_text(words, timeout=WAIT)


def use(page, tool):
    page.locator(f"label:has(input[value={tool}])").click()


def point(page, x, y):
    """Where a place of the image, in shares of it, is in the window."""
    box = page.locator("#layers").bounding_box()
    return box["x"] + box["width"] * x, box["y"] + box["height"] * y


def shown_ids(page):
    """The labels as the page has them."""
    ids = page.evaluate("import('/page/labels.js').then(one => [...one.labels.ids])")
    return np.reshape(ids, (SIZE, SIZE))


def test_the_main_path(open_page):
    page = open_page()
    drop(page, png(SIZE, SIZE))
    page.wait_for_selector(".group")
    shares = page.locator(".group b").all_inner_texts()
    assert shares == ["50 %", "25 %", "25 %"]
    assert page.inner_text("#count") == "8 proposals"
    # By keyboard: the arrow goes on from the first group's typical proposal.
    page.focus("input[name=proposal]:checked")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    wait_for_exactly(page, "#chosen", "proposal 3")
    assert page.evaluate("document.activeElement.value") == "2"
    # A click on the left lesion's place: take what most proposals have there.
    page.mouse.click(*point(page, 8 / SIZE, 0.5))
    page.wait_for_selector("#variants input")
    labels = page.locator("#variants small").all_inner_texts()
    assert labels == ["lesion, 75 %", "background, 25 %"]
    page.focus("#variants input:checked")
    page.keyboard.press("ArrowLeft")  # from the second, which is chosen, to the first
    wait_for_exactly(page, "#chosen", "proposal 3, 1 region changed")
    with page.expect_download() as download:
        page.get_by_text("PNG, label ids").click()
    assert download.value.suggested_filename == "a_labelIds.png"
    ids = np.asarray(Image.open(download.value.path()))
    np.testing.assert_array_equal(ids, app_double.BOTH)
    # What was changed stays when more are drawn, and can be undone.
    page.click("#more")
    wait_for_words(page, "#count", "18 proposals")
    assert page.inner_text("#chosen") == "proposal 3, 1 region changed"
    page.click("#undo")
    wait_for_exactly(page, "#chosen", "proposal 3")
    np.testing.assert_array_equal(shown_ids(page), app_double.RIGHT)
    page.click("#redo")
    wait_for_exactly(page, "#chosen", "proposal 3, 1 region changed")
    np.testing.assert_array_equal(shown_ids(page), app_double.BOTH)
    assert page.inner_text("#classes tr:last-child").split()[:2] == ["lesion", "18"]


def test_brush_polygon_and_relabel(open_page):
    page = open_page()
    drop(page, png(SIZE, SIZE))
    page.wait_for_selector(".group")
    wait_for_exactly(page, "#chosen", "proposal 1")
    use(page, "brush")
    page.fill("#brush", "1")
    # One pixel wide: of row 2, from column 16 to 30.
    page.mouse.move(*point(page, 16.5 / SIZE, 2.5 / SIZE))
    page.mouse.down()
    page.mouse.move(*point(page, 30.5 / SIZE, 2.5 / SIZE), steps=4)
    page.mouse.up()
    want = app_double.LEFT.copy()
    want[2, 16:31] = 1
    wait_for_exactly(page, "#chosen", "proposal 1, 1 correction by hand")
    np.testing.assert_array_equal(shown_ids(page), want)
    # Not labelled: a rectangle of columns 20 to 23 and rows 10 to 27.
    page.locator("label:has(input[name=class][value='255'])").click()
    use(page, "polygon")
    for x, y in ((20, 10), (24, 10), (24, 28), (20, 28)):
        page.mouse.click(*point(page, x / SIZE, y / SIZE))
    page.focus("#stage")
    page.keyboard.press("Enter")
    polygon = want.copy()
    polygon[10:28, 20:24] = 255
    wait_for_words(page, "#chosen", "2 corrections")
    np.testing.assert_array_equal(shown_ids(page), polygon)
    # The lesion that the model proposed is none; the stroke stays.
    page.locator("label:has(input[name=class][value='0'])").click()
    use(page, "relabel")
    page.mouse.click(*point(page, 8 / SIZE, 0.5))
    relabelled = polygon.copy()
    relabelled[app_double.LEFT == 1] = 0
    wait_for_words(page, "#chosen", "3 corrections")
    np.testing.assert_array_equal(shown_ids(page), relabelled)
    for keys, ids in (
        ("Control+z", polygon),
        ("Control+z", want),
        ("Control+z", app_double.LEFT),
        ("Control+y", want),
        ("Control+Shift+Z", polygon),
    ):
        page.keyboard.press(keys)
        np.testing.assert_array_equal(shown_ids(page), ids)
    # Another correction, and what was undone is gone: the keyboard's cursor begins in
    # the middle, and goes to the right by Shift and an arrow.
    use(page, "brush")
    page.locator("label:has(input[name=class][value='1'])").click()
    page.focus("#stage")
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "Space"):
        page.keyboard.press(key)
    wait_for_words(page, "#chosen", "3 corrections")
    polygon[16, 18] = 1
    np.testing.assert_array_equal(shown_ids(page), polygon)
    assert page.is_disabled("#redo")


def test_a_finger_paints_on_a_phone(open_page):
    page = open_page(width=390, height=800, has_touch=True, is_mobile=True)
    drop(page, png(SIZE, SIZE))
    page.wait_for_selector(".group")
    use(page, "brush")
    page.fill("#brush", "1")
    page.locator("#stage").scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    devtools = page.context.new_cdp_session(page)
    # Down a column, as a finger that scrolls would go.
    for kind, rows in (("touchStart", (6,)), ("touchMove", range(8, 21, 2))):
        for row in rows:
            x, y = point(page, 20.5 / SIZE, (row + 0.5) / SIZE)
            touch = {"type": kind, "touchPoints": [{"x": x, "y": y}]}
            devtools.send("Input.dispatchTouchEvent", touch)
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for_words(page, "#chosen", "1 correction by hand")
    want = app_double.LEFT.copy()
    want[6:21, 20] = 1
    np.testing.assert_array_equal(shown_ids(page), want)
    assert page.evaluate("scrollY") == scrolled


def test_the_picture_is_zoomed_and_moved(open_page):
    page = open_page()
    drop(page, png(SIZE, SIZE))
    page.wait_for_selector(".group")
    stage = page.locator("#stage").bounding_box()
    page.mouse.move(*point(page, 0.25, 0.5))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)  # e times as large, about the pointer
    page.keyboard.up("Control")
    wait_for_exactly(page, "#zoom-words", "272 %")
    layers = page.locator("#layers").bounding_box()
    assert layers["width"] == pytest.approx(np.e * stage["width"], rel=0.01)
    still = stage["x"] + stage["width"] / 4
    assert point(page, 0.25, 0.5)[0] == pytest.approx(still, abs=2)
    # A drag moves it and chooses nothing.
    page.mouse.down()
    page.mouse.move(still - 50, stage["y"] + stage["height"] / 2, steps=3)
    page.mouse.up()
    assert point(page, 0.25, 0.5)[0] == pytest.approx(still - 50, abs=2)
    assert page.locator("#variants input").count() == 0
    # A brush paints where it is seen.
    use(page, "brush")
    page.fill("#brush", "1")
    page.mouse.click(*point(page, 14.5 / SIZE, 12.5 / SIZE))
    want = app_double.LEFT.copy()
    want[12, 14] = 1
    wait_for_words(page, "#chosen", "1 correction")
    np.testing.assert_array_equal(shown_ids(page), want)
    page.keyboard.press("0")
    wait_for_exactly(page, "#zoom-words", "100 %")


def test_a_queue_of_five(open_page, tmp_path):
    page = open_page()
    shades = [png(SIZE, SIZE), png(), b"no image", png(20, 30), png(30, 20)]
    drop(page, *shades)
    wait_for_words(page, "#queue-words", "1 of 5")
    page.wait_for_selector(".group")
    # "Not labelled" is not painted with on the next one unless it is chosen again, and
    # the next one is seen from its top.
    page.locator("label:has(input[name=class][value='255'])").click()
    scroll = "document.querySelector('.left').scrollTop"
    page.set_viewport_size({"width": 1280, "height": 760})
    assert page.evaluate(f"{scroll} = 90") == 90 == page.evaluate(scroll)
    page.click("#next")
    wait_for_words(page, "#name", "1-a.png")
    assert page.is_checked("input[name=class][value='1']")
    assert page.evaluate(scroll) == 0
    # Of the one before nothing is left, whatever comes of this one.
    page.keyboard.press("n")
    wait_for_words(page, "#error", "2-a.png: not a readable image")
    assert page.is_hidden("#work") and page.is_disabled("#save")
    assert "✗ 2-a.png" in page.inner_text("#queue-list")
    wait_for_words(page, "#error", "Go on with the next one: N.")
    page.keyboard.press("n")
    wait_for_words(page, "#name", "3-a.png")
    page.select_option("#queue-list", label="4-a.png")
    wait_for_words(page, "#name", "4-a.png")
    assert page.inner_text("#error") == "" and page.is_visible("#work")
    assert page.is_disabled("#next")


DROP_FOLDER = """async ([folder, contents]) => {
  const fileOf = name => ({isFile: true, name, file: done =>
    done(new File([new Uint8Array(contents[name])], name))});
  const folderOf = (name, inside) => ({isDirectory: true, name, createReader: () => {
    const parts = [inside.slice(0, 1), inside.slice(1), []];
    return {readEntries: done => done(parts.shift())};
  }});
  const make = (name, what) => what ? folderOf(name, Object.entries(what).map(
    ([key, value]) => make(key, value))) : fileOf(name);
  const event = new Event('drop', {bubbles: true});
  const items = [{webkitGetAsEntry: () => make('set', folder)}];
  Object.defineProperty(event, 'dataTransfer', {value: {items, files: []}});
  document.body.dispatchEvent(event);
}"""


def test_a_folder_is_dropped(open_page):
    page = open_page()
    names = ("b.png", "a.png", ".hidden.png", "notes.txt")
    contents = {name: list(png(SIZE, SIZE)) for name in names}
    # Of a data set its images alone; of them no hidden ones, and in order.
    images = {"b.png": None, "a.png": None, ".hidden.png": None, "notes.txt": None}
    folder = {"masks": {"b.png": None}, "images": {"more": images}}
    page.evaluate(DROP_FOLDER, [folder, contents])
    wait_for_words(page, "#queue-words", "1 of 2")
    wait_for_words(page, "#name", "a.png")
    page.evaluate(DROP_FOLDER, [{"notes.txt": None}, contents])
    wait_for_words(page, "#error", "Nothing in this folder is an image")


def test_a_folder_is_labelled_and_saved(open_page, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / f"in/{name}.png").write_bytes(png(SIZE, SIZE))
    deep = np.arange(1024, dtype=np.uint16).reshape(SIZE, SIZE) * 60
    Image.fromarray(deep).save(tmp_path / "in/d.png")
    masks = tmp_path / "out/masks/anna"
    with serving([str(tmp_path / "in")], str(tmp_path / "out")) as address:
        page = open_page(address=address)
        wait_for_words(page, "#queue-words", "1 of 4, 0 saved")
        page.wait_for_selector(".group")
        page.click("#save")
        wait_for_words(page, "#error", "Write your name first")
        page.fill("#rater", "anna")
        page.focus("#stage")
        page.keyboard.press("Control+s")
        wait_for_words(page, "#name", "b.png")
        wait_for_words(page, "#queue-words", "2 of 4, 1 saved")
        np.testing.assert_array_equal(Image.open(masks / "a.png"), app_double.LEFT)
        # Corrections that are not saved are not lost without a word.
        use(page, "relabel")
        page.mouse.click(*point(page, 0.9, 0.5))
        wait_for_words(page, "#chosen", "1 correction")
        asked = []
        page.once("dialog", lambda dialog: (asked.append(1), dialog.dismiss()))
        page.select_option("#queue-list", label="d.png")
        assert asked and page.input_value("#queue-list") == "1"
        page.once("dialog", lambda dialog: dialog.accept())
        page.select_option("#queue-list", label="d.png")
        # A scan has a window.
        wait_for_words(page, "#window-words", "0 as black and 61380 as white")
        before = page.get_attribute("#image", "src")
        page.focus("#width")
        page.keyboard.press("ArrowLeft")
        assert page.get_attribute("#image", "src") != before
        page.click("#window-redraw")
        wait_for_words(page, "#window-words", "The model saw 613.")
        # Who comes back goes on with the first that is not saved, and finds the rest.
        page.reload()
        wait_for_words(page, "#name", "b.png")
        page.select_option("#queue-list", label="✓ a.png")
        wait_for_words(page, "#queue-words", "1 of 4, 1 saved")
        page.wait_for_selector("#work:not([hidden])")
        wait_for_exactly(page, "#chosen", "proposal 1")
        for name in "bcd":
            page.click("#save:not([disabled])")
            wait_for_words(page, "#name", f"{name}.png")
        page.click("#save:not([disabled])")
        wait_for_words(page, "#status", "All are saved.")


def test_each_rater_s_mask_is_shown_and_kept(open_page, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(SIZE, SIZE))
    (tmp_path / "out/masks/ann").mkdir(parents=True)
    file = tmp_path / "out/masks/ann/a.png"
    Image.fromarray(app_double.BOTH).save(file)
    with serving([str(tmp_path / "in")], str(tmp_path / "out")) as address:
        page = open_page(address=address)
        page.wait_for_selector(".group")

        def name(rater):
            page.fill("#rater", rater)
            page.press("#rater", "Enter")

        # Typed after the image was opened, a name brings what was saved under it.
        name("ann")
        wait_for_words(page, "#status", "This is what ann saved")
        np.testing.assert_array_equal(shown_ids(page), app_double.BOTH)
        # Another one begins with the proposal: ann's mask is not saved as ben's, even
        # if the button is pressed before it has gone.
        page.evaluate("""() => {
              document.getElementById('rater').value = 'ben';
              document.getElementById('rater').onchange();
              document.getElementById('save').click();
            }""")
        wait_for_words(page, "#status", "Opened again for ben.")
        wait_for_exactly(page, "#chosen", "proposal 1")
        page.wait_for_function(
            "import('/page/labels.js').then(one => one.labels.ids.includes(1))"
        )
        np.testing.assert_array_equal(shown_ids(page), app_double.LEFT)
        assert [path.name for path in (tmp_path / "out/masks").iterdir()] == ["ann"]
        # Who has begun is asked, and may go on with what is on the page ...
        use(page, "relabel")
        page.mouse.click(*point(page, 0.9, 0.5))
        wait_for_words(page, "#chosen", "1 correction")
        asked = []
        answers = [False, False, True, True]

        def answer(dialog):
            asked.append(dialog.message)
            (dialog.accept if answers[len(asked) - 1] else dialog.dismiss)()

        page.on("dialog", answer)
        mine = shown_ids(page)
        with page.expect_event("dialog"):
            name("ann")
        np.testing.assert_array_equal(shown_ids(page), mine)
        # ... and a mask that the page does not show is not replaced unasked.
        page.click("#save")
        wait_for_words(page, "#error", "ann has saved another mask of a.png already.")
        np.testing.assert_array_equal(Image.open(file), app_double.BOTH)
        page.click("#save")
        wait_for_words(page, "#status", "All are saved.")
        np.testing.assert_array_equal(Image.open(file), mine)
        assert "Leave them for what ann saved?" in asked[0] and len(asked) == 3
        assert "Replace it?" in asked[1] and "Replace it?" in asked[2]


def test_an_image_that_the_server_forgot_is_opened_again(
    open_page, tmp_path, monkeypatch
):
    monkeypatch.setattr(app_session, "MAX_PICTURES", 1)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(SIZE, SIZE))
    with serving([str(tmp_path / "in")], str(tmp_path / "out")) as address:
        page = open_page(address=address)
        page.fill("#rater", "ann")
        # One of the queue and one that was dropped, saved and downloaded.
        for name in ("a.png", "b.png"):
            if name == "b.png":
                drop(page, png(SIZE, SIZE), name=name)
            wait_for_words(page, "#name", name)
            wait_for_exactly(page, "#chosen", "proposal 1")
            use(page, "relabel")
            page.mouse.click(*point(page, 0.9, 0.5))
            wait_for_words(page, "#chosen", "1 correction")
            mine = shown_ids(page)
            forget(page)
            with page.expect_download() as download:
                page.get_by_text("PNG, label ids").click()
            np.testing.assert_array_equal(Image.open(download.value.path()), mine)
            forget(page)
            page.click("#save")
            wait_for_words(page, "#status", "All are saved.")
            wait_for_words(page, "#chosen", "1 correction")
            got = Image.open(tmp_path / f"out/masks/ann/{name}")
            np.testing.assert_array_equal(got, mine)
        # What cannot be opened again stays on the page.
        page.select_option("#queue-list", label="✓ a.png")
        wait_for_words(page, "#status", "what ann saved")
        forget(page)
        (tmp_path / "in/a.png").write_bytes(png(SIZE, SIZE + 1))
        page.click("#save:not([disabled])")
        wait_for_words(page, "#error", "What you changed is kept on the page.")
        assert page.is_visible("#work") and page.is_enabled("#save")


def forget(page):
    """Lets the server, which remembers one image, forget that of the page."""
    headers = {"Content-Type": "application/octet-stream"}
    page.request.post(f"{page.url}images", data=png(), headers=headers)


def test_all_classes_are_painted(open_page):
    # The first class, too, which is what a map begins with.
    painted = open_page().evaluate("""import('/page/labels.js').then(labels => {
          const color = id => ({id, shown_color: [id + 10, 20, 30]});
          labels.setColors([color(0), color(1)]);
          labels.begin(2, 1);
          labels.put([1], () => 1);
          const context = document.getElementById('labels').getContext('2d');
          return [...context.getImageData(0, 0, 2, 1).data];
        })""")
    assert painted == [10, 20, 30, 255, 11, 20, 30, 255]


def test_the_sliders_fade(open_page):
    page = open_page()
    drop(page, png())
    page.wait_for_selector(".group")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#entropy')).opacity")
        == "0"
    )
    page.focus("#entropy-slider")
    page.keyboard.press("End")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#entropy')).opacity")
        == "1"
    )


def test_bad_and_huge_files_are_answered_in_sentences(open_page, monkeypatch):
    monkeypatch.setattr(app_server, "MAX_BYTES", 2_000_000)
    page = open_page()
    drop(page, b"text", name="notes.png")
    wait_for_words(page, "#error", "notes.png: not a readable image")
    drop(page, bytes(2_000_001), name="huge.png")
    wait_for_words(page, "#error", "huge.png is larger than 2 MB")
    # The page looks at the size itself, and the server does not rely on it.
    monkeypatch.setattr(app_server, "MAX_BYTES", 20_000)
    drop(page, bytes(30_000))
    wait_for_words(page, "#error", "This file is larger than")
    assert page.is_hidden("#work")
    monkeypatch.undo()
    drop(page, png())
    page.wait_for_selector(".group")
    assert page.inner_text("#error") == ""


def test_a_server_that_has_gone_is_said(open_page):
    page = open_page()
    drop(page, png())
    page.wait_for_selector(".group")
    page.context.set_offline(True)
    wait_for_words(page, "#lost", "The server does not answer")
    page.context.set_offline(False)
    wait_for_exactly(page, "#lost", "")
    # So is one that does not answer while nobody asks it for anything.
    page.route("**/ping", lambda route: route.abort())
    wait_for_words(page, "#lost", "What you changed is kept")
    assert page.is_visible("#work")


def test_texts_are_legible_and_fit(open_page):
    page = open_page()
    drop(page, b"text")
    wait_for_words(page, "#error", "not a readable image")
    words = page.inner_text("#error")
    drop(page, png())
    page.wait_for_selector(".group")
    page.locator("input[name=region]").first.check()
    page.wait_for_selector("#variants input")
    page.evaluate(
        "words => document.querySelector('#error').textContent = words", words
    )
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (1280, 800, 390):
            page.set_viewport_size({"width": width, "height": 844})
            texts = page.evaluate(CONTRAST)
            assert len(texts) > 40
            for words, font_size, ratio in texts:
                assert font_size >= 13, words
                assert ratio >= 4.5, (scheme, words, ratio)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Fingers need room.
    for box in page.locator("button:visible, select:visible, .chips .choice").all():
        assert box.bounding_box()["height"] >= 36


def test_every_picture_and_control_has_a_name(open_page):
    page = open_page()
    drop(page, png())
    page.wait_for_selector(".group")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, a, img')].filter(node =>
          node.tagName === 'IMG' ? !node.hasAttribute('alt') :
          !(node.getAttribute('aria-label') || node.textContent.trim() ||
            (node.labels && [...node.labels].some(l => l.textContent.trim()))))
          .map(node => node.outerHTML)"""
    )
    assert unnamed == []
