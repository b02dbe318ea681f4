"""The feed: moves posts from a source through a model, in two threads of its own.

    feed = Feed(Bluesky(), classifier.predict, labels=classifier.labels, filter=Filter(languages=("en",)))
    feed.start()
    feed.snapshot()      # -> FeedSnapshot(state="running", received=12, classified=10, dropped=0, ...)
    feed.pause(); feed.resume(); feed.stop()

A post's way: normalise → filter → drop duplicates → wait → a batch → the model, and a second one in a duel →
counts and listeners. While posts pile up, a quicker answer of the same model is taken, where it has one, and
counted. When they come faster still, a random sample of them is classified and the rest counted. It ends by
itself when nobody has asked for a snapshot for `idle_s` seconds.
"""

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from inference.classifier import Prediction
from inference.common.errors import FeedError, PredictionError, TweetTuneError
from inference.common.mend import BLANK, mended
from inference.live.counts import EndReason, FeedCounts, FeedSnapshot, FeedState, FeedSummary
from inference.live.filter import Filter
from inference.live.post import ClassifiedPost, Post
from inference.live.sources import Source
from inference.live.sources.base import Seen

LONGEST_TEXT = 5_000
"""Characters that are kept of a post: a hostile one of 100 kB must not hold up the others."""
_POLL_S = 0.25  # how long a thread sleeps before it looks whether the feed has ended
_LONGEST_AGE_S = 3600.0  # the age of an older post says nothing about delays
_UNTIMED_BATCH, _UNTIMED_QUEUE = 16, 64  # posts, until it is known how fast the model is
_SHORTEST_QUEUE = 8  # posts, however slow it is
_PILED_UP = 0.4  # of the queue, left behind by a batch: from here on the model is to hurry
_PROMPT = 40  # characters: what every post costs beside its own

Classify = Callable[[Sequence[str]], Sequence[Prediction]]
Listener = Callable[[Sequence[ClassifiedPost]], None]
"""Called with each batch on the feed's thread; must return quickly. A TweetTuneError ends the feed."""


@dataclass(frozen=True)
class Entry:
    """A waiting post and the time of its arrival, in seconds of the feed's clock."""

    post: Post
    arrived_s: float
    cut: bool = False
    """Whether the post's text was longer than LONGEST_TEXT."""

    @property
    def cost(self) -> int:
        """Roughly what it costs to classify, in characters."""
        return len(self.post.text) + _PROMPT


class Waiting:
    """The posts that wait for the model: a queue of `queue_s` of its work, taken in batches of `batch_s`.

    When it is full, one of those that wait or the new one gives way, each with the same chance: what is
    classified is a random sample of what came, and no post waits long. Posts are weighed by their length,
    since ten long ones cost more than a hundred short ones. Not thread-safe: the feed uses it under its lock.
    """

    def __init__(
        self,
        *,
        batch_size: int = 256,
        queue_size: int = 1024,
        batch_s: float = 0.4,
        queue_s: float = 1.4,
        sampling: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        """The sizes, in posts, are upper limits whatever the times allow.

        Without `sampling` nothing is dropped: the caller asks `is_full` before it adds.
        """
        self._batch_size, self._queue_size = batch_size, queue_size
        self._batch_s, self._queue_s = batch_s, queue_s
        self._sampling = sampling
        self._rng = rng or random.Random()
        self._entries: deque[Entry] = deque()
        self._cost = 0
        self._cost_per_s = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def piles_up(self) -> bool:
        """Whether more waits than an even stream leaves behind a batch."""
        return self._sampling and self._cost > self._cost_per_s * self._queue_s * _PILED_UP > 0

    @property
    def is_full(self) -> bool:
        """Whether one more would be too many."""
        return self._too_many(len(self) + 1, self._cost + 1)

    def add(self, entry: Entry) -> int:
        """Add a post. Returns how many were dropped for it, itself perhaps."""
        self._entries.append(entry)
        self._cost += entry.cost
        return self._trim()

    def take(self) -> list[Entry]:
        """Remove and return the next batch, oldest first: at least one post, none when none waits."""
        most = self._batch_size if self._cost_per_s else min(self._batch_size, _UNTIMED_BATCH)
        left = self._cost_per_s * self._batch_s if self._cost_per_s else float("inf")
        batch: list[Entry] = []
        while self._entries and len(batch) < most and (not batch or self._entries[0].cost <= left):
            entry = self._entries.popleft()
            batch.append(entry)
            left -= entry.cost
            self._cost -= entry.cost
        return batch

    def pace(self, cost_per_s: float) -> int:
        """Set the limits by the model's speed. Returns how many posts were dropped for it."""
        self._cost_per_s = cost_per_s
        return self._trim()

    def clear(self) -> int:
        """Drop everything. Returns how many posts that were."""
        dropped = len(self)
        self._entries.clear()
        self._cost = 0
        return dropped

    def _too_many(self, posts: int, cost: int) -> bool:
        if not self._cost_per_s:
            return posts > min(self._queue_size, _UNTIMED_QUEUE)
        too_costly = posts > _SHORTEST_QUEUE and cost > self._cost_per_s * self._queue_s
        return posts > self._queue_size or too_costly

    def _trim(self) -> int:
        dropped = 0
        while self._sampling and self._too_many(len(self), self._cost):
            place = self._rng.randrange(len(self))
            self._cost -= self._entries[place].cost
            del self._entries[place]
            dropped += 1
        return dropped


class Feed:
    """Moves posts from a source through a model. Start it once; it can be paused, resumed and stopped.

    Its public methods may be called from any thread.
    """

    def __init__(
        self,
        source: Source,
        classify: Classify,
        *,
        labels: Sequence[str],
        hurried: Classify | None = None,
        second: Classify | None = None,
        filter: Filter | None = None,
        limit: int | None = None,
        lossless: bool = False,
        listeners: Sequence[Listener] = (),
        compute_lock: AbstractContextManager[object] | None = None,
        batch_size: int = 256,
        queue_size: int = 1024,
        keep: int = 60,
        abstain_below: float = 0.0,
        outside_above: float | None = None,
        idle_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """Take a source and a model; the newest `keep` posts are remembered.

        `abstain_below`: the confidence below which an answer counts as not sure, and for no label.
        `outside_above`: the share of unknown tokens above which a post counts as out of scope. `hurried`: a
        quicker, less exact answer of the same model, for when posts pile up. `second`: another model that is
        asked about the same posts. `limit`: end after so many posts that pass the filter and are new.
        `lossless`: let the source wait, and drop nothing; for a replay as fast as possible. `compute_lock` is
        held while a model computes, where several feeds share it. `batch_size` and `queue_size` are upper
        limits; the model's speed sets the actual sizes. `now`: Unix seconds.
        """
        self.source = source
        self._models: tuple[Classify, ...] = (classify, second) if second else (classify,)
        self._hurried, self._hurries = hurried, False
        self._filter = filter or Filter()
        self._limit, self._lossless = limit, lossless
        self._listeners = tuple(listeners)
        self._compute_lock = compute_lock or contextlib.nullcontext()
        self._idle_s, self._clock, self._now = idle_s, clock, now
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._state: FeedState = "ready"
        self._reason: EndReason = ""
        self._message = ""
        rng = rng or random.Random()
        self._waiting = Waiting(
            batch_size=batch_size,
            queue_size=queue_size,
            batch_s=2.0 if lossless else 0.4,
            queue_s=2.0 if lossless else 1.4,
            sampling=not lossless,
            rng=rng,
        )
        self._seen = Seen()
        self._counts = FeedCounts(
            labels, keep=keep, rng=rng, abstain_below=abstain_below, outside_above=outside_above
        )
        self._accepted = 0
        self._source_done = False
        self._threads: list[threading.Thread] = []
        self._started = self._paused_since = self._watched = clock()
        self._paused_s = 0.0

    @property
    def state(self) -> FeedState:
        """Whether it is ready, runs, is paused or has ended."""
        return self._state

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
        """Take no further post from the source until `resume`; does nothing unless it runs.

        Posts that wait already are still classified, and that time counts as running.
        """
        with self._changed:
            if self._state == "running":
                self._state = "paused"
                self._paused_since = self._clock()
                self._notify_source("pause")

    def resume(self) -> None:
        """Go on after `pause`; raise FeedError when the feed has ended."""
        with self._changed:
            if self._state == "ended":
                raise FeedError("The feed has ended and can't be resumed. Start a new one.")
            if self._state == "paused":
                self._paused_s = self._clock() - self._started - self._running_s()
                self._state = "running"
                self._notify_source("resume")
                self._changed.notify_all()

    def stop(self, *, timeout_s: float = 5.0) -> None:
        """End the feed and wait for its threads, up to `timeout_s` each. Posts still pending are dropped."""
        self._end("stopped")
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end, up to `timeout_s`. Returns whether the feed has ended; `stop` then tidies up."""
        with self._changed:
            return self._changed.wait_for(lambda: self._state == "ended", timeout_s)

    def watch(self) -> bool:
        """Keep the feed alive, as somebody looks at it. Returns whether it has not ended yet."""
        with self._changed:
            self._watched = self._clock()
            return self._state != "ended"

    def snapshot(self, *, watching: bool = True) -> FeedSnapshot:
        """Return the numbers of now. `watching`: somebody looks at them, which keeps the feed alive."""
        with self._changed:
            if watching:
                self._watched = self._clock()
            return self._counts.snapshot(
                state=self._state,
                reason=self._reason,
                message=self._message,
                source=self.source.name,
                status=self.source.status,
                waiting=len(self._waiting),
                now_s=self._running_s(),
            )

    def summary(self) -> FeedSummary:
        """Return the numbers from the start until now. After `stop` they are the last ones, and balance.

        A batch that a slow model is still computing then counts as dropped: nobody waits for its answer.
        """
        with self._changed:
            now = self.snapshot(watching=False)
            lag = self._counts.lags.overall()
        return FeedSummary(
            received=now.received,
            classified=now.classified,
            filtered=sum(now.filtered.values()),
            duplicates=now.duplicates,
            dropped=now.dropped + (now.pending if now.state == "ended" else 0),
            rate_per_s=now.classified / now.running_s if now.running_s else 0.0,
            lag_p50_s=lag.p50_s if lag else None,
            lag_p95_s=lag.p95_s if lag else None,
            unsure=now.unsure,
            hurried=now.hurried,
            truncated=now.truncated,
            out_of_scope=now.out_of_scope,
        )

    def lag_s(self, share: float) -> float | None:
        """Return the seconds within which this share of the answers came; None above 1, or for none."""
        with self._changed:
            return self._counts.lags.within(share)

    def _running_s(self) -> float:
        until = self._clock() if self._state == "running" or self._drains() else self._paused_since
        return max(0.0, until - self._started - self._paused_s)

    def _drains(self) -> bool:
        """Whether it is paused and still classifies the posts that waited then."""
        return self._state == "paused" and bool(self._waiting or self._counts.in_hand)

    def _notify_source(self, what: str) -> None:
        if notify := getattr(self.source, what, None):  # a source that costs money, or holds a connection
            notify()

    def _end(self, reason: EndReason, message: str = "") -> None:
        with self._changed:
            if self._state != "ended":
                if self._state == "running" or self._drains():
                    self._paused_since = self._clock()
                self._state, self._reason, self._message = "ended", reason, message
                self._counts.dropped += self._waiting.clear()
            self._stop.set()
            self._changed.notify_all()

    def _read(self) -> None:
        """Take posts from the source until it or the feed ends; runs in a thread."""
        reason, message = "failed", "The source broke off: see the log for the reason, then start a new feed."
        posts = self.source.posts(self._stop)
        try:
            for post in posts:
                if not self._receive(post):
                    break
            reason = ""
        except TweetTuneError as error:
            message = str(error)
        finally:
            if close := getattr(posts, "close", None):  # a generator: it counts what it leaves unread
                close()
            if reason:
                self._end("failed", message)
            with self._changed:
                self._source_done = True
                self._changed.notify_all()

    def _receive(self, post: Post) -> bool:
        """Count a post and queue it for the model, unless it is filtered. Returns whether to go on."""
        cut = len(post.text.strip(BLANK)) > LONGEST_TEXT
        post = normalised(post)
        reason = self._filter.against(post) or ("" if post.text else "no text")
        with self._changed:
            while self._state == "paused" or (
                self._lossless and self._state == "running" and self._waiting.is_full
            ):
                self._changed.wait(_POLL_S)
            counts = self._counts
            counts.receive(self._running_s())
            if self._state == "ended":
                counts.dropped += 1
            elif reason:
                counts.filtered[reason] += 1
            elif not self._seen.is_new(f"{post.source} {post.id}"):
                counts.duplicates += 1
            else:
                self._accepted += 1
                counts.dropped += self._waiting.add(Entry(post, self._clock(), cut))
                self._changed.notify_all()
            return self._state != "ended" and self._accepted != self._limit

    def _work(self) -> None:
        """Classify waiting posts, batch by batch, until the feed ends; runs in a thread."""
        reason, message = "failed", "The model broke off: see the log for the reason, then start a new feed."
        try:
            warm = False  # a first batch is slow, and would be taken for the model's speed
            while batch := self._next_batch():
                began = self._clock()
                classified = self._count(batch, self._classify([entry.post for entry in batch]))
                for listener in self._listeners:
                    listener(classified)
                if warm or len(batch) >= _UNTIMED_BATCH:
                    self._follow(batch, busy_s=self._clock() - began)
                warm = True
            reason = ""
        except TweetTuneError as error:
            message = str(error)
        finally:
            with self._changed:
                self._counts.dropped += self._counts.in_hand
                self._counts.in_hand = 0
            if reason:
                self._end("failed", message)

    def _follow(self, batch: Sequence[Entry], *, busy_s: float) -> None:
        """Fit the queue to the speed of models and listeners together, unhurried."""
        with self._changed:
            if not self._hurries:
                speed = self._counts.speed
                speed.add(len(batch), sum(entry.cost for entry in batch), busy_s=busy_s)
                self._counts.dropped += self._waiting.pace(speed.cost_per_s)
                self._changed.notify_all()

    def _next_batch(self) -> list[Entry]:
        """Wait for posts and take a batch of them; an empty list means that the feed has ended."""
        with self._changed:
            while self._state != "ended":
                if self._clock() - self._watched > self._idle_s:
                    self._end("unwatched")
                elif self._waiting:
                    batch = self._waiting.take()
                    self._counts.in_hand = len(batch)
                    self._hurries = self._hurried is not None and self._waiting.piles_up
                    self._changed.notify_all()  # there is room again
                    return batch
                elif self._source_done:
                    self._end("finished")
                else:
                    self._changed.wait(_POLL_S)
            return []

    def _classify(self, posts: Sequence[Post]) -> list[ClassifiedPost | None]:
        """Return the models' answers to each post, None where the first model has none."""
        texts = [post.text for post in posts]
        with self._compute_lock:
            first = self._hurried if self._hurried and self._hurries else self._models[0]
            answers = [_answers(model, texts) for model in (first, *self._models[1:])]
        results: list[ClassifiedPost | None] = []
        for post, answer, *others in zip(posts, *answers, strict=True):
            result = answer and ClassifiedPost(
                post,
                answer.label,
                max(answer.probabilities),
                unknown_share=answer.unknown_share or 0.0,
                truncated=answer.truncated,
            )
            if result and others and (second := others[0]):
                result = replace(
                    result, second_label=second.label, second_probability=max(second.probabilities)
                )
            results.append(result)
        return results

    def _count(
        self, batch: Sequence[Entry], results: Sequence[ClassifiedPost | None]
    ) -> list[ClassifiedPost]:
        """Count the classified posts, and return them."""
        with self._changed:
            now_s, clock_s, unix_s, counts = self._running_s(), self._clock(), self._now(), self._counts
            if self._drains():
                self._paused_since = clock_s  # until now it ran
            counts.in_hand = 0
            counts.dropped += sum(result is None for result in results)
            counts.hurried += self._hurries * sum(result is not None for result in results)
            for entry, result in zip(batch, results, strict=True):
                if result:
                    counts.truncated += result.truncated or entry.cut
                    lag_s = max(0.0, clock_s - entry.arrived_s)
                    counts.classify(result, now_s=now_s, lag_s=lag_s, age_s=_age_s(entry.post, unix_s))
            self._changed.notify_all()
        return [result for result in results if result]


def normalised(post: Post) -> Post:
    """Return a post with its text as the model sees it: mended, without blanks around, and not too long."""
    [text] = mended([post.text], longest=LONGEST_TEXT)
    return post if text == post.text else replace(post, text=text)


def _answers(classify: Classify, texts: Sequence[str]) -> list[Prediction | None]:
    """Classify texts; if that fails each is tried alone, and None stands for those that fail."""
    try:
        return list(classify(texts))
    except PredictionError:
        return [None] if len(texts) == 1 else [_answers(classify, [text])[0] for text in texts]


def _age_s(post: Post, unix_s: float) -> float | None:
    """Return how long ago a post was written; None when the clocks differ, or it is a replayed one."""
    age_s = unix_s - post.created.timestamp() if post.created else -1.0
    return age_s if 0 <= age_s <= _LONGEST_AGE_S else None
