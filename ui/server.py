"""The app's process: says where it is, opens a browser, and loads the model once the page can be had.

    Server(service, app, workbench, host="127.0.0.1", port=7860).run()

It stops as `python -m inference serve` does: what was accepted is answered. Only the page's own streams,
which an open page holds for ever, are cut after a moment. Knows nothing about what is served.
"""

import asyncio
import re
import socket
import webbrowser
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inference.serving import process
from inference.serving.service import Service
from training.cli.terminal import is_at_a_desktop
from ui.account import address_of
from ui.gpu import announce
from ui.html import esc
from ui.state import Workbench
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
_STREAMS = "/gradio_api/"
_STREAMS_S = 1.0
"""How long the streams of open pages may go on when the app stops."""


class LinkPreview:
    """Puts our name, sentence and picture where the page has Gradio's, for who shows a link to it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; of the page's HTML the tags that link previews read are changed."""
        if scope["type"] == "http" and scope["path"] == _PREVIEW and _PICTURE.is_file():
            return await FileResponse(_PICTURE)(scope, receive, send)
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != "/":
            return await self.app(scope, receive, send)
        address = address_of(Request(scope))
        start: Message = {}
        page = b""

        async def changed(message: Message) -> None:
            nonlocal start, page
            if message["type"] == "http.response.start":
                start = message
                return
            page += message.get("body", b"")
            if not message.get("more_body"):
                page = previewed(page, address)
                headers = [each for each in start["headers"] if each[0].lower() != b"content-length"]
                headers.append((b"content-length", str(len(page)).encode()))
                await send({**start, "headers": headers})
                await send({"type": "http.response.body", "body": page})

        await self.app(scope, receive, changed)


def previewed(page: bytes, address: str) -> bytes:
    """Return the page with our title, sentence and picture in its `og:` and `twitter:` tags."""
    picture = esc(f"{address}{_PREVIEW}").encode()
    what = esc(texts(DEFAULT)["header.what"]).encode()
    head, found, rest = page.partition(b"</head>")
    for pattern, ours in _TAGS:
        head = pattern.sub(_filled(ours, what, picture), head)
    return head + found + rest


def _filled(ours: bytes, what: bytes, picture: bytes) -> bytes:
    return ours.replace(b"WHAT", what).replace(b"PICTURE", picture)


class Server(process.GracefulServer):
    """Says where the app is and begins to load the model once the page can be had."""

    def __init__(self, service: Service, app: Any, workbench: Workbench, *, host: str, port: int) -> None:
        super().__init__(service, app, host=host, port=port)
        self.workbench = workbench

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell ZeroGPU where there is one, bind the port, then print the URL."""
        announce()
        await super().startup(sockets)
        if self.started:
            host = self.config.host
            host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
            url = f"http://{host}:{self.config.port}"
            print(f"TweetTune is at {url}", flush=True)  # noqa: T201
            if is_at_a_desktop():
                webbrowser.open(url)
            self.workbench.load_in_background()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was accepted, and wait for no open page."""
        asyncio.get_running_loop().call_later(_STREAMS_S, self._cut_streams)
        await super().shutdown(sockets)

    def _cut_streams(self) -> None:
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)  # of a request; a web socket has none
            if cycle and not cycle.response_complete and cycle.scope["path"].startswith(_STREAMS):
                connection.transport.close()
