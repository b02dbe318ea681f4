"""Notice when sentiment shifts beyond chance.

    detector = ShiftDetector(classifier.labels)
    shift = detector.add("negative")       # -> None, or a Shift at the post at which one is noticed

The test is a self-starting two-sided CUSUM (Page 1954, doi 10.1093/biomet/41.1-2.100; Hawkins 1987, doi
10.2307/2348827). A post counts +1, 0 or -1 (`inference.common.intervals.poles`). Each is compared with the
mean and spread of the posts before it, so no target need be known; what lies above the mean by more than an
allowance is summed up, and so is what lies below. A sum that passes the threshold is a shift. Then everything
starts anew with the posts after the alarm as the reference: those that raised it were selected for being
extreme, and a reference of them would soon report the same shift again, in the other direction. A shift that
comes after few posts, or soon after another one, may become part of the reference before it is noticed.

The threshold is high, since a busy stream has a hundred thousand posts in an hour: `python -m benchmarks
shift` measures how often it is passed when posts come in random order, and the delay to a true shift. Posts
on one event are not in random order, and gradual change of opinion also triggers it: an alarm says that
sentiment moved, not why. (river's PageHinkley and ADWIN report neither where a shift began nor the level
before it, so they would not shorten this.) Call it from one thread, or under a lock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inference.common.intervals import Interval, net, poles

ALLOWANCE = 0.0625
"""In standard deviations of a post; half of the least shift to be found: about 10 points of net sentiment."""
THRESHOLD = 80.0
"""At 70 a stream of 50 posts a second would raise a false alarm every two and a half hours."""
FALSE_ALARMS_PER_MILLION = (0.3, 532.5)
"""Measured by `python -m benchmarks shift`: labels in random order, and each five times in a row."""
WARM_UP = 200
MEMORY = 10_000
_LEAST_SPREAD = 0.2  # standard deviation; keeps the first post of another kind from ending a calm stream


@dataclass(frozen=True)
class Shift:
    """Sentiment has moved. Net sentiment goes from -1 to 1."""

    post: int
    """The number of the post at which it was noticed, the first being 1."""
    since: int
    """The number of the post from which on sentiment seems to differ."""
    before: float
    """Net sentiment of the posts up to there."""
    after: Interval
    """Net sentiment since then. The span was chosen for being extreme, so this is somewhat too far out."""

    @property
    def rises(self) -> bool:
        return self.after.value > self.before


class _Sum:
    """One side of the CUSUM, with the posts since it last stood at zero."""

    def __init__(self, sign: int) -> None:
        self.sign, self.value, self.since, self.before = sign, 0.0, 1, 0.0
        self.ups = self.downs = 0

    def add(self, x: int, residual: float, *, post: int, mean: float) -> None:
        if self.value == 0:
            self.since, self.before, self.ups, self.downs = post, mean, 0, 0
        self.value = max(0.0, self.value + self.sign * residual - ALLOWANCE)
        self.ups += x > 0
        self.downs += x < 0


class ShiftDetector:
    """Watches net sentiment, post by post, in constant memory.

    `threshold`: the larger, the fewer false alarms and the later true ones. No alarm comes within the first
    WARM_UP posts, nor within as many after another one. The reference is the mean since the last alarm, of
    the last MEMORY posts or so.
    """

    def __init__(self, labels: Sequence[str], *, threshold: float = THRESHOLD) -> None:
        negative, positive = poles(labels)
        self._value = {label: (label == positive) - (label == negative) for label in labels}
        self._threshold = threshold
        self._posts = self._n = 0
        self._mean = self._square = 0.0
        self._sums = (_Sum(1), _Sum(-1))

    def add(self, label: str) -> Shift | None:
        """Take the label of one post. Raises KeyError for an unknown label."""
        x = self._value[label]
        self._posts += 1
        if self._n >= WARM_UP:
            spread = max(math.sqrt(max(0.0, self._square - self._mean**2)), _LEAST_SPREAD)
            residual = (x - self._mean) / spread * math.sqrt(self._n / (self._n + 1))
            for one in self._sums:
                one.add(x, residual, post=self._posts, mean=self._mean)
                if one.value > self._threshold:
                    after = net(positive=one.ups, negative=one.downs, n=self._posts - one.since + 1)
                    assert after is not None  # at least this post was counted
                    self._n, self._mean, self._square = 0, 0.0, 0.0
                    self._sums = (_Sum(1), _Sum(-1))
                    return Shift(self._posts, one.since, one.before, after)
        self._n = min(self._n + 1, MEMORY)
        self._mean += (x - self._mean) / self._n
        self._square += (x * x - self._square) / self._n
        return None
