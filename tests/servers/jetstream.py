"""A Jetstream, of v1 or v2: a websocket, with cursor replay, identity and account events, and accidents.

    with Jetstream() as server:                     # Jetstream(v2=True): another path, other frames
        server.post("what a day", langs=["en"])     # goes to everybody who listens, and into the history
        server.identity(); server.account(); server.frame("{nonsense")
        server.drop()                               # every connection breaks without a word
        server.close(1012)                          # … or politely
        server.stall(); server.go_on()              # open, and silent; server.deafen(): answers no ping
        server.refusals.append((503, {}))           # the next handshake is answered so
        server.asked, server.joined                 # the queries of all handshakes; how many were accepted

A cursor is inclusive: what has `time_us` equal to it comes again. A cursor from the future starts live.
"""

import contextlib
import json
import socket
import threading
from collections import deque
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.sync.server import serve

START_US = 1_783_175_888_000_000
POSTS = "app.bsky.feed.post"
NSID = "network.bsky.jetstream.subscribeEvents"


class Jetstream:
    """Serves events that a test makes, from a thread."""

    def __init__(self, *, now_us: int = START_US, step_us: int = 20_000, v2: bool = False):
        self.v2 = v2
        self.now_us, self.step_us, self.number = now_us, step_us, 0
        self.history: list[tuple[int, str | bytes]] = []  # of events; frames that are none have time 0
        self.refusals: deque[tuple[int, dict[str, str]]] = deque()
        self.asked: list[dict[str, list[str]]] = []
        self.connections = set()
        self._changed = threading.Condition()
        self._stalled = self._ending = False
        self._deaf = []
        self.joined = 0  # connections that were accepted, ever
        self._server = serve(
            self._handle, "127.0.0.1", 0, process_request=self._process, ping_interval=None, close_timeout=0.2
        )
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        for connection in self._deaf:
            connection.recv_flow_control.release()
        self._server.shutdown()
        self._thread.join(5)

    # What a test does

    def post(self, text, *, langs=("en",), operation="create", collection=POSTS, rkey=None, **record):
        """Publish a post; return its rkey."""
        self.number += 1
        rkey = rkey or f"3mpt{self.number:09d}"
        record = {
            "$type": collection,
            "createdAt": "2026-07-04T14:38:07.112Z",
            "langs": list(langs),
            "text": text,
        } | record
        commit = {
            "rev": f"3rev{self.number:09d}",
            "operation": operation,
            "collection": collection,
            "rkey": rkey,
            "record": record,
            "cid": f"bafyrei{self.number}",
        }
        self.event(kind="commit", commit=commit)
        return rkey

    def identity(self):
        """Publish that somebody's identity changed."""
        self.event(
            kind="identity", identity={"did": "did:plc:abc", "seq": 31527015470, "handle": "a.example"}
        )

    def account(self):
        """Publish that an account changed."""
        self.event(kind="account", account={"active": True, "did": "did:plc:abc", "seq": 31527015471})

    def event(self, *, did="did:plc:abc", **rest):
        """Publish any event, with the next time and the extra cursor that newer servers send."""
        self.now_us += self.step_us
        event = {"did": did, "time_us": self.now_us, "cursor": 100 + self.number, **rest}
        if self.v2:
            kind = rest.pop("kind")
            time = f"{datetime.fromtimestamp(self.now_us // 10**6, UTC):%FT%T}.{self.now_us % 10**6:06}Z"
            message = {"$type": f"{NSID}#{kind}", "seq": 100 + self.number, "did": did, "time": time}
            event = {"$type": "message", "payload": message | rest.pop("commit", {}) | rest}
        self.frame(json.dumps(event), time_us=self.now_us)

    def frame(self, frame, *, time_us=0):
        """Publish a frame as it is; one without a time comes once, one with a time again after a cursor."""
        with self._changed:
            self.history.append((time_us, frame))
            self._changed.notify_all()

    def poison(self, frame):
        """Publish a frame that also comes again, at the time of the last event."""
        self.frame(frame, time_us=self.now_us)

    def drop(self):
        """Break every connection without a closing handshake."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self, code=1012, reason="service restart"):
        """Close every connection politely."""
        for connection in list(self.connections):
            connection.close(code, reason)

    def stall(self):
        """Stay open and send nothing more."""
        self._stalled = True

    def deafen(self):
        """Read nothing more from the connections that are open, so that no ping of theirs is answered."""
        for connection in list(self.connections):
            connection.recv_flow_control.acquire()
            self._deaf.append(connection)
            connection.ping()  # the answer to it wakes the reader, which then finds that it may not read

    def go_on(self):
        """End a stall."""
        with self._changed:
            self._stalled = False
            self._changed.notify_all()

    # What the server does

    def _process(self, connection, request):
        path = urlsplit(request.path)
        if path.path != (f"/xrpc/{NSID}" if self.v2 else "/subscribe"):
            return Response(404, "Not Found", Headers({"Content-Length": "0"}), b"")
        query = parse_qs(path.query)
        self.asked.append(query)
        if self.refusals:
            status, headers = self.refusals.popleft()
            return Response(
                status, HTTPStatus(status).phrase, Headers(headers | {"Content-Length": "0"}), b""
            )
        return None

    def _handle(self, connection):
        query = parse_qs(urlsplit(connection.request.path).query)
        place = len(self.history)
        self.connections.add(connection)
        self.joined += 1
        try:
            for frame in self._frames(query.get("cursor"), connection, place):
                connection.send(frame)
        except ConnectionClosed:
            pass
        finally:
            self.connections.discard(connection)

    def _frames(self, cursor, connection, place):
        if cursor and int(cursor[0]) <= self.now_us:
            yield from [frame for time_us, frame in self.history[:place] if time_us >= int(cursor[0])]
        while True:
            with self._changed:
                while not self._ending and (self._stalled or place >= len(self.history)):
                    self._changed.wait(0.05)
                    if connection.state.name != "OPEN":
                        return
                if self._ending:
                    return
                fresh, place = self.history[place:], len(self.history)
            for _, frame in fresh:
                yield frame
