"""Whose page may speak to a server: its own, opened under one of this machine's names.

    app.add_middleware(OwnHosts, service=service)

A page of another site can let its own name lead to this machine (DNS rebinding), and the browser then takes
it for a page of this server. So whoever asks under a name that is none of the machine's is refused (421),
whatever is asked for; and so is what would change something, if a browser says that another site's page sent
it (403).
No header that a proxy adds, such as X-Forwarded-Host, is believed: anybody can send one.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from inference.serving.errors import AnotherSite, ServingError, WrongHost
from inference.serving.routes import refusal
from inference.serving.schema import ALLOWED_HOSTS, LOOPBACK, allowed_hosts
from inference.serving.service import Service

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{0,5})?")
_READS = ("GET", "HEAD", "OPTIONS")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def space_hosts() -> tuple[str, ...]:
    """Return the names of the Space that this is; none elsewhere."""
    space = os.environ.get("SPACE_ID", "").lower()
    given = os.environ.get("SPACE_HOST", "").lower().replace(",", " ").split()
    return tuple(given or [f"{re.sub('[^a-z0-9]+', '-', space)}.hf.space"]) if space else ()


def own_names() -> frozenset[str]:
    """Return the names of this machine, and of the Space that it is."""
    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return frozenset({"localhost", name, short, f"{short}.local", *space_hosts()})


def is_own(host: str, names: Collection[str], *, at: str = LOOPBACK) -> bool:
    """Return whether a Host header names this machine: `at` is the address at which the request arrived.

    An address is nobody's name and can't be rebound, so whoever came from outside may use any: that of a
    container is not the one it is asked at. What arrived at loopback must name loopback.
    """
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name = (found[1] or found[2]).lower().removesuffix(".")
    if address := _address(name):
        here = _address(at.partition("%")[0])
        return address.is_loopback or address == here or not (here is None or here.is_loopback)
    return not found[1] and _is_among(name, names)


def from_another_site(headers: Mapping[str, str], allowed: Collection[str] | None = None) -> bool:
    """Return whether a browser says that another site's page sent a request, by what no script can set.

    `allowed`: the names that are ours beside the Host and the Space's; by default those of the environment.
    """
    if site := headers.get("sec-fetch-site"):  # knows of every proxy and domain; absent over plain http
        return site not in ("same-origin", "none")
    if not (origin := headers.get("origin")):
        return False  # no page sent it
    try:
        where = urlsplit(origin.lower()).netloc  # "" for "null": a file, or a frame without rights
    except ValueError:
        return True
    allowed = allowed_hosts() if allowed is None else allowed
    own = {headers.get("host", "").strip().lower(), *space_hosts(), *allowed}
    return not where or not _is_among(where, own - {"*"})


def _is_among(name: str, names: Collection[str]) -> bool:
    wild = (each[1:] for each in names if each.startswith("*."))
    return name in names or "*" in names or name.endswith(tuple(wild))


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None) or found


class OwnHosts:
    """The middleware that refuses what the module says, for every door of an app: HTTP and web sockets."""

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self._app, self._metrics, self._settings = app, service.metrics, service.settings
        self._names = own_names() | {*service.settings.allowed_hosts}
        self._public = bool(space_hosts())  # its pages may be part of other sites', and who may what is asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] != "lifespan":
                self._check(scope, Headers(scope=scope))
        except ServingError as error:
            self._metrics.requests.labels("none", str(error.status)).inc()
            self._metrics.rejections.labels(error.reason).inc()
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": error.reason})
            else:
                await refusal(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raise WrongHost or AnotherSite. Whoever gives no Host is no browser."""
        at = str((scope.get("server") or ("",))[0])
        for host in headers.getlist("host"):
            if not is_own(host.strip(), self._names, at=at):
                raise WrongHost(
                    f"This server does not answer to the name {host[:100]!r}. Open it as http://localhost "
                    f"with its port; whoever runs it can add the name to {ALLOWED_HOSTS}."
                )
        changes = scope["type"] == "websocket" or scope["method"] not in _READS
        may = self._public or not {headers.get("origin"), "*"}.isdisjoint(self._settings.cors_origins)
        if changes and not may and from_another_site(headers, self._settings.allowed_hosts):
            raise AnotherSite(
                "A page of another site sent this, so it may change nothing here. "
                "Open the server at its own address and ask again there."
            )
