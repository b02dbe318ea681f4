"""Requests to services: hidden tokens, time-outs everywhere, guarded addresses, rate limits, event streams.

    token = Token("secret", of="X")             # repr(token) == "Token(hidden)"
    session.mount("https://", Adapter(token=token, connect_timeout_s=5, read_timeout_s=20))
    session.mount("https://", Adapter(only_public=True, ...))     # for an address that somebody typed in
    for event, data in events(response, halt):  # ("update", '{"id": …}'); ("", "") for a heartbeat
        ...

The adapter adds the token to a request just before it is sent, and removes it from the answer. So the
libraries above it, their logs and their exceptions never hold it. With `only_public` a name is looked up
once, refused when it leads into a private network, and the connection goes to exactly that address.
"""

import contextlib
import ipaddress
import re
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from threading import Event
from typing import cast
from urllib.parse import quote, unquote, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from inference.live.errors import SourceBadQuery, SourceRateLimited, SourceUnauthorised, SourceUnavailable
from inference.live.post import moment

_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # a gateway turns these into IPv4 addresses, private ones too
_CHUNK_BYTES = 65536
_LARGEST_EVENT_BYTES = 1_000_000
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Token:
    """A secret that is shown nowhere. Raises SourceUnauthorised when it can't be a token."""

    __slots__ = ("_value",)

    def __init__(self, value: str, *, of: str) -> None:
        self._value = value.strip()
        if not re.fullmatch(r"[!-~]{4,4096}", self._value):
            raise SourceUnauthorised(
                f"The token for {of} is empty or holds characters that no token has. Copy it again, whole."
            )

    def __repr__(self) -> str:
        return "Token(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("A token is not stored.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Token) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def header(self) -> str:
        return f"Bearer {self._value}"

    def hide(self, text: str) -> str:
        """Return a text with the token taken out, as it is and as it stands in an address."""
        for shape in (self._value, quote(self._value, safe=""), unquote(self._value)):
            text = text.replace(shape, "(hidden)")
        return text


class Session(requests.Session):
    """A session that follows no redirect. requests would read an answer whole that has one, of any size."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class Adapter(HTTPAdapter):
    """Sends requests with time-outs and, where given, a token, another base address or a guard.

    `base_url` replaces scheme and host of every request. `only_public` refuses private addresses;
    `allow_loopback` lets this machine's own through all the same. `last`: the last response.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        token: Token | None = None,
        base_url: str = "",
        only_public: bool = False,
        allow_loopback: bool = False,
    ) -> None:
        self.last: requests.Response | None = None
        self._timeout = (connect_timeout_s, read_timeout_s)
        self._token, self._base_url = token, base_url.rstrip("/")
        super().__init__()
        if only_public:
            self.poolmanager.pool_classes_by_scheme = {
                "http": _guarded(HTTPConnectionPool, HTTPConnection, allow_loopback),
                "https": _guarded(HTTPSConnectionPool, HTTPSConnection, allow_loopback),
            }

    def send(  # noqa: PLR0917  (the signature is that of requests)
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send a request; the time-outs are the adapter's own. Raises what requests raises."""
        sent = request.copy()
        if self._base_url:
            parts = urlsplit(cast(str, sent.url))
            sent.url = self._base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        if is_loopback(urlsplit(cast(str, sent.url)).hostname or ""):
            proxies = None
        if self._token:
            sent.headers["Authorization"] = self._token.header()
        response = super().send(sent, stream, self._timeout, verify, cert, proxies)
        response.request = request
        self.last = response
        return response

    def abort(self) -> None:
        """End the reading of the last response, from any thread."""
        if self.last is not None:
            # Closed already, or handed back to the pool: there is nothing to end.
            with contextlib.suppress(ValueError, RuntimeError, OSError):
                self.last.raw.shutdown()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its usual name or by a loopback address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_public(address: Address) -> bool:
    """Return whether an address is on the open internet. One that carries another address is private."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address in _NAT64
    ):
        return False
    return address.is_global and not address.is_multicast


def checked_addresses(host: str, port: int, *, allow_loopback: bool) -> list[str]:
    """Look a name up. Raises SourceBadQuery when an address may not be asked, OSError when there is none."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found = dict.fromkeys(str(entry[4][0]) for entry in entries)
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        if not (is_public(address) or (allow_loopback and address.is_loopback)):
            raise SourceBadQuery(
                f"{host[:100]} leads to an address inside a private network, which is not asked. "
                "Give the name of a public instance, such as mastodon.social."
            )
    return list(found)


def _guarded(
    pool: type[HTTPConnectionPool], connection: type[HTTPConnection], allow_loopback: bool
) -> type[HTTPConnectionPool]:
    """Return a pool whose connections go to checked addresses alone."""

    class Guarded(connection):  # type: ignore[misc,valid-type]  # one class for http, one for https
        _dns_host: str

        def _new_conn(self) -> socket.socket:
            name = self._dns_host
            problem: HTTPError | None = None
            for address in checked_addresses(name, self.port, allow_loopback=allow_loopback):
                self._dns_host = address  # the name itself is not looked up again: it could change its mind
                try:
                    return cast(socket.socket, super()._new_conn())
                except (NewConnectionError, ConnectTimeoutError) as error:
                    problem = error
                finally:
                    self._dns_host = name
            raise problem or OSError(f"{name} has no address")

    return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": Guarded})


def read_body(response: requests.Response, *, limit_bytes: int, timeout_s: float, halt: Event) -> bytes:
    """Read an answer to its end. Raises SourceUnavailable when it is larger or slower than allowed."""
    began, body = time.monotonic(), bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            raise SourceUnavailable(
                f"The answer is longer than {limit_bytes // 1000:,} kB and was not read.", answered=True
            )
        if halt.is_set() or time.monotonic() - began > timeout_s:
            raise SourceUnavailable(f"The answer did not come within {timeout_s:g} s.")
    return bytes(body)


def events(response: requests.Response, halt: Event) -> Iterator[tuple[str, str]]:
    """Yield (name, data) of each server-sent event, until the stream ends or `halt` is set.

    Raises SourceUnavailable for an event that is too large, and urllib3's errors when the connection breaks.
    """
    name, data, size = "", [], 0
    for line in _lines(response, halt):
        size += len(line)
        if size > _LARGEST_EVENT_BYTES:
            raise _too_large()
        field, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif line.startswith(b":"):
            yield "", ""
        elif not line:
            if data:
                yield name or "message", "\n".join(data)
            name, data, size = "", [], 0


def _lines(response: requests.Response, halt: Event) -> Iterator[bytes]:
    """Yield lines without their ends, as soon as they are whole."""
    rest = b""
    while not halt.is_set() and (chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True)):
        *lines, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        if len(rest) > _LARGEST_EVENT_BYTES:
            raise _too_large()
        for line in lines:
            yield line.removesuffix(b"\r")


def _too_large() -> SourceUnavailable:
    return SourceUnavailable(f"The stream sent an event of more than {_LARGEST_EVENT_BYTES // 1000:,} kB.")


def limit_wait_s(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until a rate limit ends, None when no header says so.

    Reads Retry-After (seconds or a date), X-RateLimit-Reset (ISO 8601, Mastodon) and x-rate-limit-reset (Unix
    seconds, X). Times are compared with the service's own clock where it sends a Date header, else with
    `now`, so a wrong clock here does no harm.
    """
    here = _http_date(headers.get("Date", "")) or now
    retry, reset = headers.get("Retry-After", "").strip(), moment(headers.get("X-RateLimit-Reset"))
    waits = [
        _number(retry),
        _left(_http_date(retry), here),
        _left(_number(headers.get("x-rate-limit-reset", "")), here),
        _left(reset.timestamp() if reset else None, here),
    ]
    known = [wait for wait in waits if wait is not None]
    return max(0.0, *known) if known else None


def rate_limited(message: str, headers: Mapping[str, str], now: float) -> SourceRateLimited:
    """Return the error for a service that asks to wait: as long as it says, else a minute."""
    wait_s = limit_wait_s(headers, now)
    return SourceRateLimited(message, retry_after_s=60.0 if wait_s is None else wait_s)


def used_up(headers: Mapping[str, str]) -> bool:
    """Return whether an answer says that no request is left before the rate limit starts anew."""
    left = headers.get("x-rate-limit-remaining") or headers.get("X-RateLimit-Remaining")
    return left is not None and left.strip() == "0"


def _left(until: float | None, here: float) -> float | None:
    return None if until is None else until - here


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text.strip()) else None


def _http_date(text: str) -> float | None:
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
