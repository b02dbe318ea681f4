"""Who may ask, how much and how often: tokens, rates, and bodies that are too large or too slow."""

import asyncio
import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from inference.serving.errors import BodyTooLarge, Overloaded, RateLimited, SlowClient, Unauthorized

if TYPE_CHECKING:
    from starlette.types import Receive

_BURST_S = 10.0
_MAX_CLIENTS = 10_000


class ClientGone(ConnectionError):  # noqa: N818  (it is no error)
    """The client has closed its connection; there is nobody to answer."""


def check_token(header: str, tokens: Sequence[str]) -> str | None:
    """Return which token an Authorization header bears, None where none is needed. Raises Unauthorized.

    All tokens are compared, each in constant time, so that timing reveals nothing.
    """
    if not tokens:
        return None
    scheme, _, given = header.partition(" ")
    same = [hmac.compare_digest(given.strip().encode(), token.encode()) for token in tokens]
    if scheme.lower() != "bearer" or not any(same):
        raise Unauthorized("A token is needed. Send the header 'Authorization: Bearer TOKEN'.")
    return f"token {same.index(True)}"


def network(host: str) -> str:
    """Return the key of a client by its address: an IPv4 address, or the 64 bits of an IPv6 network."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:  # a proxy said so
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))


class RateLimiter:
    """A token bucket a client, in bounded memory: the clients that were quiet longest are forgotten first.

    A request of many texts may put a client into debt, so a large one can pass, and is paid for by waiting.
    """

    def __init__(
        self, per_s: float, *, clock: Callable[[], float] = time.monotonic, max_clients: int = _MAX_CLIENTS
    ) -> None:
        self._per_s, self._clock, self._max_clients = per_s, clock, max_clients
        self._full = max(1.0, per_s * _BURST_S)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Raise RateLimited when a client is in debt."""
        if self._per_s and (left := self._left(client)) < 1:
            wait_s = max(1, math.ceil((1 - left) / self._per_s))
            raise RateLimited(
                f"You send more than {self._per_s:g} texts a second. Try again in {wait_s} s.",
                retry_after_s=wait_s,
            )

    def spend(self, client: str, texts: int) -> None:
        if self._per_s:
            self._buckets[client] = (self._left(client) - texts, self._clock())
            self._buckets.move_to_end(client)
            if len(self._buckets) > self._max_clients:
                self._buckets.popitem(last=False)

    def _left(self, client: str) -> float:
        now = self._clock()
        left, at = self._buckets.get(client, (self._full, now))
        return min(self._full, left + (now - at) * self._per_s)


class Bodies:
    """The bound on the bodies of all requests in progress together."""

    def __init__(self, *, max_bytes: int, max_all_bytes: int, timeout_s: float) -> None:
        self.max_bytes, self.max_all_bytes, self.timeout_s = max_bytes, max_all_bytes, timeout_s
        self.bytes_held = 0


class Body:
    """One request's body. Its bytes count against the bound until `release`."""

    def __init__(self, bodies: Bodies, max_bytes: int | None = None) -> None:
        """`max_bytes`: a bound below that of all bodies."""
        self._bodies = bodies
        self._max_bytes = min(bodies.max_bytes, max_bytes or bodies.max_bytes)
        self._parts: list[bytes] = []
        self._size = 0

    async def read(self, receive: "Receive", *, announced: int, waits_for_100: bool) -> bytes:
        """Return the body. Raises BodyTooLarge, SlowClient, Overloaded or ClientGone.

        The bytes are counted as they come in. What is too large is read to its end, and forgotten, so that
        its sender gets to read why it was refused; unless it asked beforehand (Expect: 100-continue).
        """
        refused = announced > self._max_bytes
        if refused and waits_for_100:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._bodies.timeout_s):
                more = True
                while more:
                    part, more = await _part(receive)
                    refused = refused or self._size + len(part) > self._max_bytes
                    if refused:
                        self.release()
                    else:
                        self._keep(part)
        except TimeoutError as error:
            raise SlowClient(f"The body did not arrive within {self._bodies.timeout_s:g} s.") from error
        if refused:
            raise self._too_large()
        return b"".join(self._parts)

    def release(self) -> None:
        self._bodies.bytes_held -= self._size
        self._parts, self._size = [], 0

    def _keep(self, part: bytes) -> None:
        if self._bodies.bytes_held and self._bodies.bytes_held + len(part) > self._bodies.max_all_bytes:
            raise Overloaded("The server is receiving too much at once. Try again in 1 s.", retry_after_s=1)
        self._bodies.bytes_held += len(part)
        self._size += len(part)
        self._parts.append(part)

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body is larger than {self._max_bytes} bytes, the most a request may have. Send it in parts."
        )


async def _part(receive: "Receive") -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)
