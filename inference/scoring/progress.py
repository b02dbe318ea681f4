"""How far a scoring is: a bar with the time left in a terminal, plain lines elsewhere and in CI.

    with shown_progress() as progress:
        progress.update(rows=2048, share=0.25)

Everything goes to standard error. Knows nothing about files.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

LINE_EVERY_S = 10.0
Show = Callable[[float, str], None]
"""Told the share that is done, from 0 to 1, and a sentence on it."""


class Scored:
    """Counts what is done and estimates the time left from what this process did itself."""

    def __init__(self, show: Show, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._show, self._clock = show, clock
        self._began_s, self._first_share = clock(), 0.0
        self._rows, self._share = 0, 0.0

    def begin(self, *, rows: int, share: float) -> None:
        """Tell what an earlier run has done; the clock starts here."""
        self._began_s, self._first_share = self._clock(), share
        self.update(rows=rows, share=share)

    def update(self, *, rows: int, share: float) -> None:
        """Tell how many rows are done in all, and their share of the input."""
        self._rows, self._share = rows, share
        self._tell(rows, share)

    def within(self, next_share: float, done: int, total: int) -> None:
        """Tell how many texts of a chunk are done, at whose end that share of the input will be."""
        self._tell(self._rows + done, self._share + (next_share - self._share) * done / total)

    def _tell(self, rows: int, share: float) -> None:
        fresh = share - self._first_share
        left = ""
        if fresh > 0:
            left_s = (self._clock() - self._began_s) * (1 - share) / fresh
            left = f", {timedelta(seconds=round(left_s))} left"
        self._show(share, f"{rows:,} rows{left}")


@contextmanager
def shown_progress(*, clock: Callable[[], float] = time.monotonic) -> Iterator[Scored]:
    """Show progress on standard error while within."""
    if not (sys.stderr.isatty() and os.environ.get("CI", "").lower() not in ("true", "1")):
        yield Scored(_lines(clock), clock=clock)
        return
    percent = TextColumn("{task.percentage:>3.0f} %")
    columns = (SpinnerColumn(), BarColumn(), percent, TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield Scored(
            lambda share, sentence: bar.update(task, completed=share, description=sentence), clock=clock
        )


def _lines(clock: Callable[[], float]) -> Show:
    said_s = clock()

    def show(share: float, sentence: str) -> None:
        nonlocal said_s
        if clock() - said_s >= LINE_EVERY_S:
            said_s = clock()
            sys.stderr.write(f"{share:.0%}: {sentence}\n")

    return show
