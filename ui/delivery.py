"""Delivers the page and Gradio's front-end files in few bytes and few round trips.

    app.add_middleware(Delivery)
    threading.Thread(target=pack_all).start()         # so that not even the first visitor waits for it

Gradio compresses each file anew for each browser, and its scripts import each other in chains four deep. Here
a file is compressed once, with brotli's best quality, and browsers cache it for good, since its name changes
with its content. The page's head preloads the scripts that it needs (preload.txt, checked by a browser test),
and forty style sheets become one. Link previews show our title, description and picture, not Gradio's.
"""

import hashlib
import re
from functools import cache, lru_cache
from pathlib import Path

import brotli
from gradio.route_utils import BUILD_PATH_LIB
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.account import address_of
from ui.html import esc
from ui.translations import DEFAULT, texts

_TAGS = (
    (re.compile(rb'(<meta\s+(?:property|name)="(?:og|twitter):title"\s+content=")[^"]*'), rb"\1TweetTune"),
    (re.compile(rb'(<meta\s+(?:property|name)="(?:og|twitter):description"\s+content=")[^"]*'), rb"\1WHAT"),
    (re.compile(rb'(<meta\s+(?:property|name)="(?:og|twitter):image"\s+content=")[^"]*'), rb"\1PICTURE"),
    (re.compile(rb'<meta\s+(?:property|name)="(?:og:url|twitter:creator)"[^>]*>'), b""),
    (re.compile(rb'(<meta\s+name="twitter:card"\s+content=")[^"]*'), rb"\1summary_large_image"),
)
_PREVIEW = "/preview.png"
_PICTURE = Path(__file__).parent.parent / "docs" / "preview.png"
_ASSETS = "/assets/"
_STYLES = "tweettune.css"
_THEME = re.compile(rb'"theme_hash":"(\w+)"')
_FOR_EVER = "public, max-age=31536000, immutable"
_SMALL = 400  # bytes that are not worth compressing


class Delivery:
    """ASGI middleware that serves the page and its files compressed, and passes on all other requests."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope.get("path", "")
        is_page = path == "/"
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self.app(scope, receive, send)
        if path == _PREVIEW and _PICTURE.is_file():
            return await FileResponse(_PICTURE)(scope, receive, send)
        if not is_page and path not in _paths():
            return await self.app(scope, receive, send)
        start, body = await self._answer(scope, receive)
        headers = MutableHeaders(raw=start["headers"])
        if start["status"] == 200:
            if is_page:
                body = previewed(body, address_of(Request(scope)))
            else:
                headers["Cache-Control"] = _FOR_EVER
            if "br" in Headers(scope=scope).get("accept-encoding", "") and len(body) > _SMALL:
                body = await run_in_threadpool(_packed_page if is_page else packed, body)
                headers["Content-Encoding"] = "br"
                headers.add_vary_header("Accept-Encoding")
            headers["Content-Length"] = str(len(body))
        await send({**start, "headers": headers.raw})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
        """Return the wrapped app's answer, whole and uncompressed."""
        start: Message = {"status": 200, "headers": [(b"content-type", b"text/css; charset=utf-8")]}
        if scope["path"] == _ASSETS + _STYLES:
            return {"type": "http.response.start", **start}, styles()
        body = b""

        async def take(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            else:
                body += message.get("body", b"")

        plain = [each for each in scope["headers"] if each[0] != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, take)
        return start, body


@lru_cache(maxsize=128)
def packed(body: bytes) -> bytes:
    """Compress a file as well as brotli can."""
    return bytes(brotli.compress(body, quality=11))


@lru_cache(maxsize=4)  # differs by address, so it can't be compressed beforehand
def _packed_page(body: bytes) -> bytes:
    return bytes(brotli.compress(body, quality=9))


@cache
def _paths() -> frozenset[str]:
    return frozenset(_ASSETS + name for name in (_STYLES, *preloaded()))


def pack_all() -> None:
    """Compress all files that a page will request."""
    scripts = [name for name in preloaded() if not name.endswith(".css")]
    for body in (styles(), *((Path(BUILD_PATH_LIB) / name).read_bytes() for name in scripts)):
        if len(body) > _SMALL:
            packed(body)


@cache
def preloaded() -> tuple[str, ...]:
    """Return the names of the files that a page needs, in the order in which it needs them.

    Files that this Gradio version lacks are left out; a file that isn't listed still loads, only later.
    """
    listed = Path(__file__).with_name("preload.txt").read_text(encoding="utf-8").split()
    return tuple(name for name in listed if (Path(BUILD_PATH_LIB) / name).is_file())


@cache
def styles() -> bytes:
    """Return the style sheets that a page needs, joined."""
    return b"\n".join(
        (Path(BUILD_PATH_LIB) / name).read_bytes() for name in preloaded() if name.endswith(".css")
    )


@cache
def _links() -> bytes:
    """Return the head's links to scripts and styles. Gradio does not load a sheet that has a link already."""
    version = hashlib.sha256(styles()).hexdigest()[:12]
    links = [f'<link rel="stylesheet" href=".{_ASSETS}{_STYLES}?v={version}">']
    for name in preloaded():
        rel = 'rel="stylesheet" disabled' if name.endswith(".css") else 'rel="modulepreload"'
        links.append(f'<link {rel} href=".{_ASSETS}{name}">')
    return "".join(links).encode()


def previewed(page: bytes, address: str) -> bytes:
    """Return the page with its preload links and our title, description and picture in its head."""
    picture = esc(f"{address}{_PREVIEW}").encode()
    what = esc(texts(DEFAULT)["header.what"]).encode()
    head, found, rest = page.partition(b"</head>")
    for pattern, ours in _TAGS:
        head = pattern.sub(ours.replace(b"WHAT", what).replace(b"PICTURE", picture), head)
    for name in preloaded():  # Gradio's own link to its first sheet, which is in ours
        head = head.replace(f'<link rel="stylesheet" crossorigin href=".{_ASSETS}{name}">'.encode(), b"")
    theme = _THEME.search(head)
    style = b'<link rel="preload" as="style" href="./theme.css?v=' + theme[1] + b'">' if theme else b""
    head = head.replace(b"<style>", _links() + style + b"<style>", 1)
    return head + found + rest
