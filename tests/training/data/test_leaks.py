"""The leak gate: twins are found whatever their dress, train pays for them, test never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.leaks import remove_twins, twin_key

TEXTS = st.lists(st.sampled_from(["a", "A", "b", "c @x", "C  @y", "d", "D http://t.co/1", "e"]), max_size=12)


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
def test_twins(one, other):
    assert twin_key(one) == twin_key(other)


@pytest.mark.parametrize(("one", "other"), [("good", "good!"), ("me@home.org", "you@work.org"), (":)", ":(")])
def test_no_twins(one, other):
    assert twin_key(one) != twin_key(other)


@given(st.text())
def test_the_key_is_its_own_key_when_put_in_capitals_or_spaced_out(text):
    assert twin_key(f"  {text} ") == twin_key(text)
    assert twin_key(twin_key(text)) == twin_key(text)


@given(TEXTS, TEXTS, TEXTS)
def test_after_the_gate_no_key_is_in_two_splits_and_counts_add_up(train, validation, test):
    splits = {"train": train, "validation": validation, "test": test}
    gate = remove_twins(splits)
    left = {name: {twin_key(splits[name][i]) for i in gate.kept[name]} for name in splits}
    assert not left["train"] & left["test"]
    assert not left["train"] & left["validation"]
    assert not left["validation"] & left["test"]
    assert list(gate.kept["test"]) == list(range(len(test)))
    assert (
        len(train) - len(gate.kept["train"]) == gate.removed["train/test"] + gate.removed["train/validation"]
    )
    assert len(validation) - len(gate.kept["validation"]) == gate.removed["validation/test"]


def test_each_pair_is_counted_once():
    gate = remove_twins(
        {"train": ["a", "b", "c", "d"], "validation": ["A", "b", "x"], "test": ["a", "c", "y"]}
    )
    assert gate.removed == {"train/test": 2, "train/validation": 1, "validation/test": 1}
    assert list(gate.kept["train"]) == [3]
    assert list(gate.kept["validation"]) == [1, 2]
