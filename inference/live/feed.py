"""The feed: moves posts from a source through a model, in two threads of its own.

    feed = Feed(Bluesky(), classifier.predict, labels=classifier.labels, wanted=Filter(languages=("en",)))
    feed.start()
    feed.pause(); feed.resume(); feed.stop()

A post's way: normalise → filter → leave out what came before → wait → a batch → the model, and a second one
in a duel → counts, listeners and a recording. When posts come faster than the model answers, it classifies a
random sample of them and counts the rest. It ends by itself when nobody has asked for a snapshot for `idle_s`
seconds. Knows nothing about where posts come from, what the model is, or who shows it.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from inference.common.errors import FeedError, TweetTuneError
from inference.live.answers import Classify, answers
from inference.live.counts import Counts
from inference.live.filter import Filter
from inference.live.meters import Speed
from inference.live.numbers import ClassifiedPost, FeedSnapshot, FeedSummary, Reason, State
from inference.live.post import Post, clean
from inference.live.recording import Recorder
from inference.live.sources import Source
from inference.live.sources.live import Seen
from inference.live.waiting import Entry, Waiting

LONGEST_TEXT = 5_000
"""Characters that are kept of a post: a hostile one of 100 kB must not hold up the others."""
_POLL_S = 0.25  # how long a thread sleeps before it looks whether the feed has ended
_LONGEST_AGE_S = 3600.0  # a post that is older tells nothing about delays


Listener = Callable[[Sequence[ClassifiedPost]], None]
"""Told each batch, by the feed's thread: the model waits meanwhile, so it is quick. Raises TweetTuneError."""


class Feed:
    """Moves posts from a source through a model. Start it once; it can be paused, resumed and stopped."""

    def __init__(
        self,
        source: Source,
        classify: Classify,
        *,
        labels: Sequence[str],
        second: Classify | None = None,
        wanted: Filter | None = None,
        limit: int | None = None,
        patient: bool = False,
        listeners: Sequence[Listener] = (),
        recorder: Recorder | None = None,
        turn: AbstractContextManager[Any] | None = None,
        batch_size: int = 256,
        queue_size: int = 1024,
        keep: int = 60,
        window_s: float = 5.0,
        keep_windows: int = 60,
        idle_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        """Take a source and a model; `keep` posts and `keep_windows` windows are remembered.

        `second`: another model that is asked about the same posts. `limit`: end after so many posts that were
        wanted and new. `patient`: let the source wait, and drop nothing; for a replay as fast as possible.
        `recorder` is closed at the end. `turn` is held while a model computes, where several feeds share it.
        `batch_size` and `queue_size` are the most; the model's speed sets what they are. `now`: Unix seconds.
        """
        self.source = source
        self.labels = tuple(labels)
        self._models: tuple[Classify, ...] = (classify, second) if second else (classify,)
        self._wanted = wanted or Filter()
        self._limit, self._patient = limit, patient
        self._listeners, self._recorder = tuple(listeners), recorder
        self._turn = turn or contextlib.nullcontext()
        self._idle_s, self._clock, self._now = idle_s, clock, now
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._state: State = "ready"
        self._reason: Reason = ""
        self._message = ""
        rng = rng or random.Random()
        self._waiting = Waiting(
            batch_size=batch_size,
            queue_size=queue_size,
            batch_s=2.0 if patient else 0.4,
            queue_s=2.0 if patient else 1.4,
            sampling=not patient,
            rng=rng,
        )
        self._seen = Seen()
        self._counts = Counts(labels, window_s=window_s, keep_windows=keep_windows, keep=keep, rng=rng)
        self._accepted = 0
        self._speed = Speed()
        self._source_done = False
        self._threads: list[threading.Thread] = []
        self._started = self._paused_since = self._watched = clock()
        self._paused_s = 0.0

    # What others may call, from any thread

    @property
    def state(self) -> State:
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

        What waits already is classified all the same, and that time counts as running.
        """
        with self._changed:
            if self._state == "running":
                self._state = "paused"
                self._paused_since = self._clock()
                self._tell_source("pause")

    def resume(self) -> None:
        """Go on after `pause`; raise FeedError when the feed has ended."""
        with self._changed:
            if self._state == "ended":
                raise FeedError("The feed has ended and can't be resumed. Start a new one.")
            if self._state == "paused":
                self._paused_s = self._clock() - self._started - self._running_s()
                self._state = "running"
                self._tell_source("resume")
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
        """Tell the feed that somebody looks, which keeps it alive. Returns whether it has not ended yet."""
        with self._changed:
            self._watched = self._clock()
            return self._state != "ended"

    def disagreements(self) -> tuple[ClassifiedPost, ...]:
        """Return the newest posts about which the two models disagree, newest first."""
        with self._changed:
            return tuple(reversed(self._counts.disagreements))

    def snapshot(self, *, watching: bool = True) -> FeedSnapshot:
        """Return the numbers of now. `watching` tells the feed that somebody looks, which keeps it alive."""
        with self._changed:
            if watching:
                self._watched = self._clock()
            now_s, counts, status = self._running_s(), self._counts, self.source.status
            balance = counts.balance(status)
            return FeedSnapshot(
                state=self._state,
                reason=self._reason,
                message=self._message,
                source=self.source.name,
                labels=self.labels,
                received=balance.received,
                classified=counts.answers,
                dropped=balance.dropped,
                pending=len(self._waiting) + counts.in_hand,
                counts=counts.by_label(),
                judged=counts.judged,
                right=counts.right,
                rate_in_per_s=counts.rate_in.per_s(now_s),
                capacity_per_s=self._speed.posts_per_s,
                running_s=now_s,
                window_s=counts.windows.window_s,
                windows=counts.windows.counts(now_s),
                recent=tuple(reversed(counts.recent)),
                filtered=balance.filtered,
                duplicates=balance.duplicates,
                rate_classified_per_s=counts.rate_classified.per_s(now_s),
                lag=counts.lags.newest(),
                age=counts.ages.newest(),
                source_status=status,
                agreed=counts.agreed,
                disagreed=counts.disagreed,
                second_counts=counts.by_label(1) if len(self._models) > 1 else (),
            )

    def summary(self) -> FeedSummary:
        """Return the numbers from the start until now. After `stop` they are the last ones, and balance.

        A batch that a slow model still has in hand then is counted as dropped: nobody waits for its answer.
        """
        shot = self.snapshot(watching=False)
        with self._changed:
            lag = self._counts.lags.overall()
        return FeedSummary(
            received=shot.received,
            classified=shot.classified,
            filtered=sum(shot.filtered.values()),
            duplicates=shot.duplicates,
            dropped=shot.dropped + (shot.pending if shot.state == "ended" else 0),
            rate_per_s=shot.classified / shot.running_s if shot.running_s else 0.0,
            lag_p50_s=lag.p50_s if lag else None,
            lag_p95_s=lag.p95_s if lag else None,
        )

    def lag_s(self, share: float) -> float | None:
        """Return the seconds within which so large a share of the answers came; None above 1, or for none."""
        with self._changed:
            return self._counts.lags.within(share)

    # Its own business

    def _running_s(self) -> float:
        until = self._clock() if self._state == "running" or self._drains() else self._paused_since
        return max(0.0, until - self._started - self._paused_s)

    def _drains(self) -> bool:
        """Whether it is paused and still classifies what waited then."""
        return self._state == "paused" and bool(self._waiting or self._counts.in_hand)

    def _tell_source(self, what: str) -> None:
        if tell := getattr(self.source, what, None):  # a source that costs money, or holds a connection
            tell()

    def _end(self, reason: Reason, message: str = "") -> None:
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
                if not self._receive(normalised(post)):
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
        """Count a post and let it wait for the model, if it is wanted. Returns whether to go on."""
        reason = self._wanted.against(post) or ("" if post.text else "no text")
        with self._changed:
            while self._state == "paused" or (
                self._patient and self._state == "running" and self._waiting.is_full
            ):
                self._changed.wait(_POLL_S)
            counts = self._counts
            counts.came(self._running_s())
            if self._state == "ended":
                counts.dropped += 1
            elif reason:
                counts.filtered[reason] += 1
            elif not self._seen.is_new(f"{post.source} {post.id}"):
                counts.duplicates += 1
            else:
                self._accepted += 1
                counts.dropped += self._waiting.add(Entry(post, self._clock()))
                self._changed.notify_all()
            return self._state != "ended" and self._accepted != self._limit

    def _work(self) -> None:
        """Classify what waits, batch by batch, until the feed ends; runs in a thread."""
        reason, message = "failed", "The model broke off: see the log for the reason, then start a new feed."
        try:
            while batch := self._next_batch():
                began = time.perf_counter()
                self._pass_on(self._record(batch, self._told(batch)))
                self._set_pace(batch, busy_s=time.perf_counter() - began)
            reason = ""
        except TweetTuneError as error:
            message = str(error)
        finally:
            with self._changed:
                self._counts.dropped += self._counts.in_hand
                self._counts.in_hand = 0
            if reason:
                self._end("failed", message)
            if self._recorder:
                self._recorder.close()

    def _next_batch(self) -> list[Entry]:
        """Wait for posts and take a batch of them; an empty list means that the feed has ended."""
        with self._changed:
            while self._state != "ended":
                if self._clock() - self._watched > self._idle_s:
                    self._end("unwatched")
                elif self._waiting:
                    batch = self._waiting.take()
                    self._counts.in_hand = len(batch)
                    self._changed.notify_all()  # there is room again
                    return batch
                elif self._source_done:
                    self._end("finished")
                else:
                    self._changed.wait(_POLL_S)
            return []

    def _told(self, batch: Sequence[Entry]) -> list[ClassifiedPost | None]:
        """Return what the models say of each post, None where the first one can't tell."""
        texts = [entry.post.text for entry in batch]
        with self._turn:
            of_models = [answers(model, texts) for model in self._models]
        told: list[ClassifiedPost | None] = []
        for entry, first, *rest in zip(batch, *of_models, strict=True):
            second = rest[0] if rest else None
            one = first and ClassifiedPost(entry.post, first.label, max(first.probabilities))
            if one and second:
                other = {"second_label": second.label, "second_probability": max(second.probabilities)}
                one = replace(one, **other)
            told.append(one)
        return told

    def _record(self, batch: Sequence[Entry], told: Sequence[ClassifiedPost | None]) -> list[ClassifiedPost]:
        """Count what was classified, and return it."""
        with self._changed:
            now_s, clock_s, unix_s, counts = self._running_s(), self._clock(), self._now(), self._counts
            if self._drains():
                self._paused_since = clock_s  # until now it ran
            counts.in_hand = 0
            counts.dropped += sum(one is None for one in told)
            for entry, one in zip(batch, told, strict=True):
                if one:
                    lag_s = max(0.0, clock_s - entry.arrived_s)
                    counts.classified(one, now_s=now_s, lag_s=lag_s, age_s=_age_s(entry.post, unix_s))
            self._changed.notify_all()
        return [one for one in told if one]

    def _set_pace(self, batch: Sequence[Entry], *, busy_s: float) -> None:
        """Let the queue follow what the feed manages: the models, and those who listen."""
        with self._changed:
            self._speed.add(len(batch), sum(entry.cost for entry in batch), busy_s)
            self._counts.dropped += self._waiting.pace(self._speed.cost_per_s)
            self._changed.notify_all()

    def _pass_on(self, classified: Sequence[ClassifiedPost]) -> None:
        """Hand a batch to those who listen, and write it down."""
        for listener in self._listeners:
            listener(classified)
        if self._recorder:
            for one in classified:
                self._recorder.add(
                    one.post,
                    label=one.label,
                    probability=one.probability,
                    second_label=one.second_label,
                    second_probability=one.second_probability,
                    at=self._now(),
                )


def normalised(post: Post) -> Post:
    """Return a post with a text that every encoder takes, without blanks around it, and not too long."""
    text = clean(post.text).strip()[:LONGEST_TEXT]
    return post if text == post.text else replace(post, text=text)


def _age_s(post: Post, unix_s: float) -> float | None:
    """Return how long ago a post was written; None when the clocks differ, or it is a replayed one."""
    age_s = unix_s - post.created.timestamp() if post.created else -1.0
    return age_s if 0 <= age_s <= _LONGEST_AGE_S else None
