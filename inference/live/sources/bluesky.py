"""Bluesky: every public post as it is written, from Jetstream. Needs no key.

    source = Bluesky()                                        # or Bluesky("jetstream.example.com")
    for post in source.posts(stop):
        ...

Some fifty posts a second, in all languages: a `Filter` chooses among them. After a break it goes on a few
seconds before the place where it was, and drops the posts that it has seen. The stream names authors by
number (a DID) and not by handle, so `author` is empty; the link leads to the post.

Jetstream v2 and v1 are spoken: a host is asked for v2 (network.bsky.jetstream.subscribeEvents), and where it
has none, for v1 (/subscribe). A place in the stream is a time in both, and so holds from host to host.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from inference.common.store import JsonObject
from inference.live.errors import SourceBadQuery, SourceError, SourceUnavailable
from inference.live.post import Post, clean, moment
from inference.live.sources.base import LiveSource, World
from inference.live.sources.http import is_loopback, rate_limited

HOSTS = ("wss://jetstream.us-east.bsky.network", "wss://jetstream.us-west.bsky.network")
OLD_HOSTS = tuple(f"wss://jetstream{n}.us-{side}.bsky.network" for n in (1, 2) for side in ("east", "west"))
"""Those of v1, which are asked when the others fail."""
_V2, _V1 = "/xrpc/network.bsky.jetstream.subscribeEvents", "/subscribe"
_NOT_THERE = (404, 405, 501)  # what a host without v2 answers
_POSTS = "app.bsky.feed.post"
_LARGEST_BYTES = 1_000_000  # of one event; the service leaves out what is larger
_POLL_S = 0.25
_UNREADABLE = (1002, 1003, 1007, 1009)  # close codes with which the client refuses a frame
_REFUSALS = 3  # in a row, with nothing new between: the frame at the cursor can't be passed by trying again
_SCHEMES = {"wss": "wss", "ws": "ws", "https": "wss", "http": "ws"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK_SLACK = timedelta(minutes=5)
_DID = re.compile(r"did:[a-z]{1,20}:[A-Za-z0-9._:%-]{1,256}")
_RKEY = re.compile(r"[A-Za-z0-9._:~-]{1,512}")
_SENSITIVE = frozenset({"porn", "sexual", "nudity", "graphic-media"})


class Bluesky(LiveSource):
    """The stream of all new posts of Bluesky."""

    name = "bluesky"
    title = "Bluesky"

    def __init__(
        self,
        host: str = "",
        *,
        hosts: Sequence[str] = (),
        rewind_s: float = 3.0,
        catch_up_s: float = 300.0,
        open_timeout_s: float = 10.0,
        first_s: float = 5.0,
        stall_s: float = 30.0,
        ping_s: float = 20.0,
        world: World | None = None,
        attempts: int = 12,
    ) -> None:
        """Take a host, or several to choose from, by default Bluesky's; after a failure the next is asked.

        One that brings nothing in its first `first_s` is left for the next, too, where there is one. A new
        connection starts `rewind_s` before the last event, and at most `catch_up_s` before now. One that
        brings nothing for `stall_s`, or no answer to a ping within `ping_s`, is given up.

        Raises SourceBadQuery for a name that is no host.
        """
        super().__init__(world=world, attempts=attempts)
        shuffled = self._world.rng.sample
        given = tuple(hosts) or tuple(map(stream_url, filter(None, [host])))
        own = (*shuffled(HOSTS, len(HOSTS)), *shuffled(OLD_HOSTS, len(OLD_HOSTS)))
        self._hosts = shuffled(given, len(given)) if given else list(own)
        self._without_v2: set[str] = set()
        self._host = 0
        self._rewind_s, self._catch_up_s = rewind_s, catch_up_s
        self._open_timeout_s, self._first_s = open_timeout_s, min(first_s, stall_s)
        self._stall_s, self._ping_s = stall_s, ping_s
        self._cursor: int | None = None
        self._refused = 0

    def _session(self, halt: Event) -> Iterator[Post]:
        host = self._hosts[self._host % len(self._hosts)]
        try:
            yield from self._listen(host, halt)
        except InvalidStatus as error:
            raise _refusal(host, error, self._world.clock()) from None
        except ConnectionClosed as error:
            close = error.rcvd or error.sent
            we_left = error.sent is not None and not error.rcvd_then_sent
            self._refused += bool(we_left and error.sent and error.sent.code in _UNREADABLE)
            why = f"code {close.code}" if close else "without a word"
            raise SourceUnavailable(f"{_name(host)} closed the connection ({why}).") from None
        except (WebSocketException, OSError, EOFError) as error:
            raise SourceUnavailable(f"{_name(host)} could not be reached ({type(error).__name__}).") from None
        finally:
            self._host += 1

    def _listen(self, host: str, halt: Event) -> Iterator[Post]:
        """Connect and yield posts until the connection breaks."""
        with self._connect(host) as connection:
            silent_s, has_spoken = 0.0, False
            while not halt.is_set():
                try:
                    frame = connection.recv(timeout=_POLL_S)
                except TimeoutError:
                    silent_s += _POLL_S
                    said = f"{_name(host)} sent nothing for {silent_s:g} s."
                    alone = len(self._hosts) == 1  # it may just be quiet, and there is no other one
                    if silent_s >= (self._stall_s if has_spoken or alone else self._first_s):
                        raise SourceUnavailable(said) from None
                    if not has_spoken and silent_s >= self._first_s:
                        self._change(reason=said)
                    continue
                silent_s, has_spoken = 0.0, True
                if post := self._read(frame, host):
                    yield post

    def _connect(self, host: str) -> ClientConnection:
        """Connect to a host, for v2 where it has that. Raises what websockets raises."""
        options: dict[str, Any] = {
            "open_timeout": self._open_timeout_s,
            "close_timeout": 0.3,
            "ping_interval": self._ping_s,
            "ping_timeout": self._ping_s,
            "max_size": 2 * _LARGEST_BYTES,
            "proxy": None if is_loopback(urlsplit(host).hostname or "") else True,
        }
        query = self._query()
        if host not in self._without_v2:
            v2 = {"collections": _POSTS, "kinds": "commit", **query}
            try:
                found: ClientConnection = connect(f"{host}{_V2}?{urlencode(v2)}", **options)
                return found
            except InvalidStatus as error:
                if error.response.status_code not in _NOT_THERE:
                    raise
        found = connect(f"{host}{_V1}?{urlencode({'wantedCollections': _POSTS, **query})}", **options)
        self._without_v2.add(host)
        return found

    def _query(self) -> dict[str, int]:
        query = {"maxMessageSizeBytes": _LARGEST_BYTES}
        if self._refused >= _REFUSALS:
            self._cursor, self._refused = None, 0
            self._count_gap()
        if self._cursor is not None:
            rewound = self._cursor - int(self._rewind_s * 1e6)
            oldest = int((self._world.clock() - self._catch_up_s) * 1e6)
            if rewound < oldest:
                self._count_gap()
            query["cursor"] = max(rewound, oldest)
        return query

    def _read(self, frame: str | bytes, host: str) -> Post | None:
        """Return the post of an event; any other event is counted, and None returned.

        Raises SourceUnavailable when the stream says goodbye, or nothing in it can be read.
        """
        try:
            event = json.loads(frame)
            if "$type" in event:
                event = _of_v2(event)
            if said := event.get("error"):
                raise SourceUnavailable(
                    f"{_name(host)} ended the stream: {clean(said)[:200]}.", answered=True
                )
            if notice := event.get("notice"):  # it has no place in the stream
                if notice == "OutdatedCursor":
                    self._count_gap()
                self._pass_over("other events")
                return None
            if type(event["time_us"]) is not int or not 1e15 <= event["time_us"] < 1e17:
                raise ValueError("no time in microseconds, and so no place in the stream")
            when = datetime.fromtimestamp(event["time_us"] / 1e6, UTC)
            kind, commit = event["kind"], event.get("commit") or {}
            is_post = kind == "commit" and commit["operation"] == "create" and commit["collection"] == _POSTS
            key = f"{event['did']}/{_POSTS}/{commit['rkey']}/{commit['rev']}" if is_post else ""
            post = _post(event["did"], commit, when) if is_post else None
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            # A stranger's frame can be wrong in any way: count it and go on.
            self._unreadable(_name(host), tries=len(self._hosts))
            return None
        self._cursor = event["time_us"]
        self._alive()
        if post is None:
            self._pass_over("other events")
        elif self._is_new(key):
            self._refused = 0
            self._in_a_row = 0
            return post
        return None


def stream_url(host: str) -> str:
    """Return the address of a Jetstream that was typed in, without its path. Raises SourceBadQuery."""
    given = host.strip()
    try:
        parts = urlsplit(given if "://" in given else f"wss://{given}")
        usable = parts.hostname and parts.port != 0 and re.fullmatch(r"[\w.:\[\]-]+", parts.netloc)
    except ValueError:
        usable = None
    if not usable or parts.scheme not in _SCHEMES or parts.path.rstrip("/") not in ("", _V1, _V2):
        raise SourceBadQuery(
            f"{clean(host)[:100]!r} is no host of a Jetstream. Give its name, such as "
            "jetstream.us-east.bsky.network."
        )
    return f"{_SCHEMES[parts.scheme]}://{parts.netloc}"


def _of_v2(frame: JsonObject) -> JsonObject:
    """Return a frame of v2 as the event of v1 that says the same; of a notice its name. Raises KeyError, …"""
    if frame["$type"] == "error":
        return {"error": f"{frame['error']} {frame.get('message') or ''}".strip()}
    payload = frame["payload"]
    kind = payload["$type"].rpartition("#")[2]
    if kind == "info":
        return {"notice": payload["name"]}
    witnessed = moment(payload.get("witnessedAt") or payload["time"])
    if witnessed is None:
        raise ValueError("no time")
    return {
        "did": payload["did"],
        "time_us": (witnessed - _EPOCH) // timedelta(microseconds=1),
        "kind": kind,
        "commit": payload if kind == "commit" else None,
    }


def _post(did: str, commit: JsonObject, when: datetime) -> Post:
    """Make a post of a commit. Raises ValueError, KeyError or TypeError when it is malformed."""
    record, rkey = commit["record"], commit["rkey"]
    if not (_DID.fullmatch(did) and _RKEY.fullmatch(rkey) and isinstance(record["text"], str)):
        raise ValueError("not a post")
    # The author's own clock can say anything: it counts only when it is not ahead of the stream.
    written = moment(record.get("createdAt"))
    labels = (record.get("labels") or {}).get("values") or []
    tags = record.get("langs") if isinstance(record.get("langs"), list) else []
    return Post(
        id=f"at://{did}/{_POSTS}/{rkey}",
        text=clean(record["text"]),
        url=f"https://bsky.app/profile/{did}/post/{rkey}",
        source=Bluesky.name,
        created=written if written and written <= when + _CLOCK_SLACK else when,
        languages=tuple(tag[:35] for tag in tags[:10] if isinstance(tag, str) and tag),
        is_reply=bool(record.get("reply")),
        sensitive=any(label["val"] in _SENSITIVE for label in labels),
    )


def _refusal(host: str, error: InvalidStatus, now: float) -> SourceError:
    """Return the error for a handshake that was answered with another status than 101."""
    status = error.response.status_code
    if status == 429:
        return rate_limited(f"{_name(host)} is asked too often.", error.response.headers, now)
    if status == 400:
        said = (error.response.body or b"").decode("utf-8", "replace")[:200]
        return SourceBadQuery(f"{_name(host)} does not accept the request: {clean(said)!r}. Report this.")
    return SourceUnavailable(f"{_name(host)} answered with status {status}.", answered=True)


def _name(host: str) -> str:
    return f"Jetstream at {urlsplit(host).hostname}"
