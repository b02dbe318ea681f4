"""What is wrong with a training, by its own records, and the changed recipe to try next.

    for found in examine(run):
        print(found.sentence, found.changes)   # -> "It over-fits: …", {"epochs": 2.0, "patience": 2}
    changed(run.recipe, examine(run))          # -> a Recipe with all of them

Reads events, evaluation and the artifact's small files, so that any run can be examined, finished or not, in
milliseconds. Each diagnosis cites the numbers that it rests on. How often it is right is measured by
`benchmarks/doctor.py`, on whose other draws the limits below were chosen. Reads no text:
`training.doctor.behaviour` checks how a model answers.
"""

import contextlib
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from inference.artifact import read_record
from inference.common.errors import ArtifactError, RunError
from inference.common.store import JsonObject
from training.data.report import SplitSizes
from training.evaluate.scores import BAG_OF_WORDS, MAJORITY, Evaluation, System
from training.recipes import Recipe, change
from training.runs.provenance import read_provenance
from training.runs.run import Run

FEW_VALIDATION_ROWS = 100
"""With fewer rows an accuracy is uncertain by 10 points and more."""
RISE, GAP = 1.2, 0.3
"""A run over-fits when its validation loss ends above RISE times its lowest, or its training loss below GAP
times the validation loss."""
LEARNT, HALF = 0.85, 0.4
"""Nearly nothing, or only a part, was learnt when the training loss ends above these shares of its first
value."""
KNOWN = 0.4
"""Below this share of the loss of guessing there is not much left to learn."""
JUMP, TEXTS = 1.6, 48
"""Too high a learning rate takes the mean training loss of so many texts to JUMP times its first value, or
that of guessing."""
COLLAPSED, GUESSED = 0.95, 1.2
"""The head has collapsed when one label has this share of the answers, or macro-recall is below GUESSED times
that of guessing though a bag of words finds something."""
TELLABLE = 0.25
"""Labels follow from texts when a bag of words gets this far from the most frequent label to perfect."""
UNEVEN = 4
"""Imbalance is to blame when the largest class has this many times the training rows of the smallest."""
LEAKED, CUT = 0.01, 0.01
"""Shares of test rows that were trained on, and of texts that were cut, that are reported as faults."""
SUREST, RIGHT_THERE = 1 / 3, 0.75
"""Labels are not noisy when this share of the surest third of the answers is right."""
_LEAST_ROWS = 5  # with so many test rows of a class it is odd never to predict it
_LEAST_LOSSES = 10


@dataclass(frozen=True)
class Diagnosis:
    """One fault, the numbers it rests on, and the settings to change."""

    fault: str
    sentence: str
    changes: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> JsonObject:
        return {"fault": self.fault, "sentence": self.sentence, "changes": dict(self.changes)}


@dataclass(frozen=True)
class Records:
    """The records of a run."""

    recipe: Recipe
    losses: Sequence[float] = ()
    """Training loss by step, of the seed that was kept."""
    checks: Sequence[JsonObject] = ()
    """Evaluations on the validation split: epoch, loss, accuracy, macro_f1."""
    finished: bool = True
    data: JsonObject = field(default_factory=dict)
    evaluation: Evaluation | None = None
    truncated: Mapping[str, int] = field(default_factory=dict)
    config: JsonObject = field(default_factory=dict)
    """The artifact's config.json, {} without one."""
    tokenizer: JsonObject = field(default_factory=dict)
    """Its tokenizer.json, {} without one."""
    pad_token: str = ""

    @property
    def tuned(self) -> System | None:
        return self.evaluation.tuned if self.evaluation else None

    @property
    def balance(self) -> Mapping[str, int]:
        return (self.data.get("class_balance") or {}).get("train") or {}

    @property
    def chance(self) -> float:
        """The loss of guessing: ln of the number of classes."""
        return math.log(max(len(self.balance), 2))

    @property
    def early(self) -> float:
        """The training loss at the beginning: the mean of the first tenth."""
        return fmean(self.losses[: max(1, len(self.losses) // 10)])

    @property
    def late(self) -> float:
        """The training loss at the end: the mean of the last fifth."""
        return fmean(self.losses[-max(1, len(self.losses) // 5) :])

    @property
    def floor(self) -> float:
        """The least that the training loss can reach: what label smoothing adds."""
        k, spread = max(len(self.balance), 2), self.recipe.label_smoothing
        shares = [1 - spread + spread / k, *[spread / k] * (k - 1)]
        return -sum(share * math.log(share) for share in shares if share)

    @property
    def reach(self) -> float | None:
        """How far from the most frequent label to perfect a bag of words gets; None without one."""
        bag, majority = (
            self.evaluation and self.evaluation.system(name) for name in (BAG_OF_WORDS, MAJORITY)
        )
        if not (bag and majority):
            return None
        start = majority.scores.accuracy.value
        return (bag.scores.accuracy.value - start) / max(1 - start, 1e-9)

    @property
    def tellable(self) -> bool:
        """Whether there is something to learn, as far as that is known."""
        return self.reach is None or self.reach > TELLABLE

    def rows(self, split: str) -> SplitSizes:
        """Return how many rows of a split were read, kept and used."""
        return SplitSizes(**((self.data.get("rows") or {}).get(split) or {}))


def records_of(run: Run) -> Records:
    """Read a run's records, as far as they exist. Raises RecipeError where its recipe can't be used."""
    found: dict[str, JsonObject] = {}
    truncated: Mapping[str, int] = {}
    seed = None
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "provenance.json"):
        with contextlib.suppress(ArtifactError):
            found[name] = read_record(run.artifact, name) or {}
    with contextlib.suppress(ArtifactError):
        truncated, seed = (
            read_provenance(run.artifact).truncated,
            found["provenance.json"].get("trained_by_seed"),
        )
    pad = found.get("tokenizer_config.json", {}).get("pad_token") or ""
    return Records(
        recipe=run.recipe,
        losses=[float(event["loss"]) for event in _of_one_seed(run.events("step"), seed)],
        checks=_of_one_seed(run.events("validation"), seed),
        finished=run.status().state == "finished",
        data=next(iter(run.events("data")[-1:]), {}),
        evaluation=run.evaluation(),
        truncated=truncated,
        config=found.get("config.json", {}),
        tokenizer=found.get("tokenizer.json", {}),
        pad_token=str(pad.get("content", "") if isinstance(pad, Mapping) else pad),
    )


def _of_one_seed(events: Sequence[JsonObject], seed: int | None) -> list[JsonObject]:
    """Return the events of the seed that was kept, or of the last one; those after a resume count."""
    last = events[-1].get("seed") if events else None
    seeds = {event.get("seed") for event in events}
    mine = {
        event["step"]: event for event in events if event.get("seed") == (seed if seed in seeds else last)
    }
    return [mine[step] for step in sorted(mine)]


def examine(run: Run | Records) -> list[Diagnosis]:
    """Return what is wrong with a run, the gravest first; nothing for a healthy one, or before it has learnt.

    Raises RecipeError where its recipe can't be used.
    """
    records = records_of(run) if isinstance(run, Run) else run
    curves = list(_curves(records))
    return [
        *_tokens(records),
        *curves,
        *_predictions(records, learnt=all(one.fault != "learning rate too low" for one in curves)),
        *_leak(records),
        *_noise(records),
        *_sizes(records),
    ]


def check_examinable(run: Run) -> None:
    """Raise RunError for a run without records to examine."""
    run.check()
    if not run.events("step") and run.evaluation() is None:
        raise RunError(
            f"The run {run.id} is {run.status().state}, and no training step of it is recorded: there is "
            "nothing to examine yet. Wait, or resume it."
        )


def changes_of(found: Sequence[Diagnosis]) -> dict[str, object]:
    """Return the settings that diagnoses ask for; where two ask for one, the graver one's."""
    return {name: value for one in reversed(found) for name, value in one.changes.items()}


def changed(recipe: Recipe, found: Sequence[Diagnosis]) -> Recipe:
    """Return a recipe with what diagnoses ask for."""
    return change(recipe, changes_of(found))


def command(recipe: Path, found: Sequence[Diagnosis]) -> str:
    """Return the command that trains by the changed recipe, "" without a change."""
    changes = changes_of(found)
    words = ["python", "-m", "training", "train", str(recipe)]
    words += [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    return shlex.join(words) if changes else ""


def _tokens(records: Records) -> Iterator[Diagnosis]:
    """Check the artifact's tokenizer: the pad token, and the prompt."""
    vocabulary = (records.tokenizer.get("model") or {}).get("vocab") or {}
    special = {one["content"]: one["id"] for one in records.tokenizer.get("added_tokens") or ()}
    pad = special.get(
        records.pad_token, vocabulary.get(records.pad_token) if isinstance(vocabulary, dict) else None
    )
    named = records.config.get("pad_token_id")
    if records.config and records.tokenizer and (named is None or pad not in (None, named)):
        named_pad = "none" if named is None else f"{named}"
        yield Diagnosis(
            "pad token",
            f"The pad token is wrong: config.json names {named_pad}, the tokenizer pads with {pad}, so texts "
            "of several lengths in one batch are answered by another token than their last. Train it again, "
            "or copy config.json from where it came from.",
        )
    prompted = records.recipe.prompt_prefix or records.recipe.prompt_suffix
    if records.tokenizer and prompted and "SpecialToken" not in str(records.tokenizer.get("post_processor")):
        yield Diagnosis(
            "prompt gone",
            "The prompt is gone: the recipe puts one around each text, and tokenizer.json does not. Copy "
            "tokenizer.json from where it came from, or train it again.",
        )


def _curves(records: Records) -> Iterator[Diagnosis]:
    """Read the learning rate, over- and under-fitting off the curves; one of them, the gravest."""
    recipe, checks = records.recipe, records.checks
    if len(records.losses) < _LEAST_LOSSES or not checks:
        return
    rate, chance = recipe.learning_rate, records.chance
    descent = f"the training loss went from {records.early:.2f} to {records.late:.2f}"
    losses = [float(check["loss"]) for check in checks]
    lowest, last = min(losses), losses[-1]
    best = float(checks[losses.index(lowest)]["epoch"])
    early, late = records.early - records.floor, records.late - records.floor
    smooth = _smooth(records.losses, recipe.batch_size * recipe.gradient_accumulation_steps)
    highest = max(smooth)
    broken = not all(map(math.isfinite, [*records.losses, *losses]))
    if broken or highest > JUMP * max(smooth[0], chance):
        yield Diagnosis(
            "learning rate too high",
            f"The learning rate of {rate:g} is too high: the training loss went from {smooth[0]:.2f} up to "
            f"{highest:.2f}, where guessing has {chance:.2f}, and the validation loss ended at {last:.2f}.",
            {"learning_rate": float(f"{rate / 10:.3g}")},
        )
    elif recipe.teacher:  # its answers, which are not in the records, are the least that a loss can reach
        return
    elif (last > RISE * lowest and late < 0.7 * last) or (late < GAP * last and last > 0.25 * chance):
        yield Diagnosis(
            "over-fitting",
            f"It over-fits: {descent}, and the validation loss, at its lowest {lowest:.2f} in epoch "
            f"{best:.1f}, ended at {last:.2f}.",
            {
                "epochs": max(round(best if best < 0.8 * recipe.epochs else recipe.epochs / 2, 1), 0.5),
                "patience": recipe.patience or 2,
            },
        )
    elif not records.finished or late < KNOWN * chance:  # the base could do it already
        return
    elif late > LEARNT * early and last > 0.9 * losses[0] and records.tellable:
        if recipe.head == "random":
            yield Diagnosis(
                "untrained head",
                f"The head started from noise and has learnt nearly nothing: {descent}.",
                {"head": "words"},
            )
        yield Diagnosis(
            "learning rate too low",
            f"Hardly anything was learnt with a learning rate of {rate:g}: {descent}.",
            {"learning_rate": float(f"{min(rate * 10, 1.0):.3g}")},
        )
    elif (
        late > HALF * early
        and late > 0.9 * last
        and (len(losses) == 1 or last < 0.9 * losses[0])
        and records.tellable
    ):
        yield Diagnosis(
            "under-fitting",
            f"It was stopped too early: {descent}, and nothing was learnt by heart yet, since the validation "
            f"loss is {last:.2f}.",
            {"epochs": max(2 * recipe.epochs, 2.0)},
        )


def _smooth(losses: Sequence[float], batch: int) -> list[float]:
    """Return the means of a twentieth of the steps each, or of as many as have TEXTS texts."""
    size = min(max(len(losses) // 20, -(-TEXTS // batch)), len(losses))
    return [fmean(losses[at : at + size]) for at in range(0, len(losses) - size + 1, size)]


def _predictions(records: Records, *, learnt: bool) -> Iterator[Diagnosis]:
    """Check the predictions: one class for all, by chance, or a class never.

    `learnt`: the curves don't say that nothing was learnt at all, which would explain answers by chance.
    """
    tuned, evaluation = records.tuned, records.evaluation
    matrix = tuned.scores.confusion_matrix if tuned else ()
    if not (tuned and evaluation and matrix):
        return
    columns, rows = [sum(row[i] for row in matrix) for i in range(len(matrix))], list(map(sum, matrix))
    total, most = sum(rows), max(columns)
    where = columns.index(most)
    recall, guessed = tuned.scores.macro_recall.value, 1 / sum(map(bool, rows))
    one_label = most > COLLAPSED * total and rows[where] < 0.9 * total
    if one_label or (learnt and recall < GUESSED * guessed and (records.reach or 0.0) > TELLABLE):
        yield Diagnosis(
            "collapsed head",
            f"The head has collapsed: {most:,} of {total:,} test rows are called {evaluation.labels[where]}, "
            f"which {rows[where]:,} are, and macro-recall is {100 * recall:.1f} %, where guessing has "
            f"{100 * guessed:.1f} %.",
            {"head": "words", "learning_rate": float(f"{records.recipe.learning_rate / 5:.3g}")},
        )
        return
    never = [i for i, n in enumerate(columns) if n == 0 and rows[i] >= _LEAST_ROWS]
    if never:
        listed = ", ".join(f"{evaluation.labels[i]} ({rows[i]:,} test rows)" for i in never)
        yield Diagnosis("class never predicted", f"Never predicted: {listed}.", {"class_weights": "balanced"})
    counts = [n for n in records.balance.values() if n]
    gap = tuned.scores.accuracy.value - tuned.scores.macro_f1.value
    if not never and counts and max(counts) >= UNEVEN * min(counts) and gap > 0.05:
        yield Diagnosis(
            "imbalance",
            f"Rare classes suffer: the largest class has {max(counts):,} training rows, the smallest "
            f"{min(counts):,}, and macro-F1 is {100 * gap:.1f} points below the accuracy.",
            {"class_weights": "balanced"},
        )


def _leak(records: Records) -> Iterator[Diagnosis]:
    duplicates = records.evaluation.twins if records.evaluation else None
    if records.evaluation and duplicates and duplicates.learnt > LEAKED * records.evaluation.n:
        yield Diagnosis(
            "leak",
            f"Test rows leaked: {duplicates.learnt:,} of {records.evaluation.n:,} have an exact or near "
            "duplicate that was trained on.",
            {"leak_gate": "near"},
        )


def _noise(records: Records) -> Iterator[Diagnosis]:
    """Tell noisy labels from hard texts: a model knows which texts are hard, not which labels are wrong."""
    rows = sum(records.rows(split).used for split in ("train", "validation", "test"))
    contradicting = int(records.data.get("conflict_rows") or 0)
    tuned, evaluation = records.tuned, records.evaluation
    if rows and contradicting > 0.02 * rows:
        yield Diagnosis(
            "label noise",
            f"Labels contradict each other: {contradicting:,} rows have a text that has another label too.",
            {"label_smoothing": 0.1},
        )
    elif evaluation and tuned:
        enough = [point for point in evaluation.coverage if point.answered.value >= SUREST]
        if not enough:
            return
        sure, accuracy = min(enough, key=lambda point: point.answered.value).right, tuned.scores.accuracy
        if sure.high < RIGHT_THERE and (records.reach or 0.0) < 0.5:
            yield Diagnosis(
                "label noise",
                f"Labels may be wrong: of the third of the test rows that it is surest of, only "
                f"{100 * sure.value:.1f} % are right, and of all rows {100 * accuracy.value:.1f} %.",
                {"label_smoothing": 0.1},
            )


def _sizes(records: Records) -> Iterator[Diagnosis]:
    validation, recipe = records.rows("validation"), records.recipe
    if 0 < validation.used < FEW_VALIDATION_ROWS:
        unsure = 196 * math.sqrt(0.25 / validation.used)
        yield Diagnosis(
            "few validation rows",
            f"There are too few validation rows to choose by: {validation.used:,}, which leave an accuracy "
            f"uncertain by up to {unsure:.0f} points.",
            {"n_validation": 0} if validation.kept > validation.used else {},
        )
    cut, train = records.truncated.get("train", 0), records.rows("train").used
    if train and cut > CUT * train:
        room = int(
            records.config.get("n_positions") or records.config.get("max_position_embeddings") or 1 << 30
        )
        yield Diagnosis(
            "texts cut",
            f"Texts are cut: {cut:,} of {train:,} training texts are longer than {recipe.max_length} tokens.",
            {"max_length": min(2 * recipe.max_length, room)} if recipe.max_length < room else {},
        )
