"""What every source shares: the protocol that a feed reads, its status in words, the loop that reconnects.

    class Bluesky(LiveSource):
        def _session(self, halt):     # one connection: yields posts, raises SourceUnavailable when it breaks
            ...

    source.status.sentence(now)       # "Reconnecting in 4 s: jetstream1… could not be reached."

`posts(stop)` runs the sessions in a thread of its own, so that `stop` is heard within a tenth of a second
whatever a library is waiting for. A session that raises `SourceUnavailable` or `SourceRateLimited` is
followed by a wait and a new session; one that returns has ended the source; every other error ends it too.
"""

import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from queue import Empty, Full, Queue
from threading import Event, Lock, Thread
from typing import Any, Literal, Protocol

from inference.live.errors import SourceError, SourceRateLimited, SourceUnavailable
from inference.live.post import Post

_POLL_S = 0.1  # how soon a stop is heard
_JOIN_S = 0.7  # how long a stop waits for the connection to be closed; the thread may take longer
_JITTER = 0.25  # a wait is up to this share longer than what is documented, never shorter
_SHORTEST_LIMIT_S = 1.0
_MOST_UNREADABLE = 50  # between two posts: with more it is no slip, but a format that we don't know
IDS_REMEMBERED = 20_000  # services repeat themselves after a reconnect, and not from long ago

SourceState = Literal["ready", "connecting", "connected", "reconnecting", "rate limited", "ended"]


@dataclass(frozen=True)
class SourceStatus:
    """The state of a source and what it has counted. A source replaces its status, it never changes one.

    `until`: Unix seconds at which it tries again, while it reconnects or is rate limited. `read`: posts
    handed over. `passed_over`: what came and was not handed over, by reason. `gaps`: times when posts may
    have been missed. `cut`: posts handed over without their end. `cost_usd`: dollars spent on reading, None
    for a source that is free.
    """

    state: SourceState = "ready"
    reason: str = ""
    until: float | None = None
    read: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)
    reconnects: int = 0
    gaps: int = 0
    cut: int = 0
    cost_usd: float | None = None

    def sentence(self, now: float) -> str:
        """Return the state in words. `now`: Unix seconds."""
        words = self.state.capitalize()
        if self.until is not None and self.state == "reconnecting":
            words = f"Reconnecting in {max(0, math.ceil(self.until - now))} s"
        elif self.until is not None and self.state == "rate limited":
            words = f"Rate limited until {datetime.fromtimestamp(self.until, UTC):%H:%M:%S} UTC"
        return f"{words}: {self.reason}" if self.reason else f"{words}."


class Source(Protocol):
    """A stream of posts."""

    name: str

    @property
    def status(self) -> SourceStatus:
        """How it is doing; any thread may ask."""
        ...

    def posts(self, stop: Event) -> Iterator[Post]:
        """Yield posts as they come, waiting between them; return when `stop` is set or none are left."""
        ...


@dataclass(frozen=True)
class World:
    """The outside world. `clock`: Unix seconds. `wait(event, seconds)` returns whether the event was set."""

    clock: Callable[[], float] = time.time
    wait: Callable[[Event, float], bool] = Event.wait
    rng: random.Random = field(default_factory=random.Random)


@dataclass(frozen=True)
class Backoff:
    """Waits that grow from `first_s` to `max_s`: times `factor`, and by `step_s`, with every failure."""

    first_s: float = 1.0
    max_s: float = 60.0
    factor: float = 2.0
    step_s: float = 0.0

    def wait_s(self, failures: int, rng: random.Random) -> float:
        """Return the seconds to wait after so many failures in a row, with jitter on top."""
        grown = self.first_s * self.factor ** min(failures - 1, 30) + self.step_s * (failures - 1)
        return min(grown, self.max_s) * (1 + _JITTER * rng.random())


class Seen:
    """Remembers the last `size` keys."""

    def __init__(self, size: int = IDS_REMEMBERED) -> None:
        self._keys: OrderedDict[str, None] = OrderedDict()
        self._size = size

    def is_new(self, key: str) -> bool:
        """Return whether a key comes for the first time, and remember it."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return True


class LiveSource:
    """A source behind a network. A subclass gives `name`, `title`, `_session` and its service's back-off."""

    name = "live"
    title = "The service"
    network_backoff = Backoff()  # when the network fails
    server_backoff = Backoff()  # when the service answers with an error
    longest_limit_s = 900.0  # a rate limit that lasts longer ends the source
    box_size = 256  # posts that wait for the feed: enough for a burst, too few for a lag to grow

    def __init__(self, *, world: World | None = None, attempts: int = 12) -> None:
        """Take the outside world, and how many failures in a row end the source."""
        self._world = world or World()
        self._attempts = attempts
        self._failures = 0
        self._problem: SourceError | None = None
        self._in_a_row = 0  # of what could not be read, since the last post
        self._is_busy = False
        self._seen = Seen()
        self._lock = Lock()
        self._status = SourceStatus()

    @property
    def status(self) -> SourceStatus:
        return self._status

    @property
    def is_busy(self) -> bool:
        """Whether its thread runs: a request that is under way goes on after a stop, and may cost money."""
        return self._is_busy

    def posts(self, stop: Event) -> Iterator[Post]:
        """Yield posts as they come; return when `stop` is set. Raises SourceError when it can't go on."""
        self._is_busy = True  # before `stop` is looked at: whoever sees it set and not busy knows it is over
        if stop.is_set():
            self._is_busy = False
            return
        box: Queue[Post] = Queue(self.box_size)
        halt, done = Event(), Event()
        worker = Thread(target=self._fill, args=(box, halt, done), name=f"source-{self.name}", daemon=True)
        worker.start()
        try:
            while not stop.is_set():
                was_done = done.is_set()
                try:
                    post = box.get(timeout=_POLL_S)
                except Empty:
                    if was_done:
                        break
                    continue
                self._change(read=self._status.read + 1)
                yield post
        finally:
            halt.set()
            self._abort()
            worker.join(_JOIN_S)
            self._pass_over("unread at the end", box.qsize())
            self._change(state="ended", until=None)
        if self._problem and not stop.is_set():
            raise self._problem

    def _session(self, halt: Event) -> Iterator[Post]:
        """Connect once and yield posts until `halt` is set, the source ends or the connection breaks."""
        raise NotImplementedError

    def _abort(self) -> None:
        """Cut short what the session waits for, from another thread."""

    def _close(self) -> None:
        """Free what the source holds, after its last session."""

    def _fill(self, box: Queue[Post], halt: Event, done: Event) -> None:
        """Put the posts of all sessions into the box; runs in a thread. What finds no room is counted."""
        problem: SourceError | None = SourceError(
            f"{self.title} broke off: see the log for the reason, then start a new feed."
        )
        try:
            for post in self._sessions(halt):
                while not halt.is_set():
                    with suppress(Full):
                        box.put(post, timeout=_POLL_S)
                        break
                else:
                    self._pass_over("unread at the end")
            problem = None
        except SourceError as error:
            problem = error
        finally:
            self._problem = problem
            self._change(state="ended", until=None, reason=str(problem or self._status.reason))
            try:
                self._close()
            finally:
                self._is_busy = False
                done.set()

    def _sessions(self, halt: Event) -> Iterator[Post]:
        """Yield the posts of one session after another, with a wait after each that failed."""
        self._failures = 0
        while not halt.is_set():
            self._change(state="connecting", until=None)
            try:
                yield from self._session(halt)
                return
            except (SourceRateLimited, SourceUnavailable) as error:
                if halt.is_set():  # the stop itself broke the connection
                    return
                wait_s = self._retry_after_s(error)
            if self._world.wait(halt, wait_s):
                return

    def _retry_after_s(self, error: SourceRateLimited | SourceUnavailable) -> float:
        """Count a failure; return the seconds until the next try. Raises SourceError when it was the last."""
        self._failures += 1
        is_last, status = self._failures >= self._attempts, self._status
        state: SourceState = "reconnecting"
        if isinstance(error, SourceRateLimited):
            if is_last or error.retry_after_s > self.longest_limit_s:
                raise error
            state = "rate limited"
            wait_s = max(error.retry_after_s, _SHORTEST_LIMIT_S) + self._world.rng.random()
        else:
            if is_last:
                raise SourceUnavailable(
                    f"{error} It was tried {self._failures} times. Look at the network and the service's "
                    "state, then start again.",
                    answered=error.answered,
                ) from None
            backoff = self.server_backoff if error.answered else self.network_backoff
            wait_s = backoff.wait_s(self._failures, self._world.rng)
        until, reconnects = self._world.clock() + wait_s, status.reconnects + (state == "reconnecting")
        self._change(state=state, reason=str(error), until=until, reconnects=reconnects)
        return wait_s

    def _alive(self) -> None:
        """Mark the connection healthy and reset the failure count."""
        self._failures = 0
        if self._status.state != "connected":
            self._change(state="connected", reason="", until=None)

    def _unreadable(self, sender: str, count: int = 1, *, tries: int = 1) -> None:
        """Count messages that can't be read. Raises SourceError when nothing else comes any more.

        `tries`: how many connections may bring nothing else, as long as each may lead to another host.
        """
        self._pass_over("garbage", count)
        before = self._in_a_row // _MOST_UNREADABLE
        self._in_a_row += count
        if (after := self._in_a_row // _MOST_UNREADABLE) > before:
            words = f"{sender} sent {_MOST_UNREADABLE} messages in a row that can't be read"
            if after < tries:
                raise SourceUnavailable(f"{words}.", answered=True)
            raise SourceError(
                f"{words}, so its format may have changed. Look for a newer TweetTune, or choose another "
                "source."
            )

    def _is_new(self, key: str) -> bool:
        """Whether a post comes for the first time; one that does not is passed over."""
        if self._seen.is_new(key):
            return True
        self._pass_over("duplicate")
        return False

    def _pass_over(self, reason: str, count: int = 1) -> None:
        """Count messages that are not handed over."""
        if count:
            with self._lock:
                counts = dict(self._status.passed_over)
                counts[reason] = counts.get(reason, 0) + count
                self._status = replace(self._status, passed_over=counts)

    def _count_gap(self) -> None:
        self._change(gaps=self._status.gaps + 1)

    def _count_cut(self, count: int = 1) -> None:
        if count:
            self._change(cut=self._status.cut + count)

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **changes)
