"""How a model behaves is measured on real answers: of a model that looks only at what it should not, too."""

import re

import numpy as np
import pytest

from inference.classifier import Classifier
from inference.common.errors import DataError
from tests.support import REPOSITORY
from training.doctor.behaviour import behaviour

ARTIFACT = REPOSITORY / "tests" / "fixtures" / "2026-11" / "run" / "artifact"
TEXTS = [f"@friend{n} my train is {word} 😀" for n in range(10) for word in ("late", "great", "broken")]


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load(ARTIFACT, engine="torch")


def checked(classifier, texts=TEXTS):
    return {check.name: check for check in behaviour(classifier, texts)}


def by_rule(classifier, monkeypatch, rule):
    """Let the model answer by a rule on its tokens' text."""

    def logits(rows):
        found = np.zeros((len(rows), 3), dtype=np.float32)
        for at, ids in enumerate(rows):
            found[at, rule(classifier.tokenizer.decode(ids), len(rows))] = 5
        return found

    monkeypatch.setattr(classifier.engine, "logits", logits)


def test_a_model_answers_alike_alone_and_in_a_batch(classifier):
    check = checked(classifier)["batch"]
    assert (check.changed, check.n, check.fault) == (0, 30, False)
    assert check.to_json()["share"]["high"] > 0


def test_a_batch_that_changes_answers_is_a_fault(classifier, monkeypatch):
    by_rule(classifier, monkeypatch, lambda text, n: 0 if n > 1 else 2)
    assert checked(classifier)["batch"].fault


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("user names", lambda text, n: 2 if re.search("friend[02468]", text) else 0),
        ("emoji", lambda text, n: 2 if "😀" in text else 0),
        ("upper case", lambda text, n: 2 if "TRAIN" in text else 0),
    ],
)
def test_what_should_not_matter_is_a_fault_where_it_does(classifier, monkeypatch, name, rule):
    by_rule(classifier, monkeypatch, rule)
    checks = checked(classifier)
    assert checks[name].fault and checks[name].changed == 30
    assert not checks["batch"].fault and (name == "user names" or not checks["user names"].fault)


def test_a_negation_that_changes_nothing_is_a_fault(classifier, monkeypatch):
    good = ("great", "wonderful", "good", "lovely", "nice")
    by_rule(classifier, monkeypatch, lambda text, n: 2 if any(word in text for word in good) else 0)
    assert checked(classifier)["negation"].fault
    by_rule(classifier, monkeypatch, lambda text, n: 2 * (any(w in text for w in good) != (" not " in text)))
    assert not checked(classifier)["negation"].fault
    by_rule(classifier, monkeypatch, lambda text, n: 1)
    assert "can't be told" in checked(classifier)["negation"].sentence


def test_too_few_texts_tell_nothing_and_none_is_an_error(classifier):
    checks = checked(classifier, ["a plain text", "another one"])
    assert not checks["emoji"].fault and "Only 0 of the 2 texts" in checks["emoji"].sentence
    with pytest.raises(DataError, match="There is no text"):
        behaviour(classifier, [])
