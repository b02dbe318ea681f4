"""The results of a ladder: a row a step, and the paired tests. Read and written as JSON, and as CSV.

    ladder = Ladder.read(run.path)                                   # None before it is finished
    ladder.best.name, ladder.pair("zero-shot", "lora-1000").sentence
    write_text(run.path / "ladder.csv", to_csv(ladder))

Pairs are compared by McNemar's exact test, with Holm's correction for all of them (Holm 1979; statsmodels).
Beside each stands the smallest difference that this test could have shown: with the rows on which the two
disagree as they are, the share of them that one must win, so that the test finds it in 80 of 100 cases. Its
level is the strictest that Holm's correction asks for. Importing this loads nothing heavy.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from inference.common.intervals import Interval
from inference.common.store import JsonObject
from inference.selective import Selective
from training.evaluate.scores import Comparison, RowsRead, Scores
from training.runs.study import Result

POWER = 0.8
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The measurements of one step."""

    name: str
    rung: str
    about: str
    labels_used: int
    """Training labels; every step may use the validation labels too, at least for its temperature."""
    n: int
    scores: Scores
    calibration_error_after: Interval
    """The expected calibration error after the probabilities were scaled by `temperature`."""
    temperature: float
    """Chosen on the validation rows; above 1 softens."""
    minutes_to_prepare: float
    """As if no other step had made a part of it: loading the base, vectors and training included."""
    ms_a_tweet: float
    """In batches, on the machine of the run."""
    usd_a_thousand: float
    """For 1,000 posts, from the price of a core-hour."""
    peak_memory_mb: float | None
    """Peak memory of the process during this step; None where the system does not report it."""
    truncated: int
    """Test texts that were cut."""
    dropped: int
    """Examples that did not fit into the context, over all test rows where each has its own."""
    weights_sha256: str
    """Hash of the weights that answered."""
    selective: Selective | None = None
    """Its results where it may say "I don't know"; the threshold is chosen on the validation rows."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two steps on the same rows."""

    comparison: Comparison
    holm_p: float
    real: bool
    """Whether Holm's p is below 0.05 and 0 lies outside the interval."""
    smallest_difference: float | None
    """In accuracy; None where the two disagree on too few rows to show anything."""
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Ladder(Result):
    """The steps, the plainest first, and their pairs."""

    FILE: ClassVar[str] = "ladder.json"

    labels: tuple[str, ...]
    n: int
    n_validation: int
    steps: tuple[StepResult, ...]
    pairs: tuple[Pair, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Steps that could not take part, and why."""
    rows: RowsRead | None = None
    base: Mapping[str, str] = field(default_factory=dict)
    """Name and revision of the base, and the hash of its weights as they were loaded."""
    price: float = 0.0
    """Price of a core-hour, in dollars."""
    cores: int = 0

    @property
    def ranked(self) -> list[StepResult]:
        return sorted(self.steps, key=lambda step: -step.scores.accuracy.value)

    def pair(self, first: str, second: str) -> Pair | None:
        names = {first, second}
        return next(
            (pair for pair in self.pairs if {pair.comparison.first, pair.comparison.second} == names), None
        )

    @property
    def headline(self) -> str:
        """Honest sentences on the best step: is it better than the next one, and were labels worth it?"""
        ranked = self.ranked
        best, others = ranked[0], {step.name: "" for step in ranked[1:2]}
        if best.labels_used and (plain := next((step for step in ranked if not step.labels_used), None)):
            others[plain.name] = ", the best without labels"
        found = {name: self.pair(best.name, name) for name in others}
        said = [
            f"{best.name} and {name}{others[name]}: {pair.sentence[:1].lower()}{pair.sentence[1:]}"
            for name, pair in found.items()
            if pair
        ]
        return " ".join(said) or "One step alone: there is nothing to compare it with."

    def sentences(self) -> list[str]:
        left_out = (f"{name} is left out: {why}" for name, why in self.left_out.items())
        return [self.headline, *filter(None, [self.nearest_or_drawn]), *left_out]

    @property
    def nearest_or_drawn(self) -> str:
        """Whether the nearest examples in a prompt are better than as many drawn ones; "" without both."""
        nearest = next((step for step in self.ranked if step.rung.startswith("retrieval-")), None)
        drawn = next((step for step in self.steps if step.rung == "few-shot-4"), None)
        pair = self.pair(nearest.name, drawn.name) if nearest and drawn else None
        # An earlier version's prompts had 8 of the nearest.
        if not (nearest and drawn and pair and f"the {drawn.labels_used} nearest of" in nearest.about):
            return ""
        return (
            f"{drawn.labels_used} examples in the prompt, the nearest ({nearest.name}) or drawn ones "
            f"({drawn.name}): {pair.sentence[:1].lower()}{pair.sentence[1:]}"
        )

    def said(self) -> JsonObject:
        """Return its sentences, and the first of them by its name."""
        return {"headline": self.headline, **super().said()}


def pairs_of(
    steps: Sequence[str], references: Sequence[int], answers: Mapping[str, NDArray[np.float64]], *, seed: int
) -> tuple[Pair, ...]:
    """Compare all pairs of steps on the same rows; `answers`: probabilities of shape (rows, labels)."""
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415  (a second)

    from training.evaluate.metrics import compare, sentence_of  # noqa: PLC0415

    found = [
        compare(references, answers[first], answers[second], names=(first, second), seed=seed)
        for first, second in combinations(steps, 2)
    ]
    if not found:
        return ()
    corrected = multipletests([one.mcnemar_p for one in found], alpha=LEVEL, method="holm")[1]
    pairs = []
    for one, p in zip(found, map(float, corrected), strict=True):
        difference = one.accuracy_difference
        real = p < LEVEL and (difference.low > 0 or difference.high < 0)
        smallest = smallest_difference(
            one.only_first_right + one.only_second_right, one.n, level=LEVEL / len(found)
        )
        shown = dataclasses.replace(one, mcnemar_p=p, real=real)
        sentence = sentence_of(shown, corrected=f" by Holm for {len(found)} pairs" if len(found) > 1 else "")
        if not real:
            sentence += (
                f" {100 * smallest:.1f} points is the least that this test could have shown."
                if smallest
                else " They differ on too few rows for this test to show anything."
            )
        pairs.append(
            Pair(comparison=one, holm_p=p, real=real, smallest_difference=smallest, sentence=sentence)
        )
    return tuple(pairs)


def smallest_difference(disagreeing: int, n: int, *, level: float) -> float | None:
    """Return the least difference in accuracy that McNemar's exact test shows with POWER at `level`.

    The rows on which the two disagree are taken as they are. None where even winning all of them is no proof.
    """
    from scipy.stats import beta, binom  # noqa: PLC0415  (most who read results need no test)

    if not disagreeing or 2 * 0.5**disagreeing > level:
        return None
    wins = int(binom.isf(level / 2, disagreeing, 0.5)) + 1  # P(this many or more) is at most level / 2
    share = float(beta.ppf(POWER, wins, disagreeing - wins + 1))  # with it, so many are won in POWER of cases
    return (2 * share - 1) * disagreeing / n


def to_csv(ladder: Ladder) -> str:
    """Return a line a step, with intervals as three columns."""
    out = io.StringIO()
    rows = [_flat(step) for step in ladder.steps]
    writer = csv.DictWriter(out, list(rows[0]) if rows else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(step: StepResult) -> dict[str, object]:
    found: dict[str, object] = {}
    scores = {name: getattr(step.scores, name) for name in ("accuracy", "macro_f1", "macro_recall")}
    scores["calibration_error"] = step.scores.expected_calibration_error
    for key, value in dataclasses.asdict(step).items():
        if key == "scores":
            for name, score in scores.items():
                found |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
        elif key == "calibration_error_after":
            found[key] = step.calibration_error_after.value
        elif key == "selective":
            sure = step.selective
            found["threshold"] = sure.threshold if sure else None
            found["answered"] = sure.answered.value if sure else None
            found["right_of_answered"] = sure.right.value if sure and sure.right else None
        else:
            found[key] = value
    return found
