"""X as a stream: posts that match a query, as they are written. Costs money: see `x_api.py`.

    source = XStream("#python", filter=Filter(reposts=False), cap_posts=500)
    for post in source.posts(stop):
        source.status.cost_usd

Adds a rule of its own to the app's rules and removes it at the end. X lets an app have one such stream at a
time, so a second one on the same token is refused here, and once X has let us in, rules that other streams of
TweetTune left behind are removed: nobody can be using them. X gives nothing that was written while it was
down: `status.gaps` counts these times. `pause` closes the connection, so that nothing more is paid for.
tweepy's own reconnecting is not used, since its waits can't be interrupted.

The cap counts what was read. It is overshot by what X had sent when it was reached: two posts at most that
are at hand, and counted, and what is in the network's buffers, which can't be counted and may be charged for.
Knows nothing about feeds.
"""

import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Lock
from typing import Any, cast

import requests
import tweepy  # type: ignore[import-untyped]  # tweepy has no types

from inference.live.filter import Filter
from inference.live.post import Post
from inference.live.sources.errors import SourceBadQuery, SourceError, SourceUnavailable
from inference.live.sources.http import Token
from inference.live.sources.live import LiveSource, Seen, World
from inference.live.sources.x_api import (
    BASE_URL,
    DEFAULT_CAP_USD,
    NETWORK_BACKOFF,
    PLACEHOLDER,
    PRICE_PER_POST_USD,
    SERVER_BACKOFF,
    TWEET_FIELDS,
    Budget,
    XApi,
    cap_in_posts,
    read_json,
    read_posts,
    x_query,
)

_TAG = "tweettune"  # how the tags of our rules begin
_POLL_S = 0.1
_HANDOVER_S = 3.0  # how long a new stream waits for one that was just stopped to give its place back
_MOST_FOREIGN = 50  # posts of other rules in a row, each paid for, until the stream ends
_NO_RULES = 409
_streaming: set[Token] = set()  # the tokens that have a stream in this process
_streaming_lock = Lock()


class _Connection(tweepy.StreamingClient):  # type: ignore[misc]  # untyped
    """One connection of tweepy's: it hands lines over and never reconnects by itself.

    `lines` holds a line, b"" for a keep-alive; `closed` is set when no more will come; `problem` tells why.
    `unread`: lines for which there was no room any more. X is held up, and not paid, while a line waits.
    """

    def __init__(self, api: XApi) -> None:
        super().__init__(PLACEHOLDER, return_type=requests.Response, max_retries=0, daemon=True)
        self.adapter = api.mount(self.session)
        self.lines: Queue[bytes] = Queue(1)
        self.unread: list[bytes] = []
        self.closed = Event()
        self.problem: BaseException | str = ""
        self.left = False

    def disconnect(self) -> None:
        self.left = True
        super().disconnect()

    def on_connect(self) -> None:
        if self.left:  # before tweepy's thread had begun, which then would not know
            self.disconnect()
        self.on_data(b"")

    def on_data(self, raw_data: bytes) -> None:
        while self.running:
            with suppress(Full):
                self.lines.put(raw_data, timeout=_POLL_S)
                return
        self.unread.append(raw_data)

    def on_keep_alive(self) -> None:
        self.on_data(b"")

    def on_closed(self, response: requests.Response) -> None:
        self._end("X closed the stream.")

    def on_connection_error(self) -> None:
        self._end("The connection to X broke, or it sent nothing for too long.")

    def on_request_error(self, status_code: int) -> None:
        with suppress(requests.RequestException):
            cast(requests.Response, self.adapter.last).content  # noqa: B018  (read while it is open)
        self._end("refused")

    def on_exception(self, exception: BaseException) -> None:
        self._end(exception)

    def on_disconnect(self) -> None:
        self.closed.set()

    def _end(self, problem: BaseException | str) -> None:
        self.problem = self.problem or problem
        super().disconnect()


class XStream(LiveSource):
    """The filtered stream of X."""

    name = "x-stream"
    title = "X"
    network_backoff, server_backoff = NETWORK_BACKOFF, SERVER_BACKOFF
    box_size = 1  # every post that waits is paid for, whether it is read or not

    def __init__(
        self,
        query: str = "",
        *,
        token: str = "",
        filter: Filter | None = None,
        cap_usd: float | None = DEFAULT_CAP_USD,
        cap_posts: int | None = None,
        base_url: str = BASE_URL,
        connect_timeout_s: float = 5.0,
        stall_s: float = 30.0,
        world: World | None = None,
        attempts: int = 12,
    ) -> None:
        """Take a query of X's, a filter that is made part of it, and what may be spent: both caps hold.

        A stream that sends nothing for `stall_s` is given up; X sends a keep-alive every 20 s.
        Raises SourceUnauthorised without a token, SourceBadQuery for a query or a cap that can't be used.
        """
        super().__init__(world=world, attempts=attempts)
        self.query = x_query(query, filter or Filter())
        self.budget = Budget(cap_in_posts(cap_usd, cap_posts))
        self._api = XApi(
            token, base_url=base_url, connect_timeout_s=connect_timeout_s, read_timeout_s=stall_s
        )
        self._rules = _Connection(self._api)
        self._connection: _Connection | None = None
        self._tag = f"{_TAG}-{secrets.token_hex(8)}"
        self._rule = ""
        self._rule_is_ours = False
        self._left_behind: set[str] = set()
        self._foreign = 0
        self._has_place = False
        self._paused = Event()
        self._seen = Seen()
        self._change(cost_usd=0.0)

    def pause(self) -> None:
        """Close the connection until `resume`: what is not delivered is not paid for. Any thread may call."""
        self._paused.set()
        if self._connection:
            self._connection.disconnect()
            self._connection.adapter.abort()

    def resume(self) -> None:
        """Connect again after `pause`."""
        self._paused.clear()

    def _session(self, halt: Event) -> Iterator[Post]:
        self._take_place(halt)
        if self._status.reconnects and self._status.read:
            self._change(gaps=self._status.gaps + 1)
        while not halt.is_set():
            if self._paused.is_set():
                self._change(state="ready", reason="")
                halt.wait(_POLL_S)
                continue
            if not self._rule:
                self._add_rule()
            connection = self._connection = _Connection(self._api)
            if self._paused.is_set():
                continue  # it came too early to find this connection
            was_left = yield from self._connected(connection, halt)
            if not self.budget.left:
                self._change(reason=self.budget.ended())
                return
            if not was_left and not halt.is_set():
                raise self._broken(connection)

    def _connected(self, connection: _Connection, halt: Event) -> Generator[Post, None, bool]:
        """Yield the posts of one connection, until it ends or the cap is reached. Returns whether we left."""
        connection.filter(threaded=True, tweet_fields=TWEET_FIELDS)
        try:
            for line in self._lines(connection, halt):
                self._remove_left_behind()
                post = self._read(line)
                if post:
                    yield post
                if not self.budget.left:
                    break
            return connection.left
        finally:
            connection.disconnect()
            connection.adapter.abort()
            connection.thread.join(1.0)
            self._leave(connection)

    def _take_place(self, halt: Event) -> None:
        """Be the one stream of this token in this process. Raises SourceError when another one goes on."""
        until = time.monotonic() + _HANDOVER_S
        while not self._has_place:
            with _streaming_lock:
                if self._api.token not in _streaming:
                    _streaming.add(self._api.token)
                    self._has_place = True
            if not self._has_place and (time.monotonic() > until or halt.wait(_POLL_S)):
                raise SourceError(
                    "X lets a token have one stream at a time, and another feed has it. Stop that one, or "
                    "use X's search."
                )

    def _lines(self, connection: _Connection, halt: Event) -> Iterator[bytes]:
        while not halt.is_set():
            was_closed = connection.closed.is_set()
            try:
                yield connection.lines.get(timeout=_POLL_S)
            except Empty:
                if was_closed:
                    return

    def _leave(self, connection: _Connection) -> None:
        """Count what X has delivered, and is paid for, and nobody reads any more."""
        with suppress(Empty):
            while True:
                connection.unread.append(connection.lines.get_nowait())
        for line in connection.unread:
            message = read_json(line)
            if isinstance(message, dict) and "data" in message:
                self.budget.posts += 1
                self._pass_over("unread at the end")
        self._change(cost_usd=self.budget.usd)

    def _read(self, line: bytes) -> Post | None:
        """Return the post of a line, None for what is none. Raises SourceUnavailable when X says goodbye."""
        if not line.strip():
            self._alive()
            return None
        message = read_json(line)
        if not isinstance(message, dict):
            self._pass_over("garbage")
            return None
        if "data" not in message:
            raise SourceUnavailable(f"X closed the stream: {self._goodbye(message)}.")
        self._alive()
        self.budget.posts += 1
        self._change(cost_usd=self.budget.usd)
        posts, garbage = read_posts([message["data"]])
        self._pass_over("garbage", garbage)
        if not posts:
            return None
        if not self._is_ours(message):
            self._pass_over_foreign()
            return None
        self._foreign = 0
        if self._seen.is_new(posts[0].id):
            return posts[0]
        self._pass_over("duplicate")
        return None

    def _pass_over_foreign(self) -> None:
        """Count a post of another rule. Raises SourceError when nothing else comes: each is paid for."""
        self._pass_over("another rule's")
        self._foreign += 1
        if self._foreign >= _MOST_FOREIGN:
            raise SourceError(
                f"X sent {_MOST_FOREIGN} posts in a row, for ${_MOST_FOREIGN * PRICE_PER_POST_USD:.2f}, that "
                "only other rules of this token ask for. Remove those rules at X, or use its search."
            )

    def _is_ours(self, message: dict[str, Any]) -> bool:
        rules = message.get("matching_rules")
        if not isinstance(rules, list):
            return True
        return any(isinstance(rule, dict) and rule.get("id") == self._rule for rule in rules)

    def _goodbye(self, message: dict[str, Any]) -> str:
        errors = message.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else message
        words = first.get("detail") or first.get("title") if isinstance(first, dict) else ""
        return self._api.short(words) or "no reason given"

    def _broken(self, connection: _Connection) -> SourceError:
        """Return the error for a connection that ended. An exception of our own code is not swallowed."""
        problem, response = connection.problem, connection.adapter.last
        if isinstance(problem, requests.RequestException | OSError):
            return SourceUnavailable(f"X could not be reached ({type(problem).__name__}).")
        if isinstance(problem, BaseException):
            raise problem
        if problem != "refused" or response is None:
            return SourceUnavailable(problem or "X closed the stream.")
        if response.status_code == _NO_RULES:
            self._rule = ""  # somebody removed it: the next session adds it again
            return SourceUnavailable("X has no rule for this stream any more (status 409).", answered=True)
        return self._api.refusal(response, now=self._world.clock(), failures=self._failures)

    # Rules

    def _add_rule(self) -> None:
        """Add this source's rule, and note those that other streams of TweetTune left. Raises SourceError."""
        known = {str(rule["id"]): str(rule.get("tag") or "") for rule in self._known_rules()}
        self._left_behind = {number for number, tag in known.items() if tag.startswith(_TAG)}
        answer = self._ask("add_rules", tweepy.StreamRule(value=self.query, tag=self._tag))
        added, errors = answer.get("data"), answer.get("errors")
        if isinstance(added, list) and added and isinstance(added[0], dict) and added[0].get("id"):
            self._rule, self._rule_is_ours = str(added[0]["id"]), True
            return
        first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
        if first.get("title") == "DuplicateRule" and first.get("id"):
            self._rule, self._rule_is_ours = str(first["id"]), False
            return
        details = first.get("details")
        words = details[0] if isinstance(details, list) and details else first.get("detail")
        said = self._api.short(words or first.get("title")) or "no reason given"
        raise SourceBadQuery(f"X does not take this query: {said}.")

    def _remove_left_behind(self) -> None:
        """Remove rules that nobody can be using, since X lets one stream in, and that is this one."""
        if self._rule in self._left_behind:
            self._left_behind.remove(self._rule)
            self._rule_is_ours = True
        if self._left_behind:
            with suppress(SourceError):  # their posts are counted; the next connection tries again
                self._ask("delete_rules", sorted(self._left_behind))
                self._left_behind = set()

    def _known_rules(self) -> list[dict[str, Any]]:
        rules = self._ask("get_rules").get("data") or []
        return [rule for rule in rules if isinstance(rule, dict) and rule.get("id")]

    def _ask(self, method: str, *arguments: object) -> dict[str, Any]:
        with self._api.translated(now=self._world.clock(), failures=self._failures):
            response = getattr(self._rules, method)(*arguments)
        answer = read_json(response.content)
        if not isinstance(answer, dict):
            raise SourceUnavailable("X answered with something that can't be read.", answered=True)
        return answer

    def _abort(self) -> None:
        self._rules.adapter.abort()
        if self._connection:
            self._connection.disconnect()
            self._connection.adapter.abort()

    def _close(self) -> None:
        """Remove the rule. A failure is told in the status, since the stream itself has ended by then."""
        try:
            if self._rule and self._rule_is_ours:
                self._ask("delete_rules", self._rule)
        except SourceError as error:
            told = f"{self._status.reason} The rule {self._rule} could not be removed: {error}"
            self._change(reason=told.strip())
        finally:
            self._rule = ""
            self._rules.session.close()
            if self._has_place:
                with _streaming_lock:
                    _streaming.discard(self._api.token)
