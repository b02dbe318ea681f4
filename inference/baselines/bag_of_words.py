"""Baselines that cost seconds: the majority class, a bag of words, and a head over the base's features.

    bag = BagOfWords.fit(texts, labels, names=("negative", "neutral", "positive"))
    bag.predict(["what a day"])              # -> [Prediction(label="positive", ...)]
    bag.about                                # -> "TF-IDF of words and characters with logistic regression …"

Labels are numbers, places in `names`. A fine-tuned model that does not beat these has learned nothing that
needs a language model.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.baselines import Features
from inference.classifier import Prediction
from inference.common.mend import mended

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import FeatureUnion
    from sklearn.preprocessing import StandardScaler

Arrays = dict[str, NDArray[Any]]
STRENGTHS = (0.3, 1.0, 3.0, 10.0)
"""Values of C that are tried on the validation texts, as a recipe chooses its epoch there."""
HEAD_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
"""The same for a head over features, which are many and alike."""
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
        started = time.perf_counter()
        features = _counted_words()
        train = features.fit_transform(mended(texts))
        chosen = len(texts) <= choose_up_to and len(validation[0]) > 0
        held_out = features.transform(mended(validation[0])) if chosen else None
        strengths = STRENGTHS if chosen else (1.0,)
        best = _fitted(train, labels, strengths, held_out, validation[1])
        how = "chosen on the validation split" if chosen else "not tuned"
        about = (
            f"TF-IDF of words and characters with logistic regression on the same {len(texts):,} training "
            f"texts (C = {best.C:g}, {how})"
        )
        return cls(tuple(names), about, round(time.perf_counter() - started, 1), features, best)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order; labels that training lacked have probability 0."""
        found = np.zeros((len(texts), len(self.labels)))
        found[:, self.model.classes_] = self.model.predict_proba(self.features.transform(mended(texts)))
        return _predictions(self.labels, found)

    def learnt(self) -> Arrays:
        """Return the learnt parameters, for `of`."""
        parts = [part for _, part in self.features.transformer_list]
        terms = {f"terms{at}": np.array(part.get_feature_names_out(), str) for at, part in enumerate(parts)}
        return {**terms, **{f"idf{at}": part.idf_ for at, part in enumerate(parts)}, **_weights(self.model)}

    @classmethod
    def of(cls, learnt: Arrays, *, labels: Sequence[str], about: str) -> "BagOfWords":
        """Make one again from its learnt parameters."""
        features = _counted_words()
        for at, (_, part) in enumerate(features.transformer_list):
            part.vocabulary_ = {str(term): place for place, term in enumerate(learnt[f"terms{at}"])}
            part.idf_ = learnt[f"idf{at}"]
        return cls(tuple(labels), about, 0.0, features, _with_weights(learnt))


def _counted_words() -> "FeatureUnion":
    # The server's image has no scikit-learn.
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
    from sklearn.pipeline import make_union  # noqa: PLC0415

    return make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )


def _weights(model: "LogisticRegression") -> Arrays:
    return {"coef": model.coef_, "intercept": model.intercept_, "classes": model.classes_}


def _with_weights(learnt: Arrays) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    model = LogisticRegression()
    model.coef_, model.intercept_ = learnt["coef"], learnt["intercept"]
    model.classes_ = learnt["classes"]
    return model


def _fitted(
    rows: Any,
    labels: Sequence[int],
    strengths: Sequence[float],
    held_out: Any,
    held_out_labels: Sequence[int],
) -> "LogisticRegression":
    """Return the logistic regression that is best on the held-out rows, of equals that with the least C."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    tried = [LogisticRegression(C=strength, max_iter=1000).fit(rows, labels) for strength in strengths]
    if len(tried) == 1:
        return tried[0]
    return max(tried, key=lambda model: (model.score(held_out, held_out_labels), -model.C))


@dataclass(frozen=True)
class LinearHead:
    """A logistic regression over the base's features of the texts: only the head is trained."""

    labels: tuple[str, ...]
    about: str
    seconds: float
    features: Features
    scale: "StandardScaler"
    model: "LogisticRegression"

    @classmethod
    def fit(
        cls,
        features: Features,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        names: Sequence[str],
        validation: tuple[Sequence[str], Sequence[int]],
    ) -> "LinearHead":
        """Learn from texts and their labels; C is chosen on the validation texts."""
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        started = time.perf_counter()
        scale = StandardScaler()
        rows, held_out = scale.fit_transform(features(texts)), scale.transform(features(validation[0]))
        best = _fitted(rows, labels, HEAD_STRENGTHS, held_out, validation[1])
        about = (
            f"logistic regression over {features.name}, on {len(texts):,} training texts "
            f"(C = {best.C:g}, chosen on the validation split)"
        )
        return cls(tuple(names), about, round(time.perf_counter() - started, 1), features, scale, best)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return one prediction a text, in input order; labels that training lacked have probability 0."""
        found = np.zeros((len(texts), len(self.labels)))
        found[:, self.model.classes_] = self.model.predict_proba(self.scale.transform(self.features(texts)))
        return _predictions(self.labels, found)

    def learnt(self) -> Arrays:
        """Return the learnt parameters, for `of`."""
        return {"mean": self.scale.mean_, "scale": self.scale.scale_, **_weights(self.model)}

    @classmethod
    def of(cls, learnt: Arrays, features: Features, *, labels: Sequence[str], about: str) -> "LinearHead":
        """Make one again from its learnt parameters."""
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        scale = StandardScaler()
        scale.mean_, scale.scale_ = learnt["mean"], learnt["scale"]
        return cls(tuple(labels), about, 0.0, features, scale, _with_weights(learnt))


@dataclass(frozen=True)
class Majority:
    """The most frequent label for every text, with each label's share of the training texts."""

    labels: tuple[str, ...]
    shares: tuple[float, ...]
    seconds: float = 0.0

    @classmethod
    def fit(cls, labels: Sequence[int], *, names: Sequence[str]) -> "Majority":
        counts = np.bincount(labels, minlength=len(names))
        return cls(tuple(names), tuple(float(share) for share in counts / counts.sum()))

    @property
    def about(self) -> str:
        return f"always {self.labels[int(np.argmax(self.shares))]}, the most frequent label in training"

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        return _predictions(self.labels, np.tile(self.shares, (len(texts), 1)))


def _predictions(labels: Sequence[str], probabilities: NDArray[np.float64]) -> list[Prediction]:
    return [
        Prediction(labels[int(row.argmax())], tuple(float(p) for p in row), truncated=False)
        for row in probabilities
    ]
