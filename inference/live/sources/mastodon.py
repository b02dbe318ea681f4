"""Mastodon: the public timeline of an instance, or a tag's, by polling; or as a stream, with a token.

    source = Mastodon("mastodon.social", tag="cats")
    source = Mastodon("mastodon.social", token="…")       # streams
    for post in source.posts(stop):
        ...

Polling needs no token where the instance shows its timelines to everybody. The token is sent to the instance
alone, and kept nowhere. An instance is an address that somebody typed in: only https to the open internet is
spoken, no redirect is followed, and answers are read up to a size.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from threading import Event
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import HTTPError

from inference.common.store import JsonObject
from inference.live.errors import (
    SourceBadQuery,
    SourceError,
    SourceRateLimited,
    SourceUnauthorised,
    SourceUnavailable,
)
from inference.live.post import LONGEST_HTML, Post, clean, link, moment, plain
from inference.live.sources.base import Backoff, LiveSource, World
from inference.live.sources.http import (
    Adapter,
    Session,
    Token,
    events,
    is_loopback,
    rate_limited,
    read_body,
    used_up,
)

_PAGE = 40  # the most that Mastodon gives at once
_PAGES_BEHIND = 5  # full pages in a row: the instance is faster than polling may be, so skip to its newest
_LARGEST_BYTES = 4_000_000
_ANSWER_S = 30.0  # the longest that a whole answer may take
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = re.compile(r"(?=.{1,253}\Z)(\w([\w-]{0,61}\w)?\.)+[^\W\d_][\w-]{0,61}\w")


def instance_url(text: str, *, allow_loopback: bool = False) -> str:
    """Return the https address of an instance that was typed in. Raises SourceBadQuery when it is none.

    `allow_loopback` lets this machine's own addresses through, with any port and http, as tests need it.
    """
    given = text.strip().rstrip("/")
    try:
        parts = urlsplit(given if "://" in given else f"https://{given}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if allow_loopback and bare and is_loopback(host) and parts.scheme in ("http", "https"):
        return f"{parts.scheme}://{parts.netloc}"
    if bare and parts.scheme == "https" and port in (None, 443) and _HOST.fullmatch(host):
        return f"https://{host}"
    raise SourceBadQuery(
        f"{clean(text)[:100]!r} is not the address of an instance. Give its name, such as mastodon.social."
    )


class Mastodon(LiveSource):
    """The public posts that an instance knows, all of them or those with a tag."""

    name = "mastodon"
    title = "Mastodon"
    server_backoff = Backoff(first_s=5.0, max_s=300.0)

    def __init__(
        self,
        instance: str,
        *,
        tag: str = "",
        token: str = "",
        interval_s: float = 5.0,
        timeout_s: float = 10.0,
        stall_s: float = 60.0,
        allow_loopback: bool = False,
        world: World | None = None,
        attempts: int = 12,
    ) -> None:
        """Take an instance. It streams with a token; without one it is polled every `interval_s`.

        A stream that sends nothing for `stall_s` is given up; Mastodon sends a heartbeat every 15 s. Raises
        SourceBadQuery for an odd instance or tag, SourceUnauthorised for an impossible token.
        """
        super().__init__(world=world, attempts=attempts)
        self._base = instance_url(instance, allow_loopback=allow_loopback)
        self._host = urlsplit(self._base).hostname or ""
        self.title = self._host
        self._tag = tag.strip().removeprefix("#")
        if self._tag and not re.fullmatch(r"\w{1,100}", self._tag):
            raise SourceBadQuery(f"{clean(tag)[:100]!r} is not a tag. Give one word, such as cats.")
        self._token = Token(token, of=self._host) if token else None
        self._allow_loopback = allow_loopback
        self._interval_s, self._timeout_s, self._stall_s = interval_s, timeout_s, stall_s
        self._http = Session()
        self._adapter = self._mounted(self._http, read_timeout_s=timeout_s)
        self._stream_adapter: Adapter | None = None
        self._stream_base = ""
        self._last_id = ""

    def _session(self, halt: Event) -> Iterator[Post]:
        yield from self._stream(halt) if self._token else self._poll(halt)

    # Polling

    def _poll(self, halt: Event) -> Iterator[Post]:
        full_pages = 0
        while not halt.is_set():
            page, headers = self._page(halt)
            yield from filter(None, map(self._read, page))
            if used_up(headers):
                raise self._limited(headers, "has no request left for now")
            full_pages = full_pages + 1 if len(page) >= _PAGE and self._last_id else 0
            if full_pages > _PAGES_BEHIND:
                full_pages, self._last_id = 0, ""
                self._count_gap()
            if self._world.wait(halt, 1.0 if full_pages else self._interval_s):
                return

    def _page(self, halt: Event) -> tuple[list[object], Mapping[str, str]]:
        """Return a page of the timeline, oldest first, and the headers of the answer."""
        path = f"/api/v1/timelines/tag/{quote(self._tag)}" if self._tag else "/api/v1/timelines/public"
        since = {"min_id": self._last_id} if self._last_id else {}
        found, headers = self._get(path, {"limit": str(_PAGE), **since}, halt)
        if not isinstance(found, list):
            raise SourceUnavailable(f"{self._host} did not answer with a list of posts.", answered=True)
        self._alive()
        if found and isinstance(found[0], dict) and _is_id(found[0].get("id")):
            self._last_id = found[0]["id"]  # the newest comes first
        return found[::-1], headers

    def _read(self, status: Any) -> Post | None:
        """Return the post of a new status; any other is counted, and None returned."""
        try:
            post = _post(status, self._host)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            # A stranger's post can be wrong in any way: count it and go on.
            self._unreadable(self._host)
            return None
        self._in_a_row = 0
        if status.get("visibility", "public") != "public":
            self._pass_over("not public")
        elif self._is_new(post.id):
            self._count_cut(len((status.get("reblog") or status)["content"]) > LONGEST_HTML)
            return post
        return None

    # Streaming

    def _stream(self, halt: Event) -> Iterator[Post]:
        name = "hashtag" if self._tag else "public"
        query = {"tag": self._tag} if self._tag else {}
        session = self._streaming_session(halt)
        url = f"{self._stream_base}/api/v1/streaming/{name}"
        with self._translated(), closing(session), closing(self._open(session, url, query)) as response:
            if self._last_id:  # what was posted while the stream was down
                missed, _ = self._page(halt)
                if len(missed) >= _PAGE:
                    self._count_gap()
                yield from filter(None, map(self._read, missed))
            for event, data in events(response, halt):
                self._alive()
                if event == "update":
                    try:
                        status = json.loads(data)
                    except (ValueError, RecursionError):
                        self._unreadable(self._host)
                        continue
                    if post := self._read(status):
                        self._last_id = post.id
                        yield post
                elif event:  # an edit comes after its post was classified
                    self._pass_over("edits" if event == "status.update" else "other events")
        if not halt.is_set():
            raise SourceUnavailable(f"{self._host} closed the stream.")

    def _streaming_session(self, halt: Event) -> requests.Session:
        """Return a session for the host that streams, which the instance names."""
        if not self._stream_base:
            try:
                found, _ = self._get("/api/v2/instance", {}, halt)
                named = found["configuration"]["urls"]["streaming"]
            except (KeyError, TypeError, SourceBadQuery):  # the last one: an older server, without this page
                named = None
            self._stream_base = self._base
            if isinstance(named, str) and named:
                address = re.sub(r"^ws", "http", named)
                self._stream_base = instance_url(address, allow_loopback=self._allow_loopback)
        session = Session()
        self._stream_adapter = self._mounted(session, read_timeout_s=self._stall_s)
        return session

    # Requests

    def _mounted(self, session: requests.Session, *, read_timeout_s: float) -> Adapter:
        session.trust_env = False  # a proxy of the environment would look names up past the guard
        adapter = Adapter(
            connect_timeout_s=self._timeout_s,
            read_timeout_s=read_timeout_s,
            token=self._token,
            only_public=True,
            allow_loopback=self._allow_loopback,
        )
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return adapter

    def _get(self, path: str, query: dict[str, str], halt: Event) -> tuple[Any, Mapping[str, str]]:
        """Return the JSON of an answer, and its headers. Raises SourceError."""
        with self._translated(), closing(self._open(self._http, self._base + path, query)) as response:
            body = read_body(response, limit_bytes=_LARGEST_BYTES, timeout_s=_ANSWER_S, halt=halt)
            try:
                return json.loads(body), response.headers
            except (ValueError, RecursionError):
                raise SourceUnavailable(
                    f"{self._host} answered with something that is not JSON.", answered=True
                ) from None

    def _open(self, session: requests.Session, url: str, query: dict[str, str]) -> requests.Response:
        """Ask, and return the answer with its body unread. Raises SourceError unless its status is 200."""
        response = session.get(url, params=query, stream=True, headers={"User-Agent": "TweetTune"})
        if response.status_code == 200:
            return response
        with closing(response):
            raise self._refusal(response)

    def _refusal(self, response: requests.Response) -> SourceError:
        status = response.status_code
        if status in (401, 403, 422):
            what = "does not accept this token" if self._token else "shows this timeline to its users only"
            advice = "Make a new one with read access" if self._token else "Give a token, or another instance"
            return SourceUnauthorised(f"{self._host} {what} (status {status}). {advice}.")
        if status == 429:
            return self._limited(response.headers, "is asked too often")
        if 300 <= status < 400:
            with suppress(ValueError):
                if target := clean(urlsplit(response.headers.get("Location", "")).hostname)[:100]:
                    return SourceBadQuery(
                        f"{self._host} sends us on to {target!r}. Give that name, if you trust it."
                    )
            return SourceBadQuery(f"{self._host} sends us on without saying where. Give another instance.")
        if status in (400, 404, 410):
            return SourceBadQuery(
                f"{self._host} has no such timeline (status {status}). Is it an instance of Mastodon?"
            )
        return SourceUnavailable(f"{self._host} answered with status {status}.", answered=True)

    def _limited(self, headers: Mapping[str, str], what: str) -> SourceRateLimited:
        return rate_limited(f"{self._host} {what}.", headers, self._world.clock())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn what the libraries raise into SourceUnavailable, without their messages."""
        try:
            yield
        except (requests.RequestException, HTTPError, OSError) as error:
            raise SourceUnavailable(f"{self._host} could not be reached ({type(error).__name__}).") from None

    def _abort(self) -> None:
        for adapter in (self._adapter, self._stream_adapter):
            if adapter:
                adapter.abort()

    def _close(self) -> None:
        self._http.close()


def _is_id(value: object) -> bool:
    return isinstance(value, str) and bool(_ID.fullmatch(value))


def _post(status: JsonObject, host: str) -> Post:
    """Make a post of a status. Raises what `_read` catches when the status is malformed."""
    shown = status.get("reblog") or status
    if not (_is_id(status["id"]) and isinstance(shown["content"], str)):
        raise ValueError("not a post")
    author = clean(shown["account"]["acct"])[:200]
    warning = clean(shown.get("spoiler_text"))
    language = shown.get("language")
    return Post(
        id=status["id"],
        text="\n\n".join(part for part in (warning, plain(shown["content"])) if part),
        author=author if "@" in author else f"{author}@{host}",
        url=link(shown.get("url")),
        source=Mastodon.name,
        created=moment(shown.get("created_at")),
        languages=(language[:35],) if isinstance(language, str) and language else (),
        is_reply=shown.get("in_reply_to_id") is not None,
        is_repost=shown is not status,
        sensitive=bool(shown.get("sensitive")),
    )
