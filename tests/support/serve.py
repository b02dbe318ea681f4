"""Real servers for the tests: in a thread, to look inside, or the command line in a process of its own."""

import contextlib
import functools
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from inference import Classifier
from inference.serving.process import GracefulServer, listen
from inference.serving.schema import Settings
from inference.serving.service import Service
from tests.support import REPOSITORY, wait_for


class Gated:
    """A real classifier that computes only while its gate is open."""

    def __init__(self, source: str):
        self._classifier = Classifier.load(source)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._classifier, name)

    def close_gate(self) -> None:
        """Hold back the next batches; each of them releases `entered`."""
        self.entered = threading.Semaphore(0)
        self.gate.clear()

    def logits(self, token_ids):
        self.entered.release()
        assert self.gate.wait(30)
        return self._classifier.logits(token_ids)


@dataclass(frozen=True)
class Answer:
    """A status, headers with lower-case names, and the JSON of the body."""

    status: int
    headers: dict[str, str]
    json: Any


@dataclass
class Running:
    """A server that listens on loopback."""

    port: int
    service: Service | None = None
    process: subprocess.Popen | None = None
    log: Path | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, content: Any, path: str = "/", *, method: str = "POST", **headers: str) -> Answer:
        """Send JSON, or bytes as they are, on a connection of its own."""
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()
        given = {"Content-Type": "application/json"} if content is not None else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, given)
            return read(connection.getresponse())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask(None, path, method="GET", **headers)

    def text(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def lines(self) -> list[dict]:
        """Return the lines of the log, each of which must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def read(answer: http.client.HTTPResponse) -> Answer:
    """Return an answer, read to its end."""
    content = answer.read()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    is_json = headers.get("content-type") == "application/json"
    return Answer(answer.status, headers, json.loads(content) if is_json and content else content)


@functools.cache
def loaded(source: str) -> Classifier:
    """Return the classifier of a folder, which all servers of a session share."""
    return Classifier.load(source)


@contextlib.contextmanager
def serving(
    sources: dict[str, Any], *, load=loaded, start=True, index=None, host="127.0.0.1", **settings: Any
) -> Iterator[Running]:
    """Run a server in a thread; ready, unless `start` is False."""
    service = Service(sources, settings=Settings(**settings), load=load, index=index)
    if start:
        service.load()
    listener = listen(host, 0)
    server = GracefulServer(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Running(listener.getsockname()[1], service)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@contextlib.contextmanager
def command(*arguments: object, folder: Path, ready: bool = True, **environment: str) -> Iterator[Running]:
    """Run `python -m inference serve …` on a free port; its log goes to server.log in a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference", "serve", *map(str, arguments), "--port", str(port)],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stderr=output,
        )
    running = Running(port, process=process, log=log)
    try:
        if ready:
            wait_for(lambda: process.poll() is not None or is_ready(running), every=0.1)
            assert process.poll() is None, log.read_text()
        yield running
    finally:
        process.kill()
        process.wait(30)


def is_ready(running: Running) -> bool:
    """Whether a server answers that it is ready."""
    try:
        return running.get("/readyz").status == 200
    except OSError:
        return False


def post(body: bytes, *lines: str, length: int | str | None = None) -> bytes:
    """Return the bytes of a POST of JSON; `length`: the announced length, "" for none."""
    head = ["POST / HTTP/1.1", "Host: localhost", "Content-Type: application/json", *lines]
    if length != "":
        head.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*head, "", ""]).encode() + body


def metric(running: Running, name: str, **labels: str) -> float:
    """Return the sum of a metric over the series with these labels, parsed as Prometheus does."""
    found = [
        sample.value
        for family in text_string_to_metric_families(running.text("/metrics"))
        for sample in family.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    ]
    return sum(found)
