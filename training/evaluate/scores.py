"""What an evaluation found, as evaluation.json keeps it: systems on the same rows, and paired comparisons.

    evaluation = Evaluation.from_json(json.loads(text))   # files of November 2026 and before, too
    evaluation.tuned.scores.accuracy                      # -> Interval(value=0.74, low=0.725, high=0.755)
    [system.name for system in evaluation.systems]        # -> ["majority", "bag of words", "base", …]
    evaluation.comparison(BASE, TUNED).sentence           # -> "Fine-tuning is better: 210 tweets only it …"

The fine-tuned model, its base and the plain baselines are all systems: whatever answers `predict(texts)` can
be one more. Imports nothing heavy, since the list of runs reads these files.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from inference.artifact import EVALUATION, read_record
from inference.common.intervals import Interval
from inference.common.store import Damaged, JsonObject, validated
from inference.selective import CHOSEN_ON, CoveragePoint, Selective

T = TypeVar("T")

TUNED, BASE, BAG_OF_WORDS, MAJORITY = "fine-tuned", "base", "bag of words", "majority"
"""Names of systems. Others may have any name."""
ALL_ROWS = "all"
"""The split of an evaluation on all rows of a file."""
SINGLE_SCORES = ("accuracy", "macro_f1", "macro_recall", "expected_calibration_error")
"""The scores that are one figure each."""


@dataclass(frozen=True)
class CalibrationBin:
    """The rows whose confidence lies in (low, high]: how sure and how right, on average."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good one system is, each figure with its 95 % interval."""

    accuracy: Interval
    macro_f1: Interval
    macro_recall: Interval
    expected_calibration_error: Interval
    per_class_f1: Mapping[str, Interval] = field(default_factory=dict)
    """By label, in label order; empty in a file that lacks it."""
    confusion_matrix: tuple[tuple[int, ...], ...] = ()
    """Rows are true labels, columns predicted ones, in label order; () in a file that lacks it."""
    calibration: tuple[CalibrationBin, ...] = ()
    """What a reliability diagram shows; () in a file that lacks it."""


@dataclass(frozen=True, kw_only=True)
class System:
    """A named system that answered the rows, and its scores."""

    name: str
    scores: Scores
    about: str = ""
    """A description for people: the base's name, how a baseline was made."""
    seconds: float | None = None
    """How long making it took, where measured."""


@dataclass(frozen=True, kw_only=True)
class Bits:
    """How well a language model predicts some texts, in bits per character, before and after a training."""

    texts: int
    characters: int
    before: float
    after: float
    change: Interval
    """After minus before, with a bootstrap interval over the texts."""

    @property
    def figures(self) -> str:
        """The figures, for a sentence."""
        change = self.change
        return (
            f"{self.before:.3f} bits per character before, {self.after:.3f} after (change "
            f"{change.value:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}; "
            f"{self.texts:,} texts)"
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two systems on the same rows: is the second one's accuracy really another?"""

    first: str
    second: str
    n: int
    only_first_right: int
    """Rows that only the first gets right."""
    only_second_right: int
    mcnemar_p: float
    accuracy_difference: Interval
    """Second minus first, with the 95 % interval of a paired bootstrap."""
    real: bool
    """Whether p < 0.05 and 0 lies outside the interval."""
    sentence: str
    """The same for people, in English."""


@dataclass(frozen=True)
class RowsRead:
    """Where the rows of an evaluation come from."""

    data: str
    """The data set's name."""
    revision: str | None = None
    sha256: str | None = None
    duplicates_removed: int = 0
    """Rows of train that were exact duplicates of rows of this split, and so were not trained on."""
    notes: tuple[str, ...] = ()
    """Sentences on rows that were given and not scored, or that the model has seen."""


@dataclass(frozen=True)
class Duplicates:
    """Rows with a duplicate in train, exact or near, before the leak gate or after, and scores without."""

    removed: int
    """Rows whose duplicate was taken out of train."""
    learnt: int
    """Rows whose duplicate was trained on."""
    cosine: float
    """From this cosine on a text of train is a near duplicate."""
    n: int
    """Rows without a duplicate."""
    accuracy: Mapping[str, Interval] = field(default_factory=dict)
    """On rows without a duplicate, by system; empty where no row, or every row, has one."""
    macro_f1: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibrated:
    """The temperature that is folded into the fine-tuned model's head, chosen on the validation split."""

    temperature: float
    """Above 1 it made the probabilities softer."""
    error_before: Interval
    """The expected calibration error that it would have without."""


@dataclass(frozen=True)
class Answer:
    """One system's answer to one row."""

    label: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Disagreement:
    """A row on which base and fine-tuned disagree: a line of disagreements.jsonl."""

    text: str
    label: str
    """The true one."""
    base: Answer
    tuned: Answer

    @property
    def right(self) -> str:
        """Who is right: "tuned", "base" or "neither"."""
        if self.tuned.label == self.label:
            return "tuned"
        return "base" if self.base.label == self.label else "neither"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Systems on the same rows, the plainest first, and what the paired tests say."""

    split: str
    labels: tuple[str, ...]
    n: int
    truncated: int = 0
    """Texts that were longer than the fine-tuned model's limit and were cut."""
    systems: tuple[System, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Systems that could not take part, by name, and why."""
    rows: RowsRead | None = None
    absent: tuple[str, ...] = ()
    """Labels that no row has."""
    twins: Duplicates | None = None
    """Duplicates in train; None where nobody searched for them. The name is evaluation.json's."""
    calibrated: Calibrated | None = None
    """None where no temperature was folded in."""
    coverage: tuple[CoveragePoint, ...] = ()
    """Coverage and accuracy of the fine-tuned model on these rows, by threshold."""
    chosen_on: tuple[CoveragePoint, ...] = ()
    """The same on the validation rows, where thresholds are chosen."""
    selective: tuple[Selective, ...] = ()
    """Results on these rows of the thresholds that were chosen there for some precisions."""

    def sentences(self) -> list[str]:
        """Return what a reader of the scores has to know."""
        lines = list(self.rows.notes) if self.rows else []
        if self.absent:
            lines.append(
                f"No row is labelled {' or '.join(self.absent)}: macro recall is the mean over the other "
                "labels, and macro F1 counts such a label, as 0, only where it was predicted."
            )
        if self.calibrated and self.tuned:
            lines.append(
                f"A temperature of {self.calibrated.temperature:.2f}, chosen on the validation split, is "
                "folded into the head: the calibration error is "
                f"{100 * self.tuned.scores.expected_calibration_error.value:.1f} %, and would be "
                f"{100 * self.calibrated.error_before.value:.1f} % without."
            )
        if self.truncated:
            lines.append(f"{self.truncated:,} texts were longer than the model's limit and were cut.")
        if self.twins and (self.twins.removed or self.twins.learnt):
            lines.append(self._of_duplicates(self.twins))
        return lines

    def _of_duplicates(self, found: Duplicates) -> str:
        n = found.removed + found.learnt
        sentence = f"{n:,} of the {self.n:,} rows have an exact or near duplicate in train"
        sentence += f" ({found.removed:,} taken out by the leak gate, {found.learnt:,} trained on)"
        without = found.accuracy.get(TUNED)
        if not (without and self.tuned):
            return f"{sentence}."
        return (
            f"{sentence}: the accuracy is {100 * self.tuned.scores.accuracy.value:.1f} % with them and "
            f"{100 * without.value:.1f} % without."
        )

    def system(self, name: str) -> System | None:
        return next((system for system in self.systems if system.name == name), None)

    @property
    def tuned(self) -> System | None:
        return self.system(TUNED)

    @property
    def base(self) -> System | None:
        return self.system(BASE)

    def comparison(self, first: str, second: str) -> Comparison | None:
        """Return the comparison of two systems, None where they were not compared in this order."""
        return next((one for one in self.comparisons if (one.first, one.second) == (first, second)), None)

    def to_json(self) -> JsonObject:
        """Return plain dicts, lists and numbers, as evaluation.json has them."""
        record: JsonObject = json.loads(json.dumps(dataclasses.asdict(self)))  # tuples become lists
        return record

    @classmethod
    def from_json(cls, record: JsonObject) -> "Evaluation":
        """Read what `to_json` returned, or the flat record of November 2026 and before.

        What a file lacks or has in another form is left out: a model of somebody else may bring anything.
        """
        if "systems" not in record:
            record = _from_flat(record)
        left_out = _mapping(record.get("left_out"))
        return cls(
            split=str(record.get("split") or "test"),
            labels=_texts(record.get("labels")),
            n=_count(record.get("n")),
            truncated=_count(record.get("truncated")),
            systems=tuple(read_all(System, record.get("systems"))),
            comparisons=tuple(read_all(Comparison, record.get("comparisons"))),
            left_out={str(name): str(why) for name, why in left_out.items()},
            rows=next(read_all(RowsRead, [record.get("rows")]), None),
            absent=_texts(record.get("absent")),
            twins=next(read_all(Duplicates, [record.get("twins")]), None),
            calibrated=next(read_all(Calibrated, [record.get("calibrated")]), None),
            coverage=tuple(read_all(CoveragePoint, record.get("coverage"))),
            chosen_on=tuple(read_all(CoveragePoint, record.get(CHOSEN_ON))),
            selective=tuple(read_all(Selective, record.get("selective"))),
        )


def read_evaluation(folder: Path) -> Evaluation | None:
    """Return the evaluation in an artifact's or a run's folder, None without one; ArtifactError if torn."""
    record = read_record(folder, EVALUATION)
    return None if record is None else Evaluation.from_json(record)


def _from_flat(record: JsonObject) -> JsonObject:
    """Return a flat record in today's form.

    In it the fine-tuned model's scores stood at the top, "base" and "comparison" beside them, other systems
    under "rivals", and what the bag of words is under "bag_of_words".
    """
    bag, base, baselines = (_mapping(record.get(key)) for key in ("bag_of_words", "base", "rivals"))
    about = {BAG_OF_WORDS: {"about": bag.get("words") or "", "seconds": bag.get("seconds")}}
    compared = {BASE: record.get("comparison")}
    compared |= {name: _mapping(one).get("comparison") for name, one in baselines.items()}
    return {
        **record,
        "systems": [
            *({"name": name, "scores": one, **about.get(name, {})} for name, one in baselines.items()),
            {"name": BASE, "about": base.get("name") or "", "scores": base},
            {"name": TUNED, "scores": record},
        ],
        "comparisons": [
            {
                **one,
                "first": name,
                "second": TUNED,
                "only_first_right": one.get("only_base_right"),
                "only_second_right": one.get("only_tuned_right"),
            }
            for name, found in compared.items()
            if (one := _mapping(found))
        ],
        "left_out": {BAG_OF_WORDS: bag["left_out"]} if bag.get("left_out") else {},
    }


def read_all(kind: type[T], records: object) -> Iterator[T]:
    """Yield dataclasses from their records; a record of another form is passed over."""
    for record in records if isinstance(records, list) else []:
        with contextlib.suppress(Damaged):
            yield validated(kind, record)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
