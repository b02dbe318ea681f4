"""The posts that wait for the model: a queue as long as the model needs 1.4 seconds for, which samples.

    waiting = Waiting()
    waiting.add(Entry(post, arrived_s=12.5))     # -> how many were dropped: 0, or 1 when it was full
    waiting.take()                               # -> the next batch, first come first served
    waiting.pace(cost_per_s)                     # the model is as fast as this: the limits are set anew

When it is full, one of those that wait or the new one gives way, each with the same chance: what is
classified is a random sample of what came, and no post waits long. Posts are weighed by their
length, since ten long ones cost more than a hundred short ones.
Not thread-safe: the feed uses it under its lock.
"""

import random
from collections import deque
from dataclasses import dataclass

from inference.live.post import Post

_UNTIMED_BATCH, _UNTIMED_QUEUE = 16, 64  # posts, until it is known how fast the model is
_SHORTEST_QUEUE = 8  # posts, however slow it is
_PROMPT = 40  # what every post costs beside its own characters


@dataclass(frozen=True)
class Entry:
    """A post that waits, and when it came, in seconds of the feed's clock."""

    post: Post
    arrived_s: float

    @property
    def cost(self) -> int:
        """What it costs to classify, about, in characters."""
        return len(self.post.text) + _PROMPT


class Waiting:
    """A queue that holds `queue_s` of work and is taken from in batches of `batch_s`."""

    def __init__(
        self,
        *,
        batch_size: int = 256,
        queue_size: int = 1024,
        batch_s: float = 0.4,
        queue_s: float = 1.4,
        sampling: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        """Start empty. The sizes, in posts, hold whatever the times allow.

        Without `sampling` nothing is dropped: whoever adds looks first whether it `is_full`.
        """
        self._batch_size, self._queue_size = batch_size, queue_size
        self._batch_s, self._queue_s = batch_s, queue_s
        self._sampling = sampling
        self._rng = rng or random.Random()
        self._entries: deque[Entry] = deque()
        self._cost = 0
        self._cost_per_s = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return self._too_many(len(self) + 1, self._cost + 1)

    def add(self, entry: Entry) -> int:
        """Add a post. Returns how many were dropped for it, itself perhaps."""
        self._entries.append(entry)
        self._cost += entry.cost
        return self._trim()

    def take(self) -> list[Entry]:
        """Remove and return the next batch: at least one post, none when none waits."""
        most = self._batch_size if self._cost_per_s else min(self._batch_size, _UNTIMED_BATCH)
        left = self._cost_per_s * self._batch_s if self._cost_per_s else float("inf")
        batch: list[Entry] = []
        while self._entries and len(batch) < most and (not batch or self._entries[0].cost <= left):
            entry = self._entries.popleft()
            batch.append(entry)
            left -= entry.cost
            self._cost -= entry.cost
        return batch

    def pace(self, cost_per_s: float) -> int:
        """Set the limits by the model's speed. Returns how many posts were dropped for it."""
        self._cost_per_s = cost_per_s
        return self._trim()

    def clear(self) -> int:
        """Drop everything. Returns how many posts that were."""
        dropped = len(self)
        self._entries.clear()
        self._cost = 0
        return dropped

    def _too_many(self, posts: int, cost: int) -> bool:
        if not self._cost_per_s:
            return posts > min(self._queue_size, _UNTIMED_QUEUE)
        too_costly = posts > _SHORTEST_QUEUE and cost > self._cost_per_s * self._queue_s
        return posts > self._queue_size or too_costly

    def _trim(self) -> int:
        dropped = 0
        while self._sampling and self._too_many(len(self), self._cost):
            place = self._rng.randrange(len(self))
            self._cost -= self._entries[place].cost
            del self._entries[place]
            dropped += 1
        return dropped
