"""The feeds that the app runs, each with its statistics and its recording; who may see which.

    live = LiveFeeds()
    watched = live.open(StreamRequest(source="bluesky"), owner=owner, ...)    # one for all who ask the same
    live.find(watched.id, owner)            # again after a reload; None for a feed that is not theirs
    live.visible(owner)                     # those that run and that this person may join

Whoever asks for the same source, query and filter shares a feed, and whoever sees it may pause or stop it. A
feed on a token that somebody typed in, or of a file, is theirs alone: it is found only with their page's own
id (`owner`, a random word that their browser keeps). The token itself is in the feed's source and nowhere
else. What is read with the app's own token for X, by all visitors together, has a limit: X_BUDGET_USD, by
default 5 dollars for each time that the app is started. Knows nothing about Gradio.
"""

import os
import secrets
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.common.errors import FeedError
from inference.live.feed import Feed, Listener
from inference.live.post import Post
from inference.live.request import StreamRequest
from inference.live.sources import SOURCES, Source, SourceError
from inference.live.statistics import LiveStatistics
from ui.live.recording import Recording

BUDGET = "X_BUDGET_USD"
DEFAULT_BUDGET_USD = 5.0
MOST_FEEDS = 4


@dataclass(frozen=True)
class Watched:
    """A feed, and what the page shows beside it."""

    id: str
    key: Hashable
    feed: Feed
    source: str
    title: str
    owner: str
    """Whose it is; "" when it is everybody's."""
    first_model: str
    second_model: str
    """What the second model is called, "" without a duel."""
    cap_usd: float | None
    statistics: LiveStatistics
    recording: Recording
    drawn: dict[Hashable, tuple[float, Any]] = field(default_factory=dict)
    """What was drawn of it, so that several viewers cost one drawing a second."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Pair:
    """The model that answers, and the second one of a duel."""

    name: str
    labels: tuple[str, ...]
    predict: Any
    second_name: str = ""
    second: Any = None


class LiveFeeds:
    """Opens, finds and ends feeds. Thread-safe."""

    def __init__(
        self, sources: Mapping[str, Callable[..., Source]] = SOURCES, *, most: int = MOST_FEEDS
    ) -> None:
        self._sources = sources
        self._most = most
        self._lock = threading.Lock()
        self._opening = threading.Lock()  # one at a time: two that wish alike are to share
        self._compute_lock = threading.Lock()  # two feeds at once in the model would both be slow
        self._known: dict[str, Watched] = {}
        self._on_app_token: list[tuple[Feed, float]] = []  # with their caps
        self._spent_usd = 0.0  # by feeds on the app's token that are over

    def open(
        self,
        request: StreamRequest,
        *,
        owner: str,
        pair: Pair,
        held_out: Callable[[], Sequence[Post]],
        statistics: Callable[[], LiveStatistics],
        listeners: Sequence[Listener] = (),
    ) -> Watched:
        """Return the feed of a request: the one that runs, or a new one. Raises FeedError or SourceError."""
        key = request.key(model=pair.name, owner=owner)
        with self._opening:
            if running := self._running(key):
                return running
            return self._open(
                request,
                key,
                owner=owner,
                pair=pair,
                held_out=held_out,
                statistics=statistics,
                listeners=listeners,
            )

    def _open(
        self,
        request: StreamRequest,
        key: Hashable,
        *,
        owner: str,
        pair: Pair,
        held_out: Callable[[], Sequence[Post]],
        statistics: Callable[[], LiveStatistics],
        listeners: Sequence[Listener],
    ) -> Watched:
        if len([each for each in self._known.values() if each.feed.state != "ended"]) >= self._most:
            raise FeedError(f"{self._most} feeds run already, which is the most. Stop one of them first.")
        cap_usd = request.cap_usd if request.is_x else None
        if request.costs_the_app:
            self._refuse_beyond_budget(request.cap_usd)
        source = request.open(held_out=held_out, sources=self._sources)
        told, recording = statistics(), Recording()
        feed = Feed(
            source,
            pair.predict,
            labels=pair.labels,
            second=pair.second,
            filter=request.filter,
            lossless=request.is_lossless,
            listeners=[told, recording, *listeners],
            compute_lock=self._compute_lock,
        )
        feed.start()
        watched = Watched(
            id=secrets.token_urlsafe(9),
            key=key,
            feed=feed,
            source=request.source,
            title=request.title(),
            owner=owner if request.is_private else "",
            first_model=pair.name,
            second_model=pair.second_name,
            cap_usd=cap_usd,
            statistics=told,
            recording=recording,
        )
        with self._lock:
            self._known[watched.id] = watched
            if request.costs_the_app:
                self._on_app_token.append((feed, request.cap_usd))
            ended = [each.id for each in self._known.values() if each.feed.state == "ended"]
            for feed_id in ended[: max(0, len(ended) - self._most)]:  # the others are kept for their numbers
                self._known.pop(feed_id).recording.stop()
        return watched

    def find(self, feed_id: str, owner: str) -> Watched | None:
        """Return a feed by its id, running or ended; None when it is forgotten or another person's."""
        with self._lock:
            watched = self._known.get(feed_id)
        return watched if watched and watched.owner in ("", owner) else None

    def visible(self, owner: str) -> list[Watched]:
        """Return the feeds that run and that this person may see, the newest first."""
        with self._lock:
            known = list(self._known.values())
        return [each for each in reversed(known) if each.owner in ("", owner) and each.feed.state != "ended"]

    def stop_all(self) -> None:
        """End all feeds, as when another model is loaded or the app ends."""
        with self._lock:
            known = list(self._known.values())
        for watched in known:
            watched.feed.stop(timeout_s=1.0)

    def app_budget_left_usd(self) -> float:
        """Return what may still be spent with the app's own token; a running feed may spend up to its cap.

        So may one that was just stopped, until its last request is answered, and counted.
        """
        with self._lock:
            over = [pair for pair in self._on_app_token if _is_over(pair[0])]
            self._spent_usd += sum(feed.source.status.cost_usd or 0.0 for feed, _ in over)
            self._on_app_token = [pair for pair in self._on_app_token if pair not in over]
            taken = self._spent_usd + sum(cap_usd for _, cap_usd in self._on_app_token)
        return max(0.0, _budget_usd() - taken)

    def _refuse_beyond_budget(self, cap_usd: float) -> None:
        left = self.app_budget_left_usd()
        if cap_usd > left + 1e-9:
            raise FeedError(
                f"${left:.2f} is left of what this app may spend on X with its own token, and the cap is "
                f"${cap_usd:.2f}. Choose a lower cap, or type in a token of your own."
            )

    def _running(self, key: Hashable) -> Watched | None:
        with self._lock:
            found = [w for w in self._known.values() if w.key == key and w.feed.state != "ended"]
        return found[0] if found and found[0].feed.watch() else None


def _is_over(feed: Feed) -> bool:
    return feed.state == "ended" and not getattr(feed.source, "is_busy", False)


def _budget_usd() -> float:
    given = os.environ.get(BUDGET, "")
    try:
        return float(given) if given else DEFAULT_BUDGET_USD
    except ValueError:
        raise SourceError(f"{BUDGET} is {given!r}. Set it to a number of dollars, such as 5.") from None
