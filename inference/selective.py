"""Answers that may be "I don't know": a threshold of confidence, chosen on validation rows, and its effect.

    threshold = threshold_for(validation_labels, validation_probabilities, precision=0.9)   # None: none does
    found = selective(test_labels, test_probabilities, threshold=threshold, precision=0.9)
    found.answered, found.right           # shares of the rows answered, and of these right, with intervals
    coverage_curve(test_labels, test_probabilities)      # what every threshold would give
    asked_threshold("runs/demo/artifact", precision=0.9)  # -> 0.71, by what its training wrote down

Confidence is the largest probability; an answer below the threshold is not sure. A threshold that was chosen
on rows promises too much on them, so it is measured on others.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.artifact import EVALUATION, read_record
from inference.common.errors import ArtifactError, PredictionError
from inference.common.intervals import Interval, wilson

PRECISIONS = (0.8, 0.9, 0.95)
"""Shares of right answers for which thresholds are shown."""
USUAL_PRECISION = 0.9
MOST_POINTS = 50
CHOSEN_ON = "chosen_on"
"""In evaluation.json: the coverage curve of the validation rows, by which a threshold is chosen later."""


@dataclass(frozen=True)
class Selective:
    """What a threshold of confidence gives on rows that it was not chosen on."""

    wanted: float
    """The required share of right answers."""
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
    """Return what a threshold gives on labelled rows; `precision`: the share that it was chosen for."""
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


def threshold_on(curve: Sequence[CoveragePoint], *, precision: float) -> float | None:
    """Return the least threshold of a curve that makes a share of `precision` right, None where none does."""
    return min((point.threshold for point in curve if point.right.value >= precision), default=None)


def check_asked(*, precision: float | None, abstain_below: float | None) -> None:
    """Raise PredictionError if both say when to abstain, or a number is no share."""
    for name, share in (("precision", precision), ("abstain_below", abstain_below)):
        if share is not None and not 0 < share <= 1:
            raise PredictionError(f"{name} is {share:g}. Give a share above 0 and up to 1, such as 0.9.")
    if precision is not None and abstain_below is not None:
        raise PredictionError("precision and abstain_below both say when to abstain. Give one of them.")


def asked_threshold(
    folder: Path | None, *, precision: float | None = None, abstain_below: float | None = None
) -> float | None:
    """Return the confidence below which an answer is not sure, as asked for; None if neither is given.

    `folder`: the model's, whose record gives the threshold for a precision. Raises PredictionError, in one
    sentence, for numbers that are no shares, and where the record has no such threshold.
    """
    return threshold_of(recorded_curve(folder), precision=precision, abstain_below=abstain_below)


def threshold_of(
    curve: Sequence[CoveragePoint], *, precision: float | None = None, abstain_below: float | None = None
) -> float | None:
    """Do what `asked_threshold` does, for a model whose record was read already."""
    check_asked(precision=precision, abstain_below=abstain_below)
    if precision is None:
        return abstain_below
    if not curve:
        raise PredictionError(
            "The model has no record of its validation rows, so no threshold is known for a precision. "
            "Train it again, or say at which confidence to abstain (abstain_below)."
        )
    threshold = threshold_on(curve, precision=precision)
    if threshold is None:
        most = max(point.right.value for point in curve)
        raise PredictionError(
            f"No threshold makes {100 * precision:g} % of the model's answers right; the most on its "
            f"validation rows is {100 * most:.1f} %. Ask for less."
        )
    return threshold


def recorded_curve(folder: Path | None) -> tuple[CoveragePoint, ...]:
    """Return the validation rows' curve in the record of a folder's model, () if none can be read."""
    with suppress(OSError):
        return _recorded(folder / EVALUATION, (folder / EVALUATION).stat().st_mtime_ns) if folder else ()
    return ()


@lru_cache(maxsize=16)  # pages ask again and again
def _recorded(path: Path, modified_ns: int) -> tuple[CoveragePoint, ...]:
    try:
        return tuple(
            CoveragePoint(
                float(p["threshold"]), *(Interval.from_json(p[key]) for key in ("answered", "right"))
            )
            for p in (read_record(path.parent, path.name) or {}).get(CHOSEN_ON) or ()
        )
    except (TypeError, KeyError, ValueError, ArtifactError):  # a record of somebody else's, or a torn one
        return ()


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
