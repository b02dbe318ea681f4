"""Many tweets at once: what is read, what is answered, what is written."""

import csv
import json
from types import SimpleNamespace

import pytest

from inference.classifier import Prediction
from inference.common.errors import PredictionError
from tests.ui.test_ui_render import EVIL, LABELS, Checker
from ui.compare import many


class Fixed:
    """Gives every text one label."""

    labels = LABELS
    model = None

    def __init__(self, label):
        self.label = label

    def predict(self, texts, *, with_latency=False):
        shares = tuple(0.8 if label == self.label else 0.1 for label in LABELS)
        return [Prediction(self.label if "odd" not in one else "neutral", shares, False) for one in texts]


@pytest.fixture
def model(tmp_path):
    return SimpleNamespace(state="ready", tuned=Fixed("positive"), base=Fixed("negative"), folder=tmp_path)


def test_texts_come_from_the_field_and_from_a_file(tmp_path):
    file = tmp_path / "posts.csv"
    file.write_text('id,text\n1,"so, happy"\n2,meh\n')
    assert many.texts_of(" one \n\n two", str(file)) == ["one", "two", "so, happy", "meh"]


def test_both_answer_all_and_it_can_be_filtered_and_saved(model, home):
    shares = []
    texts = [f"tweet {n}" for n in range(69)] + [f"odd {EVIL}"]
    rows = many.answer_all(model, texts, progress=shares.append)
    assert [one.text for one in rows] == texts and shares[-1] == 1 and len(shares) == 3
    assert sum(one.disagrees for one in rows) == 69
    drawn = many.draw(rows, LABELS, n_given=700, only=False)
    Checker(drawn)
    assert "disagree on 69; 70 shown" in drawn and "the first 500 were answered" in drawn
    assert "odd" not in many.draw(rows, LABELS, n_given=70, only=True)
    table, lines = many.save(rows)
    with open(table, encoding="utf-8-sig", newline="") as file:
        read = list(csv.DictReader(file))
    assert read[0] == {
        "text": "tweet 0",
        "base": "negative",
        "base_probability": "0.8",
        "fine_tuned": "positive",
        "fine_tuned_probability": "0.8",
    }
    with open(lines) as file:
        assert [json.loads(line)["text"] for line in file] == texts


def test_without_a_text_or_a_model_a_sentence_says_what_to_do(model):
    with pytest.raises(PredictionError, match="one a line"):
        many.answer_all(model, [])
    model.state = "none"
    with pytest.raises(PredictionError, match="No model"):
        many.answer_all(model, ["a"])
