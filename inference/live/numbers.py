"""What a feed shows: values that never change once they are made.

    shot = feed.snapshot()
    accounted = shot.classified + sum(shot.filtered.values()) + shot.duplicates + shot.dropped + shot.pending
    accounted == shot.received

Knows nothing about threads.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from inference.common.intervals import wilson
from inference.live.post import Post
from inference.live.sources import Status

State = Literal["ready", "running", "paused", "ended"]
Reason = Literal["", "stopped", "finished", "unwatched", "failed"]


@dataclass(frozen=True)
class ClassifiedPost:
    """A post, its label, and that label's probability; of a second model too, where there is one."""

    post: Post
    label: str
    probability: float
    second_label: str | None = None
    second_probability: float | None = None

    @property
    def disagrees(self) -> bool:
        """Whether two models were asked and gave different labels."""
        return self.second_label is not None and self.second_label != self.label


@dataclass(frozen=True)
class Lag:
    """Half of the posts took at most `p50_s`, 19 of 20 at most `p95_s` seconds."""

    p50_s: float
    p95_s: float


@dataclass(frozen=True)
class FeedSnapshot:
    """What a feed has done until now. `windows`: counts by label, oldest first, `window_s` seconds each.

    `received` counts every post that came, with what the source itself let go or found to be a duplicate:
    received = classified + filtered + duplicates + dropped + pending, at every moment.
    """

    state: State
    reason: Reason
    message: str
    source: str
    labels: tuple[str, ...]
    received: int
    classified: int
    dropped: int
    pending: int
    counts: tuple[int, ...]
    judged: int  # posts whose true label is known
    right: int  # and how many of these were classified so
    rate_in_per_s: float
    capacity_per_s: float  # posts that models and listeners manage in a second of work; 0 before the first
    running_s: float
    window_s: float
    windows: tuple[tuple[int, ...], ...]
    recent: tuple[ClassifiedPost, ...]  # newest first
    filtered: Mapping[str, int] = field(default_factory=dict)  # by reason
    duplicates: int = 0
    rate_classified_per_s: float = 0.0
    lag: Lag | None = None  # from arrival to answer, of the newest posts
    age: Lag | None = None  # from when it was written to the answer, where that is known
    source_status: Status = field(default_factory=Status)
    agreed: int = 0  # posts to which both models gave the same label
    disagreed: int = 0
    second_counts: tuple[int, ...] = ()  # of the second model, by label

    def accuracy(self) -> tuple[float, float, float] | None:
        """Return the share of judged posts that are right and its 95 % interval (Wilson 1927)."""
        return share_with_interval(self.right, self.judged)

    def agreement(self) -> tuple[float, float, float] | None:
        """Return the share of posts on which both models agree and its 95 % interval (Wilson 1927)."""
        return share_with_interval(self.agreed, self.agreed + self.disagreed)


@dataclass(frozen=True)
class FeedSummary:
    """A feed from its start until now: received = classified + filtered + duplicates + dropped at its end.

    `rate_per_s`: posts classified in a second of the time it ran. Lags are from arrival to answer, of a
    random sample of all posts; None when no post was classified.
    """

    received: int
    classified: int
    filtered: int
    duplicates: int
    dropped: int
    rate_per_s: float
    lag_p50_s: float | None
    lag_p95_s: float | None


def share_with_interval(part: int, n: int) -> tuple[float, float, float] | None:
    """Return part / n and its 95 % interval (Wilson 1927), None for n = 0."""
    found = wilson(part, n)
    return (found.value, found.low, found.high) if found else None
