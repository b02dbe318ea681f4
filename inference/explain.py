"""Which words moved an answer: each is left out in turn, and what that does to the answer is its weight.

    leave_one_out(classifier.predict, "so happy today", classifier.labels)
    # -> Explanation(label="positive", pieces=(("so", 0.01), ("happy", 0.42), ("today", -0.03)))

One batch of texts, with any classifier. It shows what the model leans on, not why: words that only count
together are missed. Source: Li et al. 2016, arXiv 1612.08220.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.classifier import Prediction

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
