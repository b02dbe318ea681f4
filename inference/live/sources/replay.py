"""Replay: posts that are already at hand, streamed at a chosen rate. Needs no network and no key.

    replay = Replay([Post("1", "what a day", label="positive")], rate_per_s=2.0)
    replay = Replay.of_file("monday.jsonl", rate_per_s=None)      # a recording, as fast as it is taken
    list(replay.posts(Event()))

The rate may be changed while it streams. Given posts come in a shuffled order, those of a file in theirs.
Knows nothing about splits: whoever makes one passes held-out posts, so that no model has seen them.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Self

from inference.common.errors import FeedError
from inference.live.post import Post
from inference.live.sources.files import posts_of_file
from inference.live.sources.status import Status

MAX_RATE_PER_S = 1000.0
_LONGEST_WAIT_S = 0.25  # so that a change of the rate is heard while a slow one waits
_CATCH_UP_S = 0.2  # after a pause, or on a busy machine, no more than this is made up for


class Replay:
    """A source that streams given posts, `rate_per_s` of them a second."""

    name = "replay"

    def __init__(
        self,
        posts: Sequence[Post],
        *,
        rate_per_s: float | None = 2.0,
        shuffle: bool = True,
        rounds: int = 1,
        seed: int = 42,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[Event, float], bool] = Event.wait,
    ) -> None:
        """Take the posts to stream; raise FeedError when there are none or the rate can't be kept.

        A rate of None means as fast as possible. They are streamed `rounds` times, with ids that end in "/2"
        in the second round. `wait(stop, seconds)` sleeps until the time is over or `stop` is set, and tells
        whether it is set.
        """
        if not posts:
            raise FeedError("There is nothing to replay: no post was found. Choose data with a test split.")
        self._posts = list(posts)
        if shuffle:
            random.Random(seed).shuffle(self._posts)
        self._rounds = rounds
        self._clock = clock
        self._wait = wait
        self.status = Status()
        self.set_rate(rate_per_s)

    @classmethod
    def of_file(cls, path: str | Path, **options: Any) -> Self:
        """Replay a recording or a file of texts; see `posts_of_file`. Raises FeedError like it."""
        return cls(posts_of_file(path), **{"shuffle": False, **options})

    def set_rate(self, rate_per_s: float | None) -> None:
        """Change the number of posts a second, None for no limit; raise FeedError when it is not in reach."""
        if rate_per_s is not None and not 0 < rate_per_s <= MAX_RATE_PER_S:
            raise FeedError(
                f"A rate of {rate_per_s:g} posts a second can't be replayed. "
                f"Choose more than 0 and at most {MAX_RATE_PER_S:g}."
            )
        self.rate_per_s = None if rate_per_s is None else float(rate_per_s)

    def posts(self, stop: Event) -> Iterator[Post]:
        """Yield each post, in time with the rate; return when `stop` is set."""
        last, read = self._clock(), 0
        self.status = Status("connected")
        for post in self._all():
            while (left_s := last + self._interval_s() - self._clock()) > 0:
                if self._wait(stop, min(left_s, _LONGEST_WAIT_S)):
                    break
            if stop.is_set():
                break
            last = max(last + self._interval_s(), self._clock() - _CATCH_UP_S)
            read += 1
            self.status = Status("connected", read=read)
            yield post
        self.status = Status("ended", read=read)

    def _interval_s(self) -> float:
        return 1 / self.rate_per_s if self.rate_per_s else 0.0

    def _all(self) -> Iterator[Post]:
        yield from self._posts
        for number in range(2, self._rounds + 1):
            for post in self._posts:
                yield replace(post, id=f"{post.id}/{number}")
