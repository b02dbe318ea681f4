"""What a run's process writes down: events, status and the time left, for the CLI and the app to read.

    log = RunLog(run.path)
    log.plan({"cache": 40.0, "train": 90.0, "evaluate": 60.0})       # seconds, from the estimate
    with log.phase("cache"):
        log.progress(120, 1500)                                       # work done, work in all

The time left is the running phase's own pace plus what is planned for the rest, scaled by how the plan has
held so far. From the second report on, the pace counts from the first: what came before, loading or an
earlier process's work, says nothing about the rest.
"""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from inference.common.store import append_event, write_json
from training.runs.records import EVENTS, STATUS

_LITTLE = 0.05  # of a phase, or of the plan: less than this says little about the rest
_QUIET_S = 0.5  # progress is written no more often than this


class RunRecord(ABC):
    """The record that a run's process writes: events and status. Raises OSError when the disk is full."""

    def __init__(
        self, run: Path, *, hidden: Sequence[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        """`hidden`: secrets of the process, of which nothing is ever written."""
        self.run, self.hidden, self.clock = run, hidden, clock
        self.started = clock()
        self._phase, self._share = "", 0.0

    def note(self, text: str) -> None:
        self.event("note", text=text)

    def event(self, kind: str, **content: object) -> None:
        if self.hidden:
            content = json.loads(masked(json.dumps(content, default=str), self.hidden))
        append_event(self.run / EVENTS, kind, **content)

    @abstractmethod
    def time_left_s(self) -> float | None:
        """Return the seconds left in the whole run, None where that is not known."""

    @abstractmethod
    def overall(self) -> float:
        """Return the share of the whole work that is done, 0 to 1; it never falls."""

    def finish(self, state: str, message: str = "") -> None:
        """Record the end: finished, cancelled or failed."""
        if state != "finished":
            self.event("error" if state == "failed" else "note", message=message, text=message)
        self._status(state, message)

    def _status(self, state: str, message: str = "") -> None:
        """Write status.json; in any state but "running" the run has ended now. Times are Unix seconds."""
        ended = state != "running"
        status = {
            "state": state,
            "phase": self._phase,
            "progress": 1.0 if state == "finished" else round(self.overall(), 4),
            "time_left_s": None if ended else self.time_left_s(),
            "message": masked(message, self.hidden),
            "pid": None if ended else os.getpid(),
            "started_at": self.started,
            "finished_at": self.clock() if ended else None,
        }
        write_json(self.run / STATUS, status)


class RunLog(RunRecord):
    """The record of a run that works here, with its phases and the time left."""

    def __init__(
        self,
        run: Path,
        *,
        hidden: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        waits: bool = False,
    ) -> None:
        """`waits`: until `begin`."""
        super().__init__(run, hidden=hidden, clock=clock)
        self.seconds: dict[str, float] = {}
        """Seconds that each finished phase took."""
        self._plan: dict[str, float] = {}
        self._phase_started, self._written = self.started, 0.0
        self._first = 0.0, self.started
        """Share and time of the phase's first report of work."""
        if not waits:
            self.begin()

    def begin(self) -> None:
        self.started = self._phase_started = self.clock()
        self._status("running")

    def plan(self, seconds: dict[str, float]) -> None:
        self._plan = dict(seconds)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Within it, progress counts for this phase."""
        self.enter(name)
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - self._phase_started
        self._share = 1.0

    def enter(self, name: str) -> None:
        """Begin a phase whose end is the beginning of the next one."""
        self._phase, self._phase_started, self._share, self._written = name, self.clock(), 0.0, 0.0
        self._first = 0.0, self._phase_started
        self.progress(0, 1)

    def progress(self, done: int, total: int) -> None:
        """Record how much of the phase is done, in the caller's unit."""
        now, self._share = self.clock(), done / max(total, 1)
        if not self._first[0]:
            self._first = self._share, now
        if now - self._written < _QUIET_S and done < total:
            return
        self._written = now
        left = self.time_left_s()
        self.event(
            "progress",
            phase=self._phase,
            done=done,
            total=total,
            progress=round(self.overall(), 4),
            time_left_s=None if left is None else round(left, 1),
        )
        self._status("running")

    def time_left_s(self) -> float | None:
        """Return the seconds left, None before there is a plan."""
        if self._phase not in self._plan:
            return None
        first, since = self._first if self._share > self._first[0] else (0.0, self._phase_started)
        share, spent = self._share - first, self.clock() - since
        if share <= _LITTLE:
            share = spent = 0.0
        planned = self._plan[self._phase]
        done = [name for name in self._plan if name in self.seconds and name != self._phase]
        expected = sum(self._plan[name] for name in done) + planned * share
        observed = sum(self.seconds[name] for name in done) + spent
        ratio = min(max(observed / expected, 0.3), 3.0) if expected else 1.0
        weight = min(expected / (_LITTLE * sum(self._plan.values()) or 1.0), 1.0)
        scale = 1 + (ratio - 1) * weight
        whole = spent / share if share else planned * scale
        here = whole * (1 - self._share)
        if not self._first[0]:  # nothing is reported yet, so some is still to come
            here = max(whole - (self.clock() - self._phase_started), whole / 4)
        names = list(self._plan)
        later = sum(self._plan[name] for name in names[names.index(self._phase) + 1 :])
        return here + later * scale

    def overall(self) -> float:
        """Return the share of the planned work that is done."""
        done = sum(seconds for name, seconds in self._plan.items() if name in self.seconds)
        if self._phase not in self.seconds:
            done += self._plan.get(self._phase, 0.0) * self._share
        return min(done / max(sum(self._plan.values()), 1e-9), 1.0)


def masked(text: str, hidden: Sequence[str]) -> str:
    """Return text with *** in place of each secret."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return text
