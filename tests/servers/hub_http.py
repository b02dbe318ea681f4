"""The HTTP side of the local Hub: it records requests, streams bodies, plays faults, sends the Hub's errors.

    class Echo(HttpServer):
        def answer(self, asked: Asked) -> Reply:      # in a thread of the connection
            return Reply({"path": asked.path})

Bodies go to and come from the disk piece by piece, so that a file of 500 MB costs no memory.
"""

import json
import os
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.hub_faults import Fault, Faults
from tests.servers.web import Connections, TrackedHandler

PIECE = 1 << 20


@dataclass(frozen=True)
class Request:
    """A received request. `path` is as in the request's first line, query included."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    size: int
    """Bytes of the body, -1 when it came in chunks."""

    @property
    def route(self) -> str:
        """Method and path without query."""
        return f"{self.method} {self.path.split('?')[0]}"


class Refusal(Exception):  # noqa: N818
    """An error answer of the Hub."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any):
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body

    def reply(self) -> "Reply":
        """Return it as the Hub sends it."""
        headers = {"X-Error-Message": self.message} | ({"X-Error-Code": self.code} if self.code else {})
        return Reply({"error": self.message, **self.body}, self.status, headers)


class BrokenOff(Exception):  # noqa: N818
    """The connection is to be broken now."""


@dataclass
class Reply:
    """An answer: JSON, bytes, a file (a part of it for a range request), or a stream."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    stream: Iterator[bytes] | None = None


class Asked:
    """A request that is being answered."""

    def __init__(self, handler: "_Handler", fault: Fault | None):
        self.method = handler.command
        self.path = urlsplit(handler.path).path
        self.query = parse_qs(urlsplit(handler.path).query, keep_blank_values=True)
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.groups: tuple[str, ...] = ()
        self._pieces = handler.body(self.headers, fault)

    @property
    def token(self) -> str | None:
        """The bearer token, None without."""
        words = self.headers.get("authorization", "").split()
        return words[1] if len(words) == 2 and words[0].lower() == "bearer" else None

    def pieces(self) -> Iterator[bytes]:
        """Yield the body piece by piece, once."""
        return self._pieces

    def read(self) -> bytes:
        """Return the body."""
        return b"".join(self._pieces)

    def json(self) -> Any:
        """Return the body, which is JSON. Raises Refusal."""
        try:
            return json.loads(self.read() or b"{}")
        except ValueError as error:
            raise Refusal(400, f"Invalid JSON: {error}") from error


class HttpServer:
    """A server in a thread, on a port of its own."""

    def __init__(self, faults: Faults, requests: list[Request], ending: threading.Event):
        self.faults, self.requests, self.ending = faults, requests, ending
        self._http = Connections(("127.0.0.1", 0), _Handler)
        self._http.web = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def start(self):
        """Start to accept requests."""
        self._thread.start()

    def stop(self):
        """Break every connection and end."""
        self.ending.set()
        self._http.shutdown()
        self._http.break_all()
        self._http.server_close()
        self._thread.join(5)

    def answer(self, asked: Asked) -> Reply:
        """Return the server's answer; a Refusal becomes the Hub's error."""
        raise NotImplementedError


class _Handler(TrackedHandler):
    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self):
        web: HttpServer = self.server.web
        headers = {name.lower(): value for name, value in self.headers.items()}
        size = -1 if "transfer-encoding" in headers else int(headers.get("content-length", 0))
        web.requests.append(Request(self.command, self.path, headers, size))
        fault = web.faults.take(self.command, urlsplit(self.path).path)
        try:
            self._meet(web, fault)
        except BrokenOff:
            self.close_connection = True
            self._break_off()
        except OSError:
            self.close_connection = True  # the client is gone

    def _meet(self, web: HttpServer, fault: Fault | None):
        asked = Asked(self, fault)
        if fault and fault.kind == "silent":
            self._wait_until_left()
            raise BrokenOff
        if fault and fault.kind == "status":
            asked.read()
            reply = Refusal(fault.status, fault.words, fault.code).reply()
            reply.headers |= fault.headers
        else:
            try:
                reply = web.answer(asked)
            except Refusal as refusal:
                reply = refusal.reply()
            asked.read()  # unread parts of the body, or the next request would start there
        if fault and (fault.kind == "lost" or (fault.kind == "cut" and asked.method == "HEAD")):
            raise BrokenOff
        self._send(reply, asked, fault)

    def _break_off(self):
        """Close abruptly: the client sees a reset, not a short answer, which it would accept."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

    def body(self, headers: dict[str, str], fault: Fault | None) -> Iterator[bytes]:
        """Yield the request's body; a fault may break it off or slow it down."""
        pieces = self._chunks() if "transfer-encoding" in headers else self._counted(headers, fault)
        read = 0
        for piece in pieces:
            read += len(piece)
            if fault and fault.kind == "cut" and read >= fault.after_bytes:
                raise BrokenOff  # in the middle of what the client sends
            if fault and fault.kind == "slow":
                self._dawdle(len(piece), fault)
            yield piece

    def _counted(self, headers: dict[str, str], fault: Fault | None) -> Iterator[bytes]:
        left = int(headers.get("content-length", 0))
        size = min(PIECE, _step(fault))
        while left > 0:
            piece = self.rfile.read(min(size, left))
            if not piece:
                raise BrokenOff  # the client went away in the middle
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _dawdle(self, count: int, fault: Fault):
        self.server.web.ending.wait(count / fault.bytes_per_s)

    def _wait_until_left(self):
        """Send nothing and drop what arrives, until the client leaves or the server stops."""
        while not self.server.web.ending.is_set():
            if select.select([self.connection], [], [], 0.05)[0] and not self.connection.recv(PIECE):
                return

    def _send(self, reply: Reply, asked: Asked, fault: Fault | None):
        headers = {"Date": self.date_time_string(), "X-Request-Id": f"Root=local-{time.monotonic_ns():x}"}
        status, pieces = reply.status, reply.stream
        if pieces is None:
            status, extra, pieces = _content(reply, asked.headers.get("range"))
            headers |= extra
        else:
            headers["Transfer-Encoding"] = "chunked"
        self.send_response_only(status)
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if asked.method == "HEAD":
            return
        chunked = reply.stream is not None
        for piece in self._under(pieces, fault):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _under(self, pieces: Iterator[bytes], fault: Fault | None) -> Iterator[bytes]:
        """Yield the body, under a fault that cuts or slows it."""
        cut = fault is not None and fault.kind == "cut"
        sent, step, held = 0, _step(fault), b""
        for piece in pieces:
            for at in range(0, len(piece), step):
                part = held + piece[at : at + step]
                if cut:  # the last byte never goes, or the client would have it all
                    part, held = part[:-1], part[-1:]
                yield part
                sent += len(part)
                if cut and sent >= fault.after_bytes:
                    raise BrokenOff
                if fault and fault.kind == "slow":
                    self._dawdle(len(part), fault)
        if cut:
            raise BrokenOff


def _step(fault: Fault | None) -> int:
    """Return how many bytes go at a time: a tenth of a second's worth on a slow line."""
    if fault and fault.kind == "slow":
        return max(1, int(fault.bytes_per_s / 10))
    return min(PIECE, max(1, fault.after_bytes)) if fault and fault.kind == "cut" else PIECE


def _content(reply: Reply, byte_range: str | None) -> tuple[int, dict[str, str], Iterator[bytes]]:
    """Return status, headers and pieces of a body of known length."""
    if isinstance(reply.body, Path):
        size = reply.body.stat().st_size
    else:
        plain = b"" if reply.body is None else reply.body
        body = plain if isinstance(plain, bytes) else json.dumps(plain).encode()
        size = len(body)
        if plain is not body:
            reply.headers.setdefault("Content-Type", "application/json; charset=utf-8")
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", byte_range or "") if reply.status == 200 else None
    start, end = (int(found[1]), int(found[2] or size - 1) + 1) if found else (0, size)
    if found and start >= size:
        return 416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, iter(())
    end = min(end, size)
    headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
    if found:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    pieces = _of_file(reply.body, start, end) if isinstance(reply.body, Path) else iter([body[start:end]])
    return 206 if found else reply.status, headers, pieces


def _of_file(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        while left > 0 and (piece := file.read(min(PIECE, left))):
            left -= len(piece)
            yield piece
