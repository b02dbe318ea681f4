"""Is the incoming text like the text that the model was trained on?

    meter = DriftMeter(load_reference("runs/demo/artifact"))
    meter.add("what a day", token_ids=[...], confidence=0.93)
    meter.verdict().sentences()      # -> ("Posts are 31.0 tokens long on average, against 19.2 in …", …)

Five figures are compared: length in tokens, writing system (by the names of Unicode's characters), patterns
of letters (a one-class test of language: which letters follow which), tokens that training hardly knew, and
mean confidence. A figure differs when the gap is larger than chance makes it and large enough to matter; the
limits are constants below. What training texts were like is in `inference.live.reference`.

Letter patterns say "another language, or odd spelling", not which language; related languages may pass. Posts
are taken as independent. That text differs does not say that answers are wrong: label some posts to know.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any, Literal

from inference.common.intervals import Z
from inference.live.reference import (
    FOREIGN,
    Reference,
    length_bin,
    letter_patterns,
    load_reference,
    main_script,
)

__all__ = ["MIN_POSTS", "Drift", "DriftMeter", "Finding", "Level", "Reference", "distance", "load_reference"]

Level = Literal["unknown", "alike", "somewhat different", "different"]
MIN_POSTS = 50
_STRONG_TIMES = 2.5  # a gap of this many times the least that matters is "different"
_MATTERS = {"length": 0.10, "script": 0.05, "letters": 0.10, "tokens": 0.02, "confidence": 0.03}


@dataclass(frozen=True)
class Finding:
    """One figure, in training and now."""

    name: str
    """length, script, letters, tokens or confidence."""
    reference: float
    live: float
    gap: float
    """How far apart: for length and script the share of posts that would have to change."""
    chance: float
    """The gap that chance alone stays below 19 times out of 20, about."""
    level: Level
    sentence: str


@dataclass(frozen=True)
class Drift:
    """The verdict on the last `n` posts; `level` is that of the figure that differs most."""

    n: int
    level: Level
    findings: tuple[Finding, ...] = ()

    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, and each figure with its numbers."""
        if self.level == "unknown":
            return (f"Too few posts to tell: {self.n} of the {MIN_POSTS} that it takes.",)
        told = {
            "alike": "Posts look like the training texts",
            "somewhat different": "Posts differ somewhat from the training texts",
            "different": "Posts differ from the training texts, so check some answers by eye",
        }
        return (f"{told[self.level]} (n = {self.n:,}).", *(finding.sentence for finding in self.findings))


@dataclass(frozen=True)
class _Seen:
    """What is kept of a post: no text."""

    length: int
    script: str
    foreign: bool
    unknown: float
    confidence: float


class DriftMeter:
    """Compares the last `recent` posts with a reference. Call it from one thread, or under a lock."""

    def __init__(self, reference: Reference, *, recent: int = 1_000) -> None:
        self.reference = reference
        self._seen: deque[_Seen] = deque(maxlen=recent)

    def add(self, text: str, *, token_ids: Sequence[int], confidence: float) -> None:
        """Take a post: its text, its tokens (prompt included) and the probability of its label."""
        known, surprises = self.reference.known, self.reference.surprise
        unknown = sum(i not in known for i in token_ids) / max(1, len(token_ids))
        nats = [surprises[p] for p in letter_patterns(text)]
        surprise = sum(nats) / len(nats) if nats else 0.0
        self._seen.append(
            _Seen(
                len(token_ids),
                main_script(text),
                surprise > self.reference.letters_limit,
                unknown,
                confidence,
            )
        )

    def verdict(self) -> Drift:
        """Return what differs; "unknown" before 50 posts have come."""
        n = len(self._seen)
        if n < MIN_POSTS:
            return Drift(n, "unknown")
        findings = [self._length(), self._script(), self._letters(), self._tokens()]
        if self.reference.confidence is not None:
            findings.append(self._confidence(self.reference.confidence))
        order: tuple[Level, ...] = ("alike", "somewhat different", "different")
        return Drift(n, max((f.level for f in findings), key=order.index), tuple(findings))

    def _length(self) -> Finding:
        bins = Counter(length_bin(seen.length) for seen in self._seen)
        gap, chance = distance(dict(enumerate(self.reference.lengths)), bins)
        then, now = self.reference.mean_length, fmean(seen.length for seen in self._seen)
        return _finding(
            "length",
            then,
            now,
            gap=gap,
            chance=chance,
            sentence=f"Posts are {now:.1f} tokens long on average, against {then:.1f} in training; "
            f"{gap:.0%} of them would have to be of another length to match (by chance: up to {chance:.0%}).",
        )

    def _script(self) -> Finding:
        counts = Counter(seen.script for seen in self._seen)
        gap, chance = distance(self.reference.scripts, counts)
        usual = max(self.reference.scripts, key=lambda name: self.reference.scripts[name])
        then, now = self.reference.scripts[usual] / self.reference.n, counts[usual] / len(self._seen)
        shares = {name: count / len(self._seen) for name, count in counts.most_common(4) if name != usual}
        others = ", ".join(f"{name.capitalize()} {part:.0%}" for name, part in shares.items())
        return _finding(
            "script",
            then,
            now,
            gap=gap,
            chance=chance,
            sentence=f"{now:.0%} of the posts are in {usual.capitalize()} script, against {then:.0%} in "
            f"training{'; others: ' if others else ''}{others}.",
        )

    def _letters(self) -> Finding:
        now = sum(seen.foreign for seen in self._seen) / len(self._seen)
        chance = Z * math.sqrt(FOREIGN * (1 - FOREIGN) * (1 / len(self._seen) + 1 / self.reference.n))
        return _finding(
            "letters",
            FOREIGN,
            now,
            gap=max(0.0, now - FOREIGN),
            chance=chance,
            sentence=f"{now:.0%} of the posts have letter patterns foreign to the training texts (another "
            f"language, or odd spelling), against {FOREIGN:.0%} of these texts themselves.",
        )

    def _tokens(self) -> Finding:
        shares = [seen.unknown for seen in self._seen]
        then, now = self.reference.unknown_share, fmean(shares)
        chance = _chance(self.reference.unknown_spread, self.reference.n, pstdev(shares), len(shares))
        return _finding(
            "tokens",
            then,
            now,
            gap=max(0.0, now - then),
            chance=chance,
            sentence=f"{now:.1%} of a post's tokens were hardly seen in training, against {then:.1%} there.",
        )

    def _confidence(self, then: float) -> Finding:
        values = [seen.confidence for seen in self._seen]
        now, reference = fmean(values), self.reference
        chance = _chance(reference.confidence_spread, reference.confidence_n, pstdev(values), len(values))
        return _finding(
            "confidence",
            then,
            now,
            gap=abs(now - then),
            chance=chance,
            sentence=f"The model is {now:.0%} sure of its answers on average, against {then:.0%} on "
            "held-out texts.",
        )


def distance(then: Mapping[Any, int], now: Mapping[Any, int]) -> tuple[float, float]:
    """Return the total variation between two counts, from 0 to 1, and what chance makes of it, about.

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


def _finding(
    name: str, reference: float, live: float, *, gap: float, chance: float, sentence: str
) -> Finding:
    """Judge a gap: it differs when it is beyond chance and as large as matters."""
    level: Level = "alike"
    if gap > chance and gap >= _MATTERS[name]:
        level = "different" if gap >= _STRONG_TIMES * _MATTERS[name] else "somewhat different"
    return Finding(name, reference, live, gap, chance, level, sentence)
