"""Baselines: what else could classify the same texts, and answers `predict(texts)` as the Classifier does."""

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
    """To the text that is classified, higher is nearer; None where nothing was searched for."""


@dataclass(frozen=True)
class Explained(Prediction):
    """A prediction with the labelled texts that it rests on."""

    rests_on: tuple[Example, ...] = ()
    """Nearest first."""
    dropped: int = 0
    """Examples that the model's context had no room for."""


def rests_on(prediction: Prediction) -> tuple[Example, ...]:
    """Return the labelled texts that a prediction names as its ground, none for most."""
    return prediction.rests_on if isinstance(prediction, Explained) else ()


class Predictor(Protocol):
    """Whatever classifies texts: the Classifier, a bag of words, the majority."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels, in the order of its probabilities."""

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order."""


class Baseline(Predictor, Protocol):
    """A predictor that was made from training texts, to be beaten."""

    @property
    def about(self) -> str:
        """What it is, for people."""

    @property
    def seconds(self) -> float:
        """What making it took."""


class Features(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str:
        """What makes them: vectors of different names can't be compared."""

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return one vector a text, shape (texts, size)."""
