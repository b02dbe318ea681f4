"""A rented run's diary at home: its job's events, in the same files that a local run writes.

    mirror = Mirror(run.path)
    mirror.phase("queue")
    mirror.copy(17, {"kind": "progress", "phase": "train", "progress": 0.4, "time_left_s": 61.0})

Events get the time at which they came in, `job_seq` and the job's own `job_time`.
Knows nothing about the Hub.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.artifact import read_record
from inference.common.store import append_event, read_jsonl, write_status

_BEFORE = {"send": 0.0, "queue": 0.01, "install": 0.02}
_TRAINING = (0.03, 0.96)  # the share of the whole that the job's own progress fills
_AFTER = {"push": 0.96, "fetch": 0.98}


class Mirror:
    """Writes a rented run's events.jsonl and status.json."""

    def __init__(self, run: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.run, self.clock = run, clock
        before = read_record(run, "status.json") or {}
        self.started = before.get("started_at") or clock()
        self._phase, self._share, self._left = "", 0.0, None
        self._status("running")

    def note(self, text: str) -> None:
        """Record a sentence for people."""
        append_event(self.run / "events.jsonl", "note", text=text)

    def phase(self, name: str) -> None:
        """Say what is being done, where the job's own events don't."""
        if name != self._phase:
            self._phase, self._left = name, None
            self._share = max(self._share, {**_BEFORE, **_AFTER}.get(name, self._share))
            self._status("running")

    def known(self) -> set[int]:
        """Return the numbers of the job's events that are here."""
        return {e["job_seq"] for e in read_jsonl(self.run / "events.jsonl") if "job_seq" in e}

    def copy(self, number: int, event: dict[str, Any]) -> None:
        """Take over one of the job's events."""
        content = {key: value for key, value in event.items() if key not in ("kind", "time")}
        append_event(
            self.run / "events.jsonl",
            str(event.get("kind", "note")),
            **content,
            job_seq=number,
            job_time=event.get("time"),
        )
        if event.get("kind") == "progress":
            low, high = _TRAINING
            self._phase, self._left = str(event.get("phase", "")), event.get("time_left_s")
            self._share = max(self._share, low + (high - low) * float(event.get("progress") or 0.0))
            self._status("running")

    def finish(self, state: str, message: str = "") -> None:
        """Record the end: finished, cancelled or failed."""
        if state != "finished":
            kind = "error" if state == "failed" else "note"
            append_event(self.run / "events.jsonl", kind, message=message, text=message)
        self._status(state, message)

    def _status(self, state: str, message: str = "") -> None:
        write_status(
            self.run,
            state,
            message,
            phase=self._phase,
            progress=self._share,
            time_left_s=self._left,
            started_at=self.started,
            now=self.clock(),
        )
