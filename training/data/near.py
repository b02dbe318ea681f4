"""Near duplicates: texts that share nearly all of their letters, found exactly and in bounded memory.

    found = nearest(["what a great day!!"], ["what a great day", "so sad"], least=0.8)
    found.left                                 # -> [Match(other=0, cosine=0.9…)], None where there is none

Similarity is the cosine of character 3- and 4-grams (TF-IDF), after folding away what exact duplicates may
differ in (`inference.common.text.duplicate_key`).

Not every pair is compared. Two texts of cosine c share one of each one's rarest n-grams: those before the
rest has a norm below c (prefix filtering; Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity
search"). So only pairs that share one are compared, a block at a time. Where even these are more than
`LIMIT`, n-grams in very many texts are passed over, which may miss a pair, and `Nearest.complete` is False.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

LIMIT = 1_000_000_000
"""Pairs that share a rare n-gram, counted once for each: about a minute on two cores."""
_BLOCK = 4_000_000  # of them at a time: about 100 MB


@dataclass(frozen=True)
class Match:
    """The nearest text of the other side: its place, and the cosine."""

    other: int
    cosine: float


@dataclass(frozen=True)
class Nearest:
    """For each text of both sides its nearest one of the other side, None where none is near enough."""

    left: Sequence[Match | None]
    right: Sequence[Match | None]
    complete: bool
    """Whether no pair can have been missed."""


def nearest(
    left: Sequence[str], right: Sequence[str] | None = None, *, least: float, limit: int = LIMIT
) -> Nearest:
    """Find for each text the nearest one of the other side, of a cosine of at least `least`.

    The texts are keys (`duplicate_key`). Without a right side the texts of the left are compared among
    themselves, a text never with itself. Texts of fewer than three characters have no near duplicate.
    """
    itself = right is None
    right = left if right is None else right
    nothing = Nearest([None] * len(left), [None] * len(right), complete=True)
    if not any(len(text) > 2 for text in left) or not any(len(text) > 2 for text in right):
        return nothing
    words = TfidfVectorizer(
        analyzer="char", ngram_range=(3, 4), lowercase=False, sublinear_tf=True, dtype=np.float32
    )
    both = words.fit_transform(left if itself else [*left, *right])
    order = np.argsort(both.getnnz(axis=0), kind="stable")  # rarest first
    both = sparse.csr_matrix(both[:, order])
    a, b = (both, both) if itself else (both[: len(left)], both[len(left) :])
    rare_a = _rarest(a, least)
    rare_b = rare_a if itself else _rarest(b, least)
    pairs = np.multiply(rare_a.getnnz(axis=0).astype(np.int64), rare_b.getnnz(axis=0))
    complete = bool(pairs.sum() <= limit)
    if not complete:  # the rarest come first, more or less: those within the limit stay
        rare_a = sparse.csr_matrix(rare_a.multiply(np.cumsum(pairs) <= limit))
    cost = np.cumsum(rare_a.astype(bool) @ rare_b.getnnz(axis=0))
    best_a, best_b = _Best(len(left)), _Best(len(right))
    start = 0
    while start < len(left):
        reach = (cost[start - 1] if start else 0) + _BLOCK
        end = max(start + 1, int(np.searchsorted(cost, reach, side="right")))
        rows, columns = (rare_a[start:end] @ rare_b.T).nonzero()
        rows = rows + start
        if itself:
            rows, columns = rows[rows != columns], columns[rows != columns]
        for at in range(0, len(rows), 20_000):
            i, j = rows[at : at + 20_000], columns[at : at + 20_000]
            cosine = np.asarray(a[i].multiply(b[j]).sum(axis=1)).ravel().astype(float).round(5)
            near = cosine >= least
            best_a.take(i[near], j[near], cosine[near])
            best_b.take(j[near], i[near], cosine[near])
        start = end
    return Nearest(best_a.matches(), best_b.matches(), complete)


def _rarest(rows: sparse.csr_matrix, least: float) -> sparse.csr_matrix:
    """Keep each row's rarest n-grams: so many that the norm of the others stays below `least`.

    The columns go from rare to frequent, and each row has norm 1.
    """
    rows.sort_indices()
    squares = rows.data.astype(np.float64) ** 2
    before = np.concatenate([[0.0], np.cumsum(squares)])
    of_row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    rest = before[rows.indptr[1:]][of_row] - before[:-1]  # this n-gram's and those after it, squared
    kept = rest >= (least - 1e-4) ** 2
    starts = np.concatenate([[0], np.cumsum(np.bincount(of_row[kept], minlength=rows.shape[0]))])
    return sparse.csr_matrix((np.ones(kept.sum(), np.float32), rows.indices[kept], starts), rows.shape)


class _Best:
    """The best match of each row so far."""

    def __init__(self, n: int) -> None:
        self.cosine, self.other = np.zeros(n), np.full(n, -1)

    def take(self, rows: NDArray[np.int64], others: NDArray[np.int64], cosine: NDArray[np.float64]) -> None:
        order = np.lexsort((-others, cosine))  # of equals the first text wins
        rows, others, cosine = rows[order], others[order], cosine[order]
        last = {int(row): at for at, row in enumerate(rows)}
        for row, at in last.items():
            if cosine[at] > self.cosine[row]:
                self.cosine[row], self.other[row] = cosine[at], others[at]

    def matches(self) -> list[Match | None]:
        return [
            Match(int(other), float(cosine)) if other >= 0 else None
            for other, cosine in zip(self.other, self.cosine, strict=True)
        ]
