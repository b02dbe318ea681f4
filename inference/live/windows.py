"""Rolling counts by label, and the line of net sentiment.

    counts = RollingCounts(classifier.labels)
    counts.add("positive")
    counts.windows()          # -> a Window each for the last 10 s, 1 min and 5 min
    counts.line(10.0)         # -> a Window each for the last 60 spans of 10 s, oldest first

Net sentiment is the share of positive posts minus the share of negative ones, of all posts in the window.
Memory is bounded by the number of bins, whatever the rate. Time is the sum of the clock's steps forward: a
clock that jumps back loses nothing and adds nothing, one that jumps forward leaves empty bins behind.
Knows nothing about posts; call it from one thread, or under a lock.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.common.intervals import Interval, net, poles, wilson

SPANS_S = (10.0, 60.0, 300.0)
_FINE_S = 1.0  # the rolling windows move on by this much


@dataclass(frozen=True)
class Window:
    """What came within a span of time. Shares and net sentiment are None while it is empty."""

    span_s: float
    ends_s: float
    """Seconds since the start at which the window ends; that of now may not be full yet."""
    counts: tuple[int, ...]
    """Posts by label, in the classifier's order."""
    shares: tuple[Interval | None, ...]
    """By label, with Wilson's interval; see `inference.common.intervals`."""
    net: Interval | None
    """From -1 to 1, with the interval of Bonett and Price."""

    @property
    def n(self) -> int:
        """Posts in the window."""
        return sum(self.counts)


class _Ring:
    """Counts in bins of equal width, of which the last `keep` are remembered."""

    def __init__(self, *, width_s: float, keep: int, size: int) -> None:
        self.width_s = width_s
        self._empty = (0,) * size
        self._bins: deque[tuple[int, list[int]]] = deque(maxlen=keep)
        self._keep = keep

    def add(self, now_s: float, label: int, n: int) -> None:
        place = int(now_s // self.width_s)
        if not self._bins or self._bins[-1][0] != place:
            self._bins.append((place, list(self._empty)))
        self._bins[-1][1][label] += n

    def last(self, now_s: float, count: int) -> list[tuple[int, Sequence[int]]]:
        """Return the last `count` bins as (place, counts), oldest first, the empty ones as zeros."""
        place = int(now_s // self.width_s)
        seen = dict(self._bins)
        return [(i, seen.get(i, self._empty)) for i in range(max(0, place - count + 1), place + 1)]


class RollingCounts:
    """Counts of labels over the recent past. `spans_s` are whole seconds; `keep` points make a line."""

    def __init__(
        self,
        labels: Sequence[str],
        *,
        spans_s: Sequence[float] = SPANS_S,
        keep: int = 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.labels, self.spans_s = tuple(labels), tuple(spans_s)
        self._place = {label: i for i, label in enumerate(self.labels)}
        negative, positive = poles(self.labels)
        self._negative, self._positive = self._place[negative], self._place[positive]
        self._clock, self._last = clock, clock()
        self._elapsed_s = 0.0
        size = len(self.labels)
        self._fine = _Ring(width_s=_FINE_S, keep=math.ceil(max(spans_s) / _FINE_S), size=size)
        self._lines = {span_s: _Ring(width_s=span_s, keep=keep, size=size) for span_s in self.spans_s}
        self._keep = keep

    def add(self, label: str, n: int = 1) -> None:
        """Count posts of a label that are classified now. Raises KeyError for a label that is not known."""
        place, now_s = self._place[label], self.elapsed_s()
        for ring in (self._fine, *self._lines.values()):
            ring.add(now_s, place, n)

    def elapsed_s(self) -> float:
        """Return the seconds since the start: the sum of the clock's steps forward."""
        now = self._clock()
        if math.isfinite(now):
            self._elapsed_s += max(0.0, now - self._last)
            self._last = now
        return self._elapsed_s

    def windows(self) -> tuple[Window, ...]:
        """Return the counts of the last 10 s, 1 min and 5 min, or of the spans that were given.

        They move on second by second, so each covers up to a second less than its span.
        """
        now_s = self.elapsed_s()
        found = []
        for span_s in self.spans_s:
            bins = self._fine.last(now_s, math.ceil(span_s / _FINE_S))
            sums = tuple(sum(column) for column in zip(*(counts for _, counts in bins), strict=True))
            found.append(self._window(span_s, now_s, sums))
        return tuple(found)

    def line(self, span_s: float) -> tuple[Window, ...]:
        """Return the spans one after another, oldest first, the last of them still filling.

        No post is in two of them, so their intervals may be compared. At most `keep` are returned. Raises
        KeyError for a span that was not given.
        """
        ring = self._lines[span_s]
        return tuple(
            self._window(span_s, (place + 1) * span_s, tuple(counts))
            for place, counts in ring.last(self.elapsed_s(), self._keep)
        )

    def _window(self, span_s: float, ends_s: float, counts: tuple[int, ...]) -> Window:
        n = sum(counts)
        return Window(
            span_s,
            ends_s,
            counts,
            tuple(wilson(count, n) for count in counts),
            net(positive=counts[self._positive], negative=counts[self._negative], n=n),
        )
