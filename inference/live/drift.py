"""Is the incoming text like the text that the model was trained on?

    meter = DriftMeter(load_reference("runs/demo/artifact"))      # of inference.reference
    meter.add(token_ids, confidence=0.93)
    meter.verdict()      # -> Drift(n=1000, level="somewhat different", findings=(Finding("length", …), …))

Three figures are compared: length in tokens, the share of tokens that training hardly knew, and mean
confidence. A figure differs when the gap is larger than chance makes it and large enough to matter; the
limits are constants below. Another language or script shows in the tokens: Portuguese, Spanish, German and
Russian posts had 24 to 92 points more unknown ones than 96, 1,000 or 8,000 English tweets of a training, so
scripts and letter patterns are no longer compared beside them. Posts are taken as independent. That text
differs does not say that answers are wrong: label some posts to know.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Literal

from inference.common.intervals import Z
from inference.reference import Reference, length_bin

MIN_POSTS = 50
_MATTERS = {"length": 0.10, "tokens": 0.02, "confidence": 0.03}
_STRONG_TIMES = 2.5  # a gap of this many times the least that matters is "different"

Level = Literal["unknown", "alike", "somewhat different", "different"]


@dataclass(frozen=True)
class Finding:
    """One figure, in training and now."""

    name: Literal["length", "tokens", "confidence"]
    reference: float
    live: float
    level: Level


@dataclass(frozen=True)
class Drift:
    """The verdict on the last `n` posts; `level` is that of the figure that differs most."""

    n: int
    level: Level
    findings: tuple[Finding, ...] = ()


class DriftMeter:
    """Compares the last `recent` posts with a reference. Call it from one thread, or under a lock."""

    def __init__(self, reference: Reference, *, recent: int = 1_000) -> None:
        self._reference, self._known = reference, reference.known_ids()
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=recent)
        """Of each post its length, its share of unknown tokens, and the model's confidence; no text."""

    def add(self, token_ids: Sequence[int], *, confidence: float) -> None:
        """Take a post: its tokens (prompt included) and the probability of its label."""
        unknown = sum(i not in self._known for i in token_ids) / max(1, len(token_ids))
        self._recent.append((len(token_ids), unknown, confidence))

    def verdict(self) -> Drift:
        """Return what differs; "unknown" before 50 posts have come."""
        n, then = len(self._recent), self._reference
        if n < MIN_POSTS:
            return Drift(n, "unknown")
        lengths, unknown, confidences = zip(*self._recent, strict=True)
        gap, chance = distance(dict(enumerate(then.lengths)), Counter(map(length_bin, lengths)))
        findings = [Finding("length", then.mean_length, fmean(lengths), _level("length", gap, chance))]
        gap = fmean(unknown) - then.unknown_share  # fewer unknown ones are no drift
        chance = _chance(then.unknown_spread, then.n, pstdev(unknown), n)
        findings.append(Finding("tokens", then.unknown_share, fmean(unknown), _level("tokens", gap, chance)))
        if then.confidence is not None:
            gap = abs(fmean(confidences) - then.confidence)
            chance = _chance(then.confidence_spread, then.confidence_n, pstdev(confidences), n)
            level = _level("confidence", gap, chance)
            findings.append(Finding("confidence", then.confidence, fmean(confidences), level))
        order: tuple[Level, ...] = ("alike", "somewhat different", "different")
        return Drift(n, max((finding.level for finding in findings), key=order.index), tuple(findings))


def distance(then: Mapping[int, int], now: Mapping[int, int]) -> tuple[float, float]:
    """Return the total variation between two counts, from 0 to 1, and the largest that chance makes it.

    It is the share of posts that would have to change. The mean under chance is the sum over the bins of the
    mean absolute value of a normal deviate, halved; twice that mean is taken as the limit of chance, or, of
    few bins, the limit of the widest one. It is passed by chance in one case of twenty or fewer.
    """
    n, m = sum(then.values()), sum(now.values())
    gap = mean = widest = 0.0
    for key in {*then, *now}:
        a, b = then.get(key, 0), now.get(key, 0)
        gap += abs(a / n - b / m) / 2
        pooled = (a + b) / (n + m)
        spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        mean += math.sqrt(2 / math.pi) * spread / 2
        widest = max(widest, spread)
    return gap, max(2 * mean, Z * widest)


def _chance(spread: float, n: int, other_spread: float, other_n: int) -> float:
    return Z * math.sqrt(spread**2 / max(1, n) + other_spread**2 / max(1, other_n))


def _level(name: str, gap: float, chance: float) -> Level:
    """Judge a gap: it differs when it is beyond chance and large enough to matter."""
    if gap <= chance or gap < _MATTERS[name]:
        return "alike"
    return "different" if gap >= _STRONG_TIMES * _MATTERS[name] else "somewhat different"
