"""Baselines that cost seconds: the majority class, and a bag of words with logistic regression.

    bag = BagOfWords.fit(texts, labels, names=("negative", "neutral", "positive"))
    bag.predict(["what a day"])              # -> [Prediction(label="positive", ...)]
    bag.about                                # -> "TF-IDF of words and characters with logistic regression …"

Labels are numbers, places in `names`. A fine-tuned model that does not beat these has learned nothing that
needs a language model.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inference.classifier import Prediction

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion

STRENGTHS = (0.3, 1.0, 3.0, 10.0)
"""Values of C that are tried on the validation texts, as a recipe chooses its epoch there."""
CHOSEN_UP_TO = 2_000
"""Training texts up to which C is chosen (seconds); with more, one fit at C = 1 has to do."""


@dataclass(frozen=True)
class BagOfWords:
    """TF-IDF of words and characters under a logistic regression."""

    labels: tuple[str, ...]
    about: str
    seconds: float
    features: "FeatureUnion"
    model: "LogisticRegression"

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        names: Sequence[str],
        validation: tuple[Sequence[str], Sequence[int]] = ((), ()),
        choose_up_to: int = CHOSEN_UP_TO,
    ) -> "BagOfWords":
        """Learn from texts and their labels; C is chosen on `validation` (texts, labels) where there is some.

        Raises ValueError where there is nothing to learn from: one class alone, or texts without a word.
        """
        # The server's image has no scikit-learn.
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.pipeline import make_union  # noqa: PLC0415

        started = time.perf_counter()
        features = make_union(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        )
        train = features.fit_transform(texts)
        chosen = len(texts) <= choose_up_to and len(validation[0]) > 0
        held_out = features.transform(validation[0]) if chosen else None
        tried = []
        for strength in STRENGTHS if chosen else (1.0,):
            model = LogisticRegression(C=strength, max_iter=1000).fit(train, labels)
            tried.append((model.score(held_out, validation[1]) if chosen else 0.0, -strength, model))
        _, strength, best = max(tried, key=lambda one: one[:2])
        how = "chosen on the validation split" if chosen else "not tuned"
        about = (
            f"TF-IDF of words and characters with logistic regression on the same {len(texts):,} training "
            f"texts (C = {-strength:g}, {how})"
        )
        return cls(tuple(names), about, round(time.perf_counter() - started, 1), features, best)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order; labels that training lacked have probability 0."""
        found = np.zeros((len(texts), len(self.labels)))
        found[:, self.model.classes_] = self.model.predict_proba(self.features.transform(texts))
        return _predictions(self.labels, found)


@dataclass(frozen=True)
class Majority:
    """The most frequent label for every text, with each label's share of the training texts."""

    labels: tuple[str, ...]
    shares: tuple[float, ...]
    seconds: float = 0.0

    @classmethod
    def fit(cls, labels: Sequence[int], *, names: Sequence[str]) -> "Majority":
        """Count the labels of the training texts."""
        counts = np.bincount(labels, minlength=len(names))
        return cls(tuple(names), tuple(float(share) for share in counts / counts.sum()))

    @property
    def about(self) -> str:
        """What it is, for people."""
        return f"always {self.labels[int(np.argmax(self.shares))]}, the most frequent label in training"

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the same prediction for each text."""
        return _predictions(self.labels, np.tile(self.shares, (len(texts), 1)))


def _predictions(labels: Sequence[str], probabilities: NDArray[np.float64]) -> list[Prediction]:
    return [
        Prediction(labels[int(row.argmax())], tuple(float(p) for p in row), truncated=False)
        for row in probabilities
    ]
