"""How a run's process ends: told to stop, done, or broken; its last word is one sentence in its status.

    stop = Stop()
    with Ending(journal) as ending:
        work(stop)                       # raises Cancelled when it is told to stop
    sys.exit(ending.exit_status)

SIGTERM is a request to stop in good order. Light: no torch. Knows nothing about what the process does.
"""

import signal
import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType
from typing import Protocol

from inference.common.errors import TweetTuneError


class Cancelled(Exception):  # noqa: N818  (it is no error)
    """The run was told to stop."""


class Recorder(Protocol):
    """What writes a run's status."""

    run: Path

    def finish(self, state: str, message: str = "") -> None:
        """Record the end: finished, cancelled or failed."""


class Stop:
    """SIGTERM asks for an orderly end: at the next step while training, at once elsewhere."""

    def __init__(self) -> None:
        self.asked = self.gently = False
        signal.signal(signal.SIGTERM, self.on_signal)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ask for the end."""
        self.asked = True
        if not self.gently:
            raise Cancelled


class Ending:
    """Around a run: whatever ends it is written to its status, in one sentence."""

    def __init__(self, journal: Recorder, *, cancelled: str = "Cancelled; it can be resumed.") -> None:
        self.journal, self.cancelled = journal, cancelled
        self.exit_status = 0

    def __enter__(self) -> "Ending":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is written whole
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        if error is None:
            self.journal.finish("finished")
            return True
        self.exit_status = 1
        if isinstance(error, Cancelled):
            self.journal.finish("cancelled", self.cancelled)
            return True
        traceback.print_exception(kind, error, where)  # to the run's log.txt
        try:
            self.journal.finish("failed", in_one_sentence(error, self.journal.run))
        except OSError as full:
            sys.stderr.write(f"The run's end can't be recorded ({full}).\n")
        return True


def in_one_sentence(error: BaseException, run: Path) -> str:
    """Say for people what ended a run, and what to do."""
    if isinstance(error, TweetTuneError):
        return str(error)
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        return (
            f"The run folder {run.name} can't be written or read ({what}). "
            "Free the disk, then resume the run."
        )
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or "not enough memory" in text or "out of memory" in text:
        return "The memory did not suffice. Take a smaller batch_size or max_length and start again."
    if "No space left" in text or "I/O error" in text:  # safetensors has errors of its own
        return (
            f"The run folder {run.name} can't be written ({text[:120]}). Free the disk, then resume the run."
        )
    return f"{type(error).__name__}: {text[:300]}. The run's log.txt has the details."
