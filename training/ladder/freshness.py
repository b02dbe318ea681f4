"""A new word whose sentiment is only in the index: what that brings, what it costs, and what training needs.

    found = freshness(classifier, known=(texts, names), neutral=texts, ordinary=(texts, names), teach=train)
    print(*found.sentences(), sep="\\n")

Made words, one for each pole, stand behind texts that are neutral without them, so nothing else in a text
tells its label. Some of these texts are labelled and put into the index, or trained on; others are asked. The
cost is told on ordinary rows, which hold no such word.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inference.baselines import Predictor
from inference.baselines.index import VOTE_SHARE, Index, beside
from inference.classifier import Prediction
from inference.common.errors import DataError
from inference.common.intervals import Interval, poles, wilson
from inference.common.wording import percent

WORDS = ("blemful", "zorgly")
"""The new words of the two poles, the negative one first: no language has them."""
Rows = tuple[Sequence[str], Sequence[str]]
"""Texts and the names of their labels."""
Teach = Callable[[Sequence[str], Sequence[str]], Predictor]
"""Trains a model on what it was trained on, and on these texts with their labels."""


@dataclass(frozen=True)
class Learnt:
    """What so many labelled texts with a new word give."""

    labels: int
    how: str
    """ "index", or "training"."""
    share: float | None
    """Of the neighbours' vote; None after a training."""
    fresh: Interval
    """Share right of the texts with a new word that are asked."""
    ordinary: Interval
    """Share right of the rows without one."""


@dataclass(frozen=True)
class Freshness:
    """How the model does without having heard of the words, and with labelled texts that hold them."""

    before: Interval
    ordinary_before: Interval
    asked: int
    rows: tuple[Learnt, ...]

    def needed(self, share: float = VOTE_SHARE) -> int | None:
        """Return the fewest labels with which training does as well as the index at best; None: no number."""
        index = max((row.fresh.value for row in self.rows if row.share == share), default=2.0)
        trained = [row for row in self.rows if row.how == "training" and row.fresh.value >= index]
        return min((row.labels for row in trained), default=None)

    def sentences(self, share: float = VOTE_SHARE) -> list[str]:
        """Return it in words, for one share of the vote."""
        lines = [f"Of {self.asked:,} texts with a new word the model has {percent(self.before)} % right."]
        shown = [row for row in self.rows if row.share in (None, share)]
        for row in shown:
            where = "in the index" if row.how == "index" else "trained on"
            lines.append(
                f"With {row.labels:,} labelled texts {where} it is {percent(row.fresh)} %, and "
                f"{percent(row.ordinary)} % of other texts ({percent(self.ordinary_before)} % before)."
            )
        if {row.how for row in shown} == {"index", "training"}:
            needed = self.needed(share)
            lines.append(
                f"Training needs {needed:,} labels to do as well as the index."
                if needed
                else "Training does as well as the index with none of these numbers of labels."
            )
        return lines


def freshness(
    classifier: Predictor,
    *,
    known: Rows,
    neutral: Sequence[str],
    ordinary: Rows,
    counts: Sequence[int] = (4, 8, 16, 32),
    shares: Sequence[float] = (VOTE_SHARE,),
    asked: int = 200,
    teach: Teach | None = None,
    seed: int = 42,
) -> Freshness:
    """Return what labelled texts with new words bring, in an index beside the model and by training.

    `known`: the rows of the index besides; `neutral`: texts that are in neither; `ordinary`: rows that the
    cost is told on. Raises DataError for fewer neutral texts than are asked and taught.
    """
    names = tuple(classifier.labels)
    if len(neutral) < asked + max(counts):
        raise DataError(f"{asked + max(counts):,} neutral texts are needed, and {len(neutral):,} were given.")
    texts = random.Random(seed).sample(list(neutral), asked + max(counts))
    ends = tuple(zip(poles(names), WORDS, strict=True))
    made = [f"{text} {ends[place % 2][1]}" for place, text in enumerate(texts)]
    truth = [ends[place % 2][0] for place in range(len(made))]
    question = (made[:asked], truth[:asked])
    mine = [classifier.predict(texts) for texts, _ in (question, ordinary)]
    rows = []
    for count in counts:
        lesson = (made[asked : asked + count], truth[asked : asked + count])
        index = Index(None, names)
        index.add(*known, learnt=True)
        index.add(*lesson)
        votes = [beside(classifier, index).predictors[1].predict(texts) for texts, _ in (question, ordinary)]
        for share in shares:
            both = beside(classifier, index, share=share)
            answers: list[list[Prediction]] = [
                [both.mean(pair) for pair in zip(own, vote, strict=True)]
                for own, vote in zip(mine, votes, strict=True)
            ]
            rows.append(Learnt(count, "index", share, *_right(answers, question, ordinary)))
        if teach:
            tuned = teach(*lesson)
            answers = [tuned.predict(texts) for texts, _ in (question, ordinary)]
            rows.append(Learnt(count, "training", None, *_right(answers, question, ordinary)))
    before, ordinary_before = _right(mine, question, ordinary)
    return Freshness(before, ordinary_before, asked, tuple(rows))


def _right(answers: Sequence[Sequence[Prediction]], *asked: Rows) -> tuple[Interval, Interval]:
    found = []
    for given, (_, truth) in zip(answers, asked, strict=True):
        right = sum(one.label == label for one, label in zip(given, truth, strict=True))
        share = wilson(right, len(truth))
        assert share, "there are rows"
        found.append(share)
    return found[0], found[1]
