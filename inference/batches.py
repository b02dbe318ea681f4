"""Put texts of like length into one batch, so that little is padded.

    for rows in like_length_batches(lengths, batch_size=32): ...
    for rows in budgeted_batches(lengths, tokens=1024): ...

Knows nothing about models.
"""

from collections.abc import Callable, Iterator, Sequence

Progress = Callable[[int, int], None]
"""Told the work done and the work in all, in the caller's unit."""


def no_progress(done: int, total: int) -> None:
    """Ignore progress."""


def like_length_batches(lengths: Sequence[int], *, batch_size: int) -> Iterator[list[int]]:
    """Yield batches of row numbers, longest texts first, of `batch_size` rows."""
    order = _longest_first(lengths)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def budgeted_batches(lengths: Sequence[int], *, tokens: int) -> Iterator[list[int]]:
    """Yield batches of row numbers, longest texts first, of at most `tokens` tokens, or of one row."""
    batch: list[int] = []
    used = 0
    for row in _longest_first(lengths):
        if batch and used + lengths[row] > tokens:
            yield batch
            batch, used = [], 0
        batch.append(row)
        used += lengths[row]
    if batch:
        yield batch


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])
