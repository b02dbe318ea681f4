"""Baselines: what else could classify the same texts, and answers `predict(texts)` as the Classifier does."""

from collections.abc import Sequence
from typing import Protocol

from inference.classifier import Prediction


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
