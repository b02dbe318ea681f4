"""A feed: posts from a source, classified in small batches, with running counts. Runs in threads of its own.

    feed = Feed(Replay(posts), classifier.predict, labels=classifier.labels)
    feed.start()
    feed.snapshot()      # -> FeedSnapshot(state="running", received=12, classified=10, dropped=0, ...)
    feed.stop()

When posts come faster than the model answers, the feed classifies a random sample of them and counts the
rest: at any moment received = classified + dropped + pending. It ends by itself when nobody has asked for a
snapshot for `idle_s` seconds. Knows nothing about where posts come from, what the model is, or who shows it.
"""

import math
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from inference.errors import FeedError, PredictionError, TweetTuneError
from inference.sources import Post, Source

State = Literal["ready", "running", "paused", "ended"]
Reason = Literal["", "stopped", "finished", "unwatched", "failed"]
_RATE_SPAN_S = 10.0  # rates are averages over this much of the recent past
_POLL_S = 0.25  # how long a thread sleeps before it looks whether the feed has ended


class Answer(Protocol):
    """What the feed reads of a prediction."""

    @property
    def label(self) -> str:
        """The label with the highest probability."""
        ...

    @property
    def probabilities(self) -> tuple[float, ...]:
        """One probability a label, in the order of the labels."""
        ...


@dataclass(frozen=True)
class ClassifiedPost:
    """A post, its label, and that label's probability."""

    post: Post
    label: str
    probability: float


@dataclass(frozen=True)
class FeedSnapshot:
    """What a feed has done until now. `windows`: counts by label, oldest first, `window_s` seconds each."""

    state: State
    reason: Reason
    message: str
    source: str
    labels: tuple[str, ...]
    received: int
    classified: int
    dropped: int
    pending: int
    counts: tuple[int, ...]
    judged: int  # posts whose true label is known
    right: int  # and how many of these were classified so
    rate_in_per_s: float
    capacity_per_s: float  # posts the model answers in a second of its own time; 0 before the first
    running_s: float
    window_s: float
    windows: tuple[tuple[int, ...], ...]
    recent: tuple[ClassifiedPost, ...]  # newest first

    def accuracy(self) -> tuple[float, float, float] | None:
        """Return the share of judged posts that are right and its 95 % interval (Wilson 1927)."""
        if not self.judged:
            return None
        n, share, z = self.judged, self.right / self.judged, 1.959964
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return share, max(0.0, middle - half), min(1.0, middle + half)


@dataclass
class _Tally:
    """The numbers that change; read and written under the feed's lock alone."""

    received: int = 0
    classified: int = 0
    dropped: int = 0
    in_hand: int = 0
    judged: int = 0
    right: int = 0
    busy_s: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)


class Feed:
    """Moves posts from a source through a model. Start it once; it can be paused, resumed and stopped."""

    def __init__(
        self,
        source: Source,
        classify: Callable[[Sequence[str]], Sequence[Answer]],
        *,
        labels: Sequence[str],
        batch_size: int = 16,
        queue_size: int = 64,
        keep: int = 60,
        window_s: float = 5.0,
        keep_windows: int = 60,
        idle_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """Take a source and a model; `keep` posts and `keep_windows` windows are remembered."""
        self.source = source
        self.labels = tuple(labels)
        self._classify = classify
        self._batch_size, self._queue_size = batch_size, queue_size
        self._window_s, self._idle_s, self._clock = window_s, idle_s, clock
        self._rng = rng or random.Random()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._state: State = "ready"
        self._reason: Reason = ""
        self._message = ""
        self._pending: deque[Post] = deque()
        self._recent: deque[ClassifiedPost] = deque(maxlen=keep)
        self._windows: deque[tuple[int, Counter[str]]] = deque(maxlen=keep_windows)
        self._arrivals: deque[float] = deque()
        self._tally = _Tally()
        self._source_done = False
        self._threads: list[threading.Thread] = []
        self._started = self._paused_since = self._watched = clock()
        self._paused_s = 0.0

    def start(self) -> None:
        """Begin to stream; raise FeedError when it was started before."""
        with self._changed:
            if self._state != "ready":
                raise FeedError(f"This feed is {self._state} already. Make a new one to start again.")
            self._state = "running"
            self._started = self._watched = self._clock()
        self._threads = [
            threading.Thread(target=work, name=f"feed-{work.__name__}", daemon=True)
            for work in (self._read, self._work)
        ]
        for thread in self._threads:
            thread.start()

    def pause(self) -> None:
        """Take no further post from the source until `resume`; does nothing unless it runs."""
        with self._changed:
            if self._state == "running":
                self._state = "paused"
                self._paused_since = self._clock()

    def resume(self) -> None:
        """Go on after `pause`; raise FeedError when the feed has ended."""
        with self._changed:
            if self._state == "ended":
                raise FeedError("The feed has ended and can't be resumed. Start a new one.")
            if self._state == "paused":
                self._state = "running"
                self._paused_s += self._clock() - self._paused_since
                self._changed.notify_all()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End the feed and wait for its threads, up to `timeout_s` each. Posts still pending are dropped."""
        self._end("stopped")
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def snapshot(self, *, watching: bool = True) -> FeedSnapshot:
        """Return the numbers of now. `watching` tells the feed that somebody looks, which keeps it alive."""
        with self._changed:
            if watching:
                self._watched = self._clock()
            now, tally = self._running_s(), self._tally
            span_s = min(max(now, 1.0), _RATE_SPAN_S)
            while self._arrivals and self._arrivals[0] < now - span_s:
                self._arrivals.popleft()
            return FeedSnapshot(
                state=self._state,
                reason=self._reason,
                message=self._message,
                source=self.source.name,
                labels=self.labels,
                received=tally.received,
                classified=tally.classified,
                dropped=tally.dropped,
                pending=len(self._pending) + tally.in_hand,
                counts=tuple(tally.counts[label] for label in self.labels),
                judged=tally.judged,
                right=tally.right,
                rate_in_per_s=len(self._arrivals) / span_s,
                capacity_per_s=tally.classified / tally.busy_s if tally.busy_s else 0.0,
                running_s=now,
                window_s=self._window_s,
                windows=self._window_counts(),
                recent=tuple(reversed(self._recent)),
            )

    def _running_s(self) -> float:
        until = self._clock() if self._state == "running" else self._paused_since
        return max(0.0, until - self._started - self._paused_s)

    def _window_counts(self) -> tuple[tuple[int, ...], ...]:
        """Return the kept windows, with those in which nothing came filled in by zeros."""
        if not self._windows:
            return ()
        seen = dict(self._windows)
        last = max(int(self._running_s() / self._window_s), self._windows[-1][0])
        first = max(self._windows[0][0], last - (self._windows.maxlen or 1) + 1)
        return tuple(
            tuple(seen.get(i, Counter())[label] for label in self.labels) for i in range(first, last + 1)
        )

    def _end(self, reason: Reason, message: str = "") -> None:
        with self._changed:
            if self._state != "ended":
                if self._state == "running":
                    self._paused_since = self._clock()
                self._state, self._reason, self._message = "ended", reason, message
                self._tally.dropped += len(self._pending)
                self._pending.clear()
            self._stop.set()
            self._changed.notify_all()

    def _read(self) -> None:
        """Take posts from the source until it or the feed ends; runs in a thread."""
        reason, message = "failed", "The source broke off: see the log for the reason, then start a new feed."
        try:
            for post in self.source.posts(self._stop):
                with self._changed:
                    while self._state == "paused":
                        self._changed.wait(_POLL_S)
                    if self._state == "ended":
                        break
                    self._offer(post)
            reason = ""
        except TweetTuneError as error:
            message = str(error)
        finally:
            if reason:
                self._end("failed", message)
            with self._changed:
                self._source_done = True
                self._changed.notify_all()

    def _offer(self, post: Post) -> None:
        """Put a post in the queue; when it is full, one of those that wait or the new one is dropped."""
        self._tally.received += 1
        self._arrivals.append(self._running_s())
        if len(self._pending) >= self._queue_size:
            self._tally.dropped += 1
            unlucky = self._rng.randrange(len(self._pending) + 1)
            if unlucky == len(self._pending):
                return
            del self._pending[unlucky]
        self._pending.append(post)
        self._changed.notify_all()

    def _work(self) -> None:
        """Classify what waits, batch by batch, until the feed ends; runs in a thread."""
        reason, message = "failed", "The model broke off: see the log for the reason, then start a new feed."
        try:
            while batch := self._next_batch():
                began = time.perf_counter()
                answers = self._answer(batch)
                self._record(batch, answers, busy_s=time.perf_counter() - began)
            reason = ""
        except TweetTuneError as error:
            message = str(error)
        finally:
            if reason:
                self._end("failed", message)

    def _next_batch(self) -> list[Post]:
        """Wait for posts and take up to a batch of them; an empty list means that the feed has ended."""
        with self._changed:
            while self._state != "ended":
                if self._clock() - self._watched > self._idle_s:
                    self._end("unwatched")
                elif self._pending:
                    batch = [
                        self._pending.popleft() for _ in range(min(self._batch_size, len(self._pending)))
                    ]
                    self._tally.in_hand = len(batch)
                    return batch
                elif self._source_done:
                    self._end("finished")
                else:
                    self._changed.wait(_POLL_S)
            return []

    def _answer(self, batch: Sequence[Post]) -> list[Answer | None]:
        """Classify a batch; when a post can't be, each is tried alone and None stands for those that fail."""
        try:
            return list(self._classify([post.text for post in batch]))
        except PredictionError:
            return [None] if len(batch) == 1 else [self._answer([post])[0] for post in batch]

    def _record(self, batch: Sequence[Post], answers: Sequence[Answer | None], *, busy_s: float) -> None:
        with self._changed:
            tally, window = self._tally, int(self._running_s() / self._window_s)
            tally.in_hand = 0
            tally.busy_s += busy_s
            if not self._windows or self._windows[-1][0] != window:
                self._windows.append((window, Counter()))
            for post, answer in zip(batch, answers, strict=True):
                if answer is None:
                    tally.dropped += 1
                    continue
                tally.classified += 1
                tally.counts[answer.label] += 1
                self._windows[-1][1][answer.label] += 1
                if post.label in self.labels:
                    tally.judged += 1
                    tally.right += post.label == answer.label
                self._recent.append(ClassifiedPost(post, answer.label, max(answer.probabilities)))
