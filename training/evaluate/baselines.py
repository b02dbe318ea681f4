"""The plain rival that every fine-tuned model has to beat: a bag of words on the same training texts.

    bag = bag_of_words(splits)
    bag.probabilities, bag.words      # shape (test rows, labels); "TF-IDF of words and characters …"

Scored on the same locked test split, so that "fine-tuning helped" is a claim against something that costs
seconds. Knows nothing about language models.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union

from training.data.load import Splits

STRENGTHS = (0.3, 1.0, 3.0, 10.0)
"""Values of C that are tried on the validation split, as a recipe chooses its epoch there."""
CHOSEN_UP_TO = 2_000
"""Training rows up to which C is chosen (seconds); with more, one fit at C = 1 has to do."""


@dataclass(frozen=True)
class BagOfWords:
    """A bag of words that has seen the training split and answered the test split."""

    probabilities: NDArray[np.float64]
    """Shape (test rows, labels), in the splits' label order."""
    words: str
    """What it is, for people."""
    seconds: float


def bag_of_words(splits: Splits, *, choose_up_to: int = CHOSEN_UP_TO) -> BagOfWords:
    """Train TF-IDF with logistic regression on the training split, choose C on validation, answer test.

    Raises ValueError where there is nothing to learn from: one class alone, or texts without a word.
    """
    started = time.perf_counter()
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    train, labels = features.fit_transform(splits.train["text"]), splits.train["label"]
    chosen = len(splits.train) <= choose_up_to and len(splits.validation) > 0
    validation = features.transform(splits.validation["text"]) if chosen else None
    tried = []
    for strength in STRENGTHS if chosen else (1.0,):
        model = LogisticRegression(C=strength, max_iter=1000).fit(train, labels)
        score = model.score(validation, splits.validation["label"]) if chosen else 0.0
        tried.append((score, -strength, model))
    _, strength, best = max(tried, key=lambda one: one[:2])
    found = np.zeros((len(splits.test), len(splits.labels)))
    found[:, best.classes_] = best.predict_proba(features.transform(splits.test["text"]))
    how = "chosen on the validation split" if chosen else "not tuned"
    return BagOfWords(
        found,
        f"TF-IDF of words and characters with logistic regression on the same "
        f"{len(splits.train):,} training texts (C = {-strength:g}, {how})",
        round(time.perf_counter() - started, 1),
    )
