"""The index that answers rest on: shared with others, closed to measured rows, beside a classifier."""

import sqlite3

import pytest

from inference.baselines import rests_on
from inference.baselines.index import Added, Index, beside
from inference.classifier import Prediction
from inference.common.errors import DataError, PredictionError

LABELS = ("negative", "neutral", "positive")
ROWS = [f"the gig number {n} was zorgle" for n in range(8)]


class Fixed:
    """Answers all texts alike."""

    def __init__(self, *shares, labels=LABELS):
        self.shares, self.labels = shares, labels

    def predict(self, texts):
        best = self.labels[self.shares.index(max(self.shares))]
        return [Prediction(best, self.shares, False) for _ in texts]


def test_what_another_process_adds_is_found_and_the_file_knows_its_labels(tmp_path):
    path = tmp_path / "index.sqlite"
    with pytest.raises(DataError, match=r"There is no index .*index.sqlite. Make one with"):
        Index(path)
    assert not path.exists()
    ours, theirs = Index(path, LABELS), Index(path)
    assert theirs.labels == LABELS and ours.counts() == dict.fromkeys(LABELS, 0)
    theirs.add(ROWS[:2], ["positive"] * 2)
    assert len(ours) == 2 and ours.search(["zorgle"], 5)[0][0].label == "positive"
    assert ours.add(ROWS[1:3], ["negative", "positive"]) == Added(added=1, changed=1, known=0, locked=0)
    assert theirs.counts() == {"negative": 1, "neutral": 0, "positive": 2}
    with pytest.raises(DataError, match=r"has other labels \(negative, neutral, positive\) than"):
        Index(path, LABELS[::-1])
    with pytest.raises(DataError, match="2 texts have 1 labels"):
        ours.add(["a", "b"], ["neutral"])


def test_a_search_by_words_logs_nothing(caplog):
    index = Index(None, LABELS)
    index.add(ROWS[:2], ["positive"] * 2)
    with caplog.at_level("DEBUG"):
        assert index.search(["zorgle"], 1)
    assert not [one for one in caplog.records if one.name == "bm25s"]


def test_measured_rows_stay_out_whoever_adds_and_are_taken_out(tmp_path):
    path = tmp_path / "index.sqlite"
    first = Index(path, LABELS)
    first.add(["@ann I love it http://a.b", "fine"], ["positive", "neutral"])
    Index(path, LABELS, locked=["@bob i LOVE it http://t.co/x", "so sad"]).close()
    assert first.counts()["positive"] == 0 and len(first) == 1
    with sqlite3.connect(path) as file:
        file.execute("ALTER TABLE examples DROP COLUMN learnt")  # as files of before lack it
    again = Index(path)
    rows = {"So  sad": "negative", "@cy i love it http://c.d": "positive", "glad": "positive"}
    assert again.add(list(rows), list(rows.values())) == Added(added=1, changed=0, known=0, locked=2)
    assert "so sad" not in path.read_bytes().decode("latin-1").lower()


def test_the_vote_stands_beside_a_classifier_and_shows_its_ground():
    index = Index(None, LABELS)
    neutral = Fixed(0.2, 0.5, 0.3)
    with pytest.raises(PredictionError, match="The index holds no labelled text yet"):
        beside(neutral, index).predict(["so zorgle"])
    index.add(["nothing of it"], ["neutral"])
    assert beside(neutral, index).predict(["so zorgle"])[0].label == "neutral"
    index.add(ROWS, ["positive"] * len(ROWS))
    [answer, other] = beside(neutral, index).predict(["so zorgle", "something else"])
    assert answer.label == "positive" and len(rests_on(answer)) == 8
    assert answer.probabilities == pytest.approx([0.1 + 0.5 / 11, 0.25 + 0.5 / 11, 0.15 + 4.5 / 11])
    assert other.label == "neutral" and not rests_on(other)
    assert beside(neutral, index, share=0).predict(["so zorgle"])[0].label == "neutral"
    index.add([f"so many {n}" for n in range(99)], ["negative"] * 99, learnt=True)
    [again] = beside(neutral, index).predict(["so zorgle"])
    assert {one.text for one in rests_on(again)} == set(ROWS), "not what it learnt"
    index.add(["so what"], ["negative"])
    assert not rests_on(beside(neutral, index).predict(["so"])[0]), "nor what shares a common word alone"
    index.add(["so what 7 mimsy"], ["negative"], learnt=True)
    index.add(["so what 7 mimsy"], ["positive"])
    assert rests_on(beside(neutral, index).predict(["mimsy"])[0]), "a new label is new knowledge"
    for wrong in ({"share": 1.2}, {"k": 0}):
        with pytest.raises(PredictionError, match="Give 1 or more, and 0 to 1"):
            beside(neutral, index, **wrong)
    with pytest.raises(PredictionError, match="Take the index of the model's own run"):
        beside(Fixed(0.5, 0.5, labels=("a", "b")), index)


def test_a_file_that_somebody_else_uses_or_owns_is_said_and_left_as_it_is(tmp_path):
    path, foreign = tmp_path / "index.sqlite", tmp_path / "notes.sqlite"
    index = Index(path, ("bad", "good"))
    index.add(["so happy"], ["good"])
    index._file.execute("PRAGMA busy_timeout = 50")
    with sqlite3.connect(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(PredictionError, match=r"can't be read \(database is locked\)\. Close what uses"):
            index.search(["happy"], 1)
        with pytest.raises(DataError, match=r"can't be written \(database is locked\)"):
            index.add(["so sad"], ["bad"])
    other.close()
    assert [[one.text for one in found] for found in index.search(["happy"], 1)] == [["so happy"]]
    with sqlite3.connect(foreign) as notes:
        notes.execute("CREATE TABLE notes (text)")
    notes.close()
    before = foreign.read_bytes()
    with pytest.raises(DataError, match=r"is no index of tweets\. Make one"):
        Index(foreign)
    assert foreign.read_bytes() == before


def test_odd_texts_are_stored_found_and_locked_out_as_they_are_read(tmp_path):
    empty = Index(None, LABELS)
    empty.add([""], ["positive"])
    assert empty.search(["", "so happy"], 3) == [[], []], "no word at all, and no error"
    empty.add(["so happy"], ["positive"])
    assert [one.text for one in empty.search(["happy"], 3)[0]] == ["so happy"]
    odd = ["nul\0byte", "half \ud83d", "so &amp; so", "w" * 100_000, "😀", "שלום עולם", "<b>bold</b>"]
    index = Index(tmp_path / "index.sqlite", LABELS)
    assert index.add(odd, ["neutral"] * len(odd)).added == len(odd)
    for text, found in zip(odd, index.search(odd, 99), strict=True):
        assert found and found[0].label == "neutral", text[:20]
    again = Index(tmp_path / "index.sqlite", locked=odd)
    assert len(again) == 0
    assert again.add(odd, ["neutral"] * len(odd)).locked == len(odd)


def test_a_copy_that_can_not_be_written_is_one_sentence(tmp_path):
    index = Index(None, LABELS)
    index.add(ROWS, ["positive"] * len(ROWS))
    with pytest.raises(DataError, match=r"can't be copied to .*gone/copy\.sqlite \(.*\)\. Make room"):
        index.copy_to(tmp_path / "gone" / "copy.sqlite")
    index.copy_to(tmp_path / "copy.sqlite")
    assert len(Index(tmp_path / "copy.sqlite")) == len(ROWS)
