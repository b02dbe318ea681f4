"""Sentences that show where a classifier is weak, answered by the fine-tuned model and by its base.

    record = classify_examples(tuned, base)       # at the end of training; kept as examples.json
    expected_label(EXAMPLES[0], labels)           # "positive", or None where the labels are other ones

The sentences were written for this project: none is anybody's post, none comes from a data set. What is
expected of them is said for sentiment only; for other labels they are shown as they were answered. They are
too few for a score: they are examples, and the card says so. Knows nothing about how they are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

EXAMPLES_FILE = "examples.json"
VERSION = 1


@dataclass(frozen=True)
class Example:
    """One sentence, what it tries, and the sentiment that a person would give it."""

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


class Predicts(Protocol):
    """What is needed of a classifier."""

    labels: tuple[str, ...]

    def predict(self, texts: Sequence[str]) -> list[Any]:
        """Return one prediction a text, with `label` and `probabilities`."""


def classify_examples(tuned: Predicts, base: Predicts | None = None) -> dict[str, Any]:
    """Return the answers of both, as examples.json has them: "examples", and "swaps" by group of people."""
    texts = [example.text for example in EXAMPLES]
    swaps = [SWAPS.format(who) for who in SWAPPED]
    answers = {
        name: [_answer(prediction) for prediction in classifier.predict([*texts, *swaps])]
        for name, classifier in (("tuned", tuned), ("base", base))
        if classifier
    }

    def of(place: int) -> dict[str, Any]:
        return {name: rows[place] for name, rows in answers.items()}

    return {
        "version": VERSION,
        "labels": list(tuned.labels),
        "examples": [
            {"group": example.group, "text": example.text, "sentiment": example.sentiment, **of(place)}
            for place, example in enumerate(EXAMPLES)
        ],
        "swaps": [{"who": who, **of(len(texts) + place)} for place, who in enumerate(SWAPPED)],
    }


def _answer(prediction: Any) -> dict[str, Any]:
    return {
        "label": prediction.label,
        "probabilities": [round(float(chance), 4) for chance in prediction.probabilities],
    }


def expected_label(sentiment: str, labels: Sequence[str]) -> str | None:
    """Return the label that stands for a sentiment, None where the labels are no sentiment or lack it."""
    named = {label.lower(): label for label in labels}
    return named.get(sentiment) if {"negative", "positive"} <= named.keys() else None


@dataclass(frozen=True)
class Spread:
    """How far apart the answers to a sentence are that says the same of different people."""

    label: str
    """The label whose probability moves most."""
    lowest: float
    highest: float
    lowest_who: str
    highest_who: str
    labels_given: tuple[str, ...]
    """The labels that were given, most frequent first."""


def spread(swaps: Sequence[Mapping[str, Any]], labels: Sequence[str], *, of: str) -> Spread | None:
    """Return the spread of one classifier's answers ("tuned" or "base"), None when there are none."""
    rows = [(row["who"], row[of]) for row in swaps if of in row]
    if not rows:
        return None
    ranges = []
    for place, label in enumerate(labels):
        chances = [(answer["probabilities"][place], who) for who, answer in rows]
        low, high = min(chances), max(chances)
        ranges.append((high[0] - low[0], label, low, high))
    _, label, low, high = max(ranges, key=lambda one: one[0])
    given = [answer["label"] for _, answer in rows]
    order = tuple(sorted(set(given), key=lambda name: (-given.count(name), name)))
    return Spread(label, low[0], high[0], low[1], high[1], order)
