"""Dynamic batching: the texts of many requests through one model, a batch at a time.

    batcher = Batcher(classifier.logits)
    job = batcher.reserve(2, deadline_s=30)          # Overloaded when the queue is full
    batcher.submit(job, token_ids).result()          # -> logits of shape (2, 3), in input order
    batcher.close()                                  # answers everything accepted, then stops

An idle engine takes up a request at once. While a batch is computed others gather, and go together. Right
after a batch that held several requests their senders are about to ask again, so the next batch waits for
them, a window of a few milliseconds at most. A request of many texts goes in pieces, of like length, between
which smaller requests get their turn. `job.future.cancel()` drops what is not computed yet.
Knows nothing about texts, tokenizers or HTTP.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.serving.errors import DeadlineExceeded, NotReady, Overloaded, ServingError
from inference.serving.settings import Settings

Logits = NDArray[np.float32]
OnBatch = Callable[[int, int, float], None]
"""Told texts, tokens and seconds of each batch."""
_LONGEST_RETRY_S = 120


class Job:
    """One request's texts: first a place in the queue, then token ids, at last `future`'s logits."""

    def __init__(self, texts: int, *, deadline: float) -> None:
        self.texts = texts
        self.deadline = deadline
        self.tokens = 0
        self.future: Future[Logits] = Future()
        self.token_ids: Sequence[Sequence[int]] = ()
        self.order: list[int] = []
        self.taken = 0
        self.answered = 0
        self.logits: Logits | None = None

    def take(self, room: int, *, at_least_one: bool) -> list[int]:
        """Return the rows that go into the next batch, of `room` tokens at most."""
        start = self.taken
        while self.taken < self.texts:
            room -= len(self.token_ids[self.order[self.taken]])
            if room < 0 and not (at_least_one and self.taken == start):
                break
            self.taken += 1
        return self.order[start : self.taken]

    def answer(self, rows: list[int], logits: Logits) -> None:
        """Keep the logits of some rows; with the last of them the future is done."""
        if self.logits is None:
            self.logits = np.zeros((self.texts, logits.shape[1]), dtype=np.float32)
        self.logits[rows] = logits
        self.answered += len(rows)
        if self.answered == self.texts:
            with suppress(InvalidStateError):  # its sender has gone
                self.future.set_result(self.logits)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless it is answered or cancelled already."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(frozen=True)
class Load:
    """What waits or is in work, and the measured rate (0 before the first batch)."""

    texts: int
    tokens: int
    tokens_per_s: float


class Batcher:
    """A bounded queue before one model, and one thread that computes. Thread-safe."""

    def __init__(
        self,
        logits: Callable[[list[Sequence[int]]], Logits],
        *,
        settings: Settings | None = None,
        turn: AbstractContextManager[Any] | None = None,
        on_batch: OnBatch = lambda texts, tokens, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a function from token ids to logits; `turn` is held while it computes, to share the cores."""
        self._logits = logits
        self._settings = settings or Settings()
        self._window_s = self._settings.window_ms / 1000
        self._turn = turn or threading.Lock()
        self._on_batch, self._clock = on_batch, clock
        self._changed = threading.Condition()
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._waiting: deque[Job] = deque()
        self._in_work: list[tuple[Job, list[int]]] = []
        self._running = self._closed = False
        self._texts = self._tokens = 0
        self._rate = 0.0
        self._last_jobs, self._last_end = 0, -math.inf

    def reserve(self, texts: int, *, deadline_s: float) -> Job:
        """Return a place for so many texts (at least one); give it up with `job.future.cancel()`.

        Raises Overloaded when the queue is full (an empty one takes any request), NotReady when closed.
        """
        with self._changed:
            if self._closed:
                raise NotReady("The model has just been replaced or the server stops. Send it again.")
            if self._texts and self._texts + texts > self._settings.max_queue:
                raise self._overloaded()
            self._texts += texts
        job = Job(texts, deadline=self._clock() + deadline_s)
        job.future.add_done_callback(lambda _: self._release(job))
        return job

    def submit(self, job: Job, token_ids: Sequence[Sequence[int]]) -> "Future[Logits]":
        """Queue a job's token ids. Returns the future of its logits, of shape (texts, labels).

        The future raises DeadlineExceeded when its turn came too late. Raises Overloaded for too many tokens.
        """
        lengths = [len(ids) for ids in token_ids]
        job.order = sorted(range(job.texts), key=lengths.__getitem__, reverse=True)
        job.token_ids = token_ids
        with self._changed:
            if job.future.done():
                return job.future
            if self._tokens and self._tokens + sum(lengths) > self._settings.max_queue_tokens:
                job.future.cancel()
                raise self._overloaded()
            job.tokens = sum(lengths)
            self._tokens += job.tokens
            self._waiting.append(job)
            self._changed.notify_all()
            start, self._running = not self._running, True
        if start:
            self._start()
        return job.future

    def warm_up(self, batches: Sequence[list[Sequence[int]]]) -> list[Logits]:
        """Compute batches in the thread that will compute all others: what it needs is laid out there."""
        with self._turn:
            return list(self._engine.submit(lambda: [self._logits(batch) for batch in batches]).result())

    def load(self) -> Load:
        """Return what waits or is in work."""
        with self._changed:
            return Load(self._texts, self._tokens, self._rate)

    def close(self) -> None:
        """Take nothing new, answer everything accepted, and stop; within the longest deadline."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._texts and not self._running, self._settings.deadline_s)
        self._engine.shutdown()

    def _overloaded(self) -> Overloaded:
        wait_s = self._tokens / self._rate if self._rate else 1.0
        retry_after_s = max(1, min(_LONGEST_RETRY_S, math.ceil(wait_s)))
        return Overloaded(
            f"The queue is full (texts: {self._texts}, tokens: {self._tokens}). "
            f"Try again in {retry_after_s} s.",
            retry_after_s=retry_after_s,
        )

    def _release(self, job: Job) -> None:
        with self._changed:
            self._texts -= job.texts
            self._tokens -= job.tokens
            self._changed.notify_all()

    def _start(self) -> None:
        # The executor keeps what a batch raises in its future: a failing model can't end the thread.
        self._engine.submit(self._one_batch).add_done_callback(self._ended)

    def _ended(self, batch: "Future[None]") -> None:
        if error := batch.exception():
            failed = ServingError(f"The model could not compute an answer ({type(error).__name__}).")
            failed.__cause__ = error
            for job, _ in self._in_work:
                job.fail(failed)
        self._in_work = []
        with self._changed:
            self._running = bool(self._waiting)
            again = self._running
            self._changed.notify_all()
        if again:
            self._start()

    def _one_batch(self) -> None:
        self._in_work = self._take()
        if not self._in_work:
            return
        token_ids = [job.token_ids[row] for job, rows in self._in_work for row in rows]
        with self._turn:
            began = self._clock()
            logits = self._logits(token_ids)
            seconds = self._clock() - began
        self._measure(len(token_ids), sum(len(ids) for ids in token_ids), seconds)
        at = 0
        for job, rows in self._in_work:
            job.answer(rows, logits[at : at + len(rows)])
            at += len(rows)

    def _take(self) -> list[tuple[Job, list[int]]]:
        """Return the jobs, and the rows of each, that make up the next batch."""
        taken: list[tuple[Job, list[int]]] = []
        room = self._settings.batch_tokens
        with self._changed:
            self._linger()
            for _ in range(len(self._waiting)):
                job = self._waiting.popleft()
                if self._is_over(job):
                    continue
                rows = job.take(room, at_least_one=not taken)
                if rows:
                    taken.append((job, rows))
                    room -= sum(len(job.token_ids[row]) for row in rows)
                if job.taken == job.texts:
                    continue
                if rows:
                    self._waiting.append(job)  # the rest waits behind the others
                else:
                    self._waiting.appendleft(job)
                break
        return taken

    def _linger(self) -> None:
        """Wait for the requests that are likely to come, if there are any; never for a lone client."""
        now = self._clock()
        if now - self._last_end > self._window_s:
            return
        until = now + self._window_s
        while (
            len(self._waiting) < self._last_jobs
            and self._tokens < self._settings.batch_tokens
            and not self._closed
            and (left := until - self._clock()) > 0
        ):
            self._changed.wait(left)

    def _is_over(self, job: Job) -> bool:
        if job.future.done():
            return True
        if self._clock() < job.deadline:
            return False
        job.fail(DeadlineExceeded("The answer was not ready in time. Send fewer texts, or try again later."))
        return True

    def _measure(self, texts: int, tokens: int, seconds: float) -> None:
        rate = tokens / max(seconds, 1e-6)
        with self._changed:
            self._rate = 0.8 * self._rate + 0.2 * rate if self._rate else rate
            self._last_jobs, self._last_end = len(self._in_work), self._clock()
        self._on_batch(texts, tokens, seconds)
