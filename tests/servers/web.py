"""What the HTTP servers share: requests are noted, answers can be scripted, streams are sent piece by piece.

class Echo(Web):
    def answer(self, request):                  # in a thread of the connection
        return Answer(200, {"path": request.path})

server.script.append(Answer(503))               # comes first, whatever is asked
server.script.append(Answer(200, pieces=[b"…", Web.STALL, Web.DROP]))
"""

import json
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    """What is answered: JSON, bytes as they are, or a stream of pieces sent as chunks."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Iterable[bytes] | None = None

    def content(self) -> bytes:
        """Return the body as bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Web:
    """A server in a thread. `asked`: all requests; `script`: answers that come before the server's own.

    `welcome` and `heartbeat`: what `pieces` begins with, and sends while there is nothing else.
    """

    STALL = b"<stall>"  # as a piece of a stream: send nothing more, stay open
    DROP = b"<drop>"  # break the connection, without the last chunk
    welcome = b""
    heartbeat = b"\n"

    def __init__(self):
        self.asked: list[Request] = []
        self.script: deque[Answer] = deque()
        self.ending = threading.Event()
        self.streams = 0  # streams that are open now
        self.opened = 0  # streams of `pieces` so far
        self._queues: list[Queue] = []
        self._http = Connections(("127.0.0.1", 0), _Handler)
        self._http.web = self
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self.ending.set()
        self._http.shutdown()
        self._http.break_all()
        self._http.server_close()
        self._thread.join(5)

    def drop(self):
        """Break every connection."""
        self._http.break_all()

    def send(self, piece: bytes):
        """Send bytes to everybody who streams."""
        for pieces in list(self._queues):
            pieces.put(piece)

    def hang_up(self):
        """End the streams in order."""
        self.send(None)

    def pieces(self):
        """Yield what is sent from now on, and heartbeats between."""
        pieces: Queue = Queue()
        self._queues.append(pieces)
        self.opened += 1
        try:
            if self.welcome:
                yield self.welcome
            while not self.ending.is_set():
                try:
                    piece = pieces.get(timeout=0.05)
                except Empty:
                    yield self.heartbeat
                    continue
                if piece is None:
                    return
                yield piece
        finally:
            self._queues.remove(pieces)

    def answer(self, request: Request) -> Answer:
        """Return the server's own answer."""
        raise NotImplementedError

    def paths(self) -> list[str]:
        """Return what was asked, as "GET /path"."""
        return [f"{request.method} {request.path}" for request in self.asked]


class Connections(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    web: Web

    def __init__(self, *arguments):
        self.sockets = set()
        super().__init__(*arguments)

    def break_all(self):
        for connection in list(self.sockets):
            reset(connection)

    def handle_error(self, request, client_address):
        pass  # the clients of these tests go away as they like


def reset(connection: socket.socket) -> None:
    """Close a connection at once and without a word, as a broken network does."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class TrackedHandler(BaseHTTPRequestHandler):
    """Keeps its connection where the server can break it, and prints nothing."""

    protocol_version = "HTTP/1.1"
    server: Connections

    def setup(self):
        super().setup()
        self.server.sockets.add(self.connection)

    def finish(self):
        self.server.sockets.discard(self.connection)
        super().finish()

    def log_message(self, *arguments):
        pass


class _Handler(TrackedHandler):
    def do_GET(self):
        self._answer()

    def do_POST(self):
        self._answer()

    def _answer(self):
        web, parts = self.server.web, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            self.command,
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query).items()},
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(body) if body else None,
        )
        web.asked.append(request)
        answer = web.script.popleft() if web.script else web.answer(request)
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.pieces is not None:
            self._stream(answer.pieces)
            return
        content = answer.content()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _wait_until_left(self):
        """Send nothing, until the client goes away or the server ends."""
        while not self.server.web.ending.is_set():
            if select.select([self.connection], [], [], 0.05)[0] and not self.connection.recv(
                1, socket.MSG_PEEK
            ):
                return

    def _stream(self, pieces: Iterable[bytes]):
        web = self.server.web
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        web.streams += 1
        try:
            for piece in pieces:
                if piece == Web.STALL:
                    self._wait_until_left()
                    return
                if piece == Web.DROP:
                    self.close_connection = True
                    reset(self.connection)
                    return
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        finally:
            web.streams -= 1
