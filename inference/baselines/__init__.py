"""Baselines: other classifiers of the same texts, with the `predict(texts)` of the Classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inference.classifier import Prediction

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A labelled text that an answer can rest on."""

    text: str
    label: str
    similarity: float | None = None
    """To the text that is classified, higher is nearer; None without a search."""


@dataclass(frozen=True)
class Explained(Prediction):
    """A prediction with the labelled texts that it rests on."""

    rests_on: tuple[Example, ...] = ()
    """Nearest first."""
    dropped: int = 0
    """Examples that the model's context had no room for."""


def rests_on(prediction: Prediction) -> tuple[Example, ...]:
    """Return the labelled texts that a prediction rests on; most predictions name none."""
    return prediction.rests_on if isinstance(prediction, Explained) else ()


class Predictor(Protocol):
    """Whatever classifies texts: the Classifier, a bag of words, the majority."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels, in the order of its probabilities."""

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order."""


class Baseline(Predictor, Protocol):
    """A predictor fitted to training texts, as a baseline to beat."""

    @property
    def about(self) -> str:
        """A description for people."""

    @property
    def seconds(self) -> float:
        """How long it took to make."""


class Features(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """The model that computes them: vectors of different names can't be compared."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a text, shape (texts, size)."""


class Average:
    """The weighted mean of several predictors' probabilities, such as those of several prompts."""

    def __init__(
        self,
        predictors: Sequence[Predictor],
        *,
        about: str,
        weights: Sequence[float] = (),
        seconds: float = 0.0,
    ) -> None:
        """`weights` sum to 1; without them all count alike. Raises ValueError for different labels."""
        if len({tuple(predictor.labels) for predictor in predictors}) != 1:
            raise ValueError("Only predictors with the same labels can be averaged.")
        self.predictors, self.about, self.seconds = tuple(predictors), about, seconds
        self.labels = tuple(predictors[0].labels)
        self.weights = tuple(weights) or (1 / len(predictors),) * len(predictors)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order; it rests on the examples of all predictors."""
        found = [predictor.predict(texts) for predictor in self.predictors]
        return [self.mean(one) for one in zip(*found, strict=True)]

    def mean(self, found: Sequence[Prediction]) -> Explained:
        """Average the predictors' answers to one text."""
        mixed = np.average([one.probabilities for one in found], axis=0, weights=self.weights)
        return Explained(
            self.labels[int(mixed.argmax())],
            tuple(float(share) for share in mixed),
            any(one.truncated for one in found),
            rests_on=tuple(dict.fromkeys(example for one in found for example in rests_on(one))),
            unknown_share=next((one.unknown_share for one in found if one.unknown_share is not None), None),
        )
