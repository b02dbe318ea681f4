"""What a feed has counted: every post once, and what the models said.

    counts = Counts(("negative", "positive"))
    counts.came(now_s)
    counts.classified(told, now_s=now_s, lag_s=0.2, age_s=None)
    counts.balance(source.status)          # -> the counts by kind, with the source's own

Not thread-safe: the feed uses it under its lock.
"""

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from inference.live.meters import Lags, Meter, Windows
from inference.live.numbers import ClassifiedPost
from inference.live.sources import Status

_OF_THE_SOURCE = {"duplicate": "duplicates", "unread at the end": "dropped", "not public": "filtered"}
"""What sources pass over that is a post, and how it is counted. The rest is events and garbage."""


@dataclass(frozen=True)
class Balance:
    """Every post in one place: received = classified + filtered + duplicates + dropped + pending."""

    received: int
    filtered: dict[str, int]
    duplicates: int
    dropped: int


class Counts:
    """The numbers of a feed that change."""

    def __init__(
        self,
        labels: Sequence[str],
        *,
        window_s: float = 5.0,
        keep_windows: int = 60,
        keep: int = 60,
        rng: random.Random | None = None,
    ) -> None:
        """Start from nothing; `keep` posts and `keep_windows` windows are remembered."""
        self.labels = tuple(labels)
        self.duplicates = self.dropped = self.in_hand = self.answers = 0
        self.judged = self.right = self.agreed = self.disagreed = 0
        self.filtered: Counter[str] = Counter()
        self.windows = Windows(labels, window_s=window_s, keep=keep_windows)
        self.rate_in, self.rate_classified = Meter(), Meter()
        rng = rng or random.Random()
        self.lags, self.ages = Lags(rng), Lags(rng)
        self.recent: deque[ClassifiedPost] = deque(maxlen=keep)
        self.disagreements: deque[ClassifiedPost] = deque(maxlen=keep)
        self._received = 0
        self._by_label: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def came(self, now_s: float) -> None:
        """Count a post that was received."""
        self._received += 1
        self.rate_in.add(now_s)

    def classified(self, told: ClassifiedPost, *, now_s: float, lag_s: float, age_s: float | None) -> None:
        """Count an answer. `age_s`: seconds since the post was written, None where that is not known."""
        truth = told.post.label
        self.answers += 1
        self._by_label[0][told.label] += 1
        self.windows.add(told.label, now_s)
        self.rate_classified.add(now_s)
        self.lags.add(lag_s)
        if age_s is not None:
            self.ages.add(age_s)
        if truth in self.labels:
            self.judged += 1
            self.right += truth == told.label
        if told.second_label is not None:
            self._by_label[1][told.second_label] += 1
            self.agreed += not told.disagrees
            self.disagreed += told.disagrees
        if told.disagrees:
            self.disagreements.append(told)
        self.recent.append(told)

    def by_label(self, model: int = 0) -> tuple[int, ...]:
        """Return how often the first model, or the second (1), gave each label."""
        return tuple(self._by_label[model][label] for label in self.labels)

    def balance(self, status: Status) -> Balance:
        """Return the counts with those of the source: it finds duplicates too, and leaves posts unread."""
        beside: Counter[str] = Counter()
        for reason, count in status.passed_over.items():
            if reason in _OF_THE_SOURCE:
                beside[_OF_THE_SOURCE[reason]] += count
        return Balance(
            received=self._received + beside.total(),
            filtered=dict(self.filtered + Counter({"not public": beside["filtered"]})),
            duplicates=self.duplicates + beside["duplicates"],
            dropped=self.dropped + beside["dropped"],
        )
