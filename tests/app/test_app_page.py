"""The proposal page in a real browser, without a window."""

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
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    options = predictor.Options(num_samples=8, seed=3)
    session = app_session.Session(app_double.Predictor(), options)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = app_server.build(session, "127.0.0.1")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        run = threading.Thread(target=server.run, args=([listening],), daemon=True)
        run.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        run.join()


@pytest.fixture
def open_page(address, browser):
    """Opens the page; what went wrong in it fails the test."""
    contexts, failures = [], []

    def opened(width=1280, height=900, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert failures == []


def drop(page, content, name="a.png"):
    file = {"name": name, "mimeType": "image/png", "buffer": content}
    page.set_input_files("#image-file", file)


def wait_for_words(page, where, words):
    sync_api.expect(page.locator(where)).to_contain_text(words, timeout=WAIT)


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
    assert page.inner_text("#chosen") == "proposal 3"
    assert page.evaluate("document.activeElement.value") == "2"
    # A click on the left lesion's place: take what most proposals have there.
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 8 / SIZE, box["y"] + box["height"] / 2)
    page.wait_for_selector("#variants input")
    labels = page.locator("#variants small").all_inner_texts()
    assert labels == ["lesion, 75 %", "background, 25 %"]
    page.focus("#variants input:checked")
    page.keyboard.press("ArrowLeft")  # from the second, which is chosen, to the first
    assert page.inner_text("#chosen") == "proposal 3, 1 region changed"
    with page.expect_download() as download:
        page.get_by_text("PNG, class ids").click()
    assert download.value.suggested_filename == "a_classIds.png"
    ids = np.asarray(Image.open(download.value.path()))
    np.testing.assert_array_equal(ids, app_double.BOTH)
    # What was changed stays when more are drawn, and can be undone.
    page.click("#more")
    wait_for_words(page, "#count", "18 proposals")
    assert page.inner_text("#chosen") == "proposal 3, 1 region changed"
    page.click("#undo")
    assert page.inner_text("#chosen") == "proposal 3"
    assert page.inner_text("#classes tr:last-child").split()[:2] == ["lesion", "18"]


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
    drop(page, b"text", "notes.png")
    wait_for_words(page, "#error", "notes.png: not a readable image")
    drop(page, bytes(2_000_001), "huge.png")
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
    page.context.set_offline(True)
    drop(page, png())
    wait_for_words(page, "#error", "The server does not answer")


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
    for box in page.locator("button:visible, #links a, .chips .choice").all():
        assert box.bounding_box()["height"] >= 36


def test_every_picture_and_control_has_a_name(open_page):
    page = open_page()
    drop(page, png())
    page.wait_for_selector(".group")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('input, button, a, img')].filter(node =>
          node.tagName === 'IMG' ? !node.hasAttribute('alt') :
          !(node.getAttribute('aria-label') || node.textContent.trim() ||
            (node.labels && [...node.labels].some(l => l.textContent.trim()))))
          .map(node => node.outerHTML)"""
    )
    assert unnamed == []
