"""What a feed measures, each in bounded memory: rates, lags, the model's speed, counts by time.

    meter = Meter()
    meter.add(now_s)
    meter.per_s(now_s)         # over the last ten seconds

Times are seconds that the feed ran. None of these is thread-safe: the feed uses them under its lock.
"""

import math
import random
from collections import Counter, deque
from collections.abc import Sequence

from inference.live.numbers import Lag

_RATE_SPAN_S = 10  # rates are averages over this much of the recent past
_SPEED_SPAN_S = 5.0  # … and the model's speed over this much of its own time
_NEWEST = 1000  # posts whose lags are shown while a feed runs
_SAMPLE = 5000  # posts whose lags are kept for the end


class Meter:
    """Counts what happens, by the second."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._seconds: deque[list[int]] = deque(maxlen=_RATE_SPAN_S)

    def add(self, now_s: float, count: int = 1) -> None:
        """Count what happens now."""
        if self._seconds and self._seconds[-1][0] == int(now_s):
            self._seconds[-1][1] += count
        else:
            self._seconds.append([int(now_s), count])

    def per_s(self, now_s: float) -> float:
        """Return the rate of late."""
        first = max(0, int(now_s) - _RATE_SPAN_S + 1)
        return sum(count for second, count in self._seconds if second >= first) / max(now_s - first, 1.0)


class Lags:
    """Keeps the lags of the newest posts, and those of a random sample of all."""

    def __init__(self, rng: random.Random) -> None:
        """Start with nothing."""
        self._rng = rng
        self._newest: deque[float] = deque(maxlen=_NEWEST)
        self._sample: list[float] = []
        self._count = 0

    def add(self, lag_s: float) -> None:
        """Keep a lag; of the sample, one gives way at random (Vitter 1985, algorithm R)."""
        self._newest.append(lag_s)
        self._count += 1
        if len(self._sample) < _SAMPLE:
            self._sample.append(lag_s)
        elif (place := self._rng.randrange(self._count)) < _SAMPLE:
            self._sample[place] = lag_s

    def newest(self) -> Lag | None:
        """Return the lag of late, None before the first post."""
        return _lag(self._newest)

    def within(self, share: float) -> float | None:
        """Return the seconds within which so large a share of all posts was answered, None for none."""
        ordered = sorted(self._sample)
        place = math.ceil(share * len(ordered))
        return ordered[max(place, 1) - 1] if ordered and place <= len(ordered) else None

    def overall(self) -> Lag | None:
        """Return the lag of all posts, None before the first."""
        return _lag(self._sample)


def _lag(lags_s: Sequence[float]) -> Lag | None:
    if not lags_s:
        return None
    ordered = sorted(lags_s)
    p50_s, p95_s = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.95))
    return Lag(p50_s, p95_s)


class Speed:
    """How fast the feed works of late: posts, and their cost, in a second of work. 0: not known yet."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._posts = self._cost = self._busy_s = 0.0

    def add(self, posts: int, cost: float, busy_s: float) -> None:
        """Count a batch; what was long ago loses its weight."""
        fade = math.exp(-busy_s / _SPEED_SPAN_S)
        self._posts = self._posts * fade + posts
        self._cost = self._cost * fade + cost
        self._busy_s = self._busy_s * fade + busy_s

    @property
    def posts_per_s(self) -> float:
        """Posts in a second."""
        return self._posts / self._busy_s if self._busy_s else 0.0

    @property
    def cost_per_s(self) -> float:
        """Cost in a second."""
        return self._cost / self._busy_s if self._busy_s else 0.0


class Windows:
    """Counts labels by stretches of `window_s` seconds, the newest `keep` of them."""

    def __init__(self, labels: Sequence[str], *, window_s: float, keep: int) -> None:
        """Start with nothing."""
        self.window_s = window_s
        self._labels = tuple(labels)
        self._windows: deque[tuple[int, Counter[str]]] = deque(maxlen=keep)

    def add(self, label: str, now_s: float) -> None:
        """Count a label now."""
        place = int(now_s / self.window_s)
        if not self._windows or self._windows[-1][0] != place:
            self._windows.append((place, Counter()))
        self._windows[-1][1][label] += 1

    def counts(self, now_s: float) -> tuple[tuple[int, ...], ...]:
        """Return the kept windows, oldest first; those in which nothing came hold zeros."""
        if not self._windows:
            return ()
        seen = dict(self._windows)
        last = max(int(now_s / self.window_s), self._windows[-1][0])
        first = max(self._windows[0][0], last - (self._windows.maxlen or 1) + 1)
        return tuple(
            tuple(seen.get(place, Counter())[label] for label in self._labels)
            for place in range(first, last + 1)
        )
