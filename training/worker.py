"""The process of one run: `python -m training run RUN_DIR`, started by the CLI and the app alike.

It hands the run to the pipeline and makes sure that its end, whatever ends it, is written to its status in
one sentence. SIGTERM is a request to stop in good order. Knows nothing about what a training does.
"""

import signal
import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType

import datasets
from transformers.utils import logging as transformers_logging

from inference.errors import TweetTuneError
from training.jobs import find_run
from training.journal import Journal
from training.pipeline import Cancelled, train_run


class Stop:
    """SIGTERM asks for an orderly end: at the next step while training, at once elsewhere."""

    def __init__(self) -> None:
        self.asked = self.gently = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self.gently:
            raise Cancelled


class Ending:
    """Around a run: whatever ends it is written to its status, in one sentence."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.exit_status = 0

    def __enter__(self) -> "Ending":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> bool:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is written whole
        if error is None:
            self.journal.finish("finished")
            return True
        self.exit_status = 1
        if isinstance(error, Cancelled):
            self.journal.finish("cancelled", "Cancelled; it can be resumed.")
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


def main(path: str) -> int:
    """Take a run to its end. Returns the exit status."""
    run = find_run(path)
    journal = Journal(run.path)
    stop = Stop()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    with Ending(journal) as ending:
        train_run(run, journal, stop)
    return ending.exit_status
