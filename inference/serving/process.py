"""The process that serves: listens, answers, and stops without losing a request.

    serve({"demo": "runs/demo/artifact"}, settings=Settings(), host="127.0.0.1", port=8000)

SIGTERM or SIGINT: no new connection is accepted, everything accepted is answered, exit status 0; a second one
ends it at once. SIGHUP: every model is loaded again from its folder and takes over when it is warm. Nothing
that comes over the network can change what is served. Once the models are there, they are frozen for the
garbage collector: looking through them would cause noticeable pauses.

The log is JSON, one object a line, in ASCII: no text from outside can begin a line of its own. A client that
connects and says nothing, or sends a head that never ends, is cut off; uvicorn and httptools wait for ever
and keep every byte. (Bodies have bounds of their own, in `limits`.)
"""

import asyncio
import contextlib
import gc
import json
import logging.config
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inference.baselines.index import Index
from inference.common.errors import TweetTuneError
from inference.common.machine import cores
from inference.serving.app import create_server
from inference.serving.errors import ServingError
from inference.serving.schema import Settings
from inference.serving.service import Service

_LINGER_S = 0.5
"""How long open connections may still bring a request that was on its way when the signal came."""
_KEEP_ALIVE_S = 30
_MAX_HEAD_BYTES = 65_536
_IN_IPV6 = "::ffff:"
log = logging.getLogger(__name__)


def serve(
    sources: Mapping[str, str],
    *,
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8000,
    engine: str = "auto",
    workers: int = 1,
    index: Path | None = None,
) -> None:
    """Serve models until a signal comes. Port 0 takes a free one; the log says where.

    `index`: the file of an index of labelled texts. Raises ServingError when the address is taken,
    TweetTuneError when a model can't be loaded or the index can't be read.
    """
    if workers < 1:
        raise ServingError(f"workers is {workers}. Give a number above 0.")
    _log_as_json()
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    log.info("TweetTune serves at http://%s:%d", shown, listener.getsockname()[1])
    if not settings.tokens and host not in ("127.0.0.1", "::1", "localhost"):
        log.warning("No tokens were given: whoever reaches this address can use it")
    make = partial(_service, dict(sources), engine, index)
    if workers == 1:
        _work(make(settings), listener)
    else:
        _share_work(make, settings, listener, workers)


def _service(sources: Mapping[str, str], engine: str, index: Path | None, settings: Settings) -> Service:
    known = Index(index) if index else None
    return Service(sources, settings=settings, engine=engine, index=known, on_ready=gc.freeze)


def _log_as_json() -> None:
    logging.config.dictConfig(LOGGING)
    # What ends a thread would otherwise go to standard error as plain lines.
    threading.excepthook = lambda ended: log.error("A thread has failed", exc_info=ended.exc_value)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises ServingError when the address can't be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. An answer goes out in two writes; without it the second waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise ServingError(
            f"{host}:{port} can't be listened on ({reason}). Give another --host or --port."
        ) from error
    return listener


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON, with the fields given as `extra={"fields": {…}}`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


LOGGING: dict[str, object] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "inference.serving.process.JsonFormatter"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},  # libraries: no line but ours
    "loggers": {
        "inference.serving": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
    },
}
"""A configuration for `logging.config.dictConfig`: our lines, and uvicorn's warnings, to standard error."""


def _work(service: Service, listener: socket.socket) -> None:
    _reload_at_sighup(service)
    GracefulServer(service).run(sockets=[listener])
    if service.error:
        raise service.error


def _reload_at_sighup(service: Service) -> None:
    def reload(sig: int, frame: FrameType | None) -> None:
        threading.Thread(target=service.reload, name="reload", daemon=True).start()

    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, reload)


class _BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP connection, with bounds on heads and trailers, in time and in bytes.

    Without a request in progress, the next one must begin and come in within `timeout_s`.
    """

    timeout_s = 20.0
    _deadline: asyncio.TimerHandle | None = None
    _without_progress = 0  # bytes since a head, a piece of a body or a message was complete
    _progress = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client and self.client[0].startswith(_IN_IPV6):  # a socket of IPv6 takes IPv4 connections
            self.client = (self.client[0].removeprefix(_IN_IPV6), self.client[1])
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        self._progress = False
        super().data_received(data)
        self._without_progress = 0 if self._progress else self._without_progress + len(data)
        if self._without_progress > _MAX_HEAD_BYTES:
            self.transport.close()
        elif self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._start_clock()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()  # from here on the body's bounds hold
        self._stop_clock()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._progress = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_clock()

    def _start_clock(self) -> None:
        self._deadline = self.loop.call_later(self.timeout_s, self.transport.close)

    def _stop_clock(self) -> None:
        self._progress = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class GracefulServer(uvicorn.Server):
    """uvicorn's server of a service. Stops as the module says; ends, too, when a model can't be loaded."""

    def __init__(
        self, service: Service, app: FastAPI | None = None, *, host: str = "127.0.0.1", port: int = 8000
    ) -> None:
        """Serve a service's own app, or another one that has its routes."""
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                app or create_server(service),
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                http=type("Protocol", (_BoundedProtocol,), {"timeout_s": settings.body_timeout_s}),
                ws="none",
                timeout_keep_alive=_KEEP_ALIVE_S,
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_graceful_shutdown=int(settings.body_timeout_s + settings.deadline_s + 1),
            )
        )
        self.service = service

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self.service.error is not None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; the second time, stop at once."""
        if self.should_exit:
            os._exit(128 + sig)
        self.service.stopping = self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing new, let open connections bring what is on its way, then close them.

        A service that stops answers with `Connection: close`, so busy connections end by themselves.
        """
        self.service.stopping = True
        await asyncio.sleep(0)  # whoever has connected already is accepted
        for server in self.servers:
            server.close()
        until = time.monotonic() + _LINGER_S
        while self.server_state.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def _share_work(
    make: Callable[[Settings], Service], settings: Settings, listener: socket.socket, workers: int
) -> None:
    """Run several processes on one address; signals reach them all. When one ends, all end.

    They share the cores and the rate that one client may ask at: a client's connections go to any of them.
    """
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores() // workers))
    settings = replace(settings, rate_limit=settings.rate_limit / workers)
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_worker, args=(make, settings, listener)) for _ in range(workers)]
    for process in processes:
        process.start()
    listener.close()
    received: list[int] = []

    def pass_on(sig: int, frame: FrameType | None = None) -> None:
        received.append(sig)
        for process in processes:
            if process.pid and process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, sig)

    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sig, pass_on)
    wait([process.sentinel for process in processes])
    if not {signal.SIGTERM, signal.SIGINT} & set(received):
        pass_on(signal.SIGTERM)
    for process in processes:
        process.join()
    expected = {0, -signal.SIGTERM, -signal.SIGINT}  # it may come before a worker listens for it
    if any(process.exitcode not in expected for process in processes):
        raise ServingError("A worker has ended with an error; the log says why.")


def _worker(make: Callable[[Settings], Service], settings: Settings, listener: socket.socket) -> None:
    os.setsid()  # Ctrl-C reaches the parent alone, which passes it on: twice would end us at once
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _log_as_json()
    service = make(settings)
    _reload_at_sighup(service)
    try:
        service.load()  # before it accepts anything: another worker may be ready, and this one not
        _work(service, listener)
    except (TweetTuneError, OSError) as error:
        log.error("%s", error)
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
