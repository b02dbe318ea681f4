"""A new word whose sentiment is only in the index: what that brings, what it costs, and what training needs.

    found = freshness(classifier, known=(texts, names), neutral=texts, ordinary=(texts, names), teach=train)
    print(*found.sentences(), sep="\\n")
    save_freshness(freshness_of(run), run)      # the same of a finished run, kept in its folder
    measured_freshness("tweets.csv")            # the newest for a data set, None without one

Made words, one for each pole, stand behind texts that are neutral without them, so nothing else in a text
tells its label. Some of these texts are labelled and put into the index, or trained on; others are asked. The
cost is measured on ordinary rows, which hold no such word.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from inference.artifact import read_record
from inference.baselines import Predictor
from inference.baselines.index import VOTE_SHARE, Index, beside
from inference.classifier import Classifier, Prediction
from inference.common.errors import DataError, RunError, TweetTuneError
from inference.common.intervals import Interval, poles, wilson
from inference.common.store import write_json
from inference.common.text import duplicate_key
from inference.common.wording import percent
from training.evaluate.scores import read_all
from training.runs.run import Run, list_runs

WORDS = ("blemful", "zorgly")
"""The new words of the two poles, the negative one first: no language has them."""
Rows = tuple[Sequence[str], Sequence[str]]
"""Texts and the names of their labels."""
COUNTS = (8, 32)
"""Numbers of labelled texts with a new word to try."""
ASKED, LEAST_ASKED, ORDINARY = 200, 40, 500
RESULTS = "freshness.json"
Teach = Callable[[Sequence[str], Sequence[str]], Predictor]
"""Trains a model on what it was trained on, and on these texts with their labels."""


@dataclass(frozen=True)
class Learnt:
    """The result of so many labelled texts with a new word."""

    labels: int
    how: str
    """ "index", or "training"."""
    share: float | None
    """Share of the neighbours' vote; None after a training."""
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
    run: str = ""
    """The run whose model was asked."""
    data: str = ""
    """Name of the data set that it was trained on."""

    @property
    def taken_up(self) -> Learnt | None:
        """The fewest texts in the index that are shown to help, and not to cost elsewhere; None: none are."""
        good = [
            row
            for row in self.rows
            if row.share == VOTE_SHARE and row.fresh.low > self.before.high
            if row.ordinary.high >= self.ordinary_before.low
        ]
        return min(good, key=lambda row: row.labels, default=None)

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

    `known`: the rows of the index besides; `neutral`: texts that are in neither; `ordinary`: rows to
    measure the cost on. Raises DataError for fewer neutral texts than are asked and taught.
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


def freshness_of(run: Run, *, counts: Sequence[int] = COUNTS, teach: Teach | None = None) -> Freshness:
    """Return what labelled texts with new words bring to a finished run's model.

    The words stand behind validation rows and rows of train that it has not learnt from, of a label between
    the poles; the test split is not read. Raises DataError where the data has too few of them.
    """
    from training.data.load import load_splits  # noqa: PLC0415  (who reads what was measured needs no data)

    if not run.artifact.is_dir():
        raise RunError(f"The run {run.id} is {run.status().state}: it has no model to ask yet.")
    splits, whole = load_splits(run.recipe.data), load_splits(run.recipe.data.whole())
    names = splits.labels
    between = [place for place, name in enumerate(names) if name not in poles(names)]
    learnt = {duplicate_key(text) for text in splits.train["text"]}
    neutral = [
        text
        for part in (whole.validation, whole.train)
        for text, label in zip(part["text"], part["label"], strict=True)
        if label in between and duplicate_key(text) not in learnt
    ]
    asked = min(ASKED, len(neutral) - max(counts))
    if asked < LEAST_ASKED:
        raise DataError(
            f"{LEAST_ASKED + max(counts)} texts of a label between {' and '.join(poles(names))} are needed "
            f"that {run.id} has not learnt from, and its data has {len(neutral)}. Give fewer --labels, or "
            "take a run that learnt from fewer rows."
        )
    ordinary = splits.validation.select(range(min(ORDINARY, len(splits.validation))))
    rows = [
        (list(part["text"]), [names[place] for place in part["label"]]) for part in (splits.train, ordinary)
    ]
    found = freshness(
        Classifier.load(run.artifact),
        known=rows[0],
        neutral=neutral,
        ordinary=rows[1],
        counts=counts,
        asked=asked,
        teach=teach,
        seed=run.recipe.seed,
    )
    return replace(found, run=run.id, data=splits.report.source.name)


def save_freshness(found: Freshness, run: Run) -> None:
    """Keep what was measured in the run's folder."""
    write_json(run.path / RESULTS, asdict(found))


def measured_freshness(data: str) -> Freshness | None:
    """Return the newest measurement of the runs on a data set, by its name; None without one."""
    for run in list_runs():
        with suppress(TweetTuneError):
            for found in read_all(Freshness, [read_record(run.path, RESULTS)]):
                if found.data == data:
                    return found
    return None


def _right(answers: Sequence[Sequence[Prediction]], *asked: Rows) -> tuple[Interval, Interval]:
    found = []
    for given, (_, truth) in zip(answers, asked, strict=True):
        right = sum(one.label == label for one, label in zip(given, truth, strict=True))
        share = wilson(right, len(truth))
        assert share, "there are rows"
        found.append(share)
    return found[0], found[1]
