"""The proposal page's server: requests in, pictures and JSON out."""

from __future__ import annotations

import html
import ipaddress
import json
import pathlib
import re
import string
import urllib.parse
from typing import Any, Callable, List, Optional, Tuple

import fastapi
import numpy as np
from fastapi import responses
from PIL import Image
from starlette import concurrency, requests

from car_tf import report
from car_tf.app import inputs, views
from car_tf.app import session as app_session
from car_tf.data import io
from car_tf.predict import label_formats

MAX_BYTES = 30_000_000
# Uploads that are received or wait for their turn.
MAX_UPLOADS = 8
# By which a page that is bound to this machine may be asked for.
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "testserver")
_PAGE = pathlib.Path(__file__).parent / "page"
_PALETTE = pathlib.Path(report.__file__).parent / "templates/palette.css"
# Nothing from elsewhere is loaded, and no other page may put this one into a frame.
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Of classes of Cityscapes alone.
_CITYSCAPES = ("labelids.png", "cityscapes.json")
_BINARY = "application/octet-stream"
# Kind -> (end of the file's name, media type).
_SAVED = {
    "color.png": ("_color.png", "image/png"),
    "ids.png": ("_classIds.png", "image/png"),
    "labelids.png": ("_labelIds.png", "image/png"),
    "cityscapes.json": ("_polygons.json", "application/json"),
    "coco.json": ("_coco.json", "application/json"),
}

PageError = inputs.PageError


def build(session: app_session.Session, host: str) -> fastapi.FastAPI:
    """Returns the application.

    Args:
      session: the model with the images that it was given.
      host: the address that it is bound to; a page that is bound to this machine
        answers under this machine's names alone, so that no other site can reach it by
        a name of its own.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    is_local = _is_local(host)

    @app.middleware("http")
    async def guard(request: fastapi.Request, call_next: Callable) -> Any:
        if is_local and _asked_host(request) not in _LOCAL_NAMES:
            return responses.PlainTextResponse("Invalid host header", 400)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.exception_handler(PageError)
    async def explain(unused: fastapi.Request, error: Exception) -> Any:
        return responses.JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(requests.ClientDisconnect)
    async def forget(unused: fastapi.Request, unused_error: Exception) -> Any:
        return fastapi.Response(status_code=400)  # Nobody is there to see it.

    _add_page(app, session)
    _add_examples(app, session)
    _add_images(app, session)
    _add_choices(app, session)
    return app


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _asked_host(request: fastapi.Request) -> Optional[str]:
    """Returns the name in a request's header, in lower case and without the port."""
    try:
        return urllib.parse.urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return None


def page(session: app_session.Session) -> str:
    """Returns the page for a model."""
    template = string.Template((_PAGE / "index.html").read_text(encoding="utf-8"))
    return template.substitute(
        palette=_PALETTE.read_text(encoding="utf-8"),
        name=html.escape(session.labels["name"]),
        title=html.escape(session.labels["title"]),
        max_bytes=MAX_BYTES,
        needs_map=json.dumps(session.reader.needs_map),
        cityscapes=json.dumps(label_formats.label_ids(session.labels) is not None),
    )


def _add_page(app: fastapi.FastAPI, session: app_session.Session) -> None:
    @app.get("/")
    def index() -> Any:
        return responses.HTMLResponse(page(session))

    @app.get("/page.js")
    def script() -> Any:
        return responses.FileResponse(_PAGE / "page.js", media_type="text/javascript")

    @app.get("/page.css")
    def style() -> Any:
        return responses.FileResponse(_PAGE / "page.css", media_type="text/css")


def _add_examples(app: fastapi.FastAPI, session: app_session.Session) -> None:
    def example(number: int) -> inputs.Opened:
        if not 0 <= number < len(session.examples):
            raise PageError("There is no such example.")
        return session.examples[number]

    @app.get("/examples")
    def list_examples() -> Any:
        return [opened.name for opened in session.examples]

    @app.get("/examples/{number}.jpg")
    def show_example(number: int) -> Any:
        content = views.encoded(example(number).picture, "JPEG")
        return fastapi.Response(content, media_type="image/jpeg")

    @app.post("/examples/{number}")
    def take_example(number: int, request: fastapi.Request) -> Any:
        _check_sender(request)
        return session.add(example(number))


def _add_images(app: fastapi.FastAPI, session: app_session.Session) -> None:
    num_uploads = 0

    @app.post("/images")
    async def add(
        request: fastapi.Request,
        name: str = "image",
        map_name: str = "",
        image_bytes: Optional[int] = None,
    ) -> Any:
        # The image, and from `image_bytes` on the map.
        nonlocal num_uploads
        _check_sender(request)
        if num_uploads >= MAX_UPLOADS:
            raise PageError("Too many images at once: wait for the others.")
        num_uploads += 1
        try:
            content = await _body(request)
            split = len(content) if image_bytes is None else image_bytes
            upload = inputs.Upload(
                _plain(name), content[:split], _plain(map_name), content[split:]
            )
            return await concurrency.run_in_threadpool(session.open, upload)
        finally:
            num_uploads -= 1

    @app.post("/images/{key}/more")
    def more(key: str, request: fastapi.Request) -> Any:
        _check_sender(request)
        return session.more(key)

    @app.get("/images/{key}/image.jpg")
    def image(key: str) -> Any:
        return _picture(session.picture(key).shown, "JPEG")

    @app.get("/images/{key}/entropy.png")
    def entropy(key: str) -> Any:
        heat = views.heat(session.picture(key).entropy_bits)
        return _picture(Image.fromarray(heat), "PNG")


def _add_choices(app: fastapi.FastAPI, session: app_session.Session) -> None:
    @app.get("/images/{key}/labels.png")
    def labels(key: str, base: int, take: str = "") -> Any:
        ids = session.mix(key, base, parse_taken(take))
        return _picture(Image.fromarray(views.overlay(ids, session.colors)), "PNG")

    @app.get("/images/{key}/thumb.jpg")
    def thumb(key: str, base: int, take: str = "", region: Optional[int] = None) -> Any:
        ids = session.mix(key, base, parse_taken(take))
        shown = session.picture(key).shown
        where = None if region is None else session.region(key, region)
        small = views.thumbnail(shown, ids, session.colors, where)
        return _picture(small, "JPEG")

    @app.get("/images/{key}/save/{kind}")
    def save(key: str, kind: str, base: int, take: str = "") -> Any:
        if kind not in _SAVED:
            raise PageError("There is no such format.")
        if kind in _CITYSCAPES and label_formats.label_ids(session.labels) is None:
            raise PageError("This model has other classes than Cityscapes.")
        ids = session.mix(key, base, parse_taken(take))
        content = _saved(session, session.picture(key), ids, kind)
        ending, media_type = _SAVED[kind]
        stem = re.sub(
            r"[^\w.-]+", "_", pathlib.PurePath(session.picture(key).name).stem
        )
        stem = stem.encode("ascii", "ignore").decode() or "image"
        named = {"Content-Disposition": f'attachment; filename="{stem}{ending}"'}
        return fastapi.Response(content, media_type=media_type, headers=named)


def _saved(
    session: app_session.Session,
    picture: app_session.Picture,
    ids: np.ndarray,
    kind: str,
) -> Any:
    """Returns a map `[H, W]` as a file's content, at the size of the given image."""
    if kind == "cityscapes.json":
        return label_formats.to_cityscapes(ids, session.labels, picture.own_size)
    ids = io.resize_nearest(ids, picture.own_size)
    if kind == "coco.json":
        classes = session.labels["classes"]
        return label_formats.to_coco(ids, picture.name, classes)
    tables = {
        "color.png": session.colors,
        "labelids.png": label_formats.label_ids(session.labels),
    }
    array = tables[kind][ids] if kind in tables else ids
    return views.encoded(Image.fromarray(array), "PNG")


def _plain(name: str) -> str:
    """Returns a file's name as it can be printed on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name[-200:])


def _check_sender(request: fastapi.Request) -> None:
    """Refuses what another site sends: it cannot set this type without asking first."""
    if request.headers.get("content-type") != _BINARY:
        raise PageError("Use the page to send this.")


async def _body(request: fastapi.Request) -> bytes:
    """Reads a request's body, up to the limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise PageError(
                f"This file is larger than {MAX_BYTES // 10**6} MB. Make it smaller."
            )
        parts.append(part)
    return b"".join(parts)


def parse_taken(text: str) -> List[Tuple[int, int]]:
    """Reads `region:proposal` pairs with commas between."""
    try:
        pairs = [item.split(":") for item in text.split(",") if item]
        return [(int(region), int(sample)) for region, sample in pairs]
    except ValueError:
        raise PageError("This mixture cannot be read.") from None


def _picture(picture: Image.Image, kind: str) -> fastapi.Response:
    """Answers with a picture, which never changes under its address."""
    return fastapi.Response(
        views.encoded(picture, kind),
        media_type=f"image/{kind.lower()}",
        headers={"Cache-Control": "private, max-age=86400, immutable"},
    )
