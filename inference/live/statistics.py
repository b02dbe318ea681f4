"""All statistics of one stream, kept post by post by a listener of its feed and read by a page.

    statistics = LiveStatistics.of(classifier)        # with drift, where the artifact has a reference
    feed = Feed(source, classifier.predict, labels=classifier.labels, listeners=[statistics])
    statistics.view(10.0)        # -> StatisticsView(now=…, line=…, words=…, shifts=…, drift=…, posts=120)

    counts = RollingCounts(classifier.labels)
    counts.add("positive")
    counts.recent(10.0)          # -> Window: labels of the last 10 s, with their shares
    counts.line(10.0)            # -> a Window each for the last 60 spans of 10 s, oldest first
    statistics.about("monday")   # -> AboutWord: the sentiment of the recent posts that have this word

Memory is bounded whatever comes, and a post costs the same at any time: about 0.06 ms, most of it for its
words. Drift is looked for in eight posts of a batch at most. Time is the sum of the clock's steps forward: a
clock that jumps back loses nothing and adds nothing, one that jumps forward leaves empty windows behind.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.common.intervals import Interval, net, poles, wilson
from inference.live.drift import Drift, DriftMeter
from inference.live.post import ClassifiedPost
from inference.live.shift import Shift, ShiftDetector
from inference.live.words import Distinct, TopWords
from inference.reference import Reference, load_reference

SPANS_S = (10.0, 60.0, 300.0)
_FINE_S = 1.0  # the rolling windows move on by this much
_REFRESH_S = 5.0  # words and drift are summed up anew at most this often: they change slowly
_DRIFT_OF_A_BATCH = 8  # posts, drawn by lot: a busy stream has large batches, and tokens take time
_SHIFTS_KEPT = 5
_WORDS_SHOWN = 6
_NEWEST_SHOWN = 8

Encode = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Texts to their token ids, prompt included."""


@dataclass(frozen=True)
class Window:
    """Posts by label within a span of time, in the classifier's order. Shares are None while it is empty."""

    counts: tuple[int, ...]
    net: Interval | None
    """Share of positive posts minus the share of negative ones, with the interval of Bonett and Price."""
    right: Interval | None = None
    """Of the posts whose true label is known, the share that was classified so, with Wilson's interval."""

    @property
    def n(self) -> int:
        return sum(self.counts)

    @property
    def shares(self) -> tuple[Interval | None, ...]:
        return tuple(wilson(count, self.n) for count in self.counts)


class _Ring:
    """Counts in bins of equal width, of which the last `keep` are remembered."""

    def __init__(self, *, width_s: float, keep: int, size: int) -> None:
        self.width_s = width_s
        self._empty = (0,) * size
        self._bins: deque[tuple[int, list[int]]] = deque(maxlen=keep)

    def add(self, now_s: float, label: int, n: int) -> None:
        place = int(now_s // self.width_s)
        if not self._bins or self._bins[-1][0] != place:
            self._bins.append((place, list(self._empty)))
        self._bins[-1][1][label] += n

    def last(self, now_s: float, count: int) -> list[Sequence[int]]:
        """Return the last `count` bins, oldest first, the empty ones as zeros."""
        place, seen = int(now_s // self.width_s), dict(self._bins)
        return [seen.get(i, self._empty) for i in range(max(0, place - count + 1), place + 1)]


class RollingCounts:
    """Counts of labels over the recent past. `keep` points make a line."""

    def __init__(
        self, labels: Sequence[str], *, keep: int = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._place = {label: i for i, label in enumerate(labels)}
        self._negative, self._positive = (self._place[label] for label in poles(labels))
        self._clock, self._last, self._elapsed_s = clock, clock(), 0.0
        self._truth = len(labels)  # behind the labels, the posts that were right and those that were wrong
        size, self._keep = len(labels) + 2, keep
        self._fine = _Ring(width_s=_FINE_S, keep=math.ceil(max(SPANS_S) / _FINE_S), size=size)
        self._lines = {span_s: _Ring(width_s=span_s, keep=keep, size=size) for span_s in SPANS_S}

    def add(self, label: str, n: int = 1, *, right: bool | None = None) -> None:
        """Count posts of a label that are classified now. Raises KeyError for an unknown label.

        `right`: whether that is their true label, None where it is not known.
        """
        place, now_s = self._place[label], self.elapsed_s()
        for ring in (self._fine, *self._lines.values()):
            ring.add(now_s, place, n)
            if right is not None:
                ring.add(now_s, self._truth + (not right), n)

    def elapsed_s(self) -> float:
        """Return the seconds since the start: the sum of the clock's steps forward."""
        now = self._clock()
        if math.isfinite(now):
            self._elapsed_s += max(0.0, now - self._last)
            self._last = now
        return self._elapsed_s

    def recent(self, span_s: float) -> Window:
        """Return the last `span_s` seconds. It moves second by second, so covers up to a second less."""
        bins = self._fine.last(self.elapsed_s(), math.ceil(span_s / _FINE_S))
        return self._window([sum(column) for column in zip(*bins, strict=True)])

    def line(self, span_s: float) -> tuple[Window, ...]:
        """Return the spans one after another, oldest first, the last of them still filling.

        No post is in two of them, so their intervals may be compared. At most `keep` are returned. Raises
        KeyError for an unknown span.
        """
        return tuple(map(self._window, self._lines[span_s].last(self.elapsed_s(), self._keep)))

    def _window(self, counts: Sequence[int]) -> Window:
        *labels, right, wrong = counts
        return Window(tuple(labels), self.net_of(labels), wilson(right, right + wrong))

    def net_of(self, counts: Sequence[int]) -> Interval | None:
        """Return net sentiment by the posts of each label, None without a post."""
        return net(positive=counts[self._positive], negative=counts[self._negative], n=sum(counts))


@dataclass(frozen=True)
class AboutWord:
    """The recent posts that have a word, beside all recent ones; a duel's disagreements are only counted."""

    word: str
    those: Window
    every: Window
    newest: tuple[tuple[str, str], ...]
    """Text and label, the newest first."""


@dataclass(frozen=True)
class StatisticsView:
    """What a page shows. `drift` is None when it is not known what the training texts were like."""

    now: Window
    """The last span_s seconds."""
    line: tuple[Window, ...]
    """Spans of that length one after another, the oldest first."""
    words: Mapping[str, Distinct]
    """By label."""
    shifts: tuple[tuple[float, Shift], ...]
    """With the Unix seconds at which each was noticed, newest first; five at most."""
    drift: Drift | None
    drift_problem: str
    """Why drift is not shown though the artifact has a reference; "" otherwise."""
    posts: int


class LiveStatistics:
    """Listens to a feed. Thread-safe. `clock` measures spans of time, `now` gives Unix seconds."""

    def __init__(
        self,
        labels: Sequence[str],
        *,
        reference: Reference | None = None,
        encode: Encode | None = None,
        drift_problem: str = "",
        abstain_below: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """Drift is measured when both `reference` and `encode` are given.

        `abstain_below`: answers of less confidence count for no label; the drift is that of all posts.
        """
        self._abstain_below = abstain_below
        self._lock = threading.Lock()
        self._counts, self._words = RollingCounts(labels, clock=clock), TopWords(labels)
        self._detector = ShiftDetector(labels)
        self._drift = DriftMeter(reference) if reference and encode else None
        self._encode, self._drift_problem = encode, drift_problem
        self._clock, self._now, self._rng = clock, now, rng or random.Random()
        self._shifts: deque[tuple[float, Shift]] = deque(maxlen=_SHIFTS_KEPT)
        self._posts = 0
        self._refreshed_s: float | None = None
        self._top: Mapping[str, Distinct] = {}
        self._verdict: Drift | None = None

    @classmethod
    def of(cls, classifier: Classifier, *, abstain_below: float = 0.0) -> "LiveStatistics":
        """Return the statistics of a classifier's answers, with drift where its artifact has a reference.

        A broken reference becomes `drift_problem`: the stream goes on without it.
        """
        try:
            reference = load_reference(classifier.folder) if classifier.folder else None
        except ArtifactError as error:
            return cls(classifier.labels, drift_problem=str(error), abstain_below=abstain_below)
        return cls(
            classifier.labels, reference=reference, encode=classifier.counted, abstain_below=abstain_below
        )

    def __call__(self, batch: Sequence[ClassifiedPost]) -> None:
        """Take posts that were just classified. Raises KeyError for an unknown label."""
        some = batch if len(batch) <= _DRIFT_OF_A_BATCH else self._rng.sample(batch, _DRIFT_OF_A_BATCH)
        ids = self._encode([result.post.text for result in some]) if self._drift and self._encode else []
        sure = [result for result in batch if result.probability >= self._abstain_below]
        with self._lock:
            for result in sure:
                truth = result.post.label
                right = truth == result.label if truth in self._words.labels else None
                self._counts.add(result.label, right=right)
                self._words.add(result.post.text, result.label, shown=not result.disagrees)
                if shift := self._detector.add(result.label):
                    self._shifts.appendleft((self._now(), shift))
            self._posts += len(sure)
            for result, token_ids in zip(some, ids, strict=False):  # no ids without a reference
                if self._drift:
                    self._drift.add(token_ids, confidence=result.probability)

    def about(self, word: str) -> AboutWord:
        """Return the sentiment of the recent posts that have a word, written as `words_of` writes it."""
        with self._lock:
            counts, every, newest = self._words.about(word, _NEWEST_SHOWN)
        those, all_posts = (Window(each, self._counts.net_of(each)) for each in (counts, every))
        return AboutWord(word, those, all_posts, newest)

    def view(self, span_s: float) -> StatisticsView:
        """Return what is known now, with the shares of one of SPANS_S. Raises KeyError for another span."""
        with self._lock:
            now_s = self._clock()
            if self._refreshed_s is None or not 0 <= now_s - self._refreshed_s < _REFRESH_S:
                self._refreshed_s = now_s
                self._top = self._words.top(_WORDS_SHOWN)
                self._verdict = self._drift.verdict() if self._drift else None
            return StatisticsView(
                now=self._counts.recent(span_s),
                line=self._counts.line(span_s),
                words=self._top,
                shifts=tuple(self._shifts),
                drift=self._verdict,
                drift_problem=self._drift_problem,
                posts=self._posts,
            )
