"""How the many trainings of a study report to the log of its run."""

from collections.abc import Iterator
from contextlib import contextmanager

from training.fit.prepare import Silent
from training.runs.log import RunLog


class Preparing(Silent):
    """The Report of the preparation: its plan is that of one training, and not handed on."""

    def __init__(self, log: RunLog) -> None:
        self._log = log

    def note(self, text: str) -> None:
        """Hand it on."""
        self._log.note(text)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Hand it on."""
        with self._log.phase(name):
            yield

    def progress(self, done: int, total: int) -> None:
        """Hand it on."""
        self._log.progress(done, total)
