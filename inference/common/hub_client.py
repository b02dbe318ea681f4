"""The Hub's client made impatient: of itself it has no time-outs, and a silent server hangs it for ever.

    import inference.common.hub_client                       # from now on, in this process
    info = within(3.0, lambda: api.model_info(repo))  # bounds whatever hangs: looking up the name, too

A request that fails twice for want of an answer, or is told to come back much later, raises `GaveUp`, which
the client's own back-off does not try again: without that, it would go on for minutes. Knows nothing about
models.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub import set_client_factory
from huggingface_hub.utils._http import default_client_factory

ANSWER_S = 15.0
"""How long to wait for an answer, or for the next bytes of one."""
CONNECT_S = 5.0
AGAIN_S = 60.0
"""A request that fails twice within this time is not sent a third time."""
LONGEST_WAIT_S = 20.0
"""A busy Hub that wants a longer pause is one that can't be used now."""
_NO_ANSWER = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)

_failed: dict[tuple[str, str], float] = {}  # when; outlives the client, which a lost connection renews
_lock = threading.Lock()

T = TypeVar("T")


class GaveUp(httpx2.TransportError):
    """The Hub stayed silent, broke off or asked for a long pause; the text says which."""


def make_client() -> httpx2.Client:
    """Return the Hub's client as it is, with limits on every request."""
    return guarded_client(_Guard)


def guarded_client(guard: Callable[[httpx2.BaseTransport], httpx2.BaseTransport]) -> httpx2.Client:
    """Return the Hub's client with all that it sends going through a guard of ours."""
    client = default_client_factory()
    client._transport = guard(client._transport)  # the factory takes no transport
    client._mounts = {pattern: guard(proxy) if proxy else None for pattern, proxy in client._mounts.items()}
    return client


class _Guard(httpx2.BaseTransport):
    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises GaveUp when it is no use to send it again."""
        key = (request.method, f"{request.url.netloc.decode()}{request.url.path}")
        request.extensions = {**request.extensions, "timeout": _limits(request)}
        try:
            response = self._inner.handle_request(request)
        except _NO_ANSWER as error:
            with _lock:
                before = _failed.pop(key, None)
                if before is None or time.monotonic() - before > AGAIN_S:
                    _failed[key] = time.monotonic()
                    raise
            raise GaveUp(_why(error), request=request) from error
        with _lock:
            _failed.pop(key, None)
        pause = response.headers.get("retry-after", "").strip()
        if response.status_code in (429, 503) and pause.isdigit() and int(pause) > LONGEST_WAIT_S:
            response.close()
            raise GaveUp(f"the Hub asks to come back in {pause} s ({response.status_code})", request=request)
        return response

    def close(self) -> None:
        """Close the transport below."""
        self._inner.close()


def _limits(request: httpx2.Request) -> dict[str, float]:
    """Return a call's own time-outs or ours: some switch them off, and others wait for 60 or 100 s."""
    limits = {"connect": CONNECT_S, "read": ANSWER_S, "write": ANSWER_S, "pool": ANSWER_S}
    asked = request.extensions.get("timeout") or {}
    own = {name: limit for name, limit in asked.items() if limit is not None}
    if "/logs" not in request.url.path:  # logs that are followed may be silent for long
        own["read"] = min(own.get("read", ANSWER_S), ANSWER_S)
    return limits | own


def _why(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "the Hub can't be reached"
    if isinstance(error, httpx2.TimeoutException):
        return "the Hub gave no answer in time"
    return "the connection to the Hub broke"


def within(seconds: float, work: Callable[[], T]) -> T:
    """Do the work in a thread that is left behind after `seconds`: looking a name up knows no time-out.

    Raises what the work raises, and TimeoutError when it takes too long.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - carried over and raised in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True, name="hub-preflight")
    thread.start()
    thread.join(seconds + 0.5)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer in {seconds} s")
    return done[0]


set_client_factory(make_client)  # at import: later it would close connections that are in use
