"""Shared by the hostile-input tests: a real server on a tiny model, and raw bytes to and from it."""

import atexit
import contextlib
import functools
import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load
from inference import Classifier

TEXT = "i love this sunny day"


@dataclass(frozen=True)
class Target:
    """A running server, and its right answer to TEXT, whatever happened before."""

    running: load.Server
    expected: dict[str, float]

    @property
    def port(self) -> int:
        return self.running.port

    def still_answers(self) -> None:
        """Fail unless the process is alive and answers TEXT correctly and promptly."""
        assert self.running.process.poll() is None, self.running.log_tail()
        start = time.monotonic()
        try:
            status, answer = ask(self.port, {"inputs": TEXT})
        except ConnectionError as error:
            raise AssertionError(f"{error}; exit status {self.running.process.poll()}") from error
        assert status == 200, answer
        assert {row["label"]: row["score"] for row in answer[0]} == pytest.approx(self.expected, abs=1e-4)
        assert time.monotonic() - start < 5


@contextlib.contextmanager
def target(artifact: Path, *arguments: str) -> Iterator[Target]:
    """Run the server on an artifact."""
    classifier = Classifier.load(artifact)
    [prediction] = classifier.predict([TEXT])
    expected = dict(zip(classifier.labels, prediction.probabilities, strict=True))
    with load.server(artifact, *arguments) as running:
        yield Target(running, expected)


@functools.cache
def shared_target(artifact: Path) -> Target:
    """Return a server that all tests of a session share; it gives a request two seconds to arrive."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(target(artifact, f"demo={artifact}", "--body-timeout-s", "2"))


def ask(port: int, content: Any, path: str = "/", **headers: str) -> tuple[int, Any]:
    """Post a JSON value, or bytes as they are. Returns the status and the answer's JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or "null")


def fetch(port: int, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """Return the status and the body of the answer to a request whose path goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def post_head(length: int | None, *lines: str, path: str = "/") -> bytes:
    """Return the head of a POST of JSON, with a Content-Length unless it is None."""
    known = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    if length is not None:
        known.append(f"Content-Length: {length}")
    return "\r\n".join([*known, *lines, "", ""]).encode("latin-1")


@contextlib.contextmanager
def connected(port: int, *, timeout_s: float = 10) -> Iterator[socket.socket]:
    """Open a plain TCP connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        yield connection


def read_all(connection: socket.socket, *, quiet_s: float | None = None) -> bytes:
    """Return all that the server sends until it closes, is silent for the connection's time-out, or, once it
    has begun, for `quiet_s`.
    """
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
            connection.settimeout(quiet_s or connection.gettimeout())
    except (TimeoutError, ConnectionError):
        pass
    return received


def raw(port: int, data: bytes, *, timeout_s: float = 10) -> bytes:
    """Send bytes, and return the response's bytes."""
    with connected(port, timeout_s=timeout_s) as connection:
        with contextlib.suppress(ConnectionError):  # the server may have refused in the middle
            connection.sendall(data)
        return read_all(connection, quiet_s=0.3)


def statuses(received: bytes) -> list[int]:
    """Return the statuses of the answers in a stream, one after another."""
    found = []
    while received.startswith(b"HTTP/1.1 "):
        head, _, rest = received.partition(b"\r\n\r\n")
        found.append(int(head.split(b" ")[1]))
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        received = rest[int(headers.get(b"content-length", b"0")) :]
    return found
