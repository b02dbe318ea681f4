"""What a feed asks of a model: an answer to each text, and None where it has none.

    answers(classifier.predict, ["what a day"])      # -> [Prediction(label="positive", …)]

Knows nothing about posts.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from inference.common.errors import PredictionError


class Answer(Protocol):
    """What the feed reads of a prediction."""

    @property
    def label(self) -> str:
        """The label with the highest probability."""
        ...

    @property
    def probabilities(self) -> tuple[float, ...]:
        """One probability a label, in the order of the labels."""
        ...


Classify = Callable[[Sequence[str]], Sequence[Answer]]


def answers(classify: Classify, texts: Sequence[str]) -> list[Answer | None]:
    """Classify texts; when one of them can't be, each is tried alone and None stands for those that fail."""
    try:
        return list(classify(texts))
    except PredictionError:
        return [None] if len(texts) == 1 else [answers(classify, [text])[0] for text in texts]
