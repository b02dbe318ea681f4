"""Answers that may be "I don't know": a threshold of confidence, chosen on validation rows, and its effect.

    threshold = threshold_for(validation_labels, validation_probabilities, precision=0.9)   # None: none does
    found = selective(test_labels, test_probabilities, threshold=threshold, precision=0.9)
    found.answered, found.right           # shares of the rows answered, and of these right, with intervals
    coverage_curve(test_labels, test_probabilities)      # what every threshold would give

Confidence is the largest probability. A threshold that was chosen on rows promises too much on them, so it is
measured on others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.common.intervals import Interval, wilson

MOST_POINTS = 50


@dataclass(frozen=True)
class Selective:
    """What a threshold of confidence gives on rows that it was not chosen on."""

    wanted: float
    """The share of right answers that was wanted."""
    threshold: float | None
    """Answers below it are withheld; None where no threshold would do on the validation rows."""
    answered: Interval
    """Share of the rows that are answered, with Wilson's interval."""
    right: Interval | None
    """Share of the answers that are right; None where there is none."""


@dataclass(frozen=True)
class CoveragePoint:
    """One threshold of a coverage curve."""

    threshold: float
    answered: Interval
    right: Interval


def threshold_for(references: Sequence[int], probabilities: ArrayLike, *, precision: float) -> float | None:
    """Return the least confidence from which on a share of `precision` of the answers is right.

    `probabilities`: shape (rows, labels). None where even the surest answers are right too seldom.
    """
    confidence, hits, counts = _by_confidence(references, probabilities)
    enough = np.flatnonzero(hits >= precision * counts)
    return float(confidence[enough[-1]]) if len(enough) else None


def selective(
    references: Sequence[int], probabilities: ArrayLike, *, threshold: float | None, precision: float
) -> Selective:
    """Return what a threshold gives on labelled rows; `precision` is what was wanted of it."""
    confidence, hits, counts = _by_confidence(references, probabilities)
    kept = int((confidence >= threshold).sum()) if threshold is not None else 0
    right, answered = (int(hits[kept - 1]), int(counts[kept - 1])) if kept else (0, 0)
    share = wilson(answered, len(references))
    assert share is not None, "there are rows"
    return Selective(precision, threshold, share, wilson(right, answered))


def coverage_curve(references: Sequence[int], probabilities: ArrayLike) -> tuple[CoveragePoint, ...]:
    """Return the shares answered and right at up to MOST_POINTS thresholds, the strictest first."""
    confidence, hits, counts = _by_confidence(references, probabilities)
    points = []
    for at in np.unique(np.linspace(0, len(confidence) - 1, MOST_POINTS).round().astype(int)):
        answered, right = wilson(int(counts[at]), len(references)), wilson(int(hits[at]), int(counts[at]))
        if answered and right:
            points.append(CoveragePoint(float(confidence[at]), answered, right))
    return tuple(points)


def _by_confidence(
    references: Sequence[int], probabilities: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each confidence once, the greatest first, and how many rows from it on are right, and are."""
    chances = np.asarray(probabilities, dtype=np.float64)
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == np.asarray(references)
    order = np.argsort(-confidence, kind="stable")
    ordered, hits = confidence[order], np.cumsum(right[order])
    last = np.flatnonzero(
        np.append(np.diff(ordered) != 0, True)
    )  # rows that are as sure are answered together
    return ordered[last], hits[last], last + 1
