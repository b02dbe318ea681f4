"""The order and the result of a study of forgetting: `python -m training forgetting`.

    Forgetting.read(run.path).sentences()                  # None before it is finished

Importing this loads nothing heavy.
"""

from dataclasses import dataclass
from typing import ClassVar

from inference.artifact import BASE_HEAD, PROVENANCE, VALIDATION, read_record
from inference.common.errors import RunError
from inference.common.store import JsonObject
from training.evaluate.scores import Bits
from training.runs.run import FORGETTING, Run
from training.runs.study import Order, Result

WORTH = 0.01
"""Accuracy that may be given up for less forgetting."""


@dataclass(frozen=True, kw_only=True)
class ForgettingOrder(Order):
    """The order of a study of forgetting."""

    KIND: ClassVar[str] = FORGETTING

    runs: tuple[str, ...]
    """Folders of finished runs."""
    general: str = ""
    """Path of a file of general text; empty: the passages that come with the project."""


@dataclass(frozen=True, kw_only=True)
class DialPoint:
    """A model between base and fine-tuned."""

    share: float
    """Share of the change that fine-tuning made, head included: 0 is its base, 1 the fine-tuned."""
    accuracy: float
    """On validation rows."""
    bits: float
    """Per character of general text."""


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """The forgetting of one run."""

    run: str
    method: str
    base: str
    rows: int
    """Validation rows."""
    rows_sha256: str
    general: Bits
    """Bits of the true base, whole and untouched, and of the fine-tuned network under its language head."""
    points: tuple[DialPoint, ...]
    """By rising share."""

    @property
    def advised(self) -> DialPoint:
        """The point of the fewest bits that loses at most WORTH of the fine-tuned one's accuracy."""
        enough = self.points[-1].accuracy - WORTH
        return min((one for one in self.points if one.accuracy >= enough), key=lambda one: one.bits)

    def bits_at(self, accuracy: float) -> float | None:
        """Return the bits where the dial first reaches an accuracy, between points too; None: nowhere."""
        last = self.points[0]
        for one in self.points:
            if one.accuracy >= accuracy:
                rise = one.accuracy - last.accuracy
                part = (accuracy - last.accuracy) / rise if rise > 0 else 1.0
                return last.bits + max(part, 0.0) * (one.bits - last.bits)
            last = one
        return None


@dataclass(frozen=True, kw_only=True)
class Forgetting(Result):
    """The result of a study of forgetting."""

    FILE: ClassVar[str] = "forgetting.json"

    runs: tuple[Forgotten, ...]

    @property
    def equal_accuracy(self) -> float | None:
        """The accuracy that all of several runs reach; None for one, or where their rows differ."""
        if len(self.runs) < 2 or len({one.rows_sha256 for one in self.runs}) > 1:
            return None
        return min(max(point.accuracy for point in one.points) for one in self.runs)

    def sentences(self) -> list[str]:
        lines = [sentence for one in self.runs for sentence in _about(one)]
        if len(self.runs) > 1:
            lines.append(self._compared())
        return lines

    def _compared(self) -> str:
        level = self.equal_accuracy
        if level is None:
            return "The runs have other validation rows, so they can't be compared at equal accuracy."
        figures = ", ".join(f"{one.run} ({one.method}) {one.bits_at(level):.3f}" for one in self.runs)
        return (
            f"At equal accuracy, {100 * level:.1f} % on the same validation rows, bits per character of "
            f"general text: {figures}."
        )

    def said(self) -> JsonObject:
        """Return its sentences, and the accuracy at which several runs are compared."""
        return {"equal_accuracy": self.equal_accuracy, **super().said()}


def _about(one: Forgotten) -> list[str]:
    change, full, advised = one.general.change, one.points[-1], one.advised
    verdict = "No forgetting is shown."
    if change.low > 0:
        verdict = "It has forgotten general language."
    elif change.high < 0:
        verdict = "It has forgotten nothing."
    dial = "Nothing is gained by turning it down."
    if advised.share < 1 and advised.bits < full.bits:
        dial = (
            f"Turned down to {advised.share:.1f}: accuracy {100 * advised.accuracy:.1f} % instead of "
            f"{100 * full.accuracy:.1f} %, general text {advised.bits:.3f} instead of {full.bits:.3f} bits."
        )
    return [f"{one.run} ({one.method}, on {one.base}), general text: {one.general.figures}. {verdict}", dial]


def check_finished(tuned: Run) -> JsonObject:
    """Return a run's provenance. Raises RunError for a run that has no model, or no validation rows."""
    record = read_record(tuned.artifact, PROVENANCE) if tuned.artifact.is_dir() else None
    if record is None or not (tuned.artifact / BASE_HEAD).is_file():
        raise RunError(f"The run {tuned.id} is {tuned.status().state}: it has no model to look at yet.")
    if not (tuned.path / VALIDATION).is_file():
        raise RunError(f"The run {tuned.id} has lost its {VALIDATION}. Train it again.")
    return record
