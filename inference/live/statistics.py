"""All statistics of one stream, kept post by post by a listener of its feed and read by a page.

    statistics = LiveStatistics.of(classifier)        # with drift, where the artifact has a reference
    feed = Feed(source, classifier.predict, labels=classifier.labels, listeners=[statistics.add_batch])
    statistics.view(10.0)        # -> StatisticsView(windows=…, line=…, words=…, shifts=…, drift=…, posts=120)

Memory is bounded whatever comes, and a post costs the same at any time: about 0.06 ms, most of it for its
words. Drift is looked for in eight posts of a batch at most. Knows nothing about what the figures mean: that
is in the modules beside it.
"""

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference.classifier import Classifier
from inference.common.errors import ArtifactError
from inference.live.drift import Drift, DriftMeter
from inference.live.reference import Reference, load_reference
from inference.live.shift import Shift, ShiftDetector
from inference.live.windows import RollingCounts, Window
from inference.live.words import Distinct, TopWords

Encode = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Texts to their token ids, prompt included."""
_LOOKED_AT_S = 5.0  # words and drift are summed up anew at most this often: they change slowly
_DRIFT_OF_A_BATCH = 8  # posts, drawn by lot: a busy stream has large batches, and tokens take time
_SHIFTS_KEPT = 5
_WORDS_SHOWN = 6


class Text(Protocol):
    """What has a text, such as a post."""

    @property
    def text(self) -> str:
        """The text."""


class Told(Protocol):
    """A post and what the model says of it: `inference.live.feed.ClassifiedPost` is one."""

    @property
    def post(self) -> Text:
        """The post."""

    @property
    def label(self) -> str:
        """Its label."""

    @property
    def probability(self) -> float:
        """The label's probability."""


@dataclass(frozen=True)
class StatisticsView:
    """What a page shows. `drift` is None when it is not known what the training texts were like."""

    windows: tuple[Window, ...]
    """The last 10 s, 1 min and 5 min."""
    line: tuple[Window, ...]
    """Spans of one of these lengths, one after another, the oldest first."""
    words: Mapping[str, Distinct]
    """By label."""
    shifts: tuple[tuple[float, Shift], ...]
    """With the Unix seconds at which each was noticed, newest first; five at most."""
    drift: Drift | None
    drift_problem: str
    """Why drift is not told though the artifact has a reference; "" otherwise."""
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
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """Start with nothing. Drift is told when both `reference` and `encode` are given."""
        self._lock = threading.Lock()
        self._counts, self._words = RollingCounts(labels, clock=clock), TopWords(labels)
        self._detector = ShiftDetector(labels)
        self._drift = DriftMeter(reference) if reference and encode else None
        self._encode, self._drift_problem = encode, drift_problem
        self._clock, self._now, self._rng = clock, now, rng or random.Random()
        self._shifts: deque[tuple[float, Shift]] = deque(maxlen=_SHIFTS_KEPT)
        self._posts = 0
        self._looked_at: float | None = None
        self._top: Mapping[str, Distinct] = {}
        self._verdict: Drift | None = None

    @classmethod
    def of(cls, classifier: Classifier) -> "LiveStatistics":
        """Return the statistics of a classifier's answers, with drift where its artifact has a reference.

        A reference that is broken is told as `drift_problem`: the stream goes on without it.
        """
        try:
            reference = load_reference(classifier.folder) if classifier.folder else None
        except ArtifactError as error:
            return cls(classifier.labels, drift_problem=str(error))
        return cls(
            classifier.labels, reference=reference, encode=lambda texts: classifier.encode(texts).token_ids
        )

    def add_batch(self, told: Sequence[Told]) -> None:
        """Take posts that were just classified. Raises KeyError for a label that is not known."""
        some = told if len(told) <= _DRIFT_OF_A_BATCH else self._rng.sample(told, _DRIFT_OF_A_BATCH)
        ids = self._encode([one.post.text for one in some]) if self._drift and self._encode else []
        with self._lock:
            for one in told:
                self._counts.add(one.label)
                self._words.add(one.post.text, one.label)
                if shift := self._detector.add(one.label):
                    self._shifts.appendleft((self._now(), shift))
            self._posts += len(told)
            for one, token_ids in zip(some, ids, strict=False):  # no ids without a reference
                if self._drift:
                    self._drift.add(one.post.text, token_ids=token_ids, confidence=one.probability)

    __call__ = add_batch

    def view(self, span_s: float) -> StatisticsView:
        """Return what is known now, with the line of one of the spans. Raises KeyError for another span."""
        with self._lock:
            now_s = self._clock()
            if self._looked_at is None or not 0 <= now_s - self._looked_at < _LOOKED_AT_S:
                self._looked_at = now_s
                self._top = self._words.top(_WORDS_SHOWN)
                self._verdict = self._drift.verdict() if self._drift else None
            return StatisticsView(
                windows=self._counts.windows(),
                line=self._counts.line(span_s),
                words=self._top,
                shifts=tuple(self._shifts),
                drift=self._verdict,
                drift_problem=self._drift_problem,
                posts=self._posts,
            )
