"""The counts and measurements of a feed, and the snapshots of them that are shown.

    snapshot = feed.snapshot()
    accounted = snapshot.classified + sum(snapshot.filtered.values()) + snapshot.duplicates + snapshot.dropped
    accounted + snapshot.pending == snapshot.received        # every post is in one place

Memory is bounded. Nothing that changes here is thread-safe: the feed uses it under its lock.
"""

import math
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from inference.common.intervals import Interval, wilson
from inference.live.post import ClassifiedPost
from inference.live.sources import SourceStatus

FeedState = Literal["ready", "running", "paused", "ended"]
EndReason = Literal["", "stopped", "finished", "unwatched", "failed"]

_RATE_SPAN_S = 10  # rates are averages over this much of the recent past
_SPEED_SPAN_S = 5.0  # … and the model's speed over this much of its own time
_NEWEST = 1000  # posts whose lags are shown while a feed runs
_SAMPLE = 5000  # posts whose lags are kept for the end
_OF_THE_SOURCE = {"duplicate": "duplicates", "unread at the end": "dropped", "not public": "filtered"}
"""How posts that a source passes over are counted, by its reason. Other reasons are events and garbage."""


@dataclass(frozen=True)
class Lag:
    """Half of the posts took at most `p50_s`, 19 of 20 at most `p95_s` seconds."""

    p50_s: float
    p95_s: float


@dataclass(frozen=True)
class FeedSnapshot:
    """A feed at one moment: received = classified + filtered + duplicates + dropped + pending."""

    state: FeedState
    reason: EndReason
    message: str
    source: str
    source_status: SourceStatus
    labels: tuple[str, ...]
    received: int
    classified: int
    filtered: Mapping[str, int]  # by reason
    duplicates: int
    dropped: int
    pending: int
    counts: tuple[int, ...]  # classified posts by label, those that are sure
    judged: int  # of these, posts whose true label is known
    right: int  # and how many of these were classified correctly
    agreed: int  # posts to which both models gave the same label
    disagreed: int
    rate_in_per_s: float
    rate_classified_per_s: float
    capacity_per_s: float  # posts that models and listeners manage in a second of work; 0 before the first
    running_s: float
    lag: Lag | None  # from arrival to answer, of the newest posts
    age: Lag | None  # from when a post was written to the answer, where that is known
    recent: tuple[ClassifiedPost, ...]  # newest first
    unsure: int = 0  # classified posts about which the model is not sure enough to count
    abstain_below: float = 0.0  # the confidence from which on it is
    hurried: int = 0  # classified posts that got the model's quicker answer, as they piled up
    truncated: int = 0  # classified posts of which only the beginning was read
    out_of_scope: int | None = None  # classified posts unlike the training texts, where that is known

    def accuracy(self) -> Interval | None:
        """Return the share of judged posts that are right, with Wilson's interval."""
        return wilson(self.right, self.judged)

    def agreement(self) -> Interval | None:
        """Return the share of posts on which both models agree, with Wilson's interval."""
        return wilson(self.agreed, self.agreed + self.disagreed)


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
    unsure: int = 0
    """Of the classified posts, those about which the model is not sure enough to count."""
    hurried: int = 0
    """Of the classified posts, those that got the model's quicker answer, as they piled up."""
    truncated: int = 0
    """Of the classified posts, those of which only the beginning was read: the rest was too long."""
    out_of_scope: int | None = None
    """Of the classified posts, those unlike the training texts; None where the model has no record."""


class Meter:
    """Counts events by the second. Times are seconds that the feed ran."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque(maxlen=_RATE_SPAN_S)

    def add(self, now_s: float, count: int = 1) -> None:
        if self._seconds and self._seconds[-1][0] == int(now_s):
            self._seconds[-1][1] += count
        else:
            self._seconds.append([int(now_s), count])

    def per_s(self, now_s: float) -> float:
        """Events per second over the last 10 s."""
        first = max(0, int(now_s) - _RATE_SPAN_S + 1)
        return sum(count for second, count in self._seconds if second >= first) / max(now_s - first, 1.0)


class Lags:
    """Keeps the lags of the newest posts, and those of a random sample of all."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._newest: deque[float] = deque(maxlen=_NEWEST)
        self._sample: list[float] = []
        self._count = 0

    def add(self, lag_s: float) -> None:
        """Keep a lag; once the sample is full, one gives way at random (Vitter 1985, algorithm R)."""
        self._newest.append(lag_s)
        self._count += 1
        if len(self._sample) < _SAMPLE:
            self._sample.append(lag_s)
        elif (place := self._rng.randrange(self._count)) < _SAMPLE:
            self._sample[place] = lag_s

    def newest(self) -> Lag | None:
        return _lag(self._newest)

    def overall(self) -> Lag | None:
        return _lag(self._sample)

    def within(self, part: float) -> float | None:
        """Return the seconds within which this share of all posts was answered; None above 1, or for none."""
        place = math.ceil(part * len(self._sample))
        return sorted(self._sample)[max(place, 1) - 1] if 0 < len(self._sample) >= place else None


def _lag(lags_s: Sequence[float]) -> Lag | None:
    if not lags_s:
        return None
    ordered = sorted(lags_s)
    p50_s, p95_s = (ordered[math.ceil(part * len(ordered)) - 1] for part in (0.5, 0.95))
    return Lag(p50_s, p95_s)


class Speed:
    """Posts, and their cost, per second of recent work; 0 until it is known."""

    def __init__(self) -> None:
        self._posts = self._cost = self._busy_s = 0.0

    def add(self, posts: int, cost: float, busy_s: float) -> None:
        """Count a batch; older batches lose weight exponentially."""
        fade = math.exp(-busy_s / _SPEED_SPAN_S)
        self._posts = self._posts * fade + posts
        self._cost = self._cost * fade + cost
        self._busy_s = self._busy_s * fade + busy_s

    @property
    def posts_per_s(self) -> float:
        return self._posts / self._busy_s if self._busy_s else 0.0

    @property
    def cost_per_s(self) -> float:
        return self._cost / self._busy_s if self._busy_s else 0.0


class FeedCounts:
    """The numbers of a feed that change; `keep` posts are remembered."""

    def __init__(
        self,
        labels: Sequence[str],
        *,
        keep: int,
        rng: random.Random,
        abstain_below: float = 0.0,
        outside_above: float | None = None,
    ) -> None:
        self.labels, self.abstain_below, self._outside_above = tuple(labels), abstain_below, outside_above
        self._out_of_scope = 0
        self.duplicates = self.dropped = self.hurried = self.truncated = self.in_hand = self.answers = 0
        self.filtered: Counter[str] = Counter()
        self.rate_in, self.rate_classified, self.speed = Meter(), Meter(), Speed()
        self.lags, self.ages = Lags(rng), Lags(rng)
        self._received = self._unsure = self._judged = self._right = self._agreed = self._disagreed = 0
        self._by_label: Counter[str] = Counter()
        self._recent: deque[ClassifiedPost] = deque(maxlen=keep)

    def receive(self, now_s: float) -> None:
        self._received += 1
        self.rate_in.add(now_s)

    def classify(self, result: ClassifiedPost, *, now_s: float, lag_s: float, age_s: float | None) -> None:
        """Count an answer. `age_s`: seconds since the post was written, None where that is not known."""
        truth, sure = result.post.label, result.probability >= self.abstain_below
        self.answers += 1
        self._unsure += not sure
        self._out_of_scope += self._outside_above is not None and result.unknown_share > self._outside_above
        self._by_label[result.label] += sure
        self.rate_classified.add(now_s)
        self.lags.add(lag_s)
        if age_s is not None:
            self.ages.add(age_s)
        if sure and truth in self.labels:
            self._judged += 1
            self._right += truth == result.label
        if result.second_label is not None:
            self._agreed += not result.disagrees
            self._disagreed += result.disagrees
        self._recent.append(result)

    def snapshot(
        self,
        *,
        state: FeedState,
        reason: EndReason,
        message: str,
        source: str,
        status: SourceStatus,
        waiting: int,
        now_s: float,
    ) -> FeedSnapshot:
        """Return the counts with those of the source, which finds duplicates too and leaves posts unread."""
        beside: Counter[str] = Counter()
        for why, count in status.passed_over.items():
            if why in _OF_THE_SOURCE:
                beside[_OF_THE_SOURCE[why]] += count
        return FeedSnapshot(
            state=state,
            reason=reason,
            message=message,
            source=source,
            source_status=status,
            labels=self.labels,
            received=self._received + beside.total(),
            classified=self.answers,
            filtered=dict(self.filtered + Counter({"not public": beside["filtered"]})),
            duplicates=self.duplicates + beside["duplicates"],
            dropped=self.dropped + beside["dropped"],
            pending=waiting + self.in_hand,
            counts=tuple(self._by_label[label] for label in self.labels),
            judged=self._judged,
            right=self._right,
            agreed=self._agreed,
            disagreed=self._disagreed,
            unsure=self._unsure,
            abstain_below=self.abstain_below,
            hurried=self.hurried,
            truncated=self.truncated,
            out_of_scope=None if self._outside_above is None else self._out_of_scope,
            rate_in_per_s=self.rate_in.per_s(now_s),
            rate_classified_per_s=self.rate_classified.per_s(now_s),
            capacity_per_s=self.speed.posts_per_s,
            running_s=now_s,
            lag=self.lags.newest(),
            age=self.ages.newest(),
            recent=tuple(reversed(self._recent)),
        )
