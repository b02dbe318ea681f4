"""Which words moved an answer, and which small changes of the text flip it.

The weight of a word is how the answer changes when it is left out.

    leave_one_out(classifier.predict, "so happy today", classifier.labels)
    # -> Explanation(label="positive", pieces=(("so", 0.01), ("happy", 0.42), ("today", -0.03)))
    flips(classifier.predict, "so happy today")         # -> {"negation": "negative"}

One batch of texts, with any classifier. It shows what the model leans on, not why: words that only count
together are missed. Source: Li et al. 2016, arXiv 1612.08220.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.classifier import Prediction

VARIED_MOST = 500
"""Characters of a text that is varied."""
MOST_PIECES = 24
"""Longer texts are cut into so many pieces of several words."""


@dataclass(frozen=True)
class Explanation:
    """A label, and the pieces of a text with what each adds to the label's probability."""

    label: str
    pieces: tuple[tuple[str, float], ...]


def leave_one_out(
    predict: Callable[[Sequence[str]], Sequence[Prediction]], text: str, labels: Sequence[str]
) -> Explanation:
    """Return the weight of each piece of a text: the label's probability with it minus that without it."""
    words = text.split()
    size = -(-len(words) // MOST_PIECES) or 1
    pieces = [words[start : start + size] for start in range(0, len(words), size)]
    without = [
        " ".join(word for other, each in enumerate(pieces) if other != place for word in each)
        for place in range(len(pieces))
    ]
    whole, *others = predict([text, *without])
    index = list(labels).index(whole.label)
    weights = [whole.probabilities[index] - other.probabilities[index] for other in others]
    return Explanation(
        whole.label, tuple((" ".join(piece), weight) for piece, weight in zip(pieces, weights, strict=True))
    )


def variants(text: str) -> dict[str, str]:
    """Return small changes of a text, by their kind; none for an empty or a long text.

    A negation, and an emoji of the other pole, may well change its sentiment; capitals and a user's name
    should not.
    """
    text = text.strip()
    if not text or len(text) > VARIED_MOST:
        return {}
    changed = {
        "capitals": text.upper(),
        "smile": f"{text} 🙂",
        "rage": f"{text} 😡",
        "negation": f"it is not true that {text}",
        "name": f"@someone {text}",
    }
    return {name: other for name, other in changed.items() if other != text}


def flips(predict: Callable[[Sequence[str]], Sequence[Prediction]], text: str) -> dict[str, str]:
    """Return the changes with which the answer has another label, with that label; in one batch."""
    changed = variants(text)
    if not changed:
        return {}
    own, *others = predict([text, *changed.values()])
    return {
        name: other.label for name, other in zip(changed, others, strict=True) if other.label != own.label
    }
