"""Near duplicates: the search finds what comparing all pairs finds, and the leak gate acts on it."""

import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from inference.common.text import duplicate_key
from tests.support import tweets, write_csv
from training.data.add_labels import add_labels
from training.data.load import load_splits
from training.data.near import nearest
from training.data.report import NEAR, DataReport
from training.data.splits import leak_gate, remove_duplicates
from training.recipes import DataSpec, change, load_recipe

LONG = "we waited two hours for the train to the coast and nobody told us anything at all"


def all_pairs(left, right):
    words = TfidfVectorizer(analyzer="char", ngram_range=(3, 4), lowercase=False, sublinear_tf=True)
    words.fit([*left, *right])
    return (words.transform(left) @ words.transform(right).T).toarray()


def changed(text, rng):
    at = rng.randrange(len(text))
    return text[:at] + rng.choice("abc !") + text[at + rng.randint(0, 2) :]


@pytest.mark.parametrize("least", [0.6, 0.8, 0.95])
def test_no_pair_is_missed(least):
    rng = random.Random(1)
    right = [text for text, _ in tweets(120)] + ["", "ab", "abc", "aaaaaaa"]
    left = [changed(rng.choice(right[:120]), rng) for _ in range(80)] + ["", "ab", "abc", "aaaa"]
    cosine, found = all_pairs(left, right), nearest(left, right, least=least)
    assert found.complete
    for matches, best in ((found.left, cosine.max(axis=1)), (found.right, cosine.max(axis=0))):
        assert [match.cosine if match else 0.0 for match in matches] == pytest.approx(
            [float(one) if one >= least else 0.0 for one in best], abs=1e-4
        )
    assert any(found.left) and not all(found.left)


def test_among_themselves_a_text_is_never_its_own_duplicate():
    texts = [LONG, "something else altogether", LONG + "!"]
    found = nearest(texts, least=NEAR)
    assert [match and match.other for match in found.left] == [2, None, 0]


def test_a_search_beyond_the_limit_is_noted_and_finds_no_pair_that_is_none():
    texts = [text for text, _ in tweets(90)]
    found = nearest(texts, texts, least=0.9, limit=50)
    assert not found.complete
    assert all(match is None or match.cosine >= 0.9 for match in found.left)


@pytest.mark.parametrize("sides", [([], []), (["ab"], ["a long text"]), (["a long text"], [])])
def test_nothing_to_compare(sides):
    found = nearest(*sides, least=0.9)
    assert not any(found.left) and not any(found.right)


GATED = {
    "train": [LONG, LONG + " again", "Exactly Me", "quite apart"],
    "validation": [LONG + ".", "another one"],
    "test": [LONG + "!", "exactly me"],
}


@pytest.mark.parametrize(
    ("mode", "train", "validation", "removed", "near"),
    [
        ("exact", [0, 1, 3], [0, 1], 1, {}),
        ("near", [3], [1], 1, {"validation/test": 1, "train/test": 2, "train/validation": 0}),
        ("off", [0, 1, 2, 3], [0, 1], 1, {}),
    ],
)
def test_the_gate_has_three_settings(mode, train, validation, removed, near):
    gate = remove_duplicates(GATED, mode=mode)
    assert (list(gate.kept["train"]), list(gate.kept["validation"])) == (train, validation)
    assert list(gate.kept["test"]) == [0, 1], "what is measured on is never touched"
    assert (gate.removed["train/test"], gate.near) == (removed, near)
    assert "exactly me" in gate.test_duplicates and (duplicate_key(LONG + "!") in gate.test_duplicates) == (
        mode == "near"
    )


def test_borderline_pairs_are_those_nearest_to_the_limit():
    texts = [LONG + " x" * n for n in range(12)]
    gate = leak_gate({"train": texts, "validation": [], "test": [LONG]}, mode="near")
    away = [abs(pair.cosine - NEAR) for pair in gate.borderline]
    assert away == sorted(away) and max(away) <= 0.05
    assert any(pair.cosine < NEAR for pair in gate.borderline)
    assert any(pair.cosine >= NEAR for pair in gate.borderline)


def files(folder, train, test):
    write_csv(folder / "train.csv", train)
    write_csv(folder / "test.csv", test)
    return str(folder)


def test_a_recipe_says_which_and_an_old_one_is_exact(tmp_path):
    rows = [*tweets(60), (LONG, "neutral"), ("so so", "neutral")]
    data = files(tmp_path, rows, [(LONG + "!", "neutral"), ("SO SO", "neutral")])
    assert load_recipe("quick").data.leak_gate == DataSpec().leak_gate == "exact"
    kept = {}
    for mode in ("exact", "near", "off"):
        spec = change(load_recipe("smoke"), {"dataset": data, "leak_gate": mode, "n_train": 0}).data
        found = load_splits(spec)
        kept[mode] = found.report.rows["train"].kept + found.report.rows["validation"].kept
        report = DataReport.from_json(found.report.to_json())
        assert (report.leak_gate, report.near_removed) == (mode, found.report.near_removed)
        text = " ".join(found.report.sentences())
        assert ("1 row with a near duplicate in test is removed from train." in text) == (mode == "near")
        assert ("since the leak gate is off" in text) == (mode == "off")
        assert found.report.removed == {"exact": 1, "near": 2, "off": 0}[mode]
    assert kept["off"] > kept["exact"] > kept["near"]
    old = {
        key: value
        for key, value in found.report.to_json().items()
        if key not in ("leak_gate", "near_removed")
    }
    assert DataReport.from_json(old).leak_gate == "exact"


def test_near_duplicates_of_held_out_rows_are_not_learnt_from_labels_of_ones_own(tmp_path):
    data = files(tmp_path, tweets(60), [(LONG + "!", "neutral"), ("fine", "positive")])
    mine = write_csv(tmp_path / "mine.csv", [(LONG, "neutral"), ("a quite new one", "neutral")])
    counts = {
        mode: (found.report.added, found.report.leaks)
        for mode in ("exact", "near")
        if (found := add_labels(DataSpec(dataset=data, leak_gate=mode), mine))
    }
    assert counts == {"exact": (2, 0), "near": (1, 1)}


def test_cosines_are_rounded_so_that_a_machine_changes_no_split():
    found = nearest([LONG], [LONG + " ok"], least=0.5)
    assert found.left[0].cosine == np.round(found.left[0].cosine, 5)
