"""The proposal page's server: requests in, pictures and JSON out."""

import html
import ipaddress
import pathlib
import re
import string
import threading
import urllib.parse
from typing import Any, Callable, Dict, Optional

import fastapi
import numpy as np
from fastapi import responses
from PIL import Image
from starlette import concurrency, requests

from car_tf import report
from car_tf.app import folder as app_folder
from car_tf.app import inputs, views
from car_tf.app import session as app_session
from car_tf.data import io, scans
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
_BINARY = "application/octet-stream"
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
}
# Ending of a file's name -> what it is called on the page.
_SAVED = {
    "_labelIds.png": "PNG, label ids",
    "_color.png": "PNG, colours",
    "_classIds.png": "PNG, the model’s class numbers",
    "_coco.json": "COCO JSON",
    "_polygons.json": "Cityscapes JSON",
}

PageError = inputs.PageError


def _window(
    low: Optional[float] = None, high: Optional[float] = None
) -> Optional[scans.Window]:
    if low is None or high is None:
        return None
    if not (low < high and np.isfinite([low, high]).all()):
        raise PageError("A window goes from a lower to a higher value.")
    return low, high


def _check_sender(request: fastapi.Request) -> None:
    """Refuses what another site sends: it cannot set this type without asking first."""
    if request.method == "POST" and request.headers.get("content-type") != _BINARY:
        raise PageError("Use the page to send this.")


async def _body(request: fastapi.Request) -> bytes:
    """Reads a request's body, up to the limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            limit = f"{MAX_BYTES // 10**6} MB"
            raise PageError(f"This file is larger than {limit}. Make it smaller.")
        parts.append(part)
    return b"".join(parts)


# What requests say beside their address.
_WINDOW, _BODY = fastapi.Depends(_window), fastapi.Depends(_body)


def build(
    session: app_session.Session, host: str, folder: Optional[app_folder.Folder] = None
) -> fastapi.FastAPI:
    """Returns the application of a session and a folder (by default, none of either).

    A page that is bound to this machine (`host`) answers under this machine's names
    alone, so that no other site can reach it by a name of its own.
    """
    folder = folder or app_folder.Folder([], "", session.labels)
    pages = dict(docs_url=None, redoc_url=None, openapi_url=None)
    app = fastapi.FastAPI(**pages, dependencies=[fastapi.Depends(_check_sender)])
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
    async def explain(unused: fastapi.Request, error: PageError) -> Any:
        return responses.JSONResponse({"error": str(error)}, error.status)

    @app.exception_handler(requests.ClientDisconnect)
    async def forget(unused: fastapi.Request, unused_error: Exception) -> Any:
        return fastapi.Response(status_code=400)  # Nobody is there to see it.

    _add_page(app, session, folder)
    _add_examples(app, session)
    _add_images(app, session)
    _add_pictures(app, session)
    _add_files(app, session, folder)
    _add_folder(app, session, folder)
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
    )


def _model(session: app_session.Session, folder: app_folder.Folder) -> Dict[str, Any]:
    """Returns what the page must know of the model and of the folder."""
    kinds = dict(_SAVED)
    if label_formats.label_ids(session.labels) is None:  # No Cityscapes.
        del kinds["_polygons.json"]
    return {
        "max_bytes": MAX_BYTES,
        "needs_map": session.reader.needs_map,
        "classes": [
            {
                "id": entry["id"],
                "name": entry["name"],
                "label_id": int(folder.ids[entry["id"]]),
                "shown_color": session.shown_colors[entry["id"]].tolist(),
            }
            for entry in session.labels["classes"]
        ],
        "kinds": kinds,
        "output": str(folder.output or ""),
        "rater": folder.rater,
    }


def _add_page(app, session, folder) -> None:
    @app.get("/")
    def index() -> Any:
        return responses.HTMLResponse(page(session))

    @app.get("/page/{name}")
    def part(name: str) -> Any:
        path = _PAGE / pathlib.PurePath(name).name
        if path.suffix not in (".css", ".js") or not path.is_file():
            return responses.PlainTextResponse("There is no such file.", 404)
        return responses.FileResponse(path, media_type=_TYPES[path.suffix])

    @app.get("/model")
    def model() -> Any:
        return _model(session, folder)

    @app.get("/ping")
    def ping() -> Any:
        return fastapi.Response(status_code=204)


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
    def take_example(number: int) -> Any:
        return session.add(example(number))


def _add_images(app: fastapi.FastAPI, session: app_session.Session) -> None:
    num_uploads = 0

    @app.post("/images")
    async def add(
        request: fastapi.Request,
        name: str = "image",
        map_name: str = "",
        image_bytes: Optional[int] = None,
        index: Optional[int] = None,
        window: Optional[scans.Window] = _WINDOW,
    ) -> Any:
        # The image, and from `image_bytes` on the map.
        nonlocal num_uploads
        if num_uploads >= MAX_UPLOADS:
            raise PageError("Too many images at once: wait for the others.")
        num_uploads += 1
        try:
            content = await _body(request)
            split = len(content) if image_bytes is None else image_bytes
            upload = inputs.Upload(
                name=_plain(name),
                content=content[:split],
                map_name=_plain(map_name),
                map_content=content[split:],
                index=index,
                window=window,
            )
            return await concurrency.run_in_threadpool(session.open, upload)
        finally:
            num_uploads -= 1

    @app.post("/images/{key}/more")
    def more(key: str) -> Any:
        return session.more(key)


def _add_pictures(app: fastapi.FastAPI, session: app_session.Session) -> None:
    @app.get("/images/{key}/image.jpg")
    def image(key: str, window: Optional[scans.Window] = _WINDOW) -> Any:
        return _picture(session.picture(key).seen(window), "JPEG")

    @app.get("/images/{key}/entropy.png")
    def entropy(key: str) -> Any:
        heat = views.heat(session.picture(key).entropy_bits)
        return _picture(Image.fromarray(heat), "PNG")

    @app.get("/images/{key}/proposals/{number}")
    def proposal(key: str, number: int) -> Any:
        return _lasting(session.proposal(key, number).tobytes(), _BINARY)

    @app.get("/images/{key}/regions/{number}")
    def region(key: str, number: int) -> Any:
        inside = session.region(key, number).astype(np.uint8)
        inside = io.resize_nearest(inside, session.picture(key).map_size)
        return _lasting(inside.tobytes(), _BINARY)

    @app.get("/images/{key}/thumb.jpg")
    def thumb(key: str, proposal: int, region: Optional[int] = None) -> Any:
        picture = session.picture(key)
        session.proposal(key, proposal)
        where = None if region is None else session.region(key, region)
        ids = picture.samples[proposal]
        small = views.thumbnail(picture.shown, ids, session.colors, where)
        return _picture(small, "JPEG")


def _add_files(app, session, folder) -> None:
    @app.post("/images/{key}/files/{kind}")
    def save(key: str, kind: str, body: bytes = _BODY) -> Any:
        if kind not in _SAVED:
            raise PageError("There is no such format.")
        if kind == "_polygons.json" and label_formats.label_ids(session.labels) is None:
            raise PageError("This model has other classes than Cityscapes.")
        picture = session.picture(key)
        ids = session.labelled(key, body)
        content = _saved(session, picture, ids, kind, folder.ids)
        stem = re.sub(r"[^\w.-]+", "_", picture.opened.stem)
        stem = stem.encode("ascii", "ignore").decode() or "image"
        headers = {"Content-Disposition": f'attachment; filename="{stem}{kind}"'}
        media_type = _TYPES[pathlib.PurePath(kind).suffix]
        return fastapi.Response(content, media_type=media_type, headers=headers)


def _saved(session, picture, ids, kind, label_ids) -> Any:
    """Returns a map `[H, W]` as a file's content, at the size of the given image."""
    if kind == "_polygons.json":
        return label_formats.to_cityscapes(ids, session.labels, picture.own_size)
    ids = io.resize_nearest(ids, picture.own_size)
    if kind == "_coco.json":
        classes = session.labels["classes"]
        return label_formats.to_coco(ids, picture.name, classes)
    tables = {"_color.png": session.colors, "_labelIds.png": label_ids}
    array = tables[kind][ids] if kind in tables else ids
    return views.encoded(Image.fromarray(array), "PNG")


def _add_folder(app, session, folder) -> None:
    saving = threading.Lock()

    @app.get("/queue")
    def listing(rater: str = "") -> Any:
        return folder.listing(rater)

    @app.post("/queue/{stem}")
    def take(
        stem: str,
        index: Optional[int] = None,
        window: Optional[scans.Window] = _WINDOW,
    ) -> Any:
        path = folder.items.get(stem)
        if path is None:
            raise PageError("There is no such image in the queue.")
        return session.open(inputs.Upload(path.name, path, index=index, window=window))

    @app.post("/images/{key}/save")
    def save(key: str, rater: str = "", base: str = "", body: bytes = _BODY) -> Any:
        # In the place of version `base` alone: another one was not seen on the page.
        picture = session.picture(key)
        ids = io.resize_nearest(session.labelled(key, body), picture.own_size)
        opened = picture.opened
        with saving:
            version = folder.version(rater, opened.stem)
            if version not in ("", base):
                words = f"{rater} has saved another mask of {opened.name} already."
                return responses.JSONResponse({"error": words, "version": version}, 409)
            file = folder.save(rater, opened.stem, ids, opened.file)
            return {"file": str(file), "version": folder.version(rater, opened.stem)}

    @app.get("/images/{key}/saved")
    def saved(key: str, rater: str) -> Any:
        picture = session.picture(key)
        headers = {"Saved-Version": folder.version(rater, picture.opened.stem)}
        ids = folder.load(rater, picture.opened.stem)
        if ids is None or ids.shape != picture.own_size:
            return fastapi.Response(status_code=204)
        content = io.resize_nearest(ids, picture.map_size).tobytes()
        return fastapi.Response(content, media_type=_BINARY, headers=headers)


def _plain(name: str) -> str:
    """Returns a file's name as it can be printed on a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name[-200:])


def _picture(picture: Image.Image, kind: str) -> fastapi.Response:
    return _lasting(views.encoded(picture, kind), f"image/{kind.lower()}")


def _lasting(content: bytes, media_type: str) -> fastapi.Response:
    """Answers with what never changes under its address."""
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return fastapi.Response(content, media_type=media_type, headers=headers)
