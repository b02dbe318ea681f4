"""Replay: posts that are already at hand, streamed at a chosen rate. Needs no network and no key.

    replay = Replay([Post("1", "what a day", label="positive")], rate_per_s=2.0)
    list(replay.posts(Event()))

The rate may be changed while it streams. The posts come in a shuffled order, each once.
Knows nothing about splits: whoever makes one passes held-out posts, so that no model has seen them.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from threading import Event

from inference.errors import FeedError
from inference.sources.post import Post

MAX_RATE_PER_S = 200.0
_LONGEST_WAIT_S = 0.25  # so that a change of the rate is heard while a slow one waits
_CATCH_UP_S = 0.2  # after a pause, or on a busy machine, no more than this is made up for


class Replay:
    """A source that streams given posts, `rate_per_s` of them a second."""

    name = "replay"

    def __init__(
        self,
        posts: Sequence[Post],
        *,
        rate_per_s: float = 2.0,
        seed: int = 42,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[Event, float], bool] = Event.wait,
    ) -> None:
        """Take the posts to stream; raise FeedError when there are none or the rate can't be kept.

        `wait(stop, seconds)` sleeps until the time is over or `stop` is set, and tells whether it is set.
        """
        if not posts:
            raise FeedError("There is nothing to replay: no post was found. Choose data with a test split.")
        self._posts = list(posts)
        random.Random(seed).shuffle(self._posts)
        self._clock = clock
        self._wait = wait
        self.set_rate(rate_per_s)

    def set_rate(self, rate_per_s: float) -> None:
        """Change the number of posts a second; raise FeedError when it is not in reach."""
        if not 0 < rate_per_s <= MAX_RATE_PER_S:
            raise FeedError(
                f"A rate of {rate_per_s:g} posts a second can't be replayed. "
                f"Choose more than 0 and at most {MAX_RATE_PER_S:g}."
            )
        self.rate_per_s = float(rate_per_s)

    def posts(self, stop: Event) -> Iterator[Post]:
        """Yield each post once, in time with the rate; return when `stop` is set."""
        last = self._clock()
        for post in self._posts:
            while (left_s := last + 1 / self.rate_per_s - self._clock()) > 0:
                if self._wait(stop, min(left_s, _LONGEST_WAIT_S)):
                    return
            if stop.is_set():
                return
            last = max(last + 1 / self.rate_per_s, self._clock() - _CATCH_UP_S)
            yield post
