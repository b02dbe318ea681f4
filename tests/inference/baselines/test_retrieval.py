"""An index of labelled texts grows while it is asked, survives a restart, holds nothing that is measured."""

import sqlite3

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.baselines import Average, Example, rests_on
from inference.baselines.bag_of_words import LinearHead
from inference.baselines.index import Added, Index, Neighbours
from inference.baselines.prompting import Prompted
from inference.baselines.retrieval import FewShotRetrieval, TrunkFeatures
from inference.common.errors import DataError, PredictionError
from tests.support import WORDS, tweets

LABELS = tuple(WORDS)
TEXTS, NAMES = map(list, zip(*tweets(60, seed=8), strict=True))
ASKED, TRUTH = map(list, zip(*tweets(30, seed=9), strict=True))


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def prompted(request):
    folder = request.getfixturevalue(f"tiny_{request.param}")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return Prompted.build(model.eval(), AutoTokenizer.from_pretrained(folder), LABELS, max_length=64)


class Counted(TrunkFeatures):
    """The trunk's features, and how many texts they were computed of."""

    computed = 0

    def __call__(self, texts):
        self.computed += len(texts)
        return super().__call__(texts)


def accuracy(predictor):
    return np.mean([p.label == label for p, label in zip(predictor.predict(ASKED), TRUTH, strict=True)])


def test_words_find_the_texts_that_share_them_and_only_those():
    index = Index(None, LABELS)
    index.add(
        ["the train is late", "what a sunny day 🎉", "so sad today"], ["neutral", "positive", "negative"]
    )
    found = index.search(["sad day", "🎉", "nothing shared", ""], 2)
    assert [[one.text for one in each] for each in found] == [
        ["so sad today", "what a sunny day 🎉"],
        ["what a sunny day 🎉"],
        [],
        [],
    ]
    scores = [one.similarity for one in found[0]]
    assert scores == sorted(scores, reverse=True) and min(scores) > 0
    assert [one.text for one in index.search(["so SAD  today"], 3, itself=False)[0]] == []


def test_it_grows_while_it_runs_and_is_there_after_a_restart(tmp_path, prompted):
    path = tmp_path / "index.sqlite"
    features = Counted(prompted, layers=2)
    index = Index(path, LABELS, features=features)
    assert index.search(["a", "b"], 3, by="features") == [[], []]
    assert index.add(TEXTS[:50], NAMES[:50]) == Added(added=50, changed=0, known=0, locked=0)
    before = index.search(ASKED, 4), index.search(ASKED, 4, by="features")
    assert features.computed == 50 + len(ASKED), "each text once"
    assert index.add(["zorgle is zorgle"], ["positive"]).added == 1
    assert index.search(["zorgle"], 4)[0][0].text == "zorgle is zorgle"
    assert index.search(["zorgle is zorgle"], 1, by="features")[0][0].label == "positive"
    index.close()
    again = Index(path, LABELS, features=(fresh := Counted(prompted, layers=2)))
    assert len(again) == 51 and fresh.computed == 0, "the vectors are kept"
    assert again.search(["zorgle"], 4)[0][0].text == "zorgle is zorgle"
    assert len(before[0]) == len(before[1]) == len(ASKED)
    again.close()
    other = Index(path, LABELS, features=(deeper := Counted(prompted, layers=1)))
    assert deeper.computed == 51, "vectors of another trunk are made anew"
    other.close()


def test_duplicates_of_measured_texts_stay_out_and_the_newest_label_counts():
    index = Index(None, LABELS, locked=["@ann I LOVE  it http://t.co/x"])
    rows = [("@bob i love it https://a.b", "positive"), ("fine", "neutral"), ("Fine ", "positive")]
    texts, labels = zip(*rows, strict=True)
    assert index.add(texts, labels) == Added(added=1, changed=0, known=1, locked=1)
    assert index.search(["fine"], 1)[0][0].label == "positive"
    assert index.add(["FINE"], ["negative"]) == Added(added=0, changed=1, known=0, locked=0)
    assert index.search(["fine"], 1)[0][0].label == "negative"
    assert len(index) == 1
    with pytest.raises(DataError, match="'angry' is no label of the index"):
        index.add(["x"], ["angry"])


def test_an_answer_shows_what_it_rests_on_and_new_knowledge_changes_it(prompted):
    index = Index(None, LABELS)
    few = FewShotRetrieval(prompted, index, k=4)
    nothing = few.predict(ASKED)
    assert [p.label for p in nothing] == [p.label for p in prompted.predict(ASKED)], "zero-shot, openly"
    assert not any(rests_on(p) for p in nothing)
    index.add(TEXTS, NAMES)
    found = few.predict(ASKED)
    assert [list(p.rests_on) for p in found] == index.search(ASKED, 4)
    assert {one.label for p in found for one in p.rests_on} == set(LABELS)
    plain = [p.probabilities for p in found]
    few.calibrate(TEXTS[:20])
    assert [p.probabilities for p in few.predict(ASKED)] != plain
    assert "batch calibration over 20 unlabelled texts" in few.about


def test_a_retrieved_prompt_is_answered_as_if_it_were_asked_alone(prompted):
    index = Index(None, LABELS)
    index.add(TEXTS, NAMES)
    few = FewShotRetrieval(prompted, index, k=3)
    for text, found in zip(ASKED[:4], few.predict(ASKED), strict=False):
        alone = Prompted.build(
            prompted.engine.lm, _tokenizer(prompted), LABELS, examples=found.rests_on[::-1], max_length=64
        )
        assert found.probabilities == pytest.approx(alone.predict([text])[0].probabilities, abs=1e-4)


def _tokenizer(prompted):
    return AutoTokenizer.from_pretrained(prompted.engine.lm.name_or_path)


def test_neighbours_that_do_not_fit_are_dropped_the_farthest_first(prompted):
    index = Index(None, LABELS)
    index.add([f"{text} {'so really ' * 20}" for text in TEXTS], NAMES)
    found = FewShotRetrieval(prompted, index, k=20).predict(ASKED[:2])
    for prediction, nearest in zip(found, index.search(ASKED[:2], 20), strict=True):
        kept = len(prediction.rests_on)
        assert 0 < kept < 20 and prediction.dropped == 20 - kept
        assert list(prediction.rests_on) == nearest[:kept]


def test_neighbours_vote_and_an_empty_index_has_none(prompted):
    index = Index(None, LABELS, features=TrunkFeatures(prompted, layers=2))
    vote = Neighbours(index, k=5)
    with pytest.raises(PredictionError, match="holds no labelled text yet"):
        vote.predict(["a"])
    index.add(TEXTS, NAMES)
    found = vote.predict(ASKED)
    for prediction in found:
        votes = [sum(one.label == label for one in prediction.rests_on) for label in LABELS]
        assert prediction.probabilities == pytest.approx([(count + 1) / 8 for count in votes])
    assert accuracy(Neighbours(index, k=5, by="words")) > 0.6
    assert vote.predict([]) == [] == FewShotRetrieval(prompted, index).predict([])
    both = Average([prompted, vote], weights=(0.4, 0.6), about="both")
    assert both.predict(ASKED)[0].rests_on == found[0].rests_on
    with pytest.raises(PredictionError, match="no features"):
        Neighbours(Index(None, LABELS), k=2).index.search(["a"], 1, by="features")


def test_a_head_over_the_bases_features_learns(prompted):
    numbers = [LABELS.index(name) for name in NAMES]
    truth = [LABELS.index(name) for name in TRUTH]
    head = LinearHead.fit(
        TrunkFeatures(prompted, layers=3), TEXTS, numbers, names=LABELS, validation=(ASKED, truth)
    )
    assert accuracy(head) > 0.4
    assert "on 60 training texts" in head.about


def test_a_file_that_is_no_index_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "x.sqlite").write_bytes(b"no database at all, but long enough to be looked at" * 9)
    with pytest.raises(DataError, match="is no index of tweets"):
        Index(tmp_path / "x.sqlite", LABELS)
    with sqlite3.connect(tmp_path / "y.sqlite") as file:
        file.execute("CREATE TABLE examples (other TEXT)")
    with pytest.raises(DataError, match="is no index of tweets"):
        Index(tmp_path / "y.sqlite", LABELS)


def test_an_example_knows_no_similarity_where_nothing_was_searched():
    assert Example("a", "b").similarity is None
