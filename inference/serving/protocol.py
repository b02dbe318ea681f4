"""uvicorn's HTTP protocol, with bounds on what is no body: heads and trailers, in time and in bytes.

    uvicorn.Config(app, http=bounded(timeout_s=20))

A client that connects and says nothing, or sends a head that never ends, is cut off; uvicorn and httptools
wait for ever and keep every byte. Bodies have bounds of their own, in `limits`. Knows nothing about requests.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEAD_BYTES = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Without a request in progress, the next one must begin and come in within a time."""

    timeout_s = 20.0
    _deadline: asyncio.TimerHandle | None = None
    _without_progress = 0  # bytes since a head, a piece of a body or a message was complete
    _progress = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._start_clock()

    def data_received(self, data: bytes) -> None:
        """Parse bytes; close the connection when too many of them came to nothing."""
        self._progress = False
        super().data_received(data)
        self._without_progress = 0 if self._progress else self._without_progress + len(data)
        if self._without_progress > _MAX_HEAD_BYTES:
            self.transport.close()
        elif self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._start_clock()

    def on_headers_complete(self) -> None:
        """Note that a head is there: from here on the body's bounds hold."""
        super().on_headers_complete()
        self._stop_clock()

    def on_body(self, body: bytes) -> None:
        """Note that a piece of a body is there."""
        super().on_body(body)
        self._progress = True

    def on_message_complete(self) -> None:
        """Note that a request is there to its end."""
        super().on_message_complete()
        self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._stop_clock()

    def _start_clock(self) -> None:
        self._deadline = self.loop.call_later(self.timeout_s, self.transport.close)

    def _stop_clock(self) -> None:
        self._progress = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bounded(timeout_s: float) -> type[BoundedProtocol]:
    """Return the protocol with a time in which a head must have come in."""
    return type("BoundedProtocol", (BoundedProtocol,), {"timeout_s": timeout_s})
