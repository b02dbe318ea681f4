"""How far a scoring is: the rows that are done, and the time left.

with shown_progress() as show:
    Scored(show).update(rows=2048, share=0.25)
"""

import time
from collections.abc import Callable
from datetime import timedelta

Show = Callable[[float, str], None]
"""Called with the share that is done, from 0 to 1, and a sentence on it."""


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
