"""Split rows and take subsets of them: always with every class, always the same rows for the same seed.

    rest, held_out = carve(labels, size=100, seed=42)
    part = subset(dataset, 1000, seed=42, stratified=True)

`carve` draws with NumPy's RandomState, whose stream is frozen for ever; `subset` is the datasets library's
`shuffle(seed).select(range(n))`. Knows nothing about texts or where rows come from.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

HELD_OUT_SHARE = 10  # one row in ten
MIN_HELD_OUT_ROWS = 100  # fewer tell nothing: a 95 % interval of ± 8 points
MAX_HELD_OUT_ROWS = 5_000  # more cost time and narrow the interval by less than a point


def held_out_size(n: int) -> int:
    """Return how many of n rows to hold out: a tenth, at least 100 and at most 5,000, never over a fifth."""
    return max(1, min(max(n // HELD_OUT_SHARE, MIN_HELD_OUT_ROWS), MAX_HELD_OUT_ROWS, n // 5))


def quotas(counts: Mapping[int, int], size: int, *, leave: int = 0) -> dict[int, int]:
    """Share `size` rows out over classes in proportion (largest remainders), at least one row each.

    Leaves at least `leave` rows of each class behind. The sum is `size` unless the classes are so many or so
    small that these two bounds forbid it.
    """
    total = sum(counts.values())
    exact = {label: size * count / total for label, count in counts.items()}
    share = {label: int(value) for label, value in exact.items()}
    by_remainder = sorted(counts, key=lambda label: (share[label] - exact[label], label))
    for label in by_remainder[: size - sum(share.values())]:
        share[label] += 1
    share = {label: max(0, min(max(1, share[label]), counts[label] - leave)) for label in counts}
    for label in sorted(share, key=lambda label: (-share[label], label)):  # pay for the small classes' rows
        excess = sum(share.values()) - size
        share[label] -= max(0, min(excess, share[label] - 1))
    return share


def carve(labels: Sequence[int], *, size: int, seed: int) -> tuple[list[int], list[int]]:
    """Split row indices into (rest, held out), stratified; each class with two rows or more is in both."""
    random = np.random.RandomState(seed)  # not default_rng: only this stream is promised never to change
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    share = quotas({label: len(rows[label]) for label in sorted(rows)}, size, leave=1)
    held: set[int] = set()
    for label in sorted(rows):
        held.update(rows[label][i] for i in random.permutation(len(rows[label]))[: share[label]])
    return [row for row in range(len(labels)) if row not in held], sorted(held)


def subset(dataset: Any, n: int, *, seed: int, stratified: bool = False) -> Any:
    """Return `dataset.shuffle(seed=seed).select(range(n))`, or all rows in their order when n is 0.

    With `stratified` the class shares are kept: of the shuffled rows, each class gives its first ones.
    """
    if n == 0:
        return dataset
    shuffled = dataset.shuffle(seed=seed)
    n = min(n, len(shuffled))
    if not stratified:
        return shuffled.select(range(n))
    labels = list(shuffled["label"])
    left = quotas(Counter(labels), n)
    chosen = []
    for row, label in enumerate(labels):
        if left[label] > 0:
            left[label] -= 1
            chosen.append(row)
    return shuffled.select(chosen)
