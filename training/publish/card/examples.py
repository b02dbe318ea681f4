"""Sentences that show where a classifier is weak, answered by the fine-tuned model and by its base.

    record = classify_examples(tuned, base).to_json()    # at the end of training; kept as examples.json
    expected_label("positive", labels)                   # None where the labels are other ones

The sentences were written for this project: none is anybody's post, none comes from a data set. Answers
are expected for sentiment only; for other labels they are shown as given. They are
too few for a score: they are examples, and the card says so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from inference.classifier import Prediction
from inference.common.store import JsonObject
from training.evaluate.scores import Answer, read_all

EXAMPLES_FILE = "examples.json"
VERSION = 1


@dataclass(frozen=True)
class Example:
    """One sentence, what it tests, and the sentiment that a person would give it."""

    group: str
    text: str
    sentiment: str


def _group(group: str, *rows: tuple[str, str]) -> tuple[Example, ...]:
    return tuple(Example(group, text, sentiment) for sentiment, text in rows)


EXAMPLES: tuple[Example, ...] = (
    *_group(
        "plain",
        ("positive", "what a lovely day, I could dance all the way home"),
        ("negative", "the train is late again and I am soaked"),
        ("neutral", "the shop opens at nine on Saturday"),
    ),
    *_group(
        "negation",
        ("positive", "not bad at all, I would go again"),
        ("negative", "I wouldn't call that a good film"),
        ("negative", "nothing about this trip was fun"),
        ("positive", "can't complain, nobody could have done it better"),
    ),
    *_group(
        "irony",
        ("negative", "oh great, another Monday without coffee"),
        ("negative", "thanks for nothing, best service ever"),
        ("negative", "love it when my phone dies at ten percent"),
    ),
    *_group(
        "emoji",
        ("positive", "finally home 😍🎉"),
        ("negative", "my flight got cancelled 😭"),
        ("negative", "well that was fun 🙄"),
        ("positive", "🔥🔥🔥"),
    ),
    *_group(
        "mixed",
        ("negative", "the food was wonderful but I was sick for two days"),
        ("positive", "rain all week, and still the best holiday of my life"),
    ),
    *_group(
        "spelling and slang",
        ("positive", "soooo happyyyy rn cant even"),
        ("negative", "ngl this update is mid, kinda hate it"),
        ("positive", "that beat slaps fr"),
    ),
    *_group(
        "dialect",
        ("positive", "she be killin it every time, no cap"),
        ("negative", "I ain't never going back to that place"),
        ("positive", "that wis pure dead brilliant, so it wis"),
        ("negative", "dis network don tire me, abeg"),
    ),
    *_group(
        "other languages",
        ("positive", "que dia maravilhoso, estou muito feliz"),
        ("negative", "el peor servicio que he visto en mi vida"),
        ("negative", "das war leider eine riesige Enttäuschung"),
        ("neutral", "le magasin ouvre à neuf heures"),
        ("positive", "यह फ़िल्म बहुत अच्छी थी"),
    ),
)

SWAPS = "My new neighbour is {} and works at the library."
SWAPPED = (
    "a woman",
    "a man",
    "a Christian",
    "a Muslim",
    "a Jew",
    "an atheist",
    "Black",
    "white",
    "gay",
    "straight",
    "from Nigeria",
    "from Norway",
    "in a wheelchair",
    "eighty years old",
)
"""The sentence says the same of each: a fair model gives it the same probabilities every time."""


@dataclass(frozen=True)
class AnsweredExample(Example):
    """A sentence, and the answers of fine-tuned and base."""

    tuned: Answer | None = None
    base: Answer | None = None


@dataclass(frozen=True)
class AnsweredSwap:
    """The answers to SWAPS about one group of people."""

    who: str
    tuned: Answer | None = None
    base: Answer | None = None


@dataclass(frozen=True)
class AnsweredExamples:
    """The content of examples.json."""

    labels: tuple[str, ...] = ()
    examples: tuple[AnsweredExample, ...] = ()
    swaps: tuple[AnsweredSwap, ...] = ()

    def to_json(self) -> JsonObject:
        """Return plain dicts, lists and numbers; a side that did not answer is left out."""
        record = {"version": VERSION, **asdict(self)}
        for row in (*record["examples"], *record["swaps"]):
            for side in [side for side in ("tuned", "base") if row[side] is None]:
                del row[side]
        return record

    @classmethod
    def from_json(cls, record: JsonObject) -> "AnsweredExamples":
        """Read what `to_json` returned; rows of another form are left out."""
        return cls(
            labels=tuple(map(str, record.get("labels") or ())),
            examples=tuple(read_all(AnsweredExample, record.get("examples"))),
            swaps=tuple(read_all(AnsweredSwap, record.get("swaps"))),
        )


class Predicts(Protocol):
    """The part of a classifier that is needed here."""

    labels: tuple[str, ...]

    def predict(self, texts: Sequence[str]) -> Sequence[Prediction]:
        """Return one prediction a text."""


def classify_examples(tuned: Predicts, base: Predicts | None = None) -> AnsweredExamples:
    """Return the answers of both."""
    texts = [*(example.text for example in EXAMPLES), *map(SWAPS.format, SWAPPED)]

    def answers(classifier: Predicts | None) -> list[Answer | None]:
        if classifier is None:
            return [None] * len(texts)
        found = classifier.predict(texts)
        return [Answer(p.label, tuple(round(float(chance), 4) for chance in p.probabilities)) for p in found]

    mine, theirs, count = answers(tuned), answers(base), len(EXAMPLES)
    return AnsweredExamples(
        labels=tuned.labels,
        examples=tuple(
            AnsweredExample(**vars(example), tuned=my, base=their)
            for example, my, their in zip(EXAMPLES, mine, theirs, strict=False)
        ),
        swaps=tuple(AnsweredSwap(*one) for one in zip(SWAPPED, mine[count:], theirs[count:], strict=True)),
    )


def expected_label(sentiment: str, labels: Sequence[str]) -> str | None:
    """Return the label that stands for a sentiment, None where the labels are no sentiment or lack it."""
    named = {label.lower(): label for label in labels}
    return named.get(sentiment) if {"negative", "positive"} <= named.keys() else None


@dataclass(frozen=True)
class Spread:
    """How far apart the answers to the same sentence about different people are."""

    label: str
    """The label whose probability moves most."""
    lowest: float
    highest: float
    lowest_who: str
    highest_who: str
    labels_given: tuple[str, ...]
    """The labels that were given, most frequent first."""


def spread(answers: Sequence[tuple[str, Answer]], labels: Sequence[str]) -> Spread | None:
    """Return the spread of one classifier's answers by group of people, None when there are none."""
    if not answers:
        return None
    ranges = []
    for place, label in enumerate(labels):
        chances = [(answer.probabilities[place], who) for who, answer in answers]
        low, high = min(chances), max(chances)
        ranges.append((high[0] - low[0], label, low, high))
    _, label, low, high = max(ranges, key=lambda one: one[0])
    given = Counter(answer.label for _, answer in answers)
    order = tuple(sorted(given, key=lambda name: (-given[name], name)))
    return Spread(label, low[0], high[0], low[1], high[1], order)
