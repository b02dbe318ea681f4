"""Splits and subsets: every class everywhere, the same rows for the same seed; no duplicate across splits."""

from collections import Counter

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.splits import (
    class_shares,
    duplicate_key,
    groups_of,
    held_out_size,
    remove_duplicates,
    stratified_split,
    subset,
)

TEXTS = st.lists(st.sampled_from(["a", "A", "b", "c @x", "C  @y", "d", "D http://t.co/1", "e"]), max_size=12)
COUNTS = st.dictionaries(st.integers(0, 6), st.integers(2, 60), min_size=1)


def rows(labels):
    features = datasets.Features({"label": datasets.ClassLabel(names=["a", "b", "c"])})
    return datasets.Dataset.from_dict({"label": labels}, features=features)


def test_the_size_held_out_is_bounded():
    assert [held_out_size(n) for n in (3, 50, 400, 3_000, 20_000, 10**6)] == [1, 10, 80, 300, 2_000, 5_000]


@given(COUNTS, st.integers(1, 200))
def test_shares_give_every_class_a_row_and_leave_one_behind(counts, size):
    share = class_shares(counts, size, leave=1)
    assert all(1 <= share[label] <= counts[label] - 1 for label in counts)
    most = sum(counts.values()) - len(counts)
    if len(counts) <= size <= most // 2:
        assert abs(sum(share.values()) - size) <= len(counts)


@given(COUNTS, st.integers(0, 5))
def test_splitting_loses_and_doubles_no_row(counts, seed):
    labels = [label for label, count in counts.items() for _ in range(count)]
    rest, held_out = stratified_split(labels, size=held_out_size(len(labels)), seed=seed)
    assert sorted(rest + held_out) == list(range(len(labels)))
    assert {labels[i] for i in rest} == {labels[i] for i in held_out} == set(counts)


def test_the_only_row_of_a_class_stays_behind():
    rest, held_out = stratified_split([0] * 10 + [1], size=2, seed=0)
    assert 10 in rest and len(held_out) == 2


def test_splitting_keeps_the_shares_and_draws_the_same_rows_for_ever():
    labels = [0] * 600 + [1] * 300 + [2] * 100
    rest, held_out = stratified_split(labels, size=100, seed=42)
    assert Counter(labels[i] for i in held_out) == {0: 60, 1: 30, 2: 10}
    assert held_out[:4] == [2, 10, 24, 29] and held_out[-3:] == [978, 980, 997]
    assert stratified_split(labels, size=100, seed=42) == (rest, held_out)
    assert stratified_split(labels, size=100, seed=43)[1] != held_out


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=60), st.integers(0, 3))
def test_rows_of_one_text_stay_together_and_classes_of_two_texts_are_in_both(rows, seed):
    labels, keys = [label for label, _ in rows], [f"text {key}" for _, key in rows]
    rest, held_out = stratified_split(labels, size=held_out_size(len(rows)), seed=seed, keys=keys)
    assert sorted(rest + held_out) == list(range(len(rows)))
    assert not {keys[i] for i in rest} & {keys[i] for i in held_out}
    groups = groups_of(keys, labels)
    texts = Counter(label for label, _ in groups)
    for side in (rest, held_out):
        there = {label for label, group in groups if group[0] in side}
        assert there >= {label for label, n in texts.items() if n > 1}


def test_texts_of_their_own_are_drawn_as_rows_are():
    labels = [i % 3 for i in range(200)]
    keys = [f"text {i}" for i in range(200)]
    assert stratified_split(labels, size=40, seed=7, keys=keys) == stratified_split(labels, size=40, seed=7)


def test_a_text_has_the_label_that_most_of_its_rows_have():
    assert groups_of(["a", "b", "a", "c", "a", "b"], [1, 2, 0, 0, 0, 1]) == [
        (0, [0, 2, 4]),
        (2, [1, 5]),
        (0, [3]),
    ]


def test_a_subset_is_shuffle_and_select():
    data = rows([i % 3 for i in range(300)]).add_column("i", list(range(300)))
    assert list(subset(data, 50, seed=42)["i"]) == list(data.shuffle(seed=42).select(range(50))["i"])
    assert list(subset(data, 0, seed=42)["i"]) == list(range(300))
    assert sorted(subset(data, 999, seed=42)["i"]) == list(range(300))


def test_a_stratified_subset_keeps_the_shares():
    data = rows([0] * 600 + [1] * 390 + [2] * 10)
    assert Counter(subset(data, 100, seed=1, stratified=True)["label"]) == {0: 60, 1: 39, 2: 1}
    assert Counter(subset(data, 10, seed=1, stratified=True)["label"]) == {0: 5, 1: 4, 2: 1}


# The leak gate


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Good  Morning", "good morning"),
        ("@anna thanks", "@bob thanks"),
        ("look http://t.co/abc", "look https://example.org/x?y=1"),
        ("look www.a.com now", "look http://b.org now"),
        ("ｆｕｌｌ width", "full width"),
        ("STRASSE", "straße"),
        (" tab\tand\nline ", "tab and line"),
        ("cafe\u0301", "café"),
    ],
)
def test_duplicates(one, other):
    assert duplicate_key(one) == duplicate_key(other)


@pytest.mark.parametrize(("one", "other"), [("good", "good!"), ("me@home.org", "you@work.org"), (":)", ":(")])
def test_no_duplicates(one, other):
    assert duplicate_key(one) != duplicate_key(other)


@given(st.text())
def test_the_key_is_its_own_key_when_put_in_capitals_or_spaced_out(text):
    assert duplicate_key(f"  {text} ") == duplicate_key(text)
    assert duplicate_key(duplicate_key(text)) == duplicate_key(text)


@given(TEXTS, TEXTS, TEXTS)
def test_after_the_gate_no_key_is_in_two_splits_and_counts_add_up(train, validation, test):
    splits = {"train": train, "validation": validation, "test": test}
    gate = remove_duplicates(splits)
    left = {name: {duplicate_key(splits[name][i]) for i in gate.kept[name]} for name in splits}
    assert not left["train"] & left["test"]
    assert not left["train"] & left["validation"]
    assert not left["validation"] & left["test"]
    assert list(gate.kept["test"]) == list(range(len(test)))
    assert (
        len(train) - len(gate.kept["train"]) == gate.removed["train/test"] + gate.removed["train/validation"]
    )
    assert len(validation) - len(gate.kept["validation"]) == gate.removed["validation/test"]


def test_each_pair_is_counted_once():
    gate = remove_duplicates(
        {"train": ["a", "b", "c", "d"], "validation": ["A", "b", "x"], "test": ["a", "c", "y"]}
    )
    assert gate.removed == {"train/test": 2, "train/validation": 1, "validation/test": 1}
    assert list(gate.kept["train"]) == [3]
    assert list(gate.kept["validation"]) == [1, 2]
