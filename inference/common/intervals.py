"""95 % intervals: for a share (Wilson), for the difference of two shares, and for any score (bootstrap).

    wilson(7, 10)                       # -> Interval(value=0.7, low=0.397, high=0.892)
    net(positive=7, negative=2, n=10)   # -> Interval(value=0.5, low=-0.01, high=0.84)
    percentile(0.7, resampled_scores)   # -> Interval(value=0.7, low=…, high=…)

All take rows as independent. Posts on one event are not, so an interval here is the least that chance does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Z = 1.959964
"""The normal quantile of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def from_json(cls, record: Mapping[str, float]) -> "Interval":
        """Return it from {"value", "low", "high"}, as records on disk hold it."""
        return cls(record["value"], record["low"], record["high"])

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def wilson(hits: int, n: int) -> Interval | None:
    """Return hits / n, None when n is 0; Wilson 1927, doi 10.1080/01621459.1927.10502953."""
    if not n:
        return None
    value = hits / n
    middle = (value + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(value * (1 - value) / n + Z * Z / (4 * n * n))
    return Interval(value, min(value, max(0.0, middle - half)), max(value, min(1.0, middle + half)))


def percentile(value: float, resampled: "NDArray[np.floating]") -> Interval:
    """Return a score with the percentile interval of its bootstrap resamples (Efron 1979).

    `resampled` has the shape (resamples,). `scipy.stats.bootstrap` would call the score once a resample; who
    calls this has computed all of them at once.
    """
    import numpy  # noqa: PLC0415  (a live session starts without it)

    low, high = numpy.percentile(resampled, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))


def net(*, positive: int, negative: int, n: int) -> Interval | None:
    """Return (positive - negative) / n, from -1 to 1; None when n is 0.

    The interval is the adjusted Wald interval for a difference of paired shares, which adds one post to
    either side: Bonett and Price 2012, doi 10.3102/1076998611411915.
    """
    if not n:
        return None
    up, down = (positive + 1) / (n + 2), (negative + 1) / (n + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    value = (positive - negative) / n
    return Interval(value, min(value, max(-1.0, up - down - half)), max(value, min(1.0, up - down + half)))


def poles(labels: Sequence[str]) -> tuple[str, str]:
    """Return the labels that pull sentiment down and up.

    They are "negative" and "positive" where both are among the labels (case does not matter), and else the
    first and the last label, in the classifier's order. Raises ValueError for fewer than two labels.
    """
    if len(labels) < 2:
        raise ValueError(f"Sentiment needs two labels or more, and {len(labels)} are given.")
    known = {label.casefold(): label for label in labels}
    if {"negative", "positive"} <= set(known):
        return known["negative"], known["positive"]
    return labels[0], labels[-1]
