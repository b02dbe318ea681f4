"""Dynamic batching: the texts of many requests through one model, a batch at a time.

    batcher = Batcher(classifier.logits)
    request = batcher.reserve(2, deadline_s=30)      # Overloaded when the queue is full
    batcher.submit(request, token_ids).result()      # -> logits of shape (2, 3), in input order
    batcher.close()                                  # answers everything accepted, then stops

An idle engine takes up a request at once. While a batch is computed others gather, and go together. Right
after a batch that held several requests their senders are about to ask again, so the next batch waits for
them, a window of a few milliseconds at most. A request of many texts goes in pieces, of like length, between
which smaller requests get their turn. `request.future.cancel()` drops what is not computed yet.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.serving.errors import DeadlineExceeded, NotReady, Overloaded, ServingError
from inference.serving.schema import Settings

Logits = NDArray[np.float32]
OnBatch = Callable[[int, int, float], None]
"""Called with the texts, tokens and seconds of each batch."""
_LONGEST_RETRY_S = 120


class QueuedRequest:
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
class QueueLoad:
    """What waits or is in work."""

    texts: int
    tokens: int


class Batcher:
    """A bounded queue before one model, and one thread that computes. Thread-safe."""

    def __init__(
        self,
        logits: Callable[[Sequence[Sequence[int]]], Logits],
        *,
        settings: Settings | None = None,
        compute_lock: AbstractContextManager[object] | None = None,
        on_batch: OnBatch = lambda texts, tokens, seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a function from token ids to logits; `compute_lock` is held meanwhile, to share the cores."""
        self._logits = logits
        self._settings = settings or Settings()
        self._window_s = self._settings.window_ms / 1000
        self._compute_lock = compute_lock or threading.Lock()
        self._on_batch, self._clock = on_batch, clock
        self._changed = threading.Condition()
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._waiting: deque[QueuedRequest] = deque()
        self._in_work: list[tuple[QueuedRequest, list[int]]] = []
        self._running = self._closed = False
        self._texts = self._tokens = 0
        self._rate = 0.0
        self._last_requests, self._last_end = 0, -math.inf

    def reserve(self, texts: int, *, deadline_s: float) -> QueuedRequest:
        """Return a place for so many texts (at least one); give it up with `request.future.cancel()`.

        Raises Overloaded when the queue is full (an empty one takes any request), NotReady when closed.
        """
        with self._changed:
            if self._closed:
                raise NotReady("The model has just been replaced or the server stops. Send it again.")
            if self._texts and self._texts + texts > self._settings.max_queue:
                raise self._overloaded()
            self._texts += texts
        request = QueuedRequest(texts, deadline=self._clock() + deadline_s)
        request.future.add_done_callback(lambda _: self._release(request))
        return request

    def submit(self, request: QueuedRequest, token_ids: Sequence[Sequence[int]]) -> "Future[Logits]":
        """Queue a request's token ids. Returns the future of its logits, of shape (texts, labels).

        The future raises DeadlineExceeded when its turn came too late. Raises Overloaded for too many tokens.
        """
        lengths = [len(ids) for ids in token_ids]
        request.order = sorted(range(request.texts), key=lengths.__getitem__, reverse=True)
        request.token_ids = token_ids
        with self._changed:
            if request.future.done():
                return request.future
            if self._tokens and self._tokens + sum(lengths) > self._settings.max_queue_tokens:
                request.future.cancel()
                raise self._overloaded()
            request.tokens = sum(lengths)
            self._tokens += request.tokens
            self._waiting.append(request)
            self._changed.notify_all()
            start, self._running = not self._running, True
        if start:
            self._start_batch()
        return request.future

    def warm_up(self, batches: Sequence[Sequence[Sequence[int]]]) -> list[Logits]:
        """Compute batches in the thread that will compute all others: what it needs is laid out there."""
        with self._compute_lock:
            return list(self._engine.submit(lambda: [self._logits(batch) for batch in batches]).result())

    def load(self) -> QueueLoad:
        with self._changed:
            return QueueLoad(self._texts, self._tokens)

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

    def _release(self, request: QueuedRequest) -> None:
        with self._changed:
            self._texts -= request.texts
            self._tokens -= request.tokens
            self._changed.notify_all()

    def _start_batch(self) -> None:
        # The executor keeps what a batch raises in its future: a failing model can't end the thread.
        self._engine.submit(self._one_batch).add_done_callback(self._ended)

    def _ended(self, batch: "Future[None]") -> None:
        if error := batch.exception():
            failed = ServingError(f"The model could not compute an answer ({type(error).__name__}).")
            failed.__cause__ = error
            for request, _ in self._in_work:
                request.fail(failed)
        self._in_work = []
        with self._changed:
            self._running = bool(self._waiting)
            again = self._running
            self._changed.notify_all()
        if again:
            self._start_batch()

    def _one_batch(self) -> None:
        self._in_work = self._take()
        if not self._in_work:
            return
        token_ids = [request.token_ids[row] for request, rows in self._in_work for row in rows]
        with self._compute_lock:
            began = self._clock()
            logits = self._logits(token_ids)
            seconds = self._clock() - began
        self._measure(len(token_ids), sum(len(ids) for ids in token_ids), seconds)
        at = 0
        for request, rows in self._in_work:
            request.answer(rows, logits[at : at + len(rows)])
            at += len(rows)

    def _take(self) -> list[tuple[QueuedRequest, list[int]]]:
        """Return the jobs, and the rows of each, that make up the next batch."""
        taken: list[tuple[QueuedRequest, list[int]]] = []
        room = self._settings.batch_tokens
        with self._changed:
            self._linger()
            for _ in range(len(self._waiting)):
                request = self._waiting.popleft()
                if self._is_over(request):
                    continue
                rows = request.take(room, at_least_one=not taken)
                if rows:
                    taken.append((request, rows))
                    room -= sum(len(request.token_ids[row]) for row in rows)
                if request.taken == request.texts:
                    continue
                if rows:
                    self._waiting.append(request)  # the rest waits behind the others
                else:
                    self._waiting.appendleft(request)
                break
        return taken

    def _linger(self) -> None:
        """Wait for the requests that are likely to come, if there are any; never for a lone client."""
        now = self._clock()
        if now - self._last_end > self._window_s:
            return
        until = now + self._window_s
        while (
            len(self._waiting) < self._last_requests
            and self._tokens < self._settings.batch_tokens
            and not self._closed
            and (left := until - self._clock()) > 0
        ):
            self._changed.wait(left)

    def _is_over(self, request: QueuedRequest) -> bool:
        if request.future.done():
            return True
        if self._clock() < request.deadline:
            return False
        request.fail(
            DeadlineExceeded("The answer was not ready in time. Send fewer texts, or try again later.")
        )
        return True

    def _measure(self, texts: int, tokens: int, seconds: float) -> None:
        rate = tokens / max(seconds, 1e-6)
        with self._changed:
            self._rate = 0.8 * self._rate + 0.2 * rate if self._rate else rate
            self._last_requests, self._last_end = len(self._in_work), self._clock()
        self._on_batch(texts, tokens, seconds)
