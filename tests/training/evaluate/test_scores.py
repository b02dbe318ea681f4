"""evaluation.json is written and read in one place: today's file, the flat one of before, and strangers'."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.baselines.bag_of_words import Majority
from inference.common.errors import ArtifactError
from tests.support import REPOSITORY, tweets, write_csv
from tests.support.cards import evaluation as made
from training.data.load import load_splits
from training.evaluate.evaluate import DuplicateRows, _without, duplicate_rows
from training.evaluate.scores import BASE, TUNED, Evaluation, RowsRead, read_evaluation
from training.recipes import DataSpec

LABELS = ("negative", "neutral", "positive")
FLAT = json.loads((REPOSITORY / "tests/fixtures/2026-11/run/evaluation.json").read_text(encoding="utf-8"))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_what_is_written_is_read_again():
    whole = replace(
        made(LABELS), truncated=3, left_out={"few-shot": "why"}, rows=RowsRead("tweets", "abc", None, 4)
    )
    record = whole.to_json()
    assert json.loads(json.dumps(record)) == record
    assert Evaluation.from_json(record) == whole


def test_the_flat_record_of_before_is_read():
    found = Evaluation.from_json(FLAT)
    assert [system.name for system in found.systems] == ["bag of words", BASE, TUNED]
    assert found.tuned.scores.accuracy.value == FLAT["accuracy"]["value"]
    assert found.base.scores.macro_f1.low == FLAT["base"]["macro_f1"]["low"]
    assert found.comparison(BASE, TUNED).sentence == FLAT["comparison"]["sentence"]
    assert "logistic regression" in found.system("bag of words").about
    assert Evaluation.from_json(found.to_json()) == found
    without = {key: value for key, value in FLAT.items() if key not in ("rivals", "base", "comparison")}
    without["bag_of_words"] = {"left_out": "it can't learn"}
    found = Evaluation.from_json(without)
    assert [system.name for system in found.systems] == [TUNED] and found.comparisons == ()
    assert found.left_out == {"bag of words": "it can't learn"}


@given(st.sampled_from(sorted(FLAT)), ANYTHING)
def test_a_strangers_flat_record_is_read_as_far_as_it_goes(key, value):
    found = Evaluation.from_json({**FLAT, key: value})
    assert found.base or key == "base"
    assert found.tuned or key not in ("split", "labels", "truncated", "n", "base", "rivals", "comparison")


@given(st.dictionaries(st.sampled_from([*made(LABELS).to_json(), "accuracy"]), ANYTHING))
def test_any_object_is_read(record):
    Evaluation.from_json({**record, "systems": record.get("systems")})


def test_a_folder_without_one_has_none_and_a_torn_one_is_one_sentence(tmp_path):
    assert read_evaluation(tmp_path) is None
    (tmp_path / "evaluation.json").write_text('{"n": ')
    with pytest.raises(ArtifactError, match=r"evaluation\.json can't be read"):
        read_evaluation(tmp_path)


def test_scores_with_and_without_rows_that_have_a_duplicate_in_train(tmp_path):
    rows = tweets(60)
    long = "we waited two hours for the train to the coast and nobody told us anything at all"
    held_out = [("fine by me", "positive"), *tweets(24, seed=5)]
    write_csv(tmp_path / "train.csv", [*rows, *held_out[:2], (long, "neutral")])
    write_csv(tmp_path / "dev.csv", tweets(9, seed=6))
    write_csv(tmp_path / "test.csv", [*held_out, (f"{long}!", "neutral")])
    counts = {}
    for mode in ("exact", "near", "off"):
        splits = load_splits(DataSpec(dataset=str(tmp_path), leak_gate=mode))
        found = duplicate_rows(splits)
        counts[mode] = (len(found.removed), len(found.learnt))
    assert counts["near"] == (3, 0) and counts["exact"][0] == 2 and counts["off"][1] >= 2
    assert duplicate_rows(splits, "train") is None
    majority = Majority.fit(splits.train["label"], names=splits.labels)
    without = _without(
        DuplicateRows(frozenset({0}), frozenset({0, 3})),
        splits.test["label"],
        {TUNED: np.array([one.probabilities for one in majority.predict(splits.test["text"])])},
        splits.labels,
        42,
    )
    assert (without.removed, without.learnt, without.n) == (0, 2, len(splits.test) - 2)
    answered = majority.predict(splits.test["text"][:1])[0].label
    kept = [splits.labels[label] for row, label in enumerate(splits.test["label"]) if row not in (0, 3)]
    assert without.accuracy[TUNED].value == pytest.approx(kept.count(answered) / len(kept))
    whole = replace(made(LABELS), twins=without)
    assert Evaluation.from_json(whole.to_json()) == whole
    assert "2 of the" in whole.sentences()[-1] and "% without" in whole.sentences()[-1]
    assert replace(whole, twins=None).sentences() == made(LABELS).sentences()
