"""The feeds that run: one a key, for everybody who looks at the same source and query.

    feeds = Feeds()
    feed = feeds.open(("bluesky", "train"), make=lambda: Feed(Bluesky(), ...))    # made and started once
    feeds.find(("bluesky", "train"))      # the same, for a page that was reloaded; None when there is none

A feed that has ended can still be found, for its numbers, until others take its place. Keys are shown to
nobody, and yet hold no token: whoever knows the source and the query shares the feed.
"""

import threading
from collections.abc import Callable, Hashable

from inference.common.errors import FeedError
from inference.live.feed import Feed


class Feeds:
    """Opens, finds and closes feeds. Thread-safe."""

    def __init__(self, *, most: int = 4) -> None:
        """Let `most` feeds run at once, and remember as many that have ended."""
        self._most = most
        self._lock = threading.Lock()
        self._feeds: dict[Hashable, Feed] = {}

    def open(self, key: Hashable, make: Callable[[], Feed]) -> Feed:
        """Return the feed that runs under a key, else one that is made now and started.

        `make` is called while others wait, so what takes long is done before. Raises FeedError when too many
        feeds run, and whatever `make` raises.
        """
        with self._lock:
            feed = self._feeds.get(key)
            if feed and feed.watch():
                return feed
            if sum(other.state != "ended" for other in self._feeds.values()) >= self._most:
                raise FeedError(f"{self._most} feeds run already, which is the most. Stop one of them first.")
            feed = make()
            feed.start()
            self._feeds.pop(key, None)
            self._feeds[key] = feed
            self._forget()
            return feed

    def find(self, key: Hashable) -> Feed | None:
        """Return the feed of a key, running or ended, None when there is none."""
        with self._lock:
            return self._feeds.get(key)

    def running(self) -> tuple[Hashable, ...]:
        """Return the keys of the feeds that run or are paused, the oldest first."""
        with self._lock:
            return tuple(key for key, feed in self._feeds.items() if feed.state != "ended")

    def stop_all(self, *, timeout_s: float = 5.0) -> None:
        """Stop every feed, as when another model is loaded."""
        with self._lock:
            feeds = list(self._feeds.values())
        for feed in feeds:
            feed.stop(timeout_s=timeout_s)

    def _forget(self) -> None:
        ended = [key for key, feed in self._feeds.items() if feed.state == "ended"]
        for key in ended[: max(0, len(ended) - self._most)]:
            del self._feeds[key]
